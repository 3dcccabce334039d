"""Pairwise circle loss."""

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.cross_batch import LossWithMemory, pairs_with
from fastreid.modeling.losses.utils import LOSS_REGISTRY, normalize, over_all_processes, pair_softplus


@over_all_processes
@full_precision
def pairwise_circleloss(
    embedding: torch.Tensor, targets: torch.Tensor, margin: float, gamma: float, images: torch.Tensor | None = None,
    *, memory: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Circle loss over the pairs of a batch (Sun et al., CVPR 2020, eq. 6), averaged over anchors.

    Args:
        embedding: (N, D), normalised here. targets: (N,) int64.
        margin: the goals are a cosine of ``1 - margin`` for positives and ``margin`` for negatives.
        gamma: scale of the logits.
        images: (N,) int64 or ``None``, by position. memory: normalised, see ``pairs_with``.
    """
    embedding = normalize(embedding)
    others, is_pos, is_neg = pairs_with(memory, embedding, targets, images)
    cosine = embedding @ others.t()
    fixed = cosine.detach()
    positive = -gamma * F.relu(1 + margin - fixed) * (cosine - (1 - margin))
    negative = gamma * F.relu(fixed + margin) * (cosine - margin)
    return pair_softplus(positive, negative, is_pos, is_neg)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.CIRCLE")
class CircleLoss(LossWithMemory):
    """``pairwise_circleloss`` of the features (the classification form is the head layer ``CircleSoftmax``).

    Args:
        memory, memory_start: see :class:`~fastreid.modeling.losses.cross_batch.LossWithMemory`.
    """

    key = "loss_circle"
    node = "MODEL.LOSSES.CIRCLE"

    def __init__(
        self, margin: float = 0.25, gamma: float = 128, scale: float = 1.0, memory: int = 0, memory_start: int = 0
    ):
        self.margin, self.gamma, self.scale = margin, gamma, scale
        self._remember(memory, memory_start)

    def compare(self, features, targets, columns, images, memory) -> torch.Tensor:
        return pairwise_circleloss(features, targets, self.margin, self.gamma, images, memory=memory)
