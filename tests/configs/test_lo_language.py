"""The configs of Lo et al.: what their paper says, and that nothing in them is idle."""

import pytest

from fastreid.config import get_cfg
from fastreid.data.transforms import build_transforms
from fastreid.engine.settings import settings_without_effect
from fastreid.evaluation.presets import differences
from tests.conftest import ROOT

FOLDER = ROOT / "configs" / "patent" / "lo_language"
NETWORKS = {  # table 1
    "Base-lo_language": ("resnet50", 224),
    "resnet50": ("resnet50", 224),
    "effb0": ("efficientnet_b0", 224),
    "vitb32": ("vit_base_patch32", 224),
    "swinv2b": ("swinv2_base", 256),
}


def load(name):
    cfg = get_cfg()
    cfg.merge_from_file(FOLDER / f"{name}.yml")
    return cfg


def test_every_config_is_in_the_table():
    assert {path.stem for path in FOLDER.glob("*.yml")} == set(NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_data_losses_and_protocol(name):
    cfg = load(name)
    depth, size = NETWORKS[name]
    assert cfg.MODEL.BACKBONE.DEPTH.startswith(depth)
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == cfg.INPUT.CROP.SIZE == [size, size]
    assert (cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.HEADS.NAME, cfg.MODEL.HEADS.PROJECTOR) == (
        "ImageText", "ProjectionHead", "mlp",
    )  # fmt: skip
    assert cfg.MODEL.LOSSES.NAME == ("ImageTextLoss", "ClassTextLoss", "CategoryTextLoss")
    assert (cfg.MODEL.LOSSES.WEIGHTING, cfg.MODEL.LOSSES.CLASSTEXT.LEVEL) == ("uncertainty", "subclass")
    assert not cfg.MODEL.LOSSES.CLIP.BOTH_WAYS, "equation 1"
    assert cfg.DATASETS.FILELIST.GALLERY == ("gallery.txt",)
    assert cfg.DATASETS.TEXT_BANK == f"{cfg.DATASETS.FILELIST.ROOT}/text_bank"
    assert (cfg.TEST.PROTOCOL, differences(cfg)) == ("lo2024", {})
    assert cfg.TEST.EVAL_PERIOD == cfg.SOLVER.MAX_EPOCH, "the test queries choose no epoch"
    assert settings_without_effect(cfg) == []
    assert cfg.OUTPUT_DIR.endswith(f"/lo_language/{'resnet50' if name.startswith('Base') else name}")


def test_augmentation_of_the_paper():
    cfg = load("vitb32")
    train, test = (repr(build_transforms(cfg, is_train)) for is_train in (True, False))
    assert train == ("Compose(Resize, RandomResizedCrop, RandomFlip, ToTensor, Channels, RandomErasing, GridMask)")
    assert test == "Compose(Resize, CenterCrop, ToTensor, Channels)"
    assert build_transforms(cfg).transforms[-1].keep == 0.6
