"""Meta-architectures: whole models, from a batch to losses or features."""

from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY, build_model
from fastreid.modeling.meta_arch.hog import HOG

__all__ = ["HOG", "META_ARCH_REGISTRY", "Baseline", "build_model"]
