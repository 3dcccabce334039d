"""A training with an image cache is the training without one."""

import json

import numpy as np
import pytest

from fastreid.data.feature_file import FeatureFile
from fastreid.engine import commands, default_argument_parser

WHITE = ["INPUT.GRAYSCALE", "True", "INPUT.REA.VALUE", "[255]"]


@pytest.mark.parametrize("settings", [WHITE, []], ids=["bytes", "floats"])
def test_losses_metrics_and_features_are_the_same(tiny_options, tmp_path, settings):
    plain, cached = tmp_path / "plain", tmp_path / "cached"
    for out, cache in ((plain, ""), (cached, str(tmp_path / "cache"))):
        options = [*tiny_options, *settings, "SEED", "1", "INPUT.FLIP.ENABLED", "True", "INPUT.PADDING.ENABLED", "True",
                   "SOLVER.MAX_EPOCH", "2", "DATALOADER.CACHE.DIR", cache, "OUTPUT_DIR", str(out)]  # fmt: skip
        commands.run_training(default_argument_parser().parse_args(options))
    assert losses(plain) == losses(cached)
    assert len(losses(plain)) > 2
    first, second = (FeatureFile.load(out / "features" / "FileList.npz") for out in (plain, cached))
    assert np.array_equal(first.features, second.features)
    assert first.fingerprint == second.fingerprint
    results = [json.loads((out / "results.json").read_text())["FileList"]["stages"] for out in (plain, cached)]
    assert results[0] == results[1]


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [(row["loss_cls"], row["loss_triplet"]) for row in rows]
