"""Triplet loss with batch-hard or softmax-weighted mining, or over all triplets."""

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.cross_batch import LossWithMemory, pairs_with
from fastreid.modeling.losses.utils import LOSS_REGISTRY, cosine_dist, euclidean_dist, over_all_processes


def hard_example_mining(
    dist: torch.Tensor, is_pos: torch.Tensor, is_neg: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each anchor the farthest positive and the nearest negative distance (Hermans et al., 2017, eq. 5).

    An anchor without negatives gets 1e9 as its negative distance, which makes its loss 0.

    Args:
        dist: (N, M) distances. is_pos: (N, M) bool, True on the diagonal. is_neg: (N, M) bool, by default all others.
    """
    is_neg = ~is_pos if is_neg is None else is_neg
    return torch.where(is_pos, dist, 0.0).amax(1), torch.where(is_neg, dist, 1e9).amin(1)


def weighted_example_mining(
    dist: torch.Tensor, is_pos: torch.Tensor, is_neg: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """For each anchor softmax-weighted means: far positives and near negatives count most (AGW, Ye et al., 2021).

    As in fast-reid, negatives that are all farther than about 10 lose their weight (see ``softmax_weights``), and
    their mean tends to 0; batch-hard mining or ``norm_feat`` has no such limit. Arguments are those of
    :func:`hard_example_mining`.
    """
    is_neg = ~is_pos if is_neg is None else is_neg
    dist_ap = torch.where(is_pos, dist, 0.0)
    dist_an = torch.where(is_neg, dist, 0.0)
    return (
        (dist_ap * softmax_weights(dist_ap, is_pos)).sum(1),
        (dist_an * softmax_weights(-dist_an, is_neg)).sum(1),
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
    embedding: torch.Tensor, targets: torch.Tensor, margin: float, norm_feat: bool, hard_mining: bool,
    images: torch.Tensor | None = None, *, memory: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Mean over anchors of ``[margin + d_ap - d_an]_+``, or of ``log(1 + exp(d_ap - d_an))`` where ``margin`` is 0.

    Args:
        embedding: (N, D). targets: (N,) int64.
        norm_feat: distance ``2 - 2 cos`` instead of Euclidean.
        hard_mining: batch-hard, otherwise softmax-weighted.
        images: (N,) int64 or ``None``, by position. memory: features of any length, see ``pairs_with``.
    """
    others, is_pos, is_neg = pairs_with(memory, embedding, targets, images)
    dist = cosine_dist(embedding, others) if norm_feat else euclidean_dist(embedding, others)
    mining = hard_example_mining if hard_mining else weighted_example_mining
    dist_ap, dist_an = mining(dist, is_pos.fill_diagonal_(True), is_neg)
    return _hinge(dist_ap - dist_an, margin).mean()


@over_all_processes
@full_precision
def all_triplets_loss(
    embedding: torch.Tensor, targets: torch.Tensor, margin: float, norm_feat: bool,
    images: torch.Tensor | None = None, *, memory: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Mean of ``[margin + d_ap - d_an]_+`` over all triplets of the batch where it is above 0; 0 where none is.

    The triplet loss without mining. That satisfied triplets do not count in the mean is a habit of
    pytorch-metric-learning, without which the loss of a trained model fades. ``margin`` 0: soft, over all triplets.

    Args:
        embedding: (N, D). targets: (N,) int64.
        norm_feat: distance ``2 - 2 cos``, the *squared* distance of normalised features, instead of Euclidean.
        images: (N,) int64 or ``None``, by position. memory: features of any length, see ``pairs_with``.
    """
    others, is_pos, is_neg = pairs_with(memory, embedding, targets, images)
    dist = cosine_dist(embedding, others) if norm_feat else euclidean_dist(embedding, others)
    anchor, positive = is_pos.nonzero(as_tuple=True)
    # a row per positive pair; one per anchor would take (N, N, N)
    losses = _hinge(dist[anchor, positive][:, None] - dist[anchor], margin) * is_neg[anchor]
    return losses.sum() / (losses > 0).sum().clamp(min=1)


def _hinge(difference: torch.Tensor, margin: float) -> torch.Tensor:
    # softplus does not overflow, so fast-reid's fall-back for an infinite soft margin has no case left
    return F.relu(difference + margin) if margin > 0 else F.softplus(difference)


@LOSS_REGISTRY.register(node="MODEL.LOSSES.TRI")
class TripletLoss(LossWithMemory):
    """``triplet_loss`` of the features, or ``all_triplets_loss`` with ``all_triplets``.

    Args:
        memory, memory_start: see :class:`~fastreid.modeling.losses.cross_batch.LossWithMemory`. With ``all_triplets``
            a step takes memory for (positive pairs) x (batch + memory) numbers.

    Raises:
        ValueError: both ``all_triplets`` and ``hard_mining``.
    """

    key = "loss_triplet"
    node = "MODEL.LOSSES.TRI"

    def __init__(
        self, margin: float = 0.3, norm_feat: bool = False, hard_mining: bool = False, scale: float = 1.0,
        all_triplets: bool = False, memory: int = 0, memory_start: int = 0,
    ):  # fmt: skip
        if all_triplets and hard_mining:
            raise ValueError("MODEL.LOSSES.TRI: HARD_MINING and ALL_TRIPLETS exclude each other; both are True")
        self.margin, self.norm_feat, self.hard_mining, self.scale = margin, norm_feat, hard_mining, scale
        self.all_triplets = all_triplets
        self._remember(memory, memory_start, normalized=False)  # Euclidean distances are those of whole features

    def compare(self, features, targets, columns, images, memory) -> torch.Tensor:
        options = self.margin, self.norm_feat
        if self.all_triplets:
            return all_triplets_loss(features, targets, *options, images, memory=memory)
        return triplet_loss(features, targets, *options, self.hard_mining, images, memory=memory)
