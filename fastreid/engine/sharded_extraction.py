"""Extraction of a large collection: parts that processes write on their own, and that outlive an interruption."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from fastreid.data.feature_shards import FeatureShards
from fastreid.data.loader import ReidLoader
from fastreid.evaluation.collector import FeatureCollector
from fastreid.evaluation.evaluator import inference_on_dataset
from fastreid.utils import comm

logger = logging.getLogger(__name__)


class ShardBatches:
    """Batches of rows that never cross the border of a part: how a part is cut depends on the part alone.

    A sum in another order, as a kernel may choose for a batch of another size, can differ in its last bit.
    """

    def __init__(self, shards: FeatureShards, numbers: Sequence[int], batch_size: int):
        self.shards, self.numbers, self.batch_size = shards, numbers, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for span in map(self.shards.span, self.numbers):
            yield from (list(span[start : start + self.batch_size]) for start in range(0, len(span), self.batch_size))

    def __len__(self) -> int:
        return sum(-(-len(self.shards.span(number)) // self.batch_size) for number in self.numbers)


class ShardWriter(FeatureCollector):
    """Writes each part as soon as all of its rows have come; holds one part."""

    def __init__(self, shards: FeatureShards, numbers: Sequence[int]):
        super().__init__(num_query=0)
        self.shards, self.numbers = shards, list(numbers)

    def reset(self) -> None:
        super().reset()
        self._rows = 0

    def process(self, inputs: dict[str, Any], outputs: torch.Tensor) -> None:
        super().process(inputs, outputs)
        self._rows += len(outputs)
        number = self.numbers[0]
        span = self.shards.span(number)
        if self._rows == len(span):
            records = None if self.records is None else self.records[span.start : span.stop]
            self.shards.save(number, self._file(self._features, self._columns, records))
            del self.numbers[0]
            self.reset()

    def evaluate(self) -> None:
        """Nothing is left to do: the result lies in the parts."""


def extract_in_shards(
    model: nn.Module,
    loader: DataLoader,
    path: str | os.PathLike,
    num_query: int,
    fingerprint: Mapping[str, Any],
    size: int,
    batch_size: int,
    flip: bool = False,
) -> None:
    """Write the feature file ``path`` from parts of ``size`` rows in the folder ``path`` with the ending ``.shards``.

    All processes call it; parts that are there already are kept. The processes must see one folder. No features
    travel between them: the main process joins the parts while the others wait. The file is the same bit for bit with
    any number of processes; on CPUs where each has as many threads, on GPUs where these are of one kind.

    Args:
        loader: a test loader, of which data set, workers and collation are taken; the batches are others.
        fingerprint: that of the feature file.
        batch_size: images per batch of each process.
    """
    rows = len(loader.dataset)
    shards = FeatureShards(shards_path(path), rows, size, {**fingerprint, "batch": batch_size})
    todo = _missing(shards)
    logger.info("%d of %d parts of %d images are there: %s", len(shards) - len(todo), len(shards), size, shards.folder)
    mine = todo[comm.get_rank() :: comm.get_world_size()]
    stream = _loader_of(loader, ShardBatches(shards, mine, batch_size))
    inference_on_dataset(model, stream, ShardWriter(shards, mine), flip)
    comm.synchronize()
    if comm.is_main_process():
        shards.join(path, num_query, fingerprint)
        logger.info("Features of %d images are joined in %s", rows, path)
    comm.synchronize()


def shards_path(path: str | os.PathLike) -> Path:
    """The folder of the parts of a feature file."""
    return Path(path).with_suffix(".shards")


def _missing(shards: FeatureShards) -> list[int]:
    """The parts that are to be made; the processes share the work of reading those that are there."""
    own = shards.missing(range(len(shards))[comm.get_rank() :: comm.get_world_size()])
    return sorted(number for numbers in comm.all_gather(own) for number in numbers)


def _loader_of(loader: DataLoader, batches: ShardBatches) -> ReidLoader:
    return ReidLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers if len(batches) else 0,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
    )
