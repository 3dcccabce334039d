"""Samplers of P identities x K images, the batches that metric losses need (Hermans et al., arXiv 1703.07737)."""

import functools
import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastreid.data.cameras import in_natural_order
from fastreid.data.samplers.build import SAMPLER_REGISTRY, StreamSampler

logger = logging.getLogger(__name__)


class IdentitySampler(StreamSampler):
    """Base of the P x K samplers. Every batch of every rank holds exactly P identities and K images of each.

    Args:
        data_source: records, or tuples ``(path, pid, camid)``.
        mini_batch_size: images per batch of one rank, P * K.
        num_instance: K (fast-reid's ``num_instances``).

    Raises:
        ValueError: the batch is no multiple of K, or there are fewer identities than a batch of all ranks needs.
    """

    def __init__(
        self, data_source: Sequence[Any], mini_batch_size: int, num_instance: int = 4, seed: int | None = None
    ):
        super().__init__(seed)
        name = type(self).__name__
        if num_instance < 1 or mini_batch_size < 1 or mini_batch_size % num_instance:
            raise ValueError(
                f"{name}: the batch size of a process must be a multiple of DATALOADER.NUM_INSTANCE; "
                f"got {mini_batch_size} images (SOLVER.IMS_PER_BATCH / {self.world_size} processes) and {num_instance}"
            )
        self.num_instance = num_instance
        self.num_pids_per_batch = mini_batch_size // num_instance * self.world_size
        self.pid_index = group_by(range(len(data_source)), [item[1] for item in data_source])
        self.cams = [item[2] for item in data_source]
        if len(self.pid_index) < self.num_pids_per_batch:
            raise ValueError(
                f"{name}: a batch takes {self.num_pids_per_batch} identities (SOLVER.IMS_PER_BATCH / "
                f"DATALOADER.NUM_INSTANCE), but the training set has {len(self.pid_index)}. Use a smaller "
                f"SOLVER.IMS_PER_BATCH or a larger DATALOADER.NUM_INSTANCE"
            )
        if self.num_pids_per_batch == 1 and self.rank == 0:
            warn_of_one_identity(num_instance)

    def batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        """Yield global batches: K images of an identity in a row, identities in the order of the ranks."""
        raise NotImplementedError

    def stream(self, rng: np.random.Generator) -> Iterator[int]:
        return itertools.chain.from_iterable(self.batches(rng))

    def shard(self, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield a contiguous part of each global batch, so that the images of an identity stay together."""
        first = 0
        for batch in self.batches(rng):
            yield from reorder_index(list(enumerate(batch, first)), self.world_size)[self.rank :: self.world_size]
            first += len(batch)


@SAMPLER_REGISTRY.register(node="DATALOADER")
class BalancedIdentitySampler(IdentitySampler):
    """All identities in random order, each with one image drawn at random and K - 1 others.

    The others come from other cameras where the identity has any, else from the same. They are distinct where there
    are at least K - 1, else drawn with replacement. At the end of a round the identities that fill no batch are left
    out.
    """

    def batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        members = list(self.pid_index.values())
        for chosen in self.groups(rng):
            yield [index for place in chosen for index in self._instances(members[place], rng)]

    def groups(self, rng: np.random.Generator) -> Iterator[Sequence[int]]:
        """Yield without end the identities of a global batch, as places in ``pid_index``."""
        take = self.num_pids_per_batch
        while True:
            order = rng.permutation(len(self.pid_index))
            yield from (order[start : start + take] for start in range(0, len(order) - take + 1, take))

    def _instances(self, members: list[int], rng: np.random.Generator) -> list[int]:
        anchor = members[rng.integers(len(members))]
        others = [index for index in members if self.cams[index] != self.cams[anchor]]
        others = others or [index for index in members if index != anchor] or [anchor]
        return [anchor, *draw(others, self.num_instance - 1, rng)]


@SAMPLER_REGISTRY.register(node="DATALOADER")
class NaiveIdentitySampler(IdentitySampler):
    """Each round cuts every identity into groups of K images; a batch joins groups of P identities drawn at random.

    An identity with fewer than K images gives one group drawn with replacement; what does not fill a group is left
    out of the round. A round ends when fewer than P identities have a group left.
    """

    def batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        while True:
            pids = list(self.pid_index)
            left: dict[Any, list[int]] = {}
            while len(pids) >= self.num_pids_per_batch:
                chosen = rng.choice(len(pids), self.num_pids_per_batch, replace=False)
                batch = []
                for pid in [pids[place] for place in chosen]:
                    group = left.get(pid) or self._shuffled(self.pid_index[pid], rng)
                    batch += group[: self.num_instance]
                    left[pid] = group[self.num_instance :]
                for place in sorted(chosen, reverse=True):
                    if len(left[pids[place]]) < self.num_instance:
                        pids[place] = pids[-1]
                        pids.pop()
                yield batch

    def _shuffled(self, members: list[int], rng: np.random.Generator) -> list[int]:
        return draw(members, max(len(members), self.num_instance), rng)


@SAMPLER_REGISTRY.register(node="DATALOADER")
class SetReWeightSampler(IdentitySampler):
    """P x K where the identities of a batch are spread over the sets (cameras) in proportion to ``set_weight``.

    An identity belongs to every set in which it has images; in a batch it appears for one set only.

    Args:
        set_weight: one weight per camera, in natural order (2 before 10); 0 leaves a set out.

    Raises:
        ValueError: the number of weights differs from that of the cameras, or a set has too few identities.
    """

    def __init__(
        self,
        data_source: Sequence[Any],
        mini_batch_size: int,
        num_instance: int = 4,
        set_weight: Sequence[float] = (),
        seed: int | None = None,
    ):
        super().__init__(data_source, mini_batch_size, num_instance, seed)
        self.sets = [group_by(self._of_camera(camera), [item[1] for item in data_source]) for camera in self._cameras()]
        if len(set_weight) != len(self.sets) or min(set_weight) < 0 or sum(set_weight) <= 0:
            raise ValueError(
                f"DATALOADER.SET_WEIGHT needs one weight >= 0, not all 0, for each of the {len(self.sets)} cameras "
                f"{self._cameras()}; got {list(set_weight)}"
            )
        self.counts = proportional(self.num_pids_per_batch, set_weight)
        for camera, members, count in zip(self._cameras(), self.sets, self.counts, strict=True):
            if len(members) < count:
                raise ValueError(
                    f"SetReWeightSampler takes {count} identities of camera {camera}; it has {len(members)}"
                )

    def _cameras(self) -> list:
        return in_natural_order(self.cams)

    def _of_camera(self, camera: Any) -> list[int]:
        return [index for index, name in enumerate(self.cams) if name == camera]

    def batches(self, rng: np.random.Generator) -> Iterator[list[int]]:
        while True:
            batch: dict[Any, list[int]] = {}
            for members, count in zip(self.sets, self.counts, strict=True):
                free = [pid for pid in members if pid not in batch]
                for place in rng.choice(len(free), min(count, len(free)), replace=False):
                    batch[free[place]] = draw(members[free[place]], self.num_instance, rng)
            # identities that a set could not give because another set had taken them
            rest = [pid for pid in self.pid_index if pid not in batch]
            for place in rng.choice(len(rest), self.num_pids_per_batch - len(batch), replace=False) if rest else ():
                batch[rest[place]] = draw(self.pid_index[rest[place]], self.num_instance, rng)
            yield [index for indices in batch.values() for index in indices]


@functools.cache
def warn_of_one_identity(num_instance: int) -> None:
    """Warn, once for all samplers of a training; no error, since a loss over classes alone does without negatives."""
    logger.warning(
        "Each batch holds images of one identity: losses over pairs have no negatives; raise SOLVER.IMS_PER_BATCH (%d) "
        "or lower DATALOADER.NUM_INSTANCE (%d)", num_instance, num_instance,
    )  # fmt: skip


def draw(members: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Draw ``count`` of ``members`` in random order: distinct where there are enough, else with replacement."""
    return [members[place] for place in rng.choice(len(members), count, replace=len(members) < count)]


def group_by(indices: Sequence[int], keys: Sequence[Any]) -> dict[Any, list[int]]:
    """Return the indices of each ``keys[index]``, keys in order of appearance."""
    groups: dict[Any, list[int]] = {}
    for index in indices:
        groups.setdefault(keys[index], []).append(index)
    return groups


def proportional(total: int, weights: Sequence[float]) -> list[int]:
    """Split ``total`` into whole parts in proportion to ``weights`` (largest remainders).

    >>> proportional(6, [1, 1, 2])
    [2, 1, 3]
    """
    shares = [total * weight / sum(weights) for weight in weights]
    parts = [int(share) for share in shares]
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - shares[i], i))
    for place in by_remainder[: total - sum(parts)]:
        parts[place] += 1
    return parts


def reorder_index(batch_indices: Sequence[Any], world_size: int) -> list[Any]:
    """Interleave a global batch so that taking every ``world_size``-th element gives each rank a contiguous part."""
    mini = len(batch_indices) // world_size
    return [batch_indices[rank * mini + place] for place in range(mini) for rank in range(world_size)]


def no_index(values: Sequence[Any], value: Any) -> list[int]:
    """Return the positions of ``values`` that differ from ``value``."""
    return [place for place, other in enumerate(values) if other != value]
