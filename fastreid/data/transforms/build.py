"""The registry of transforms and the order in which they are applied."""

import inspect
from collections.abc import Callable

from fastreid.utils.registry import Registry

TRANSFORM_REGISTRY = Registry("TRANSFORM")

# Names in the registry; each is used where `ENABLED` of its node is set. The order is fast-reid's; what is new stands
# where it works on the fewest pixels. Steps in capitals are always there; OUTSIDE: the transforms of plug-ins.
PREPARE = ("InkCrop", "Thicken")
TRAIN = (
    *PREPARE, "AutoAugment", "RESIZE", "RandomStroke", "ScaleCrop", "RandomRotation", "RandomBlur", "RandomResizedCrop",
    "PadCrop", "RandomFlip", "RandomColorJitter", "RandomAffine", "AugMix", "OUTSIDE", "TENSOR", "RandomErasing",
    "GridMask", "RandomPatch",
)  # fmt: skip
TEST = (*PREPARE, "RESIZE", "CENTER_CROP", "TENSOR")


class Compose:
    """Apply transforms one after the other."""

    def __init__(self, transforms: list[Callable]):
        self.transforms = transforms

    def __call__(self, image):
        for transform in self.transforms:
            image = transform(image)
        return image

    def __repr__(self) -> str:
        return f"Compose({', '.join(type(transform).__name__ for transform in self.transforms)})"


def build_transforms(cfg, is_train: bool = True) -> Compose:
    """Build the pipeline from PIL image (L or RGB) to float32 tensor (CHANNELS, height, width), values 0..255.

    Raises:
        ValueError: a setting of ``INPUT`` is out of range, naming it; or a transform of a plug-in has no switch.
    """
    size = list(cfg.INPUT.SIZE_TRAIN if is_train else cfg.INPUT.SIZE_TEST)
    steps: list[Callable] = []
    for name in TRAIN if is_train else TEST:
        steps += _fixed(cfg, name, size, is_train) if name.isupper() else _switched(cfg, name, size)
    return Compose(steps)


def _fixed(cfg, step: str, size: list[int], is_train: bool) -> list[Callable]:
    from fastreid.data.transforms.geometry import build_resize
    from fastreid.data.transforms.transforms import Channels, ToTensor

    if step == "RESIZE":
        resize = build_resize(cfg, size, is_train)
        return [resize] if resize else []
    if step == "OUTSIDE":
        outside = [name for name in TRANSFORM_REGISTRY.names() if name not in TRAIN]
        return [transform for name in outside for transform in _switched(cfg, name, size)]
    if step == "TENSOR":
        return [ToTensor(), Channels(cfg.INPUT.CHANNELS)]
    if not TRANSFORM_REGISTRY.enabled("RandomResizedCrop", cfg):
        return []
    from torchvision.transforms import CenterCrop

    crop = list(cfg.INPUT.CROP.SIZE)
    return [CenterCrop(crop[0] if len(crop) == 1 else crop)]


def _switched(cfg, name: str, size: list[int]) -> list[Callable]:
    if not TRANSFORM_REGISTRY.enabled(name, cfg):
        return []
    # what a transform may ask for: the size to come, and whether the image will cover it (or fit into it)
    mode = cfg.INPUT.RESIZE.MODE
    given = {"target": size, "cover": mode == "crop" or (mode == "stretch" and len(size) == 1)}
    taken = inspect.signature(TRANSFORM_REGISTRY.get(name)).parameters
    return [TRANSFORM_REGISTRY.build(name, cfg, **{key: value for key, value in given.items() if key in taken})]
