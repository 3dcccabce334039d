"""GridMask: erase a regular grid of squares."""

import math
from collections.abc import Sequence

import torch

from fastreid.data.transforms.build import TRANSFORM_REGISTRY
from fastreid.data.transforms.transforms import Maybe, is_byte, uniform


@TRANSFORM_REGISTRY.register(node="INPUT.GRIDMASK")
class GridMask(Maybe):
    """Fill the squares of a random grid (Chen et al., arXiv 2001.04086, section 3).

    The grid repeats after d pixels in both directions, d uniform in ``unit`` times the shorter side. A square has the
    side (1 - ``keep``) d; both are whole pixels, and a ``keep`` between 0 and 1 leaves a pixel of either kind in each
    d. Where the first square begins is uniform too. ``keep`` 0 fills all, 1 nothing.

    Args:
        unit: (low, high), d as a share of the image's shorter side; their code for ImageNet has 96 to 224 of 224 px.
        keep: their r, the share of d that stays between two squares, 0..1; there 0.6. Of the image's area 1 - (1 - r)^2
            stays.
        degrees: the grid is turned about the centre by an angle uniform in +-``degrees``.
        value: fill per channel, 0..255; an image with another number of channels gets their mean. The authors fill
            normalised images with 0, which is the mean of ImageNet here.
    """

    def __init__(
        self,
        prob: float = 0.5,
        unit: Sequence[float] = (0.4, 0.9),
        keep: float = 0.5,
        degrees: float = 0.0,
        value: Sequence[float] = (0.485 * 255, 0.456 * 255, 0.406 * 255),
    ):
        self.prob, self.unit, self.keep, self.degrees = prob, tuple(unit), keep, degrees
        self.value = [float(part) for part in value]
        if len(self.unit) != 2 or not 0 < self.unit[0] <= self.unit[1]:
            raise ValueError(f"INPUT.GRIDMASK.UNIT must hold two shares, 0 < low <= high; got {list(unit)}")
        if not 0 <= keep <= 1:
            raise ValueError(f"INPUT.GRIDMASK.KEEP must be in 0..1; got {keep!r}")
        if not degrees >= 0:
            raise ValueError(f"INPUT.GRIDMASK.DEGREES must not be negative; got {degrees!r}")
        if not self.value:
            raise ValueError("INPUT.GRIDMASK.VALUE must hold a grey value, or one per channel; it is empty")

    @property
    def keeps_bytes(self) -> bool:
        return is_byte(self.value)

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        """Args: image: (C, H, W); it stays as it is."""
        height, width = image.shape[1:]
        period = max(2, round(uniform(*self.unit) * min(height, width)))
        side = self._side(period)
        first = torch.randint(period, (2,)).tolist()
        erased = grid_of_squares(height, width, period, side, first, uniform(-self.degrees, self.degrees))
        value = self.value if len(self.value) == len(image) else [sum(self.value) / len(self.value)]
        return torch.where(erased, torch.tensor(value, dtype=image.dtype)[:, None, None], image)

    def _side(self, period: int) -> int:
        side = round((1 - self.keep) * period)
        return side if self.keep in (0, 1) else min(max(side, 1), period - 1)


def grid_of_squares(
    height: int, width: int, period: int, side: int, first: Sequence[int], degrees: float
) -> torch.Tensor:
    """Return which pixels lie in a square, bool (H, W).

    Args:
        period: distance of two squares, and ``side`` of each, in pixels.
        first: (row, column) where a square begins, before the grid is turned.
        degrees: by which it is turned about the centre of the image.
    """
    # centres of the pixels, seen from that of the image
    y, x = torch.arange(height)[:, None] + 0.5 - height / 2, torch.arange(width)[None, :] + 0.5 - width / 2
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    row, column = cosine * y + sine * x + height / 2, cosine * x - sine * y + width / 2
    return ((row - first[0]) % period < side) & ((column - first[1]) % period < side)
