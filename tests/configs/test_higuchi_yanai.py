"""The configs of Higuchi and Yanai: what their paper and their notebook say."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.transforms import build_transforms
from fastreid.engine.settings import settings_without_effect
from fastreid.modeling import build_model
from fastreid.solver import build_lr_scheduler, build_optimizer
from tests.conftest import ROOT

FOLDER = ROOT / "configs" / "patent" / "higuchi_yanai"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yml"))
SWIN_224 = "swin_base_patch4_window7_224.ms_in22k_ft_in1k"
# name: network, size, batch, epochs
TABLE = {
    "effb0_224_arcface": ("efficientnet_b0.ra_in1k", 224, 512, 20),
    "effb0_224_arcface_focal_sample": ("efficientnet_b0.ra_in1k", 224, 512, 20),
    "effb0_224_triplet": ("efficientnet_b0.ra_in1k", 224, 512, 20),
    "effb0_224_infonce": ("efficientnet_b0.ra_in1k", 224, 512, 20),
    "vitb_224": ("base", 224, 512, 20),
    "swinb_224": (SWIN_224, 224, 512, 20),
    "swinb_256": (SWIN_224, 256, 512, 20),
    "swinb_384": ("swin_base_patch4_window12_384.ms_in22k_ft_in1k", 384, 256, 20),
    "swinv2b_224": ("swinv2_base_window12to16_192to256.ms_in22k_ft_in1k", 224, 512, 20),
    "swinv2b_384_centercrop": ("swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", 384, 256, 20),
    "swinv2b_384_randomcrop": ("swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", 384, 256, 20),
    "swinv2b_384_randomcrop_notebook": ("swinv2_base_window12to24_192to384.ms_in22k_ft_in1k", 384, 128, 25),
}


def load(name, *settings):
    cfg = get_cfg()
    cfg.merge_from_file(FOLDER / f"{name}.yml")
    cfg.merge_from_list(list(settings))
    return cfg


def test_every_config_is_in_the_table():
    assert set(NAMES) == {*TABLE, "Base-higuchi_yanai"}


@pytest.mark.parametrize("name", TABLE)
def test_network_size_batch_and_epochs(name):
    cfg = load(name)
    network, size, batch, epochs = TABLE[name]
    assert cfg.MODEL.BACKBONE.DEPTH == network
    assert cfg.INPUT.SIZE_TRAIN == cfg.INPUT.SIZE_TEST == [size, size]
    assert (cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_EPOCH) == (batch, epochs)
    assert cfg.TEST.EVAL_PERIOD == (25 if epochs == 25 else 20)
    assert cfg.OUTPUT_DIR.endswith(f"/higuchi_yanai/{name}")


@pytest.mark.parametrize("name", NAMES)
def test_what_all_share(name):
    """literature.md 8; losses and sampler of the two metric losses apart."""
    cfg = load(name)
    heads, focal, data = cfg.MODEL.HEADS, cfg.MODEL.LOSSES.FL, cfg.DATASETS
    assert (heads.NAME, heads.EMBEDDING_DIM, heads.DROPOUT) == ("BNDropoutHead", 512, 0.5)
    assert (heads.CLS_LAYER, heads.SCALE, heads.MARGIN) == ("ArcSoftmaxEasy", 30, 0.5)
    if "FocalLoss" in cfg.MODEL.LOSSES.NAME:
        assert (focal.ALPHA, focal.GAMMA) == (1.0, 1.5)
        assert focal.REDUCTION == ("sample" if name.endswith("sample") else "batch")
    assert heads.POOL_LAYER == ("GlobalAvgPool" if "swin" in name or "vit" in name else "GeneralizedMeanPooling")
    assert (cfg.INPUT.GRAYSCALE, cfg.INPUT.CHANNELS, cfg.MODEL.BACKBONE.PRETRAIN) == (True, 1, True)
    assert (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD) == ([127.5], [127.5])
    assert (data.NAMES, data.TESTS, data.DEEPPATENT.SPLIT) == (("DeepPatent",), ("DeepPatent",), "test")
    assert (cfg.TEST.METRIC, cfg.TEST.METRICS) == ("cosine", ("AP@max_bin_count", "AP@max_bin_count_hits"))


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_sampler(name):
    cfg = load(name)
    losses = {"effb0_224_triplet": ("TripletLoss",), "effb0_224_infonce": ("InfoNCELoss",)}
    assert cfg.MODEL.LOSSES.NAME == losses.get(name, ("FocalLoss",))
    pairs = name in losses
    assert cfg.DATALOADER.SAMPLER_TRAIN == ("NaiveIdentitySampler" if pairs else "TrainingSampler")
    if pairs:
        assert cfg.DATALOADER.NUM_INSTANCE == 2
    if name == "effb0_224_triplet":
        assert {"ALL_TRIPLETS": True, "MARGIN": 0.05, "NORM_FEAT": True, "SCALE": 0.5}.items() <= dict(
            cfg.MODEL.LOSSES.TRI
        ).items()


def test_two_learning_rates_no_decay_and_no_schedule():
    cfg = load("effb0_224_arcface", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 3,
               "MODEL.DEVICE", "cpu")  # fmt: skip
    model = build_model(cfg)
    optimizer, _ = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.Adam)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == pytest.approx(5e-3 if name == "heads.weight" else 1e-4), name
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0}
    schedule = build_lr_scheduler(cfg, optimizer, iters_per_epoch=2)
    assert set(schedule) == {"lr_sched"}
    before = [group["lr"] for group in optimizer.param_groups]
    for _ in range(cfg.SOLVER.MAX_EPOCH):
        optimizer.step()
        schedule["lr_sched"].step()
    assert [group["lr"] for group in optimizer.param_groups] == before
    assert model.backbone.net.conv_stem.weight.shape[1] == 1
    assert not any("pool" in name and p.requires_grad for name, p in model.heads.named_parameters())


@pytest.mark.parametrize("name", NAMES)
def test_steps_and_their_order(name):
    train, test = (repr(build_transforms(load(name), is_train)) for is_train in (True, False))
    assert test == "Compose(InkCrop, ResizeCrop, ToTensor, Channels)"
    augmented = "Compose(InkCrop, ResizeCrop, RandomBlur, RandomFlip, ToTensor, Channels, RandomErasing)"
    assert train == (augmented if "swinv2b_384" in name else test)


def test_augmentation_of_the_notebook():
    cfg = load("swinv2b_384_randomcrop_notebook")
    ink, resize, blur, flip, *_, erase = build_transforms(cfg, is_train=True).transforms
    assert (ink.method, ink.threshold, ink.square, ink.margin) == ("notebook", 121, False, 0.0)
    assert (resize.size, resize.random) == ((384, 384), True)
    assert (blur.prob, blur.sigma, flip.prob) == (0.5, (0.1, 1.0), 0.5)
    assert (erase.prob, erase.scale, erase.ratio, erase.value) == (0.5, (0.22, 0.33), (0.3, 3.3), [255.0] * 3)
    _, resize, *_ = build_transforms(cfg, is_train=False).transforms
    assert not resize.random


def test_crops_that_are_compared():
    crops = {name: build_transforms(load(name), is_train=True).transforms[:2] for name in NAMES}
    assert {name for name, (_, resize) in crops.items() if resize.random} == {
        "swinv2b_384_randomcrop", "swinv2b_384_randomcrop_notebook",
    }  # fmt: skip
    assert {name for name, (ink, _) in crops.items() if ink.method == "notebook"} == {"swinv2b_384_randomcrop_notebook"}


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_is_idle(name):
    assert settings_without_effect(load(name)) == []
