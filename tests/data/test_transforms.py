"""Transforms: contract over all registered ones, and each drawing-specific one against a plain reference."""

import numpy as np
import pytest
import torch
from PIL import Image

from fastreid.config import CfgNode as CN
from fastreid.config import get_cfg
from fastreid.data.common import seeded
from fastreid.data.transforms import TRANSFORM_REGISTRY, Resize, build_transforms, to_tensor
from fastreid.data.transforms.build import TEST, TRAIN
from fastreid.data.transforms.functional import min_filter
from fastreid.data.transforms.transforms import RandomStroke


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [40, 32]
    cfg.INPUT.CROP.SIZE = [40, 32]
    return cfg


def image(mode="RGB", seed=0, size=(64, 80)):
    values = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).convert(mode)


def switch_on(cfg, name):
    node = cfg.get_node(TRANSFORM_REGISTRY.node(name))
    node.ENABLED = True
    if "PROB" in node:
        node.PROB = 1.0
    return cfg


NAMES = TRANSFORM_REGISTRY.names()


@pytest.mark.parametrize("name", NAMES)
def test_every_registered_transform_has_a_place_in_the_order(name):
    assert name in TRAIN
    assert [step for step in TEST if not step.isupper()] == ["InkCrop", "Thicken"]


def test_a_transform_from_outside_works_on_the_training_image(cfg, monkeypatch):
    for table in ("_objects", "_nodes"):
        monkeypatch.setattr(TRANSFORM_REGISTRY, table, dict(getattr(TRANSFORM_REGISTRY, table)))

    @TRANSFORM_REGISTRY.register(node="INPUT.INVERT")
    class Invert:
        def __init__(self, most=255):
            self.most = most

        def __call__(self, image):
            return image.point(lambda value: self.most - value)

    cfg.INPUT.INVERT = CN({"ENABLED": False, "MOST": 250})
    white = Image.new("L", (64, 80), 250)
    assert build_transforms(cfg)(white).max() == 250
    cfg.INPUT.INVERT.ENABLED = True
    assert build_transforms(cfg)(white).max() == 0
    assert build_transforms(cfg, is_train=False)(white).max() == 250
    TRANSFORM_REGISTRY.register(Invert, name="NoSwitch")
    with pytest.raises(ValueError, match="'NoSwitch' of the TRANSFORM registry needs a config node with ENABLED"):
        build_transforms(cfg)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name", NAMES)
def test_shape_range_and_seed(cfg, name, mode, channels):
    cfg.INPUT.CHANNELS = channels
    plain, pipeline = build_transforms(cfg), build_transforms(switch_on(cfg, name))
    picture, before = image(mode), image(mode).tobytes()
    if name == "RandomPatch":
        for seed in range(110):
            pipeline(image(mode, seed))
    outputs = []
    for seed in range(6):
        with seeded((seed,)):
            outputs.append(pipeline(picture))
    for output in outputs:
        assert output.shape == (channels, 40, 32)
        assert output.dtype == torch.float32
        assert 0 <= output.min() <= output.max() <= 255
    assert picture.tobytes() == before
    if name not in ("InkCrop", "AutoAugment", "RandomFlip"):
        assert any(not torch.equal(output, plain(picture)) for output in outputs)
    if name != "RandomPatch":
        with seeded((5,)):
            assert torch.equal(pipeline(picture), outputs[5])


@pytest.mark.parametrize("name", ["AutoAugment", "AugMix", "RandomErasing", "PadCrop", "RandomFlip", "RandomRotation"])
def test_gray_plane_gives_what_three_equal_channels_give(cfg, name):
    pipeline = build_transforms(switch_on(cfg, name))
    gray = image("L")
    for seed in range(8):
        with seeded((seed,)):
            one = pipeline(gray)
        with seeded((seed,)):
            three = pipeline(gray.convert("RGB"))
        assert (one - three).abs().max() <= 1.0 or name == "RandomErasing"
        assert torch.equal(one, three) or name in ("AutoAugment", "AugMix")


def test_nothing_switched_on_is_resize_and_tensor(cfg):
    expected = to_tensor(image().resize((32, 40), Image.Resampling.BICUBIC))
    assert torch.equal(build_transforms(cfg, is_train=False)(image()), expected)


def test_resize_of_one_number_is_the_shorter_side():
    assert Resize([32])(image(size=(64, 80))).size == (32, 40)
    assert Resize(32)(image(size=(80, 64))).size == (40, 32)


def test_strong_reduction_is_close_to_the_exact_one():
    page = image("L", size=(640, 800))
    exact = np.asarray(page.resize((32, 40), Image.Resampling.BICUBIC), float)
    assert np.abs(np.asarray(Resize([40, 32])(page), float) - exact).mean() < 2


def test_to_tensor_of_bilevel_and_arrays():
    bilevel = Image.fromarray(np.array([[True, False]]))
    assert to_tensor(bilevel).tolist() == [[[255.0, 0.0]]]
    assert to_tensor(np.arange(6, dtype=np.uint8).reshape(2, 3)).shape == (1, 2, 3)
    with pytest.raises(ValueError, match="got shape"):
        to_tensor(np.zeros(3))


def drawing(width=60, height=50):
    page = np.full((height, width), 255, np.uint8)
    page[10:31, 20:41] = 0
    return Image.fromarray(page)


def test_ink_crop_keeps_a_margin_and_is_white_beyond_the_page():
    crop = TRANSFORM_REGISTRY.get("InkCrop")
    assert crop(margin=0)(drawing()).size == (21, 21)
    assert np.asarray(crop(margin=0)(drawing())).max() == 0
    wide = np.asarray(crop(margin=1.0)(drawing()))
    assert wide.shape == (63, 63)
    assert (wide == 0).sum() == 21 * 21
    assert wide[21:42, 21:42].max() == 0
    assert crop()(drawing().convert("RGB")).mode == "RGB"


@pytest.mark.parametrize("width, height", [(20, 7), (7, 20), (5, 5), (6, 1)])
def test_ink_crop_to_a_square_keeps_the_ink_in_the_middle(width, height):
    page = np.full((40, 50), 255, np.uint8)
    page[3 : 3 + height, 4 : 4 + width] = 0
    crop = TRANSFORM_REGISTRY.get("InkCrop")
    side = max(width, height)
    square = np.asarray(crop(margin=0)(Image.fromarray(page)))
    expected = np.full((side, side), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    expected[top : top + height, left : left + width] = 0
    np.testing.assert_array_equal(square, expected)
    assert crop(margin=0, square=False)(Image.fromarray(page)).size == (width, height)


def test_ink_crop_of_an_empty_page_and_light_gray():
    crop = TRANSFORM_REGISTRY.get("InkCrop")
    assert crop()(Image.new("L", (30, 20), 255)).size == (30, 20)
    light = Image.fromarray(np.maximum(np.asarray(drawing()), 200))
    assert crop(threshold=128)(light).size == light.size
    assert crop(threshold=201, margin=0)(light).size == (21, 21)
    with pytest.raises(ValueError, match=r"INPUT\.INK_CROP"):
        crop(threshold=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 15])
def test_min_filter_against_loops(size):
    values = np.random.default_rng(size).integers(0, 256, (13, 17), dtype=np.uint8)
    size = size // 2 * 2 + 1
    reach = size // 2
    for y in range(13):
        for x in range(17):
            window = values[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
            assert min_filter(values, size)[y, x] == window.min()


def test_thicken_fixed_and_by_the_reduction():
    thicken = TRANSFORM_REGISTRY.get("Thicken")
    line = np.full((64, 64), 255, np.uint8)
    line[:, 30] = 0
    ink = lambda picture: int((np.asarray(picture)[5] == 0).sum())  # noqa: E731
    assert ink(thicken(size=3, target=None)(Image.fromarray(line))) == 3
    assert ink(thicken(size=0, target=[8, 8])(Image.fromarray(line))) == 9
    assert ink(thicken(size=0, target=[64, 64])(Image.fromarray(line))) == 1
    with pytest.raises(ValueError, match=r"INPUT\.THICKEN\.SIZE must be odd"):
        thicken(size=4, target=None)


def test_drawing_steps_are_in_training_and_test(cfg):
    switch_on(switch_on(cfg, "InkCrop"), "Thicken")
    assert torch.equal(build_transforms(cfg, True)(drawing()), build_transforms(cfg, False)(drawing()))
    assert repr(build_transforms(cfg, False)) == "Compose(InkCrop, Thicken, Resize, ToTensor, Channels)"


def test_white_options(cfg):
    switch_on(switch_on(cfg, "PadCrop"), "RandomErasing")
    cfg.INPUT.PADDING.VALUE, cfg.INPUT.REA.VALUE = 255, [255.0, 255.0, 255.0]
    pipeline = build_transforms(cfg)
    for seed in range(10):
        with seeded((seed,)):
            assert pipeline(Image.new("L", (50, 50), 255)).min() == 255


def test_erasing_covers_2_to_33_percent():
    erase = TRANSFORM_REGISTRY.get("RandomErasing")(prob=1.0, value=(255.0,) * 3)
    shares = [float((erase(torch.zeros(1, 100, 100)) == 255).float().mean()) for _ in range(200)]
    assert 0.015 < min(shares) < 0.06
    assert 0.27 < max(shares) < 0.34


def test_rotation_fills_with_its_value(cfg):
    cfg.INPUT.ROTATION.DEGREES = 45.0
    pipeline = build_transforms(switch_on(cfg, "RandomRotation"))
    for seed in range(5):
        with seeded((seed,)):
            assert pipeline(Image.new("RGB", (50, 50), "white")).min() == 255


def test_random_patch_memory_is_bounded(cfg):
    patch = TRANSFORM_REGISTRY.get("RandomPatch")(prob=1.0)
    for _ in range(400):
        patch(torch.zeros(1, 20, 20))
    assert len(patch.pool) == patch.POOL_SIZE
    assert all(piece.untyped_storage().nbytes() <= 400 for piece in patch.pool)


def test_wrong_values_name_their_key(cfg):
    cfg.INPUT.CHANNELS = 2
    with pytest.raises(ValueError, match=r"INPUT\.CHANNELS must be 1 or 3; got 2"):
        build_transforms(cfg)
    cfg.INPUT.CHANNELS, cfg.INPUT.SCALE_CROP.SCALE = 3, [0.5, 1.0]
    with pytest.raises(ValueError, match=r"INPUT\.SCALE_CROP\.SCALE"):
        build_transforms(switch_on(cfg, "ScaleCrop"))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_strokes_get_bolder_or_fainter(mode):
    page = Image.new(mode, (9, 7), "white")
    page.paste("black", (4, 0, 5, 7))
    for bold, fade in ((1.0, 0.0), (0.0, 0.8)):
        with seeded(3):
            out = np.asarray(RandomStroke(1.0, bold, fade)(page)).reshape(7, 9, -1)
        with seeded(3):
            torch.rand(())  # whether to apply it
            strength = -fade + (bold + fade) * float(torch.rand(()))
        centre, beside = (0, 255 * (1 - strength)) if strength > 0 else (-255 * strength, 255)
        assert out.dtype == np.uint8
        assert np.abs(out[:, 4] - centre).max() <= 1
        assert np.abs(out[:, (3, 5)] - beside).max() <= 1
        assert (out[:, :3] == 255).all()
        assert (out[:, 6:] == 255).all()
    assert np.array_equal(RandomStroke(1.0, 0.0, 0.0)(page), page)


def test_strengths_of_strokes_are_shares():
    with pytest.raises(ValueError, match=r"INPUT\.STROKE: BOLD and FADE must be in 0\.\.1; got 2 and 0\.5"):
        RandomStroke(bold=2)
