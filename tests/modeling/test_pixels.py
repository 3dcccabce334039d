import math

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine.settings import settings_without_effect
from fastreid.modeling import build_model
from fastreid.modeling.meta_arch import PerceptualHash, RawPixels, is_descriptor


def grey(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape)).float()


def dct_by_loops(image, side):
    """DCT-II, one frequency and one pixel at a time."""
    height, width = image.shape
    out = np.zeros((side, side))
    for u in range(side):
        for v in range(side):
            for row in range(height):
                for column in range(width):
                    wave = math.cos(math.pi * u * (2 * row + 1) / (2 * height))
                    wave *= math.cos(math.pi * v * (2 * column + 1) / (2 * width))
                    out[u, v] += image[row, column] * wave
    return out


def test_the_hash_says_which_low_frequencies_are_above_their_median():
    images = grey(2, 12, 10)
    hashes = PerceptualHash(side=4).eval()({"images": images[:, None]})
    for image, bits in zip(images, hashes, strict=True):
        low = dct_by_loops(image.numpy(), 4)
        np.testing.assert_array_equal(bits.numpy().reshape(4, 4), np.where(low > np.median(low), 1, -1))


def test_the_cosine_orders_like_the_hamming_distance():
    a, b = PerceptualHash().describe(grey(2, 32, 32))
    distance = int((a != b).sum())
    assert 0 < distance < 64
    assert torch.cosine_similarity(a, b, dim=0) == pytest.approx(1 - 2 * distance / 64)


def test_the_difference_hash_compares_neighbouring_means():
    images = grey(3, 6, 12)
    hashes = PerceptualHash("difference", 3).describe(images)
    for image, bits in zip(images.numpy(), hashes.numpy(), strict=True):
        for row in range(3):
            for column in range(3):
                left, right = (image[2 * row : 2 * row + 2, 3 * c : 3 * c + 3].mean() for c in (column, column + 1))
                assert bits[3 * row + column] == (1 if right > left else -1)


def test_hashes_of_plain_images_do_not_hang_on_rounding():
    plain = torch.stack([torch.full((32, 32), value) for value in (0.0, 17.0, 128.3, 255.0)])
    first = torch.tensor([1.0] + [-1.0] * 63)  # the mean alone is above the median
    assert torch.equal(PerceptualHash().describe(plain), torch.stack([-torch.ones(64), first, first, first]))
    assert torch.equal(PerceptualHash("difference").describe(plain), torch.full((4, 64), -1.0))


def test_raw_pixels_are_ink_of_length_one():
    images = grey(2, 5, 4)
    features = RawPixels(zero_mean=False).eval()({"images": images[:, None].expand(-1, 3, -1, -1)})
    ink = (255 - images).flatten(1)
    torch.testing.assert_close(features, ink / ink.square().sum(dim=1, keepdim=True).sqrt())


def test_the_cosine_of_raw_pixels_without_their_mean_is_the_correlation():
    a, b = grey(2, 6, 6)
    x, y = RawPixels().describe(torch.stack([a, b]))
    assert float(x @ y) == pytest.approx(np.corrcoef(a.flatten(), b.flatten())[0, 1], abs=1e-5)


def test_plain_images_have_no_direction():
    assert torch.equal(RawPixels().describe(torch.full((2, 7, 7), 93.0)), torch.zeros(2, 49))
    assert torch.equal(RawPixels(zero_mean=False).describe(torch.full((1, 7, 7), 255.0)), torch.zeros(1, 49))


def test_the_caller_keeps_its_images():
    images = grey(1, 1, 8, 8)
    before = images.clone()
    RawPixels().eval()({"images": images})
    assert torch.equal(images, before)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="PHASH.KIND must be one of 'dct', .*; got 'diference'. Did you mean"):
        PerceptualHash("diference")
    with pytest.raises(ValueError, match="PHASH.SIDE must be at least 2; got 1"):
        PerceptualHash(side=1)
    with pytest.raises(ValueError, match=r"SIDE is 8: INPUT.SIZE_TEST must be .* as large; the images are \(7, 9\)"):
        PerceptualHash().describe(torch.zeros(1, 7, 9))


def test_both_are_built_from_their_nodes():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.META_ARCHITECTURE", "PerceptualHash", "MODEL.DEVICE", "cpu", "MODEL.PHASH.SIDE", 4])
    assert build_model(cfg).side == 4
    assert is_descriptor("RawPixels")
    assert not is_descriptor("Baseline")
    assert settings_without_effect(cfg) == []
    cfg.MODEL.META_ARCHITECTURE = "RawPixels"
    assert settings_without_effect(cfg) == ["MODEL.PHASH.SIDE = 4 (only for MODEL.META_ARCHITECTURE PerceptualHash)"]
