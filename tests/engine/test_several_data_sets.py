"""Training on several data sets and testing on several: tables, results.json and the best model."""

import json

import pytest
import torch

from fastreid.engine import commands, default_argument_parser
from tests.data import miniatures

SIZES = ("SmallVehicleID", "MediumVehicleID", "LargeVehicleID")


@pytest.fixture
def options(tiny_options, tmp_path, monkeypatch):
    for name in ("VehicleID", "Market1501"):
        miniatures.write(name, tmp_path / "data")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    return [*tiny_options, "DATASETS.NAMES", "('VehicleID', 'Market1501')", "DATASETS.TESTS", str(SIZES),
            "DATASETS.COMBINEALL", "True", "SOLVER.MAX_EPOCH", "2", "TEST.EVAL_PERIOD", "1",
            "TEST.SINGLE_SHOT", "3"]  # fmt: skip


def test_each_test_set_has_its_results_and_the_best_model_is_that_of_their_mean(options, tmp_path):
    results = commands.run_training(default_argument_parser().parse_args(options))
    assert tuple(results) == SIZES
    out = tmp_path / "out"
    written = json.loads((out / "results.json").read_text())
    assert {name: written[name]["counts"]["queries"] for name in SIZES} == dict(zip(SIZES, (12, 15, 18), strict=True))
    for name in SIZES:
        assert written[name]["stages"][0]["metrics"]["mAP"] == pytest.approx(results[name]["mAP"])
        # the gallery has one image of each vehicle, so that nothing is drawn
        assert results[name]["single-shot Rank-1"] == pytest.approx(results[name]["Rank-1"])
    rows = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    means = [sum(row[f"{name}/metric"] for name in SIZES) / 3 for row in rows if f"{SIZES[0]}/metric" in row]
    assert len(means) == 2
    assert torch.load(out / "model_best.pth", weights_only=True)["metric"] == pytest.approx(max(means))
    # training: 4 identities each, and the 7 and 4 of the tests, without distractors
    model = torch.load(out / "model_final.pth", weights_only=True)["model"]
    assert len(model["heads.weight"]) == 4 + 7 + 4 + 4
    log = (out / "log.txt").read_text()
    assert all(f"{name}: " in log for name in SIZES)
