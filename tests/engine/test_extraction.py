import logging

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.data.records import Record
from fastreid.engine import launch
from fastreid.engine.extraction import cached_features, extract_features, load_if_fresh
from fastreid.utils import comm
from tests.evaluation.stand_ins import ToyLoader, ToyModel


def test_extraction_keeps_order_and_training_mode():
    model, loader = ToyModel().train(), ToyLoader()
    file = extract_features(model, loader, 2, fingerprint={"weights": "x"})
    assert model.training
    assert (len(file.query), len(file.gallery), file.fingerprint) == (2, 4, {"weights": "x"})
    flipped = extract_features(model, loader, 2, flip=True)
    np.testing.assert_allclose(flipped.features, (file.features + file.features[:, [1, 0, 3, 2]]) / 2, rtol=1e-6)


def test_features_are_extracted_once(tmp_path):
    cfg, model, loader = get_cfg(), ToyModel(), ToyLoader()
    first = cached_features(cfg, model, loader, 2, "toy", tmp_path)
    cfg.TEST.AQE.ENABLED = True  # post-processing may change freely
    again = cached_features(cfg, model, loader, 2, "toy", tmp_path)
    assert loader.passes == 1
    assert again.features.tolist() == first.features.tolist()
    assert (tmp_path / "features/toy.npz").exists()


@pytest.mark.parametrize("change", ["weights", "settings", "flip", "images"])
def test_stale_features_are_made_again_and_the_reason_is_said(tmp_path, caplog, change):
    cfg, model, loader = get_cfg(), ToyModel(), ToyLoader()
    cached_features(cfg, model, loader, 2, "toy", tmp_path)
    if change == "weights":
        with torch.no_grad():
            model.scale += 1
    elif change == "settings":
        cfg.INPUT.SIZE_TEST = [8, 8]
    elif change == "flip":
        cfg.TEST.FLIP.ENABLED = True
    else:
        loader.dataset.records[1] = Record("1.png", 9, 1, date=20180103)
    with caplog.at_level(logging.INFO, "fastreid"):
        cached_features(cfg, model, loader, 2, "toy", tmp_path)
    assert loader.passes == 2
    assert "is not used: these features are stale" in caplog.text
    assert change in caplog.text
    cached_features(cfg, model, loader, 2, "toy", tmp_path)
    assert loader.passes == 2


def test_a_broken_file_is_made_again(tmp_path):
    loader = ToyLoader()
    (tmp_path / "features").mkdir()
    (tmp_path / "features/toy.npz").write_bytes(b"half")
    file = cached_features(get_cfg(), ToyModel(), loader, 2, "toy", tmp_path)
    assert FeatureFile.load(tmp_path / "features/toy.npz").features.tolist() == file.features.tolist()
    assert load_if_fresh(tmp_path / "absent.npz", {}) is None


def extract_share(folder):
    """One of two processes: the first three images or the last three."""
    loader = ToyLoader(range(3) if comm.get_rank() == 0 else range(3, 6))
    file = cached_features(get_cfg(), ToyModel(), loader, 2, "toy", folder)
    assert (file is not None) == comm.is_main_process()
    cached_features(get_cfg(), ToyModel(), loader, 2, "toy", folder)
    assert loader.passes == 1


def test_processes_share_the_work_and_rows_come_back_in_order(quick_launch, tmp_path):
    launch(extract_share, 2, args=(str(tmp_path),))
    shared = FeatureFile.load(tmp_path / "features/toy.npz")
    alone = extract_features(ToyModel(), ToyLoader(), 2)
    assert shared.paths == alone.paths
    assert shared.features.tolist() == alone.features.tolist()
