"""Meta-architectures: whole models, from a batch to losses or features."""

from fastreid.modeling.meta_arch.attr_baseline import AttrBaseline
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY, build_model
from fastreid.modeling.meta_arch.descriptor import Descriptor, FittedDescriptor, is_descriptor
from fastreid.modeling.meta_arch.distiller import Distiller
from fastreid.modeling.meta_arch.hog import HOG
from fastreid.modeling.meta_arch.image_text import ImageText
from fastreid.modeling.meta_arch.mgn import MGN
from fastreid.modeling.meta_arch.moco import MoCo
from fastreid.modeling.meta_arch.orb import ORB
from fastreid.modeling.meta_arch.overhaul import DistillerOverhaul
from fastreid.modeling.meta_arch.pixels import PerceptualHash, RawPixels

__all__ = [
    "HOG",
    "META_ARCH_REGISTRY",
    "MGN",
    "ORB",
    "AttrBaseline",
    "Baseline",
    "Descriptor",
    "Distiller",
    "DistillerOverhaul",
    "FittedDescriptor",
    "ImageText",
    "MoCo",
    "PerceptualHash",
    "RawPixels",
    "build_model",
    "is_descriptor",
]
