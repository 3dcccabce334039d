"""Pairwise cosface loss."""

import torch

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY, normalize, over_all_processes, pair_masks, pair_softplus


@over_all_processes
@full_precision
def pairwise_cosface(embedding: torch.Tensor, targets: torch.Tensor, margin: float, gamma: float) -> torch.Tensor:
    """The pair form of CosFace: every positive cosine should exceed every negative one by ``margin``.

    The unified pair loss without self-paced weights (Sun et al., CVPR 2020, eq. 1), averaged over anchors.

    Args:
        embedding: (N, D), normalised here. targets: (N,) int64. gamma: scale of the logits.
    """
    embedding = normalize(embedding)
    cosine = embedding @ embedding.t()
    is_pos, is_neg = pair_masks(targets)
    return pair_softplus(-gamma * cosine, gamma * (cosine + margin), is_pos, is_neg)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.COSFACE")
class Cosface:
    """``pairwise_cosface`` of the features (the classification form is the head layer ``CosSoftmax``)."""

    needs = ("features", "targets")
    key = "loss_cosface"

    def __init__(self, margin: float = 0.25, gamma: float = 128, scale: float = 1.0):
        self.margin, self.gamma, self.scale = margin, gamma, scale

    def __call__(self, table: dict) -> torch.Tensor:
        return self.scale * pairwise_cosface(table["features"], table["targets"], self.margin, self.gamma)
