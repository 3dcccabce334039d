"""GridMask against a loop over pixels, at its edges, and what it refuses."""

import itertools
import math

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.common import seeded
from fastreid.data.transforms import GridMask, build_transforms
from fastreid.data.transforms.gridmask import grid_of_squares


def is_erased(y, x, height, width, period, side, first, degrees):
    """Is the centre of a pixel in a square? Turn it back about the centre of the image, then look at each square."""
    angle = math.radians(degrees)
    down, right = y + 0.5 - height / 2, x + 0.5 - width / 2
    row = math.cos(angle) * down + math.sin(angle) * right + height / 2
    column = -math.sin(angle) * down + math.cos(angle) * right + width / 2
    far = range(-40, 40)
    in_rows = any(first[0] + n * period <= row < first[0] + n * period + side for n in far)
    return in_rows and any(first[1] + n * period <= column < first[1] + n * period + side for n in far)


@pytest.mark.parametrize("degrees", [0.0, 75.0, 17.0, -30.0])
@pytest.mark.parametrize("period, side, first", [(5, 2, (0, 0)), (7, 6, (3, 1)), (2, 1, (1, 0)), (30, 11, (25, 4))])
def test_squares_against_loops(period, side, first, degrees):
    found = grid_of_squares(20, 13, period, side, first, degrees)
    for y in range(20):
        for x in range(13):
            assert found[y, x] == is_erased(y, x, 20, 13, period, side, first, degrees), (y, x)


def runs(line):
    """Lengths of the stretches of equal values."""
    changes = (line[1:] != line[:-1]).nonzero().flatten().tolist()
    bounds = [-1, *changes, len(line) - 1]
    return [b - a for a, b in itertools.pairwise(bounds)]


def test_unit_and_keep_set_period_and_side():
    image, periods, places = torch.zeros(1, 60, 90), set(), set()
    mask = GridMask(prob=1.0, unit=(0.2, 0.4), keep=0.75, value=[255.0])
    for seed in range(200):
        with seeded((seed,)):
            erased = mask(image)[0] == 255
        rows, columns = erased.any(1), erased.any(0)
        assert torch.equal(erased, rows[:, None] & columns[None, :])
        inner = runs(columns)[1:-1]  # the outer ones are cut
        period = inner[0] + inner[1]
        assert sorted(set(inner)) == sorted({round(0.25 * period), period - round(0.25 * period)})
        assert set(runs(rows)[1:-1]) <= set(inner)
        periods.add(period)
        places.add((int(rows.int().argmax()), int(columns.int().argmax())))
    assert periods == set(range(12, 25))
    assert len(places) > 100


def test_share_that_is_kept_is_that_of_the_paper():
    """Section 3.2: k = 1 - (1 - r)^2."""
    mask, image = GridMask(prob=1.0, unit=(0.3, 0.3), keep=0.6, degrees=180.0, value=[1.0]), torch.zeros(1, 90, 90)
    kept = [1 - mask(image).mean().item() for _ in range(300)]
    assert sum(kept) / 300 == pytest.approx(1 - 0.4**2, abs=0.01)


def test_keep_at_its_ends_and_next_to_them():
    image = torch.full((3, 16, 16), 7.0)
    for degrees in (0.0, 45.0):
        full = GridMask(1.0, keep=0.0, value=[1.0, 2.0, 3.0], degrees=degrees)(image)
        assert [plane.unique().tolist() for plane in full] == [[1.0], [2.0], [3.0]]
        assert torch.equal(GridMask(1.0, keep=1.0, degrees=degrees)(image), image)
    for keep in (0.001, 0.999):
        shares = [(GridMask(1.0, (0.2, 0.2), keep, value=[0.0])(image) == 0).float().mean() for _ in range(20)]
        assert all(0 < share < 1 for share in shares)
    tiny = GridMask(1.0, unit=(0.01, 0.01), value=[0.0])(image)  # never below 2 pixels
    assert (tiny == 0).float().mean() == 0.25


def test_probability_input_and_fill():
    image = torch.full((3, 20, 20), 7.0)
    assert all(GridMask(prob=0.0)(image) is image for _ in range(20))
    changed = sum(not torch.equal(GridMask(prob=0.3)(image), image) for _ in range(400))
    assert 80 < changed < 160
    assert (image == 7).all()
    one = GridMask(1.0, keep=0.0, value=[0.0, 30.0, 60.0])(torch.zeros(1, 20, 20))
    assert one.shape == (1, 20, 20)
    assert (one == 30).all()


def test_place_in_training_and_the_keys():
    cfg = get_cfg()
    cfg.merge_from_list(["INPUT.GRIDMASK.ENABLED", True, "INPUT.REA.ENABLED", True, "INPUT.GRIDMASK.KEEP", 0.25,
                         "INPUT.GRIDMASK.UNIT", [0.1, 0.2], "INPUT.GRIDMASK.DEGREES", 5.0])  # fmt: skip
    assert repr(build_transforms(cfg)) == "Compose(Resize, ToTensor, Channels, RandomErasing, GridMask)"
    assert repr(build_transforms(cfg, is_train=False)) == "Compose(Resize, ToTensor, Channels)"
    mask = build_transforms(cfg).transforms[-1]
    assert (mask.unit, mask.keep, mask.degrees, mask.prob) == ((0.1, 0.2), 0.25, 5.0, 0.5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"unit": (0.5,)}, r"GRIDMASK.UNIT must hold two shares, 0 < low <= high; got \[0.5\]"),
        ({"unit": (0.5, 0.4)}, "GRIDMASK.UNIT must hold two shares"),
        ({"unit": (0.0, 0.4)}, "GRIDMASK.UNIT must hold two shares"),
        ({"keep": 1.1}, "GRIDMASK.KEEP must be in 0..1; got 1.1"),
        ({"keep": float("nan")}, "GRIDMASK.KEEP must be in 0..1; got nan"),
        ({"degrees": -1.0}, "GRIDMASK.DEGREES must not be negative; got -1.0"),
        ({"value": ()}, "GRIDMASK.VALUE must hold a grey value"),
    ],
)
def test_wrong_options_name_their_key(options, message):
    with pytest.raises(ValueError, match=message):
        GridMask(**options)
