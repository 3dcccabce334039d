"""Augmentations that torchvision does; it is imported when one is built."""

from collections.abc import Sequence

import torch
from PIL import Image

from fastreid.data.transforms.build import TRANSFORM_REGISTRY
from fastreid.data.transforms.transforms import Maybe, is_byte


@TRANSFORM_REGISTRY.register(node="INPUT.AUTOAUG")
class AutoAugment(Maybe):
    """AutoAugment's ImageNet policy (Cubuk et al., arXiv 1805.09501) with probability ``prob``.

    Args:
        fill: grey value of areas that a geometric operation uncovers, 0..255.
    """

    def __init__(self, prob: float = 0.0, fill: int = 128):
        from torchvision import transforms as T

        self.prob, self.policy = prob, T.AutoAugment(T.AutoAugmentPolicy.IMAGENET, fill=fill)

    def apply(self, image: Image.Image) -> Image.Image:
        return self.policy(image)


@TRANSFORM_REGISTRY.register(node="INPUT.AUGMIX")
class AugMix(Maybe):
    """AugMix (Hendrycks et al., arXiv 1912.02781) with probability ``prob``."""

    def __init__(self, prob: float = 0.0):
        from torchvision import transforms as T

        self.prob, self.mix = prob, T.AugMix()

    def apply(self, image: Image.Image) -> Image.Image:
        return self.mix(image)


@TRANSFORM_REGISTRY.register(node="INPUT.CROP")
class RandomResizedCrop:
    """A part of random area and aspect, resized to ``size`` (bicubic).

    Args:
        scale: share of the image area, (low, high).
        ratio: width / height of the part, (low, high).
    """

    def __init__(
        self,
        size: Sequence[int] = (224, 224),
        scale: Sequence[float] = (0.16, 1),
        ratio: Sequence[float] = (3.0 / 4.0, 4.0 / 3.0),
    ):
        from torchvision import transforms as T

        size = size[0] if len(size) == 1 else tuple(size)
        self.crop = T.RandomResizedCrop(size, tuple(scale), tuple(ratio), T.InterpolationMode.BICUBIC)

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.crop(image)


@TRANSFORM_REGISTRY.register(node="INPUT.CJ")
class RandomColorJitter(Maybe):
    """Change brightness, contrast, saturation and hue by up to these shares (hue: of the colour circle)."""

    def __init__(
        self,
        prob: float = 0.5,
        brightness: float = 0.15,
        contrast: float = 0.15,
        saturation: float = 0.1,
        hue: float = 0.1,
    ):
        from torchvision import transforms as T

        self.prob, self.jitter = prob, T.ColorJitter(brightness, contrast, saturation, hue)

    def apply(self, image: Image.Image) -> Image.Image:
        return self.jitter(image)


@TRANSFORM_REGISTRY.register(node="INPUT.AFFINE")
class RandomAffine:
    """Rotation up to 10 degrees, scale 0.9 to 1.1 and shear up to 0.1 degrees, on every image, as in fast-reid.

    Args:
        fill: grey value outside the image.
    """

    def __init__(self, fill: int = 0):
        from torchvision import transforms as T

        self.affine = T.RandomAffine(degrees=10, scale=(0.9, 1.1), shear=0.1, fill=fill)

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.affine(image)


@TRANSFORM_REGISTRY.register(node="INPUT.REA")
class RandomErasing(Maybe):
    """Fill a random rectangle of a tensor (Zhong et al., arXiv 1708.04896).

    Args:
        value: fill per channel, 0..255; an image with another number of channels gets their mean.
        scale: share of the image area, (low, high), uniform.
        ratio: height / width of the rectangle, (low, high), log-uniform.
    """

    def __init__(
        self,
        prob: float = 0.5,
        value: Sequence[float] = (0.485 * 255, 0.456 * 255, 0.406 * 255),
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
    ):
        self.prob, self.value = prob, [float(part) for part in value]
        self.scale, self.ratio = tuple(scale), tuple(ratio)
        if not self.value:
            raise ValueError("INPUT.REA.VALUE must hold a grey value, or one per channel; it is empty")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"INPUT.REA.SCALE must hold two shares, 0 < low <= high <= 1; got {list(scale)}")
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"INPUT.REA.RATIO must hold two ratios, 0 < low <= high; got {list(ratio)}")

    @property
    def keeps_bytes(self) -> bool:
        return is_byte(self.value)

    def apply(self, image: torch.Tensor) -> torch.Tensor:
        from torchvision import transforms as T

        value = self.value if len(self.value) == image.shape[0] else [sum(self.value) / len(self.value)]
        place = T.RandomErasing.get_params(image, self.scale, self.ratio, value)
        return T.functional.erase(image, *place)
