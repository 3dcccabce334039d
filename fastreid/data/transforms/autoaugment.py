"""fast-reid's import path for the AutoAugment family, which is timm's: policies by a string, for PIL images.

>>> transform = rand_augment_transform("rand-m9-mstd0.5", {"img_mean": (124, 116, 104)})
>>> image = transform(image)

They draw from Python's ``random``, which a training loader seeds per image. Areas that an operation uncovers get
``img_mean`` of the second argument: three numbers for RGB images, one for grey ones.
"""

import itertools
from collections.abc import Iterable

from PIL import Image, ImageOps
from timm.data import auto_augment as timm_augment
from timm.data.auto_augment import AugmentOp, AugMixAugment, AutoAugment, RandAugment


def auto_augment_transform(config_str: str, hparams: dict | None = None) -> AutoAugment:
    """AutoAugment (Cubuk et al., CVPR 2019) by timm's string: "original", "originalr", "v0" or "v0r", and options."""
    transform = timm_augment.auto_augment_transform(config_str, dict(hparams or {}))
    _mend(itertools.chain.from_iterable(transform.policy))
    return transform


def rand_augment_transform(config_str: str, hparams: dict | None = None) -> RandAugment:
    """RandAugment (Cubuk et al., CVPR Workshops 2020) by timm's string, "rand-m9-n3-mstd0.5"."""
    transform = timm_augment.rand_augment_transform(config_str, dict(hparams or {}))
    _mend(transform.ops)
    return transform


def augment_and_mix_transform(config_str: str, hparams: dict | None = None) -> AugMixAugment:
    """AugMix (Hendrycks et al., ICLR 2020) by timm's string, "augmix-m5-w4-d2"."""
    transform = timm_augment.augment_and_mix_transform(config_str, dict(hparams or {}))
    _mend(transform.ops)
    return transform


def _mend(operations: Iterable[AugmentOp]) -> None:
    """Let posterising keep at least one bit: Pillow refuses the 0 that timm asks for at some strengths."""
    for operation in operations:
        if operation.aug_fn is timm_augment.posterize:
            operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits: int, **_unused) -> Image.Image:
    return ImageOps.posterize(image, max(1, bits)) if bits < 8 else image
