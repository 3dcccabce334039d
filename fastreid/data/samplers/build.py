"""The registry of training samplers and what all of them share."""

import inspect
import itertools
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from fastreid.utils import comm
from fastreid.utils.registry import Registry

SAMPLER_REGISTRY = Registry("SAMPLER")


class StreamSampler(Sampler):
    """An endless stream of indices: every rank draws the same stream from the same seed and keeps its share.

    Sub-classes yield the global stream in ``stream``; rank ``r`` of ``w`` gets its elements r, r + w, r + 2w, ...

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

    def __iter__(self) -> Iterator[int]:
        stream = self.stream(np.random.default_rng(self.seed))
        yield from (int(index) for index in itertools.islice(stream, self.rank, None, self.world_size))


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
