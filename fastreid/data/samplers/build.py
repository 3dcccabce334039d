"""The registry of training samplers and what all of them share."""

import inspect
import itertools
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from fastreid.utils import comm
from fastreid.utils.registry import Registry

SAMPLER_REGISTRY = Registry("SAMPLER", "DATALOADER.SAMPLER_TRAIN")


class StreamSampler(Sampler):
    """An endless stream of indices: every rank draws the same stream from the same seed and keeps its share.

    Sub-classes yield the global stream in ``stream``. With one process a batch takes the next B of its elements; with
    w processes the w batches of B / w together take the same ones: any number of processes trains on the same images.

    Args:
        seed: ``None`` takes one that all ranks share.
    """

    def __init__(self, seed: int | None = None):
        self.seed = comm.shared_random_seed() if seed is None else int(seed)
        if self.seed < 0:
            raise ValueError(f"The seed of {type(self).__name__} must not be negative; got {seed}")
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()

    def stream(self, rng: np.random.Generator) -> Iterator[int]:
        raise NotImplementedError

    def shard(self, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield this rank's share, r, r + w, r + 2w, ... of the stream, as pairs (place in the stream, index)."""
        return itertools.islice(enumerate(self.stream(rng)), self.rank, None, self.world_size)

    def places(self) -> Iterator[tuple[int, int]]:
        """As iteration, but each index comes with its place in the stream of all ranks."""
        yield from ((place, int(index)) for place, index in self.shard(np.random.default_rng(self.seed)))

    def __iter__(self) -> Iterator[int]:
        yield from (index for _, index in self.places())


def build_train_sampler(cfg, data_source: list, mini_batch_size: int, seed: int) -> Sampler:
    """Build ``DATALOADER.SAMPLER_TRAIN``; it gets those of data source, size, batch size and seed that it takes.

    Args:
        data_source: records, or tuples ``(path, pid, camid)``.
        mini_batch_size: images per batch of one rank.
    """
    name = cfg.DATALOADER.SAMPLER_TRAIN
    available = {
        "data_source": data_source, "size": len(data_source), "mini_batch_size": mini_batch_size, "seed": seed,
    }  # fmt: skip
    taken = inspect.signature(SAMPLER_REGISTRY.get(name)).parameters
    return SAMPLER_REGISTRY.build(name, cfg, **{key: value for key, value in available.items() if key in taken})
