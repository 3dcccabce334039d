"""The configs of Kavimandan et al.: what is known of their system, and what the comments of the files promise."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.config.config import flatten
from fastreid.data.ingest.dataset import LISTS, METADATA
from fastreid.engine.settings import settings_without_effect
from fastreid.modeling import build_model
from fastreid.modeling.losses import HierarchicalContrastiveLoss
from tests.conftest import ROOT

FOLDER = ROOT / "configs" / "patent" / "kavimandan"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))
# width of the descriptor, million weights of the network
NETWORKS = {
    "Base-kavimandan": (1280, 4.2),
    "mobilenetv3": (1280, 4.2),
    "effb0": (1280, 4.0),
    "resnet50": (2048, 23.5),
    "vit_tiny": (192, 5.5),
    "clip_vitb16": (768, 85.8),
}
OF_A_NETWORK = ("MODEL.BACKBONE.", "MODEL.PIXEL_", "SOLVER.BASE_LR", "OUTPUT_DIR")


def load(name, *settings):
    cfg = get_cfg()
    cfg.merge_from_file(FOLDER / f"{name}.yml")
    cfg.merge_from_list(list(settings))
    return cfg


@pytest.mark.parametrize("name", NAMES)
def test_network_and_size_of_the_descriptor(name):
    """On the meta device, which has shapes but no numbers."""
    width, weights = NETWORKS[name]
    cfg = load(name, "MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 3)
    with torch.device("meta"):
        model = build_model(cfg).eval()
        assert model(torch.empty(2, 3, *cfg.INPUT.SIZE_TEST)).shape == (2, width)
    assert sum(p.numel() for p in model.backbone.parameters()) / 1e6 == pytest.approx(weights, abs=0.05)
    assert cfg.MODEL.BACKBONE.FEAT_DIM == width
    assert load(name).MODEL.BACKBONE.PRETRAIN
    (loss,) = model.loss_functions
    assert isinstance(loss, HierarchicalContrastiveLoss)
    assert (loss.scores, loss.temperature, loss.normalization, loss.memory) == ((1.0, 0.5, 0.25), 0.07, "joint", 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_files_differ_in_their_network_alone_and_no_setting_is_idle(name):
    cfg = load(name)
    own, base = flatten(cfg), flatten(load("Base-kavimandan"))
    assert [key for key in own if own[key] != base[key] and not key.startswith(OF_A_NETWORK)] == []
    assert cfg.OUTPUT_DIR.endswith(f"/kavimandan/{name.replace('Base-kavimandan', 'mobilenetv3')}")
    assert settings_without_effect(cfg) == []


def test_batches_are_pairs_and_lists_are_those_of_the_ingest():
    cfg = load("Base-kavimandan")
    assert (cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.NUM_INSTANCE) == ("HierarchicalSampler", 2)
    lists = cfg.DATASETS.FILELIST
    assert {f"{name}.txt" for name in LISTS} >= {*lists.TRAIN, *lists.QUERY, *lists.GALLERY}
    assert tuple(lists.METADATA) == (METADATA,)
    assert (cfg.TEST.LEVELS, cfg.TEST.METRICS) == (("subclass", "class"), ("nDCG@10",))
