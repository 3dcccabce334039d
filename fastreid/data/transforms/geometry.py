"""From an image of any proportions to the size that a network takes: ``INPUT.RESIZE``."""

from collections.abc import Sequence

import torch
from PIL import Image

from fastreid.config.input_size import two_sides
from fastreid.data.area import area_resize, reduces
from fastreid.utils.errors import require_choice

MODES = ("stretch", "letterbox", "crop")
FILTERS = ("bicubic", "area")


class Resize:
    """Resize to (height, width), or the shorter side to one number.

    A strong reduction by the filter "bicubic" first takes box averages down to three times the target (Pillow's
    ``reducing_gap``), which looks the same and is several times faster on scanned pages. "area" takes the mean of the
    part of the image that becomes a pixel; an image that is not reduced in both directions is resized by "bicubic".
    """

    def __init__(self, size: int | Sequence[int], filter: str = "bicubic"):
        self.size, self.filter = [size] if isinstance(size, int) else list(size), _filter(filter)

    def target_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which an image of ``width`` and ``height`` is resized."""
        if len(self.size) == 2:
            return self.size[1], self.size[0]
        short = min(width, height)
        return tuple(max(1, int(self.size[0] * side / short)) for side in (width, height))

    def __call__(self, image: Image.Image) -> Image.Image:
        return _resized(image, self.target_of(*image.size), self.filter)


class Letterbox:
    """The whole image at its own proportions in the middle of (height, width); beside it the grey value ``fill``.

    Filters are those of ``Resize``.
    """

    def __init__(self, size: Sequence[int], fill: int = 255, filter: str = "bicubic"):
        if not 0 <= fill <= 255:
            raise ValueError(f"INPUT.RESIZE.FILL must be a grey value in 0..255; got {fill}")
        self.size, self.fill, self.filter = two_sides(size), fill, _filter(filter)

    def target_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which an image is resized, without the bars."""
        factor = min(self.size[0] / height, self.size[1] / width)
        return max(1, round(factor * width)), max(1, round(factor * height))

    def __call__(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        inner = _resized(image, self.target_of(*image.size), self.filter)
        canvas = Image.new(image.mode, (width, height), (self.fill,) * len(image.getbands()))
        canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        return canvas


class ResizeCrop:
    """Resize until the image just covers (height, width), at its own proportions, then cut off what is too much.

    For a square of n pixels the shorter side becomes n. No padding is ever needed. The cut is at the centre, or at a
    ``random`` place; a ``whole`` image is not cut. Filters are those of ``Resize``.
    """

    def __init__(self, size: Sequence[int], random: bool = False, whole: bool = False, filter: str = "bicubic"):
        self.size, self.random, self.whole, self.filter = two_sides(size), random, whole, _filter(filter)

    def target_of(self, width: int, height: int) -> tuple[int, int]:
        """Width and height to which an image is resized, before the cut."""
        factor = max(self.size[0] / height, self.size[1] / width)
        # rounded off, as torchvision does; 1e-9 against 383.99999 for a side that is to be 384
        wide, tall = (int(factor * side + 1e-9) for side in (width, height))
        return max(self.size[1], wide), max(self.size[0], tall)

    def __call__(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        image = _resized(image, self.target_of(*image.size), self.filter)
        if self.whole:
            return image
        free = image.width - width, image.height - height
        left, top = (int(torch.randint(side + 1, ())) if self.random else round(side / 2) for side in free)
        return image.crop((left, top, left + width, top + height))


def build_resize(cfg, size: Sequence[int], is_train: bool, whole: bool = False):
    """Return the step that ``INPUT.RESIZE.MODE`` names, for ``size`` (height, width), or one number; 0: ``None``.

    Args:
        whole: cut nothing off.

    Raises:
        ValueError: an unknown mode; a mode without a size; a size of neither one nor two numbers; or
            ``INPUT.RANDOM_CROP`` without a crop.
    """
    mode = cfg.INPUT.RESIZE.MODE
    require_choice("INPUT.RESIZE.MODE", mode, MODES)
    if len(size) not in (1, 2):
        raise ValueError(f"INPUT.SIZE_{'TRAIN' if is_train else 'TEST'} must hold one or two numbers; got {list(size)}")
    random = cfg.INPUT.RANDOM_CROP.ENABLED
    if random and mode != "crop":
        raise ValueError(f"INPUT.RANDOM_CROP.ENABLED needs INPUT.RESIZE.MODE 'crop'; the mode is {mode!r}")
    if min(size) < 1:
        if mode == "stretch":
            return None
        raise ValueError(f"INPUT.RESIZE.MODE {mode!r} needs INPUT.SIZE_TRAIN and SIZE_TEST; got {list(size)}")
    filter = cfg.INPUT.RESIZE.FILTER
    if mode == "stretch":
        return Resize(size, filter)
    if mode == "letterbox":
        return Letterbox(size, cfg.INPUT.RESIZE.FILL, filter)
    return ResizeCrop(size, random and is_train, whole, filter)


def _filter(name: str) -> str:
    require_choice("INPUT.RESIZE.FILTER", name, FILTERS)
    return name


def _resized(image: Image.Image, target: tuple[int, int], filter: str) -> Image.Image:
    if target == image.size:
        return image
    if filter == "area" and reduces(image.size, target):
        return area_resize(image, *target)
    return image.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)
