"""From any proportions to the size of the network: letterbox, crop, their build and their errors."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from fastreid.config import get_cfg
from fastreid.config.input_size import input_size
from fastreid.data.common import seeded
from fastreid.data.transforms import (
    TRANSFORM_REGISTRY,
    InkCrop,
    Letterbox,
    RandomBlur,
    RandomErasing,
    ResizeCrop,
    build_transforms,
)
from fastreid.engine.export import input_shape
from fastreid.engine.settings import settings_without_effect
from fastreid.modeling import build_backbone


def picture(width, height, mode="L"):
    """A smooth picture: one colour, darker to the right and to the bottom."""
    rows, columns = np.mgrid[:height, :width]
    values = 200 - 100 * rows / height - 50 * columns / width
    return Image.fromarray(values.astype(np.uint8)).convert(mode)


def config(*settings):
    cfg = get_cfg()
    cfg.merge_from_list(list(settings))
    return cfg


SIZES = [(90, 30), (30, 90), (64, 64), (7, 300), (50, 51)]


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("target", [(40, 40), (24, 60), (61, 23)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_letterbox_keeps_all_of_the_image_and_its_proportions(width, height, target, mode):
    out = Letterbox(target, fill=255)(picture(width, height, mode))
    assert (out.height, out.width) == target
    assert out.mode == mode
    inside = np.asarray(out.convert("L")) < 255
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    factor = min(target[0] / height, target[1] / width)
    assert abs(len(rows) - factor * height) <= 0.5 or len(rows) == 1
    assert abs(len(columns) - factor * width) <= 0.5 or len(columns) == 1
    for found, side in ((rows, target[0]), (columns, target[1])):
        assert abs(found[0] - (side - 1 - found[-1])) <= 1  # in the middle


def test_letterbox_fill():
    assert np.asarray(Letterbox((20, 20), fill=7)(picture(40, 10)))[0, 0] == 7
    assert Letterbox([12])(picture(40, 10)).size == (12, 12)


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("n", [40, 23])
def test_crop_of_a_square_is_that_of_torchvision(width, height, n):
    reference = T.Compose([T.Resize(n, T.InterpolationMode.BICUBIC), T.CenterCrop(n)])
    image = picture(width, height)
    difference = np.asarray(ResizeCrop([n])(image), int) - np.asarray(reference(image), int)
    assert np.abs(difference).max() <= 1


def test_crop_loses_no_pixel_to_rounding():
    """32 / 49 * 98 is 63.99999999999999 in floating point."""
    assert int(32 / 49 * 98) == 63
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (98, 49), dtype=np.uint8))
    reference = T.Compose([T.Resize(32, T.InterpolationMode.BICUBIC), T.CenterCrop(32)])
    assert np.abs(np.asarray(ResizeCrop([32])(noise), int) - np.asarray(reference(noise), int)).max() <= 1


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("target", [(24, 60), (61, 23)])
def test_crop_covers_the_target_and_keeps_proportions(width, height, target):
    image = picture(width, height)
    factor = max(target[0] / height, target[1] / width)
    whole = image.resize((max(target[1], int(factor * width + 1e-9)), max(target[0], int(factor * height + 1e-9))),
                         Image.Resampling.BICUBIC)  # fmt: skip
    left, top = round((whole.width - target[1]) / 2), round((whole.height - target[0]) / 2)
    expected = whole.crop((left, top, left + target[1], top + target[0]))
    assert np.abs(np.asarray(ResizeCrop(target)(image), int) - np.asarray(expected, int)).max() <= 1


@pytest.mark.parametrize("width, height", [(20, 40), (40, 20)])
def test_random_crop_takes_every_place_and_repeats_with_the_seed(width, height):
    image = Image.fromarray(np.arange(800, dtype=np.uint16).reshape(height, width).astype(np.uint8))
    crop = ResizeCrop([20], random=True)
    with seeded((0,)):
        found = [np.asarray(crop(image)) for _ in range(400)]
    with seeded((0,)):
        np.testing.assert_array_equal(crop(image), found[0])
    values = np.asarray(image)
    places = [values[k : k + 20, :] if height > width else values[:, k : k + 20] for k in range(21)]
    hits = [sum(np.array_equal(place, out) for out in found) for place in places]
    assert sum(hits) == 400
    assert min(hits) > 3


def test_modes_in_training_and_test():
    image = picture(120, 40)
    cfg = config("INPUT.SIZE_TRAIN", [32, 32], "INPUT.SIZE_TEST", [32, 32], "INPUT.RESIZE.MODE", "letterbox")
    for is_train in (True, False):
        out = build_transforms(cfg, is_train)(image)
        assert out.shape == (3, 32, 32)
        assert out[0, 0, 0] == 255
    cfg = config("INPUT.SIZE_TRAIN", [32], "INPUT.SIZE_TEST", [32], "INPUT.RESIZE.MODE", "crop")
    assert torch.equal(build_transforms(cfg, True)(image), build_transforms(cfg, False)(image))
    fixed = build_transforms(cfg, False)(image)
    cfg.INPUT.RANDOM_CROP.ENABLED = True
    assert torch.equal(build_transforms(cfg, False)(image), fixed)
    with seeded((1,)):
        assert not torch.equal(build_transforms(cfg, True)(image), fixed)


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            ["INPUT.RESIZE.MODE", "letterbx"],
            r"INPUT\.RESIZE\.MODE must be one of .* got 'letterbx'. Did you mean 'lett",
        ),
        (["INPUT.RANDOM_CROP.ENABLED", True], r"RANDOM_CROP\.ENABLED needs INPUT\.RESIZE\.MODE 'crop'; .* 'stretch'"),
        (["INPUT.RESIZE.MODE", "crop", "INPUT.SIZE_TEST", [0, 0]], r"MODE 'crop' needs INPUT\.SIZE_TRAIN and SIZE_T"),
        (["INPUT.SIZE_TEST", []], r"INPUT\.SIZE_TEST must hold one or two numbers; got \[\]"),
        (["INPUT.SIZE_TEST", [64, 32, 3]], r"INPUT\.SIZE_TEST must hold one or two numbers; got \[64, 32, 3\]"),
        (["INPUT.RESIZE.MODE", "letterbox", "INPUT.RESIZE.FILL", 256], r"INPUT\.RESIZE\.FILL .* in 0\.\.255; got 256"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        build_transforms(config(*settings), is_train=False)


def test_settings_without_effect_are_listed():
    assert settings_without_effect(config("INPUT.RESIZE.FILL", 0)) == [
        "INPUT.RESIZE.FILL = 0 (INPUT.RESIZE.MODE is not 'letterbox')"
    ]
    notebook = ["INPUT.INK_CROP.ENABLED", True, "INPUT.INK_CROP.METHOD", "notebook", "INPUT.INK_CROP.LABELS", False]
    assert settings_without_effect(config(*notebook)) == [
        "INPUT.INK_CROP.LABELS = False (INPUT.INK_CROP.METHOD is 'notebook')"
    ]
    assert settings_without_effect(config("INPUT.RESIZE.MODE", "letterbox", "INPUT.RESIZE.FILL", 0)) == []


def test_one_number_is_a_square_for_network_and_export():
    cfg = config("INPUT.SIZE_TRAIN", [64], "INPUT.SIZE_TEST", [48], "INPUT.RESIZE.MODE", "crop")
    assert (input_size(cfg, True), input_size(cfg, False)) == ((64, 64), (48, 48))
    assert input_shape(cfg) == (3, 48, 48)
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_timm_backbone", "test_vit"
    assert build_backbone(cfg).net.patch_embed.grid_size == (4, 4)
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.SIZE = True, [32, 80]
    assert build_backbone(cfg).net.patch_embed.grid_size == (2, 5)


def test_thickening_goes_by_the_reduction_that_comes():
    line = np.full((64, 192), 255, np.uint8)
    line[:, 90] = 0
    width = lambda image: int((np.asarray(image)[5] == 0).sum())  # noqa: E731
    thicken = TRANSFORM_REGISTRY.get("Thicken")
    assert width(thicken(size=0, target=[32, 32])(Image.fromarray(line))) == 7  # all of it fits: 6 times smaller
    assert width(thicken(size=0, target=[32, 32], cover=True)(Image.fromarray(line))) == 3  # 2 times smaller
    cfg = config("INPUT.THICKEN.ENABLED", True, "INPUT.THICKEN.SIZE", 0, "INPUT.SIZE_TEST", [32, 32])
    for mode, of_two, of_one in (("stretch", False, True), ("letterbox", False, False), ("crop", True, True)):
        cfg.INPUT.RESIZE.MODE = mode
        for size, cover in (([32, 32], of_two), ([32], of_one)):
            cfg.INPUT.SIZE_TEST = size
            assert build_transforms(cfg, False).transforms[0].cover is cover


def test_erasing_takes_its_share_and_proportions():
    erase = RandomErasing(prob=1.0, value=[255.0], scale=(0.22, 0.33), ratio=(0.5, 2.0))
    for seed in range(60):
        with seeded((seed,)):
            gone = np.asarray(erase(torch.zeros(1, 100, 100))[0]) == 255
        height, width = gone.any(1).sum(), gone.any(0).sum()
        assert gone.sum() == height * width
        assert 0.21 <= gone.mean() <= 0.34
        assert 0.48 <= height / width <= 2.08


@pytest.mark.parametrize("scale", [(0.0, 0.3), (0.3, 0.2), (0.2, 1.1), (0.2,)])
def test_wrong_shares_of_erasing_are_named(scale):
    with pytest.raises(ValueError, match=r"INPUT\.REA\.SCALE must hold two shares, 0 < low <= high <= 1; got \["):
        RandomErasing(scale=scale)


@pytest.mark.parametrize("ratio", [(0.0, 3.0), (2.0, 1.0), (1.0,)])
def test_wrong_ratios_of_erasing_are_named(ratio):
    with pytest.raises(ValueError, match=r"INPUT\.REA\.RATIO must hold two ratios"):
        RandomErasing(ratio=ratio)


def test_erasing_needs_a_value():
    with pytest.raises(ValueError, match=r"INPUT\.REA\.VALUE must hold a grey value, or one per channel; it is empty"):
        RandomErasing(value=[])


@pytest.mark.parametrize("sigma", [(1.0,), (2.0, 1.0), (-1.0, 1.0)])
def test_wrong_widths_of_the_blur_are_named(sigma):
    with pytest.raises(ValueError, match=r"INPUT\.BLUR\.SIGMA must hold two numbers of pixels, 0 <= low <= high; got"):
        RandomBlur(sigma=sigma)


def test_ink_crop_without_square_before_a_letterbox_keeps_proportions():
    page = np.full((300, 300), 255, np.uint8)
    page[100:140, 50:250] = 0
    out = Letterbox((50, 50))(InkCrop(square=False, margin=0)(Image.fromarray(page)))
    dark = np.asarray(out) < 128
    assert (dark.any(1).sum(), dark.any(0).sum()) == (10, 50)
