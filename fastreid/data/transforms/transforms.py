"""Augmentations and the conversion to tensors. All random draws come from PyTorch's CPU generator."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from fastreid.data.transforms.build import TRANSFORM_REGISTRY
from fastreid.data.transforms.functional import min_filter, to_tensor


def chance(prob: float) -> bool:
    """True with probability ``prob``."""
    return float(torch.rand(())) < prob


def uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def is_byte(values: Sequence[float]) -> bool:
    """Whether a fill of these values per channel is one whole grey value."""
    return all(value == values[0] and value == int(value) and 0 <= value <= 255 for value in values)


class Maybe:
    """Base of transforms that apply ``self.apply`` with probability ``self.prob``.

    Attributes:
        takes_arrays: images may be uint8 arrays, and are such afterwards.
        keeps_bytes: tensors of whole numbers in 0..255, of one plane too, keep such.
    """

    prob: float = 1.0
    takes_arrays = keeps_bytes = False

    def apply(self, image):
        raise NotImplementedError

    def __call__(self, image):
        return self.apply(image) if self.prob > 0 and chance(self.prob) else image


class ToTensor:
    """PIL image or array (H, W[, C]) to a float tensor (C, H, W); grey values stay on the scale 0..255."""

    def __call__(self, image) -> torch.Tensor:
        return to_tensor(image)


class Channels:
    """Bring a tensor (C, H, W) to ``channels`` (1 or 3): grey is repeated, colour averaged to luma (Rec. 601)."""

    def __init__(self, channels: int = 3):
        if channels not in (1, 3):
            raise ValueError(f"INPUT.CHANNELS must be 1 or 3; got {channels}")
        self.channels = channels

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[0] == self.channels:
            return image
        if self.channels == 3:
            return image[:1].repeat(3, 1, 1)
        return (torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1) * image[:3]).sum(0, keepdim=True)


@TRANSFORM_REGISTRY.register(node="INPUT.PADDING")
class PadCrop:
    """Pad all sides, then crop at random to ``target`` (height, width).

    Args:
        mode: constant, edge, reflect or symmetric.
        size: padding in pixels.
        value: grey value of the constant border, 0..255.

    Called with an image, or a uint8 array (H, W[, 3]) of it.
    """

    takes_arrays = True

    def __init__(self, mode: str = "constant", size: int = 10, value: int = 0, *, target: int | Sequence[int]):
        from torchvision import transforms as T

        target = target if isinstance(target, int) or len(target) == 2 else target[0]
        self.pad, self.crop = T.Pad(size, fill=value, padding_mode=mode), T.RandomCrop(target)

    def __call__(self, image):
        return self._of_array(image) if isinstance(image, np.ndarray) else self.crop(self.pad(image))

    def _of_array(self, image: np.ndarray) -> np.ndarray:
        """The same, with the same random draws."""
        pad, size = self.pad.padding, self.crop.size
        free = [side + 2 * pad - new for side, new in zip(image.shape, size, strict=False)]
        if self.pad.padding_mode != "constant" or min(free) < 0:
            return np.asarray(self(Image.fromarray(image)))
        corner = [int(torch.randint(0, side + 1, (1,))) - pad for side in free] if any(free) else [-pad, -pad]
        cropped = np.full((*size, *image.shape[2:]), self.pad.fill, np.uint8)
        # what of the image lies in the crop, and where there
        part = tuple(slice(max(0, at), max(0, at + new)) for at, new in zip(corner, size, strict=True))
        kept = image[part]
        place = tuple(slice(max(0, -at), max(0, -at) + side) for at, side in zip(corner, kept.shape, strict=False))
        cropped[place] = kept
        return cropped


@TRANSFORM_REGISTRY.register(node="INPUT.FLIP")
class RandomFlip(Maybe):
    """Mirror an image, or an array (H, W[, 3]) of it, left-right with probability ``prob``."""

    takes_arrays = True

    def __init__(self, prob: float = 0.5):
        self.prob = prob

    def apply(self, image):
        if isinstance(image, np.ndarray):
            return image[:, ::-1]
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@TRANSFORM_REGISTRY.register(node="INPUT.ROTATION")
class RandomRotation(Maybe):
    """Rotate by up to +- ``degrees`` about the centre; uncovered corners get the grey value ``fill``."""

    def __init__(self, prob: float = 0.5, degrees: float = 10.0, fill: int = 255):
        self.prob, self.degrees, self.fill = prob, degrees, fill

    def apply(self, image: Image.Image) -> Image.Image:
        angle = uniform(-self.degrees, self.degrees)
        return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(self.fill,) * len(image.getbands()))


@TRANSFORM_REGISTRY.register(node="INPUT.STROKE")
class RandomStroke(Maybe):
    """Make the lines of a drawing bolder or fainter by a strength uniform in -``fade``..``bold``.

    A positive strength s darkens every pixel to s times the ink of its darkest neighbour (3 x 3): at 1 each line gets a
    pixel wider on both sides. A negative one takes that share of the ink away. Drawings differ in this by the pen, and
    by how much a scanned page is reduced.

    Args:
        bold, fade: strengths, 0..1.
    """

    def __init__(self, prob: float = 0.5, bold: float = 1.0, fade: float = 0.5):
        if not (0 <= bold <= 1 and 0 <= fade <= 1):
            raise ValueError(f"INPUT.STROKE: BOLD and FADE must be in 0..1; got {bold} and {fade}")
        self.prob, self.bold, self.fade = prob, bold, fade

    def apply(self, image: Image.Image) -> Image.Image:
        ink = 255 - np.asarray(image, dtype=np.float32)
        strength = uniform(-self.fade, self.bold)
        if strength > 0:
            ink = np.maximum(ink, -strength * min_filter(-ink, 3))
        else:
            ink = ink * (1 + strength)
        return Image.fromarray((255.5 - ink).astype(np.uint8))


@TRANSFORM_REGISTRY.register(node="INPUT.BLUR")
class RandomBlur(Maybe):
    """Gaussian blur with a standard deviation uniform in ``sigma`` (low, high), pixels."""

    def __init__(self, prob: float = 0.5, sigma: Sequence[float] = (0.1, 1.0)):
        self.prob, self.sigma = prob, tuple(sigma)
        if len(self.sigma) != 2 or not 0 <= self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"INPUT.BLUR.SIGMA must hold two numbers of pixels, 0 <= low <= high; got {list(sigma)}")

    def apply(self, image: Image.Image) -> Image.Image:
        from PIL import ImageFilter

        return image.filter(ImageFilter.GaussianBlur(uniform(*self.sigma)))


@TRANSFORM_REGISTRY.register(node="INPUT.SCALE_CROP")
class ScaleCrop(Maybe):
    """Enlarge by a factor uniform in ``scale`` (low, high; both >= 1), then crop at random to the old size."""

    def __init__(self, prob: float = 0.5, scale: Sequence[float] = (1.0, 1.25)):
        if not 1 <= min(scale) <= max(scale):
            raise ValueError(f"INPUT.SCALE_CROP.SCALE must hold two factors >= 1; got {list(scale)}")
        self.prob, self.scale = prob, tuple(scale)

    def apply(self, image: Image.Image) -> Image.Image:
        factor = uniform(*self.scale)
        width, height = image.width / factor, image.height / factor
        left, top = uniform(0, image.width - width), uniform(0, image.height - height)
        box = (left, top, min(left + width, image.width), min(top + height, image.height))
        return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


@TRANSFORM_REGISTRY.register(node="INPUT.RPT")
class RandomPatch(Maybe):
    """Paste a piece of an earlier image at a random place (Zhou et al., OSNet-AIN, arXiv 1910.06827).

    Pieces are copies kept as bytes, at most ``POOL_SIZE`` of them, per worker process. This is the one transform whose
    result depends on the images its process saw before: a resumed run repeats the other augmentations, not this one.
    """

    AREA = (0.01, 0.5)  # share of the image that a piece covers
    MIN_ASPECT = 0.1  # smallest ratio of the sides of a piece
    POOL_SIZE = 256
    keeps_bytes = True
    MIN_POOL_SIZE = 100  # pieces gathered before the first is pasted

    def __init__(self, prob: float = 0.5):
        self.prob = prob
        self.pool: deque[torch.Tensor] = deque(maxlen=self.POOL_SIZE)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        height, width = self._size(*image.shape[1:])
        top, left = self._place(image, height, width)
        self.pool.append(image[:, top : top + height, left : left + width].to(torch.uint8, copy=True))
        return super().__call__(image) if len(self.pool) >= self.MIN_POOL_SIZE else image

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        patch = self.pool[int(torch.randint(len(self.pool), ()))].to(image.dtype)
        for axis in (1, 2):
            patch = patch.flip(axis) if chance(0.5) else patch
        patch = patch[:, : image.shape[1], : image.shape[2]]
        top, left = self._place(image, *patch.shape[1:])
        image = image.clone()
        image[:, top : top + patch.shape[1], left : left + patch.shape[2]] = patch
        return image

    def _size(self, height: int, width: int) -> tuple[int, int]:
        area = uniform(*self.AREA) * height * width
        aspect = uniform(self.MIN_ASPECT, 1 / self.MIN_ASPECT)
        return min(height, max(1, round((area * aspect) ** 0.5))), min(width, max(1, round((area / aspect) ** 0.5)))

    def _place(self, image: torch.Tensor, height: int, width: int) -> tuple[int, int]:
        free = image.shape[1] - height, image.shape[2] - width
        return int(torch.randint(free[0] + 1, ())), int(torch.randint(free[1] + 1, ()))
