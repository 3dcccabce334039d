"""Transforms: from a PIL image to the tensor a model takes."""

from fastreid.data.transforms.build import TRANSFORM_REGISTRY, Compose, build_transforms
from fastreid.data.transforms.drawing import InkCrop, Thicken
from fastreid.data.transforms.functional import to_tensor
from fastreid.data.transforms.geometry import Letterbox, Resize, ResizeCrop
from fastreid.data.transforms.gridmask import GridMask
from fastreid.data.transforms.transforms import (
    Channels,
    PadCrop,
    RandomBlur,
    RandomFlip,
    RandomPatch,
    RandomRotation,
    ScaleCrop,
    ToTensor,
)
from fastreid.data.transforms.vision import (
    AugMix,
    AutoAugment,
    RandomAffine,
    RandomColorJitter,
    RandomErasing,
    RandomResizedCrop,
)
