"""A tiny data set and config."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# two stages of a few weights: what is tested here does not depend on the network, and checkpoints stay small
PLUGIN = """
from torch import nn

from fastreid.modeling.backbones import BACKBONE_REGISTRY


@BACKBONE_REGISTRY.register()
class TinyBackbone(nn.Module):
    feature_dim = 16

    def __init__(self, cfg):
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Conv2d(8, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU())

    def forward(self, x):
        return self.layer2(self.layer1(x))
"""


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Four identities of six 32 x 32 images each, in one list for training, query and gallery alike."""
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    lines = []
    for pid in range(4):
        base = rng.integers(0, 256, (32, 32))
        for number in range(6):
            noisy = np.clip(base + rng.integers(-40, 40, base.shape), 0, 255).astype("uint8")
            name = f"{pid}_{number}.png"
            Image.fromarray(noisy).save(folder / name)
            lines.append(f"{name} {pid}")
    (folder / "tiny_backbone.py").write_text(PLUGIN)
    (folder / "train.txt").write_text("\n".join(lines))
    (folder / "query.txt").write_text("\n".join(lines[::3]))
    (folder / "gallery.txt").write_text("\n".join(lines[1::3]))
    return folder


@pytest.fixture(scope="session")
def tiny_settings(tiny_data) -> dict[str, object]:
    """Those of a training of three epochs with three iterations each; they name no OUTPUT_DIR."""
    return {
        "MODEL.DEVICE": "cpu",
        "PLUGINS": (str(tiny_data / "tiny_backbone.py"),),
        "MODEL.BACKBONE.NAME": "TinyBackbone",
        "MODEL.HEADS.WITH_BNNECK": True,
        "MODEL.LOSSES.NAME": ("CrossEntropyLoss", "TripletLoss"),
        "INPUT.SIZE_TRAIN": [32, 32],
        "INPUT.SIZE_TEST": [32, 32],
        "INPUT.REA.ENABLED": True,
        "DATASETS.NAMES": ("FileList",),
        "DATASETS.TESTS": ("FileList",),
        "DATASETS.FILELIST.ROOT": str(tiny_data),
        "DATASETS.FILELIST.TRAIN": ("train.txt",),
        "DATASETS.FILELIST.QUERY": ("query.txt",),
        "DATASETS.FILELIST.GALLERY": ("gallery.txt",),
        "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
        "DATALOADER.NUM_INSTANCE": 4,
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.MAX_EPOCH": 3,
        "SOLVER.BASE_LR": 1e-3,
        "SOLVER.WARMUP_ITERS": 3,
        "SOLVER.SCHED": "CosineAnnealingLR",
        "SOLVER.IMS_PER_BATCH": 8,
        "SOLVER.CHECKPOINT_PERIOD": 1,
        "SOLVER.LOG_PERIOD": 1,
        "TEST.EVAL_PERIOD": 2,
        "TEST.IMS_PER_BATCH": 8,
        "TEST.REPORT.ENABLED": False,
    }


@pytest.fixture
def tiny_options(tiny_settings, tmp_path) -> list[str]:
    """``tiny_settings`` as KEY VALUE pairs, with an OUTPUT_DIR."""
    options = {**tiny_settings, "OUTPUT_DIR": str(tmp_path / "out")}
    return [str(item) for pair in options.items() for item in pair]


@pytest.fixture
def tiny_cfg(tiny_options):
    from fastreid.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_list(tiny_options)
    return cfg
