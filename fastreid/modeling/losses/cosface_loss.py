"""Pairwise cosface loss."""

import torch

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.cross_batch import LossWithMemory, pairs_with
from fastreid.modeling.losses.utils import LOSS_REGISTRY, normalize, over_all_processes, pair_softplus


@over_all_processes
@full_precision
def pairwise_cosface(
    embedding: torch.Tensor, targets: torch.Tensor, margin: float, gamma: float, images: torch.Tensor | None = None,
    *, memory: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:  # fmt: skip
    """The pair form of CosFace: every positive cosine should exceed every negative one by ``margin``.

    The unified pair loss without self-paced weights (Sun et al., CVPR 2020, eq. 1), averaged over anchors.

    Args:
        embedding: (N, D), normalised here. targets: (N,) int64. gamma: scale of the logits.
        images: (N,) int64 or ``None``, by position. memory: normalised, see ``pairs_with``.
    """
    embedding = normalize(embedding)
    others, is_pos, is_neg = pairs_with(memory, embedding, targets, images)
    cosine = embedding @ others.t()
    return pair_softplus(-gamma * cosine, gamma * (cosine + margin), is_pos, is_neg)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.COSFACE")
class Cosface(LossWithMemory):
    """``pairwise_cosface`` of the features (the classification form is the head layer ``CosSoftmax``).

    Args:
        memory, memory_start: see :class:`~fastreid.modeling.losses.cross_batch.LossWithMemory`.
    """

    key = "loss_cosface"
    node = "MODEL.LOSSES.COSFACE"

    def __init__(
        self, margin: float = 0.25, gamma: float = 128, scale: float = 1.0, memory: int = 0, memory_start: int = 0
    ):
        self.margin, self.gamma, self.scale = margin, gamma, scale
        self._remember(memory, memory_start)

    def compare(self, features, targets, columns, images, memory) -> torch.Tensor:
        return pairwise_cosface(features, targets, self.margin, self.gamma, images, memory=memory)
