"""From an image of any proportions to the size that a network takes: ``INPUT.RESIZE``."""

from collections.abc import Sequence

import torch
from PIL import Image

from fastreid.config.input_size import two_sides
from fastreid.utils.errors import require_choice

MODES = ("stretch", "letterbox", "crop")


class Resize:
    """Bicubic resize to (height, width), or of the shorter side to one number.

    A strong reduction first takes box averages down to three times the target (Pillow's ``reducing_gap``), which looks
    the same and is several times faster on scanned pages.
    """

    def __init__(self, size: int | Sequence[int]):
        self.size = [size] if isinstance(size, int) else list(size)

    def __call__(self, image: Image.Image) -> Image.Image:
        if len(self.size) == 2:
            height, width = self.size
        else:
            short = min(image.size)
            width, height = (max(1, int(self.size[0] * side / short)) for side in image.size)
        return _resized(image, width, height)


class Letterbox:
    """The whole image at its own proportions in the middle of (height, width); beside it the grey value ``fill``."""

    def __init__(self, size: Sequence[int], fill: int = 255):
        if not 0 <= fill <= 255:
            raise ValueError(f"INPUT.RESIZE.FILL must be a grey value in 0..255; got {fill}")
        self.size, self.fill = two_sides(size), fill

    def __call__(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        factor = min(height / image.height, width / image.width)
        inner = _resized(image, *(max(1, round(factor * side)) for side in image.size))
        canvas = Image.new(image.mode, (width, height), (self.fill,) * len(image.getbands()))
        canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        return canvas


class ResizeCrop:
    """Resize until the image just covers (height, width), at its own proportions, then cut off what is too much.

    For a square of n pixels the shorter side becomes n. No padding is ever needed. The cut is at the centre, or at a
    ``random`` place; a ``whole`` image is not cut.
    """

    def __init__(self, size: Sequence[int], random: bool = False, whole: bool = False):
        self.size, self.random, self.whole = two_sides(size), random, whole

    def __call__(self, image: Image.Image) -> Image.Image:
        height, width = self.size
        factor = max(height / image.height, width / image.width)
        # rounded off, as torchvision does; 1e-9 against 383.99999 for a side that is to be 384
        image = _resized(image, *(max(least, int(factor * side + 1e-9))
                                  for least, side in zip((width, height), image.size, strict=True)))  # fmt: skip
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
    if mode == "stretch":
        return Resize(size)
    return (
        Letterbox(size, cfg.INPUT.RESIZE.FILL) if mode == "letterbox" else ResizeCrop(size, random and is_train, whole)
    )


def _resized(image: Image.Image, width: int, height: int) -> Image.Image:
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
