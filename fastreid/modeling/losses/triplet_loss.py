"""Triplet loss with batch-hard or softmax-weighted mining, or over all triplets."""

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import (
    LOSS_REGISTRY,
    cosine_dist,
    euclidean_dist,
    over_all_processes,
    pair_masks,
    same_class,
)  # fmt: skip


def hard_example_mining(dist: torch.Tensor, is_pos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each anchor the farthest positive and the nearest negative distance (Hermans et al., 2017, eq. 5).

    An anchor without negatives gets 1e9 as its negative distance, which makes its loss 0.

    Args:
        dist: (N, N) distances. is_pos: (N, N) bool, True on the diagonal.
    """
    return torch.where(is_pos, dist, 0.0).amax(1), torch.where(is_pos, 1e9, dist).amin(1)


def weighted_example_mining(dist: torch.Tensor, is_pos: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For each anchor softmax-weighted means: far positives and near negatives count most (AGW, Ye et al., 2021).

    As in fast-reid, negatives that are all farther than about 10 lose their weight (see ``softmax_weights``), and
    their mean tends to 0; batch-hard mining or ``norm_feat`` has no such limit.
    """
    dist_ap = torch.where(is_pos, dist, 0.0)
    dist_an = torch.where(is_pos, 0.0, dist)
    return (
        (dist_ap * softmax_weights(dist_ap, is_pos)).sum(1),
        (dist_an * softmax_weights(-dist_an, ~is_pos)).sum(1),
    )


def softmax_weights(dist: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Row-wise softmax of ``dist`` over the entries in ``mask``; a row with none has weights 0.

    The exponentials are relative to the largest entry with masked ones read as 0, and 1e-6 is added to their sum. For
    the negated distances of negatives the shift is therefore 0: kept, because it is what published AGW models used.
    """
    shift = torch.where(mask, dist, 0.0).amax(1, keepdim=True)
    weights = torch.where(mask, dist - shift, -torch.inf).exp()
    return weights / (weights.sum(1, keepdim=True) + 1e-6)


@over_all_processes
@full_precision
def triplet_loss(
    embedding: torch.Tensor, targets: torch.Tensor, margin: float, norm_feat: bool, hard_mining: bool
) -> torch.Tensor:
    """Mean over anchors of ``[margin + d_ap - d_an]_+``, or of ``log(1 + exp(d_ap - d_an))`` where ``margin`` is 0.

    Args:
        embedding: (N, D). targets: (N,) int64.
        norm_feat: distance ``2 - 2 cos`` instead of Euclidean.
        hard_mining: batch-hard, otherwise softmax-weighted.
    """
    dist = cosine_dist(embedding, embedding) if norm_feat else euclidean_dist(embedding, embedding)
    mining = hard_example_mining if hard_mining else weighted_example_mining
    dist_ap, dist_an = mining(dist, same_class(targets))
    return _hinge(dist_ap - dist_an, margin).mean()


@over_all_processes
@full_precision
def all_triplets_loss(embedding: torch.Tensor, targets: torch.Tensor, margin: float, norm_feat: bool) -> torch.Tensor:
    """Mean of ``[margin + d_ap - d_an]_+`` over all triplets of the batch where it is above 0; 0 where none is.

    The triplet loss without mining. That satisfied triplets do not count in the mean is a habit of
    pytorch-metric-learning, without which the loss of a trained model fades. ``margin`` 0: soft, over all triplets.

    Args:
        embedding: (N, D). targets: (N,) int64.
        norm_feat: distance ``2 - 2 cos``, the *squared* distance of normalised features, instead of Euclidean.
    """
    dist = cosine_dist(embedding, embedding) if norm_feat else euclidean_dist(embedding, embedding)
    is_pos, is_neg = pair_masks(targets)
    anchor, positive = is_pos.nonzero(as_tuple=True)
    # a row per positive pair; one per anchor would take (N, N, N)
    losses = _hinge(dist[anchor, positive][:, None] - dist[anchor], margin) * is_neg[anchor]
    return losses.sum() / (losses > 0).sum().clamp(min=1)


def _hinge(difference: torch.Tensor, margin: float) -> torch.Tensor:
    # softplus does not overflow, so fast-reid's fall-back for an infinite soft margin has no case left
    return F.relu(difference + margin) if margin > 0 else F.softplus(difference)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.TRI")
class TripletLoss:
    """``triplet_loss`` of the features, or ``all_triplets_loss`` with ``all_triplets``.

    Raises:
        ValueError: both ``all_triplets`` and ``hard_mining``.
    """

    needs = ("features", "targets")
    key = "loss_triplet"

    def __init__(
        self, margin: float = 0.3, norm_feat: bool = False, hard_mining: bool = False, scale: float = 1.0,
        all_triplets: bool = False,
    ):
        if all_triplets and hard_mining:
            raise ValueError("MODEL.LOSSES.TRI: HARD_MINING and ALL_TRIPLETS exclude each other; both are True")
        self.margin, self.norm_feat, self.hard_mining, self.scale = margin, norm_feat, hard_mining, scale
        self.all_triplets = all_triplets

    def __call__(self, table: dict) -> torch.Tensor:
        features, targets = table["features"], table["targets"]
        if self.all_triplets:
            return self.scale * all_triplets_loss(features, targets, self.margin, self.norm_feat)
        return self.scale * triplet_loss(features, targets, self.margin, self.norm_feat, self.hard_mining)
