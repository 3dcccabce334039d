"""The configs of the DIRA entry: values, names of the weights, and a run of all three on data laid out as Codalab's."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model

PATENT = "configs/patent/sbs_R101-ibn_patent_{}.yml"
# a few iterations on a CPU: small images and batches; the network is the whole one
QUICK = {
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.PRETRAIN": False,
    "INPUT.SIZE_TRAIN": [64, 64],
    "INPUT.SIZE_TEST": [64, 64],
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 4,
    "SOLVER.IMS_PER_BATCH": 8,
    "SOLVER.MAX_EPOCH": 2,
    "SOLVER.WARMUP_ITERS": 1,
    "SOLVER.DELAY_EPOCHS": 0,
    "SOLVER.FREEZE_ITERS": 1,
    "TEST.REPORT.ENABLED": False,
}


def load(repo, name, **changes):
    cfg = get_cfg()
    cfg.merge_from_file(repo / PATENT.format(name))
    cfg.merge_from_list([item for pair in changes.items() for item in pair])
    return cfg


@pytest.mark.parametrize(
    "name, size, batch, epochs, lr, warmup", [(256, 256, 128, 70, 3.5e-4, 3000), (384, 384, 64, 90, 3.5e-5, 3000)]
)
def test_settings_of_the_two_stages(repo, name, size, batch, epochs, lr, warmup):
    """literature.md 2.4: what the entry's code sets, its bases merged."""
    cfg = load(repo, name)
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [size, size]
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.MAX_EPOCH, solver.BASE_LR, solver.WARMUP_ITERS) == (batch, epochs, lr, warmup)
    assert (solver.SCHED, solver.DELAY_EPOCHS, solver.ETA_MIN_LR) == ("CosineAnnealingLR", 30, 7e-7)
    assert (solver.OPT, solver.WEIGHT_DECAY, solver.FREEZE_ITERS, solver.AMP.ENABLED) == ("Adam", 5e-4, 1000, True)
    assert cfg.MODEL.FREEZE_LAYERS == ["backbone"]
    backbone, heads, losses = cfg.MODEL.BACKBONE, cfg.MODEL.HEADS, cfg.MODEL.LOSSES
    assert (backbone.DEPTH, backbone.WITH_IBN, backbone.WITH_NL, backbone.LAST_STRIDE) == ("101x", True, True, 1)
    assert (heads.POOL_LAYER, heads.NECK_FEAT, heads.WITH_BNNECK) == ("GeneralizedMeanPoolingP", "after", True)
    assert (heads.CLS_LAYER, heads.SCALE, heads.MARGIN, heads.EMBEDDING_DIM) == ("CircleSoftmax", 64, 0.35, 0)
    assert losses.NAME == ("CrossEntropyLoss", "TripletLoss")
    triplet = losses.TRI
    assert (losses.CE.EPSILON, triplet.MARGIN, triplet.HARD_MINING, triplet.NORM_FEAT) == (0.1, 0.0, True, False)
    assert (cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.NUM_INSTANCE) == ("BalancedIdentitySampler", 16)
    assert (cfg.INPUT.AUTOAUG.ENABLED, cfg.INPUT.AUTOAUG.PROB, cfg.INPUT.REA.PROB) == (True, 0.1, 0.5)
    assert (cfg.INPUT.PADDING.SIZE, cfg.INPUT.PADDING.VALUE, cfg.INPUT.GRAYSCALE) == (10, 0, True)
    test = cfg.TEST
    assert (test.EVAL_PERIOD, test.METRIC, test.AQE.ENABLED, test.FLIP.ENABLED) == (5, "cosine", False, False)


def test_settings_of_the_submission(repo):
    cfg = load(repo, "test")
    aqe = cfg.TEST.AQE
    assert (aqe.ENABLED, aqe.QE_K, aqe.ALPHA, aqe.QE_TIME) == (True, 5, 2.0, 1)
    assert cfg.DATASETS.TESTS == ("PatentTest",)
    assert cfg.TEST.IMS_PER_BATCH == 32
    assert cfg.MODEL.WEIGHTS == load(repo, 384).OUTPUT_DIR + "/model_best.pth"
    assert load(repo, 384).MODEL.WEIGHTS == load(repo, 256).OUTPUT_DIR + "/model_best.pth"


@pytest.mark.parametrize("name", [256, 384, "test"])
def test_names_of_the_weights_are_those_of_fast_reid(repo, testdata, name):
    """Against the recorded names of fast-reid's ResNet101-IBN-NL model (its classes are fewer)."""
    reference = json.loads((testdata.parent / "reference" / "parameter_names.json").read_text())
    with torch.device("meta"):
        model = build_model(load(repo, name, **{"MODEL.DEVICE": "meta", "MODEL.BACKBONE.PRETRAIN": False}))
    expected = next(value for key, value in reference.items() if "sbs_R101-ibn" in key)
    assert set(model.state_dict()) == set(expected)


@pytest.mark.slow
def test_two_stages_and_a_submission_on_data_laid_out_as_codalabs(repo, tmp_path):
    """Train a few iterations in each stage, evaluate, write and check result.npy, each as a user's process."""
    from fastreid.data.synthetic.generate import generate
    from fastreid.data.synthetic.plan import Settings

    generate(tmp_path / "data", Settings(num_train=4, num_val=2, num_test=3, size=96), workers=0)
    output = {name: tmp_path / str(name) for name in (256, 384)}

    def run(script, name, *settings):
        pairs = [str(item) for pair in QUICK.items() for item in pair]
        command = [sys.executable, str(repo / "tools" / script), "--config-file", str(repo / PATENT.format(name))]
        done = subprocess.run(
            [*command, *map(str, settings[0]), *pairs, *map(str, settings[1:])],
            cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "FASTREID_DATASETS": str(tmp_path / "data")},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    log = run("train_net.py", 256, [], "OUTPUT_DIR", output[256])
    assert "SOLVER.STEPS = [40, 90] (only for MultiStepLR" in log
    best = [output[name] / "model_best.pth" for name in (256, 384)]
    run("train_net.py", 384, [], "MODEL.WEIGHTS", best[0], "OUTPUT_DIR", output[384])
    lines = [json.loads(line) for line in (output[384] / "metrics.json").read_text().splitlines()]
    assert {"loss_cls", "loss_triplet", "mAP", "Rank-1"} <= set().union(*lines)
    assert max(line["iteration"] for line in lines) >= 1
    run("test.py", "test", ["--eval-only"], "MODEL.WEIGHTS", best[1], "OUTPUT_DIR", tmp_path / "test")

    lists = tmp_path / "data" / "codalab_test_set" / "lists"
    queries, database = ((lists / f"test_{part}.txt").read_text().split() for part in ("queries", "database"))
    ranks = np.load(tmp_path / "result.npy")
    assert ranks.dtype == np.int64
    assert ranks.shape == (len(queries), min(10, len(database)))
    assert all(len(set(row)) == len(row) for row in ranks.tolist())
    assert 0 <= ranks.min() <= ranks.max() < len(database)
    assert (tmp_path / "result.zip").is_file()
