"""A baseline with a memory: every feature is also compared with those of earlier batches."""

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.config import configurable
from fastreid.layers import full_precision
from fastreid.modeling.losses.memory import EMPTY, write_to_ring
from fastreid.modeling.losses.utils import pair_softplus
from fastreid.modeling.meta_arch.baseline import Baseline
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY
from fastreid.utils.errors import require_whole


@META_ARCH_REGISTRY.register()
class MoCo(Baseline):
    """``Baseline`` with the further loss ``loss_mb`` over a queue of features (queue: He et al., CVPR 2020).

    Unlike in MoCo the keys come from the model itself, without a momentum encoder, and have identities.

    Args:
        memory_dim: width of the ``features`` that the head gives in training.
        queue_size: features kept (``MODEL.QUEUE_SIZE``), at least the batch of all processes.
        others: those of ``Baseline``.
    """

    own_losses = ("loss_mb",)

    @configurable
    def __init__(self, *, memory_dim: int, queue_size: int = 8192, **others):
        super().__init__(**others)
        self.memory = Memory(memory_dim, queue_size)

    @classmethod
    def from_config(cls, cfg) -> dict:
        arguments = super().from_config(cfg)
        after_neck = cfg.MODEL.HEADS.NECK_FEAT == "after"
        width = arguments["heads" if after_neck else "backbone"].feature_dim
        return {**arguments, "memory_dim": width, "queue_size": cfg.MODEL.QUEUE_SIZE}

    def losses(
        self, outputs: dict[str, torch.Tensor], gt_labels: torch.Tensor, batched_inputs: dict | None = None
    ) -> dict[str, torch.Tensor]:
        values = super().losses(outputs, gt_labels, batched_inputs)
        return {**values, "loss_mb": self.memory(outputs["features"], gt_labels)}


class Memory(nn.Module):
    """A ring of the last ``size`` normalised features with their identities, the same in all processes.

    Buffers: ``queue`` (D, size), ``queue_label`` (1, size) int64, -1 where there is nothing yet, and ``queue_ptr`` (1,)
    int64, the slot that is written next.

    Args:
        margin: by which every positive cosine should exceed every negative one.
        gamma: scale of the logits.
    """

    def __init__(self, dim: int = 512, size: int = 65536, margin: float = 0.25, gamma: float = 32):
        super().__init__()
        self.size = require_whole("MODEL.QUEUE_SIZE", size, 1)
        self.margin, self.gamma = margin, gamma
        self.register_buffer("queue", torch.zeros(dim, size))
        self.register_buffer("queue_label", torch.full((1, size), EMPTY))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @full_precision
    def forward(self, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Store a batch, then return its pair loss with all that is stored.

        The loss is ``fastreid.modeling.losses.pairwise_cosface`` between the batch and the queue, without the pairs of
        a feature with its own copy. A forward without gradients (batch statistics for an evaluation) stores nothing.

        Args:
            features: (B, D), normalised here. targets: (B,) int64.

        Raises:
            ValueError: features of another width, or more of them than the queue has slots.
        """
        if features.shape[1] != len(self.queue):
            raise ValueError(
                f"The memory of MoCo has features of width {len(self.queue)}, the head gives {features.shape[1]}: set "
                "MODEL.HEADS.NECK_FEAT after, or MODEL.HEADS.EMBEDDING_DIM 0"
            )
        features = F.normalize(features)
        stored = torch.is_grad_enabled()
        own = self.store(features.detach(), targets) if stored else None
        cosine = features @ self.queue
        taken = self.queue_label != EMPTY
        same = targets[:, None] == self.queue_label
        is_positive, is_negative = same & taken, ~same & taken
        if stored:
            is_positive[torch.arange(len(own), device=own.device), own] = False
        return pair_softplus(-self.gamma * cosine, self.gamma * (cosine + self.margin), is_positive, is_negative)

    def store(self, keys: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Write the batches of all processes, in the order of their ranks; return the slots (B,) of this one's."""
        ring = self.queue, self.queue_label, self.queue_ptr
        return write_to_ring(*ring, keys, targets[:, None], "MODEL.QUEUE_SIZE")
