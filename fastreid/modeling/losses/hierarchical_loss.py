"""Contrastive loss with several positives, graded by what two patents share in the Locarno classification."""

import itertools
import math
from collections.abc import Sequence

import torch

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.cross_batch import LossWithMemory, absent_or_same
from fastreid.modeling.losses.utils import LOSS_REGISTRY, locarno_codes, normalize, over_all_processes
from fastreid.utils.errors import require_choice

NORMALIZATIONS = ("joint", "level")
NOTHING = 3  # level of a pair that shares nothing; 0: one patent, 1: one subclass, 2: one class


@over_all_processes
@full_precision
def hierarchical_contrastive_loss(
    embedding: torch.Tensor,
    targets: torch.Tensor,
    codes: torch.Tensor,
    images: torch.Tensor | None = None,
    /,
    scores: Sequence[float] = (1.0, 0.5, 0.25),
    temperature: float = 0.07,
    normalization: str = "joint",
    *,
    memory: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Mean over images i of ``-sum_j p_ij log q_ij``, q the softmax of the cosines s_ij / t over all others, p below.

    S_ij is the first of ``scores`` for a pair of one patent, the second for one of one subclass, the third for one of
    one class, else 0; a pair belongs to its closest level alone. "joint": ``p_ij = S_ij / sum_k S_ik``. "level": each
    level where an image has pairs weighs its score, whatever their number, and they share it evenly; the weights are
    then divided by their sum. An image that shares nothing with any other is left out of the mean; where all are, the
    loss is 0 with a gradient of 0.

    The levels and their order are those of Kavimandan et al. (arXiv 2506.13496); the formula, the default scores and t
    are *our reconstruction*, since no more than a summary of the paper was at hand. With scores (1, 0, 0), or without
    codes, it is SupCon (Khosla et al., 2020, eq. 2) over patents, with (1, 1, 1) over classes ("joint"), and with two
    images of each patent that share nothing else InfoNCE against all other images.

    Args:
        embedding: (N, D), normalised here. targets: (N,) int64, the patents.
        codes: (N,) int64, see :func:`~fastreid.modeling.losses.utils.locarno_codes`; unknown ones are equal to nothing.
        images: (N,) int64, numbers of the images, 0 = unknown; only for the memory.
        temperature: t > 0.
        memory: (M, D) features of earlier batches, normalised, and (M, 3) int64 targets, codes and images, targets -1
            where there is nothing. The embedding is compared with them as well, but never with the same image there.
    """
    embedding = normalize(embedding)
    others, tags = embedding, torch.stack([targets, codes], dim=1)
    left_out = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    if memory is not None:
        rows, known = memory
        others, tags = torch.cat([others, rows.to(others.dtype)]), torch.cat([tags, known[:, :2]])
        left_out = torch.cat([left_out, absent_or_same(images, targets, known)], dim=1)
    levels = shared_levels(targets, codes, *tags.t()).masked_fill(left_out, NOTHING)
    weights = _pair_weights([(levels == level).to(embedding.dtype) for level in range(NOTHING)], scores, normalization)
    # a large finite value instead of -inf, which times a weight of 0 is NaN
    log_q = (embedding @ others.t() / temperature).masked_fill(left_out, -1e8).log_softmax(1)
    return -(weights * log_q).sum() / weights.any(1).sum().clamp(min=1)


def shared_levels(
    targets: torch.Tensor, codes: torch.Tensor, other_targets: torch.Tensor, other_codes: torch.Tensor
) -> torch.Tensor:
    """(N,), (N,), (M,), (M,) int64 -> (N, M) int64, the closest level of each pair: 0, 1, 2 or ``NOTHING``."""
    known_class, known_subclass = codes >= 100, codes % 100 > 0
    same_class = (codes[:, None] // 100 == other_codes // 100) & known_class[:, None]
    same_subclass = same_class & (codes[:, None] == other_codes) & known_subclass[:, None]
    levels = torch.full_like(same_class, NOTHING, dtype=torch.int64)
    for level, same in ((2, same_class), (1, same_subclass), (0, targets[:, None] == other_targets)):
        levels[same] = level
    return levels


def _pair_weights(rings: list[torch.Tensor], scores: Sequence[float], normalization: str) -> torch.Tensor:
    """For each level (N, M) of 1 for its pairs, else 0 -> p, (N, M) rows that sum to 1, or to 0 without pairs."""
    if normalization == "level":
        rings = [ring / ring.sum(1, keepdim=True).clamp(min=1) for ring in rings]
    weights = sum(score * ring for score, ring in zip(scores, rings, strict=True))
    total = weights.sum(1, keepdim=True)
    return weights / torch.where(total > 0, total, 1.0)


def _are_scores(values: Sequence) -> bool:
    numbers = len(values) == 3 and all(isinstance(value, (int, float)) for value in values)
    falling = numbers and all(a >= b for a, b in itertools.pairwise((*values, 0)))
    return falling and 0 < values[0] < math.inf


@LOSS_REGISTRY.register(node="MODEL.LOSSES.HIERARCHICAL")
class HierarchicalContrastiveLoss(LossWithMemory):
    """``hierarchical_contrastive_loss`` of the features and the Locarno codes of the batch; *our reconstruction*.

    Args:
        scores: of pairs of one patent, of one subclass, of one class, falling (equal ones are allowed), from 0 on.
        normalization: "joint" or "level".
        memory, memory_start: features of earlier batches that are compared as well, see
            :class:`~fastreid.modeling.losses.cross_batch.LossWithMemory`.

    Raises:
        ValueError: scores that are not three falling numbers, a temperature that is not positive, an unknown
            normalization, a memory below 0; when called, a memory smaller than the batch of all processes.
    """

    needs = ("features", "targets", "taxonomy")
    key = "loss_hierarchical"
    node = "MODEL.LOSSES.HIERARCHICAL"

    def __init__(
        self, scores: Sequence[float] = (1.0, 0.5, 0.25), temperature: float = 0.07, normalization: str = "joint",
        memory: int = 0, scale: float = 1.0, memory_start: int = 0,
    ):  # fmt: skip
        node = self.node
        self.scores = tuple(scores)
        if not _are_scores(self.scores):
            raise ValueError(
                f"{node}.SCORES must be three falling numbers >= 0, of pairs of one patent, subclass and class, the "
                f"first above 0; got {scores!r}"
            )
        if not temperature > 0:
            raise ValueError(f"{node}.TEMPERATURE must be positive; got {temperature!r}")
        require_choice(f"{node}.NORMALIZATION", normalization, NORMALIZATIONS)
        self.temperature, self.normalization, self.scale = temperature, normalization, scale
        self._remember(memory, memory_start)

    def columns(self, table: dict) -> list[torch.Tensor]:
        return [locarno_codes(table["taxonomy"], table["targets"].device)]

    def compare(self, features, targets, columns, images, memory) -> torch.Tensor:
        options = self.scores, self.temperature, self.normalization
        return hierarchical_contrastive_loss(features, targets, *columns, images, *options, memory=memory)
