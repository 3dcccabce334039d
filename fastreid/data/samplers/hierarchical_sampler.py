"""P patents x K images, of which some have another patent of their subclass in the batch."""

import functools
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastreid.data.samplers.build import SAMPLER_REGISTRY
from fastreid.data.samplers.triplet_sampler import BalancedIdentitySampler, group_by
from fastreid.utils.locarno import read_locarno

logger = logging.getLogger(__name__)


@SAMPLER_REGISTRY.register(node="DATALOADER")
class HierarchicalSampler(BalancedIdentitySampler):
    """``BalancedIdentitySampler`` whose batches also hold pairs of patents of one Locarno subclass.

    In every batch of all ranks together at least ``subclass_share`` of the patents have another one of their subclass.
    In each round the patents of a subclass are paired at random; each batch gets as many pairs as that takes, drawn
    from all pairs, and is filled up with any other patents. A patent comes at most once in a round. At its end those
    that fill no batch are left out, and come first in the next one among the patents that fill up.

    With K >= 2 images each patent has a pair too; one with a single image gives it K times.

    Args:
        data_source: records, of which some have a ``taxonomy``; the first known one of a patent counts.
        subclass_share: 0..1. Where there are too few pairs (or P is odd, and it is 1) the batches share those that
            there are evenly, with a warning. A patent without a partner is never drawn where pairs take all of the
            places.

    Raises:
        ValueError: a share outside of 0..1, items without a taxonomy, or a training set in which no code is known.
    """

    def __init__(
        self, data_source: Sequence[Any], mini_batch_size: int, num_instance: int = 4, subclass_share: float = 0.5,
        seed: int | None = None,
    ):  # fmt: skip
        super().__init__(data_source, mini_batch_size, num_instance, seed)
        if not 0 <= subclass_share <= 1:
            raise ValueError(f"DATALOADER.SUBCLASS_SHARE must be from 0 to 1; got {subclass_share!r}")
        self.subclasses = [_subclass_of(data_source, members) for members in self.pid_index.values()]
        if not any(self.subclasses):
            raise ValueError(_without_codes(data_source))
        known = [place for place, subclass in enumerate(self.subclasses) if subclass]
        self._by_subclass = [members for members in group_by(known, self.subclasses).values() if len(members) > 1]
        self.batches_per_round = len(self.pid_index) // self.num_pids_per_batch
        wanted = math.ceil(subclass_share * self.num_pids_per_batch - 1e-9)  # patents of a batch
        there_are = sum(len(members) // 2 for members in self._by_subclass)
        fitting = self.batches_per_round * (self.num_pids_per_batch // 2)
        needed = self.batches_per_round * math.ceil(wanted / 2)
        self.pairs_per_round = min(there_are, fitting, needed)
        if self.pairs_per_round < needed and self.rank == 0:
            paired = sum(map(len, self._by_subclass))
            warn_of_few_pairs(
                subclass_share, wanted, self.num_pids_per_batch, 2 * self.pairs_per_round / self.batches_per_round,
                paired, len(self.pid_index), len(self._by_subclass),
            )  # fmt: skip

    def groups(self, rng: np.random.Generator) -> Iterator[list[int]]:
        left_out: list[int] = []
        while True:
            pairs = self._pairs(rng)
            paired = {place for pair in pairs for place in pair}
            first = [place for place in left_out if place not in paired]
            drawn = paired.union(first)
            others = first + _shuffled([place for place in range(len(self.pid_index)) if place not in drawn], rng)
            batches = [
                [place for pair in pairs[number :: self.batches_per_round] for place in pair]
                for number in range(self.batches_per_round)
            ]
            free = len(batches) * self.num_pids_per_batch - len(paired)
            left_out, filling = others[free:], iter(_shuffled(others[:free], rng))
            for batch in batches:
                batch += [next(filling) for _ in range(self.num_pids_per_batch - len(batch))]
                yield _shuffled(batch, rng)

    def _pairs(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Draw the pairs of a round: each patent is in one at most, and those of a subclass meet at random."""
        pairs = []
        for members in self._by_subclass:
            order = _shuffled(members, rng)
            pairs += zip(order[::2], order[1::2], strict=False)
        return _shuffled(pairs, rng)[: self.pairs_per_round]


@functools.cache
def warn_of_few_pairs(
    share: float, wanted: int, size: int, reached: float, paired: int, patents: int, subclasses: int
) -> None:
    """Warn, once for all samplers of a training."""
    logger.warning(
        "DATALOADER.SUBCLASS_SHARE %g: %d of the %d patents of a batch should have another of their Locarno subclass, "
        "%.1f on average will: %d of %d training patents have one, in %d subclasses",
        share, wanted, size, reached, paired, patents, subclasses,
    )  # fmt: skip


def _subclass_of(data_source: Sequence[Any], members: Sequence[int]) -> str:
    """Return the first known subclass among the images of a patent, "" where there is none."""
    codes = (read_locarno(getattr(data_source[index], "taxonomy", None) or "").subclass_code for index in members)
    return next(filter(None, codes), "")


def _without_codes(data_source: Sequence[Any]) -> str:
    needed = "HierarchicalSampler needs the Locarno codes of the training images, but none of the"
    written = next(filter(None, (getattr(item, "taxonomy", None) for item in data_source)), None)
    if written is not None:
        return f"{needed} {len(data_source)} has a readable one; their metadata hold {written!r}, for example"
    return (
        f"{needed} {len(data_source)} has one: their metadata (DATASETS.FILELIST.METADATA of a FileList) name none, or "
        "are not given"
    )


def _shuffled(values: Sequence, rng: np.random.Generator) -> list:
    return [values[place] for place in rng.permutation(len(values))]
