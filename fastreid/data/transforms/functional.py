"""Images to tensors, and the two operations on drawings that must come before any resizing."""

import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image


def to_tensor(image: Image.Image | np.ndarray | torch.Tensor) -> torch.Tensor:
    """Return an image as float32 tensor (channels, height, width) on the scale of its own grey values (0..255).

    Arrays are (height, width) or (height, width, channels). A tensor is returned as it is.
    """
    if isinstance(image, torch.Tensor):
        return image
    if isinstance(image, Image.Image) and image.mode == "1":
        image = image.convert("L")
    array = np.array(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ValueError(f"to_tensor takes an image of shape (H, W) or (H, W, C); got shape {array.shape}")
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1))).float()


def ink_box(image: Image.Image, threshold: int) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of all pixels darker than ``threshold``; ``None`` for an empty page."""
    table = [255 if value < threshold else 0 for value in range(256)]
    return image.convert("L").point(table).getbbox()


def min_filter(array: np.ndarray, size: int) -> np.ndarray:
    """Minimum over a square window of ``size`` pixels (odd), cut at the border; works on the first two axes.

    Each axis takes ceil(log2(size)) passes: the minimum over w + s pixels is that of two windows of w, s apart.
    """
    for axis in (0, 1):
        reach = size // 2
        widths = [(0, 0)] * array.ndim
        widths[axis] = (reach, reach)
        array, width = np.pad(array, widths, mode="edge").swapaxes(0, axis), 1
        while width < size:
            step = min(width, size - width)
            array = np.minimum(array[: len(array) - step], array[step:])
            width += step
        array = array.swapaxes(0, axis)
    return array


def _operation(name: str) -> Callable[..., Image.Image]:
    """Return timm's operation as ``operation(image, level)``: strength uniform in 0.1..``level`` (of 10), any sign."""

    def operation(image: Image.Image, level: float) -> Image.Image:
        from timm.data.auto_augment import AugmentOp

        fill = 128 if len(image.getbands()) == 1 else (128,) * len(image.getbands())
        return AugmentOp(name, prob=1.0, magnitude=random.uniform(0.1, level), hparams={"img_mean": fill})(image)

    operation.__name__ = name
    return operation


# the operations of AugMix (Hendrycks et al., ICLR 2020) that no corruption benchmark tests with
augmentations = [
    _operation(name)
    for name in (
        "AutoContrast", "Equalize", "PosterizeIncreasing", "Rotate", "SolarizeIncreasing", "ShearX", "ShearY",
        "TranslateXRel", "TranslateYRel",
    )
]  # fmt: skip
