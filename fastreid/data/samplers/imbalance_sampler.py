"""Sampling that evens out identities with many and with few images."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastreid.data.samplers.build import SAMPLER_REGISTRY, StreamSampler

_CHUNK = 4096


@SAMPLER_REGISTRY.register(node="DATALOADER")
class ImbalancedDatasetSampler(StreamSampler):
    """Draws with replacement, each image with weight 1 / (images of its identity): all identities are equally likely.

    Args:
        data_source: records, or tuples ``(path, pid, camid)``.
        size: accepted for old code; the stream has no end.
        callback_get_label: called as ``callback_get_label(data_source, index)``; by default the identity is the label.
    """

    def __init__(
        self,
        data_source: Sequence[Any],
        size: int | None = None,
        seed: int | None = None,
        callback_get_label: Callable[[Sequence[Any], int], Any] | None = None,
    ):
        super().__init__(seed)
        get_label = callback_get_label or (lambda source, index: source[index][1])
        labels = [get_label(data_source, index) for index in range(len(data_source))]
        if not labels:
            raise ValueError("ImbalancedDatasetSampler needs at least one image; the training set is empty")
        counts = Counter(labels)
        self.cumulative = np.cumsum([1.0 / counts[label] for label in labels])

    def stream(self, rng: np.random.Generator) -> Iterator[int]:
        while True:
            draws = rng.random(_CHUNK) * self.cumulative[-1]
            yield from np.searchsorted(self.cumulative, draws, side="right").clip(max=len(self.cumulative) - 1)
