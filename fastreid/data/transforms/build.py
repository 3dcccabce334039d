"""The registry of transforms and the order in which they are applied."""

import inspect
from collections.abc import Callable, Sequence

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


def build_transforms(cfg, is_train: bool = True, prepared: bool = False) -> Compose:
    """Build the pipeline from PIL image (L or RGB) to float32 tensor (CHANNELS, height, width), values 0..255.

    Args:
        prepared: for images that went through ``build_preparation``; what it did is left out.

    Raises:
        ValueError: a setting of ``INPUT`` is out of range, naming it; or a transform of a plug-in has no switch.
    """
    size = list(cfg.INPUT.SIZE_TRAIN if is_train else cfg.INPUT.SIZE_TEST)
    steps: list[Callable] = []
    for name in TRAIN if is_train else TEST:
        if not (prepared and name in PREPARE):
            steps += _fixed(cfg, name, size, is_train) if name.isupper() else _switched(cfg, name, size)
    return Compose(steps)


def build_preparation(cfg, size: Sequence[int]) -> Compose:
    """Build the part of the pipeline without chance, from PIL image to one of ``size``, that an image cache keeps.

    The resizing of the whole pipeline leaves an image of the right size alone, so that both together do what the whole
    pipeline does, where nothing random stands before the resizing.

    Raises:
        ValueError: as ``build_transforms``; or there is no size.
    """
    from fastreid.data.transforms.geometry import build_resize

    size = list(size)
    if not size or min(size) < 1:
        raise ValueError(
            f"DATALOADER.CACHE needs images of a fixed size: set INPUT.SIZE_TRAIN and SIZE_TEST; got {size}"
        )
    resize = build_resize(cfg, size, is_train=False, whole=cfg.INPUT.RANDOM_CROP.ENABLED)
    return Compose([*(step for name in PREPARE for step in _switched(cfg, name, size)), resize])


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
