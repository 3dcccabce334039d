"""Deterministic preparation of drawings, the same in training and test."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from fastreid.data.transforms.build import TRANSFORM_REGISTRY
from fastreid.data.transforms.functional import ink_box, min_filter
from fastreid.data.transforms.ink import InkGroups, find_frames, find_labels, find_specks, first_contour_box
from fastreid.utils.errors import require_choice


@TRANSFORM_REGISTRY.register(node="INPUT.INK_CROP")
class InkCrop:
    """Cut a page down to its drawing; an empty page stays as it is.

    Args:
        method: "ink": the box of all groups of ink but those that the next arguments leave out. "notebook": what the
            code of Higuchi and Yanai (2023) does: the image becomes black and white, and is cut to OpenCV's first outer
            contour of its *white* part. On a page with a white border that is the whole page; a line that goes across
            the page cuts it.
        threshold: pixels with a grey value below this are ink, 1..255.
        square: fill the shorter side up with white on both sides, so that resizing keeps the proportions.
        margin: border kept around the ink, as a share of the longer side of its box; white, like what lies beyond.
        speck: groups of ink below this share of the page's longer side do not count; they are not erased. 0: all count.
        frames: count frames and rules along the border of the ink.
        labels: count figure labels ("FIG. 3"). Otherwise they are erased, inside the drawing's box too, where they
            stand apart from the drawing.

    Where nothing would be left, everything counts.
    """

    def __init__(
        self,
        method: str = "ink",
        threshold: int = 128,
        square: bool = True,
        margin: float = 0.02,
        speck: float = 0.005,
        frames: bool = True,
        labels: bool = True,
    ):
        require_choice("INPUT.INK_CROP.METHOD", method, ("ink", "notebook"))
        if not 1 <= threshold <= 255 or margin < 0:
            raise ValueError(
                f"INPUT.INK_CROP: THRESHOLD must be in 1..255 and MARGIN >= 0; got {threshold} and {margin}"
            )
        if not 0 <= speck < 1:
            raise ValueError(f"INPUT.INK_CROP.SPECK is a share of the page, at least 0 and below 1; got {speck}")
        self.method, self.threshold, self.square, self.margin = method, threshold, square, margin
        self.speck, self.frames, self.labels = speck, frames, labels

    def __call__(self, image: Image.Image) -> Image.Image:
        image, box = self.find(image)
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

    def find(self, image: Image.Image) -> tuple[Image.Image, tuple[int, int, int, int] | None]:
        """Return the image with what is erased, and the box (left, top, right, bottom) to cut; ``None``: no ink."""
        if self.method == "notebook":
            white = np.asarray(image.convert("L")) >= self.threshold
            return Image.fromarray(white).convert(image.mode), first_contour_box(white)
        if self.speck == 0 and self.frames and self.labels:
            return image, ink_box(image, self.threshold)
        groups = InkGroups.of(np.asarray(image.convert("L")) < self.threshold)
        kept, labels = self._choose(groups)
        if not kept:
            return image, ink_box(image, self.threshold)
        if labels:
            white = Image.new(image.mode, image.size, "white")
            image = Image.composite(white, image, Image.fromarray(groups.pixels_of(labels)))
        return image, groups.box_of(kept)

    def _choose(self, groups: InkGroups) -> tuple[set[int], set[int]]:
        """Return the groups that count, and the labels to erase."""
        labels = set() if self.labels else find_labels(groups)
        kept = set(groups) - labels - find_specks(groups, self.speck)
        return kept - (set() if self.frames else find_frames(groups, kept)), labels


@TRANSFORM_REGISTRY.register(node="INPUT.THICKEN")
class Thicken:
    """Widen dark lines by a minimum filter, so that a strong reduction does not lose them.

    Args:
        size: odd width of the window in pixels; a line of width w becomes w + size - 1 wide. 0 takes the factor by
            which the image is about to be reduced, so that no line gets thinner than one pixel of the input.
        target: (height, width) that the image is resized to; wired by ``build_transforms``, used by size 0.
        cover: whether the resized image covers the target, to be cropped, instead of fitting into it; wired too.
    """

    def __init__(self, size: int = 3, *, target: Sequence[int] | None, cover: bool = False):
        if size < 0 or (size % 2 == 0 and size != 0):
            raise ValueError(f"INPUT.THICKEN.SIZE must be odd, or 0 for the reduction factor; got {size}")
        self.size, self.target, self.cover = size, target, cover

    def __call__(self, image: Image.Image) -> Image.Image:
        size = self.size or self._reduction(image)
        return Image.fromarray(min_filter(np.asarray(image), size)) if size > 1 else image

    def _reduction(self, image: Image.Image) -> int:
        if not self.target or min(self.target) <= 0:
            return 1
        ratios = image.height / self.target[0], image.width / self.target[-1]
        factor = min(ratios) if self.cover else max(ratios)
        return int(factor) // 2 * 2 + 1 if factor >= 2 else 1
