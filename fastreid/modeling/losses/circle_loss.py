"""Pairwise circle loss."""

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY, normalize, over_all_processes, pair_masks, pair_softplus


@over_all_processes
@full_precision
def pairwise_circleloss(embedding: torch.Tensor, targets: torch.Tensor, margin: float, gamma: float) -> torch.Tensor:
    """Circle loss over the pairs of a batch (Sun et al., CVPR 2020, eq. 6), averaged over anchors.

    Args:
        embedding: (N, D), normalised here. targets: (N,) int64.
        margin: the goals are a cosine of ``1 - margin`` for positives and ``margin`` for negatives.
        gamma: scale of the logits.
    """
    embedding = normalize(embedding)
    cosine = embedding @ embedding.t()
    is_pos, is_neg = pair_masks(targets)
    fixed = cosine.detach()
    positive = -gamma * F.relu(1 + margin - fixed) * (cosine - (1 - margin))
    negative = gamma * F.relu(fixed + margin) * (cosine - margin)
    return pair_softplus(positive, negative, is_pos, is_neg)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.CIRCLE")
class CircleLoss:
    """``pairwise_circleloss`` of the features (the classification form is the head layer ``CircleSoftmax``)."""

    needs = ("features", "targets")
    key = "loss_circle"

    def __init__(self, margin: float = 0.25, gamma: float = 128, scale: float = 1.0):
        self.margin, self.gamma, self.scale = margin, gamma, scale

    def __call__(self, table: dict) -> torch.Tensor:
        return self.scale * pairwise_circleloss(table["features"], table["targets"], self.margin, self.gamma)
