"""Samplers that see only the number of images: shuffled without end for training, in order for inference."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from fastreid.data.samplers.build import SAMPLER_REGISTRY, StreamSampler
from fastreid.utils import comm


@SAMPLER_REGISTRY.register(node="DATALOADER")
class TrainingSampler(StreamSampler):
    """Permutations of all indices, one after the other.

    Args:
        size: number of images.
        shuffle: ``False`` repeats the order of the data set.
    """

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None):
        if size <= 0:
            raise ValueError(f"TrainingSampler needs at least one image; got size {size}")
        super().__init__(seed)
        self.size, self.shuffle = size, shuffle

    def stream(self, rng: np.random.Generator) -> Iterator[int]:
        while True:
            yield from rng.permutation(self.size) if self.shuffle else range(self.size)


class InferenceSampler(Sampler):
    """Every index once, in order; each rank has a contiguous share, so that shares joined by rank are in order."""

    def __init__(self, size: int):
        if size <= 0:
            raise ValueError(f"InferenceSampler needs at least one image; got size {size}")
        share = -(-size // comm.get_world_size())
        begin = min(share * comm.get_rank(), size)
        self._indices = range(begin, min(begin + share, size))

    def __iter__(self) -> Iterator[int]:
        yield from self._indices

    def __len__(self) -> int:
        return len(self._indices)
