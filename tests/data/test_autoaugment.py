"""The augmentations that code written for fast-reid imports by name."""

import random

import numpy as np
import pytest
from PIL import Image

from fastreid.data.transforms import autoaugment
from fastreid.data.transforms.functional import augmentations

VALUES = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
MEANS = {"RGB": (124, 116, 104), "L": 128}

CONFIGS = [
    ("auto_augment_transform", "original-mstd0.5"),
    ("auto_augment_transform", "originalr"),
    ("auto_augment_transform", "v0"),
    ("auto_augment_transform", "v0r-mstd0.5"),
    ("rand_augment_transform", "rand-m9-n3-mstd0.5"),
    ("rand_augment_transform", "rand-m9-inc1"),
    ("augment_and_mix_transform", "augmix-m5-w4-d2"),
]


@pytest.mark.parametrize("mode", MEANS)
@pytest.mark.parametrize("factory, config", CONFIGS)
def test_factories_give_transforms_of_images(factory, config, mode):
    random.seed(0)
    np.random.seed(0)
    transform = getattr(autoaugment, factory)(config, {"img_mean": MEANS[mode]})
    image = Image.fromarray(VALUES).convert(mode)
    results = [transform(image) for _ in range(60)]  # each draws other operations
    assert {(result.size, result.mode) for result in results} == {((30, 40), mode)}
    assert len({result.tobytes() for result in results}) > 20


def test_factories_return_the_classes_of_this_module_and_leave_their_options_alone():
    options = {}
    assert type(autoaugment.auto_augment_transform("v0", options)) is autoaugment.AutoAugment
    assert type(autoaugment.rand_augment_transform("rand-m9", options)) is autoaugment.RandAugment
    assert type(autoaugment.augment_and_mix_transform("augmix-m5", options)) is autoaugment.AugMixAugment
    assert options == {}


def test_posterising_keeps_a_bit():
    image = Image.fromarray(VALUES)
    assert set(np.unique(np.asarray(autoaugment._posterize(image, 0)))) == {0, 128}
    assert autoaugment._posterize(image, 8) is image


@pytest.mark.parametrize("mode", MEANS)
@pytest.mark.parametrize("operation", augmentations, ids=lambda operation: operation.__name__)
def test_operations_of_augmix(operation, mode):
    random.seed(0)
    image = Image.fromarray(50 + VALUES // 2).convert(mode)  # neither black nor white: room for more contrast
    for level in (1, 3, 10):
        result = operation(image, level)
        assert (result.size, result.mode) == (image.size, mode)
    distance = [np.abs(np.asarray(operation(image, 10), int) - np.asarray(image)).mean() for _ in range(20)]
    assert max(distance) > 0


def test_a_higher_level_rotates_further():
    def turned(level):
        random.seed(2)  # a draw near the upper end
        page = Image.new("L", (101, 101), 255)
        page.paste(0, (49, 0, 52, 101))
        rotate = next(operation for operation in augmentations if operation.__name__ == "Rotate")
        columns = np.nonzero(np.asarray(rotate(page, level))[20] < 64)[0]
        return abs(columns.mean() - 50)  # 30 rows above the centre

    assert turned(1) < 4 < turned(10) < 30 * np.tan(np.radians(31))
