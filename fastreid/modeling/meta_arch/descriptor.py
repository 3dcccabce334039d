"""What image descriptors without gradient training share: grey images in, vectors out."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import nn

from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY


class Descriptor(nn.Module, ABC):
    """A meta-architecture that computes features by a formula; it evaluates like any model (``--eval-only``).

    A subclass gives ``describe``. One with a ``fit`` learns from training images first, in one pass without gradients
    (see :class:`FittedDescriptor`); the others have nothing to train.
    """

    @abstractmethod
    def describe(self, grey: torch.Tensor) -> torch.Tensor:
        """Return finite features, float32 (B, D), of grey images, float32 (B, H, W) in 0..255."""

    def forward(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        """Return features, float32 (B, D), of ``images`` (B, C, H, W) in 0..255, their channels averaged."""
        if self.training:
            raise RuntimeError(self.why_not_trained())
        images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
        return self.describe(images.float().mean(dim=1))

    @classmethod
    def why_not_trained(cls) -> str:
        return f"{cls.__name__} has nothing to train: use --eval-only, or choose MODEL.META_ARCHITECTURE Baseline"


class FittedDescriptor(Descriptor):
    """A descriptor whose buffers are computed from training images, once, and saved and loaded like weights.

    Attributes:
        fit_images: training images that ``fit`` needs; 0: all.
    """

    fit_images: int = 0

    @abstractmethod
    def fit(self, batches: Iterable[torch.Tensor], seed: int) -> None:
        """Fill the buffers from batches of grey images, float32 (B, H, W) in 0..255; the same for the same ``seed``."""

    @classmethod
    def why_not_trained(cls) -> str:
        return (
            f"{cls.__name__} has no losses and no gradients: `tools/train_net.py --config-file F` (or "
            "fastreid.engine.fitting.fit_model) fits it in one pass over training images"
        )


def is_descriptor(name: str, kind: type[Descriptor] = Descriptor) -> bool:
    """Whether the meta-architecture ``name`` is a descriptor of this kind; ``KeyError`` for an unknown name."""
    component = META_ARCH_REGISTRY.get(name)
    return isinstance(component, type) and issubclass(component, kind)
