"""The configs of Wang and Zhang's system: what is published of it, and what the comments of the files promise."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.config.config import flatten
from fastreid.data.build import train_records
from fastreid.data.datasets import build_dataset
from fastreid.data.synthetic.generate import generate
from fastreid.data.synthetic.plan import Settings
from fastreid.engine.settings import settings_without_effect
from fastreid.modeling import build_model
from tests.conftest import ROOT

FOLDER = ROOT / "configs" / "patent" / "wang_zhang"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))
SOFTMAX = [name for name in NAMES if "softmax" in name]
# network in timm, its width, size in pixels
NETWORKS = {
    "B0-256": ("b0", 1280, 256),
    "B0-512": ("b0", 1280, 512),
    "B5-512": ("b5", 2048, 512),
    "B5-768": ("b5", 2048, 768),
    "B6-768": ("tf_efficientnet_b6.aa_in1k", 2304, 768),
    "B7-768": ("tf_efficientnet_b7.aa_in1k", 2560, 768),
    "SwinB-768": ("swin_base_patch4_window12_384.ms_in22k_ft_in1k", 1024, 768),
    "Base": ("b0", 1280, 256),
}


def load(name):
    cfg = get_cfg()
    cfg.merge_from_file(FOLDER / f"{name}.yml")
    return cfg


def differences(name, base):
    """The keys in which two of the configs differ, but for where their output goes."""
    own, other = flatten(load(name)), flatten(load(base))
    return {key: value for key, value in own.items() if value != other[key] and key != "OUTPUT_DIR"}


@pytest.mark.parametrize("name", NAMES)
def test_the_system(name):
    """literature.md 5: backbone, GeM, the linear layer's output as descriptor, then batch norm and classifier."""
    cfg = load(name)
    depth, width, size = next(value for key, value in NETWORKS.items() if name.startswith(key))
    assert (cfg.MODEL.BACKBONE.DEPTH, cfg.MODEL.BACKBONE.FEAT_DIM) == (depth, width)
    assert cfg.MODEL.BACKBONE.PRETRAIN
    assert cfg.INPUT.SIZE_TEST == [size, size]
    heads = cfg.MODEL.HEADS
    assert (heads.TEST_FEAT, heads.WITH_BNNECK) == ("before", True)
    assert heads.EMBEDDING_DIM > 0
    assert heads.POOL_LAYER == ("GlobalAvgPool" if "Swin" in name else "GeneralizedMeanPoolingP")
    if name in SOFTMAX:
        assert (heads.CLS_LAYER, heads.SCALE) == ("Linear", 1)
    else:
        kind = next((k for k in ("easy", "hard") if name.endswith(k)), "")
        assert (heads.CLS_LAYER, heads.SCALE, heads.MARGIN) == (f"ArcSoftmax{kind.title()}", 20, 0.5)
    assert (cfg.MODEL.LOSSES.NAME, cfg.MODEL.LOSSES.CE.EPSILON) == (("CrossEntropyLoss",), 0.0)
    assert cfg.DATASETS.NAMES == ("Patent",)
    assert settings_without_effect(cfg) == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_the_ablation_changes_the_scale_and_what_is_uncovered_is_white(name):
    given = load(name).INPUT
    assert given.CROP.ENABLED == ("scale_crop" in name)
    assert given.ROTATION.ENABLED == ("rotation" in name)
    off = ("SCALE_CROP", "AFFINE", "AUTOAUG", "AUGMIX", "REA", "RPT", "BLUR", "CJ")
    assert [key for key in off if given[key].ENABLED] == []
    assert given.PADDING.VALUE == 255 or not given.PADDING.ENABLED
    assert given.ROTATION.FILL == 255
    if not given.CROP.ENABLED:
        assert given.SIZE_TRAIN == given.SIZE_TEST
    else:
        assert given.CROP.SIZE == given.SIZE_TEST


@pytest.mark.parametrize(
    "name, base, changed",
    [
        ("B0-256-arcface", "Base-wang_zhang", set()),
        ("B0-256-softmax", "B0-256-arcface", {"MODEL.HEADS.CLS_LAYER", "MODEL.HEADS.SCALE", "MODEL.HEADS.MARGIN"}),
        ("B0-256-arcface_easy", "B0-256-arcface", {"MODEL.HEADS.CLS_LAYER"}),
        ("B0-256-arcface_hard", "B0-256-arcface", {"MODEL.HEADS.CLS_LAYER"}),
        ("B0-256-softmax_gray", "B0-256-softmax", {"INPUT.CHANNELS", "INPUT.GRAYSCALE"}),
        ("B0-256-softmax_rotation", "B0-256-softmax", {"INPUT.ROTATION.ENABLED", "INPUT.ROTATION.DEGREES"}),
    ],
)
def test_an_ablation_changes_what_it_is_about_and_nothing_else(name, base, changed):
    assert set(differences(name, base)) == changed


def test_final_setting():
    """Training and validation lists together, the submission set, k1 10 and k2 3; nothing else is new."""
    assert differences("B7-768_final", "B7-768") == {
        "DATASETS.COMBINEALL": True, "DATASETS.TESTS": ("PatentTest",), "TEST.EVAL_PERIOD": 0,
        "TEST.RERANK.ENABLED": True, "TEST.RERANK.K1": 10, "TEST.RERANK.K2": 3,
    }  # fmt: skip
    assert load("B7-768_final").TEST.RERANK.LAMBDA == 0.3
    assert all(load(name).DATASETS.TESTS == ("Patent",) for name in NAMES if name != "B7-768_final")


def test_the_final_setting_trains_on_both_lists(tmp_path, monkeypatch):
    generate(tmp_path, Settings(num_train=3, num_val=2, num_test=2, size=64), workers=0)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path))
    development, final = (train_records(load(name)) for name in ("B7-768", "B7-768_final"))
    data = build_dataset(load("B7-768"), "Patent")
    validation = [record.path for record in (*data.query, *data.gallery)]
    assert sorted(record.path for record in final) == sorted([record.path for record in development] + validation)
    assert len({record.pid for record in final}) == 3 + 2  # the lists number their patents from 1 each


@pytest.mark.parametrize("name", ["B0-256-arcface", "B5-512-arcface", "B6-768", "B7-768", "SwinB-768"])
def test_every_network_is_built_at_its_size(name):
    """On the meta device, which has shapes but no numbers."""
    cfg = load(name)
    cfg.merge_from_list(["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 33364])
    with torch.device("meta"):
        model = build_model(cfg).eval()
        height, width = cfg.INPUT.SIZE_TEST
        features = model.backbone(torch.empty(2, 3, height, width))
    assert features.shape == (2, cfg.MODEL.BACKBONE.FEAT_DIM, height // 32, width // 32)
    assert model.heads.weight.shape == (33364, 512)
