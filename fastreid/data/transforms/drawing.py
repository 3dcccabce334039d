"""Deterministic preparation of drawings, the same in training and test."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from fastreid.data.transforms.build import TRANSFORM_REGISTRY
from fastreid.data.transforms.functional import ink_box, min_filter


@TRANSFORM_REGISTRY.register(node="INPUT.INK_CROP")
class InkCrop:
    """Cut a page down to its drawing; an empty page stays as it is.

    Args:
        threshold: pixels with a grey value below this are ink, 1..255.
        square: fill the shorter side up with white on both sides, so that resizing keeps the proportions.
        margin: border kept around the ink, as a share of the longer side of its box; white where the page ends.
    """

    def __init__(self, threshold: int = 128, square: bool = True, margin: float = 0.02):
        if not 1 <= threshold <= 255 or margin < 0:
            raise ValueError(
                f"INPUT.INK_CROP: THRESHOLD must be in 1..255 and MARGIN >= 0; got {threshold} and {margin}"
            )
        self.threshold, self.square, self.margin = threshold, square, margin

    def __call__(self, image: Image.Image) -> Image.Image:
        box = ink_box(image, self.threshold)
        if box is None:
            return image
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        border = round(self.margin * max(width, height))
        ink = ImageOps.expand(image.crop(box), border, fill="white")
        if not self.square or width == height:
            return ink
        missing = abs(width - height)
        before, after = missing // 2, missing - missing // 2
        sides = (before, 0, after, 0) if width < height else (0, before, 0, after)
        return ImageOps.expand(ink, sides, fill="white")


@TRANSFORM_REGISTRY.register(node="INPUT.THICKEN")
class Thicken:
    """Widen dark lines by a minimum filter, so that a strong reduction does not lose them.

    Args:
        size: odd width of the window in pixels; a line of width w becomes w + size - 1 wide. 0 takes the factor by
            which the image is about to be reduced, so that no line gets thinner than one pixel of the input.
        target: (height, width) that the image is resized to; wired by ``build_transforms``, used by size 0.
    """

    def __init__(self, size: int = 3, *, target: Sequence[int] | None):
        if size < 0 or (size % 2 == 0 and size != 0):
            raise ValueError(f"INPUT.THICKEN.SIZE must be odd, or 0 for the reduction factor; got {size}")
        self.size, self.target = size, target

    def __call__(self, image: Image.Image) -> Image.Image:
        size = self.size or self._reduction(image)
        return Image.fromarray(min_filter(np.asarray(image), size)) if size > 1 else image

    def _reduction(self, image: Image.Image) -> int:
        if not self.target or min(self.target) <= 0:
            return 1
        factor = max(image.height / self.target[0], image.width / self.target[-1])
        return int(factor) // 2 * 2 + 1 if factor >= 2 else 1
