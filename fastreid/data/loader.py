"""The loader: a stream of batches that is a pure function of seed and position, and counts bad images."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from fastreid.data.common import StreamItem

logger = logging.getLogger(__name__)

MAX_PATHS_LOGGED = 10


class StreamBatches:
    """Batches of ``StreamItem`` from a sampler; an item's augmentation depends on seed and place in the stream alone.

    Args:
        sampler: indices of this rank, usually without end. An incomplete last batch is dropped. A ``StreamSampler``
            tells the places in the stream of all ranks, so that an image is augmented alike with any number of
            processes; of another sampler only the position on this rank is known.
        start: number of batches to leave out at the beginning.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, seed: int, rank: int = 0, start: int = 0):
        self.sampler, self.batch_size, self.seed, self.rank, self.start = sampler, batch_size, seed, rank, start

    def __iter__(self) -> Iterator[list[StreamItem]]:
        places = getattr(self.sampler, "places", None)
        stream, rank = (places(), 0) if places else (enumerate(self.sampler), self.rank)
        stream = itertools.islice(stream, self.start * self.batch_size, None)
        while len(batch := list(itertools.islice(stream, self.batch_size))) == self.batch_size:
            yield [StreamItem(int(index), (self.seed, rank, place)) for place, index in batch]


class ReidLoader(DataLoader):
    """A PyTorch loader that reports bad images.

    Attributes:
        bad_images: how often each bad image (its message) was replaced so far.
        epoch_length: batches between two reports.
    """

    def __init__(self, *args, epoch_length: int | None = None, **kwargs):
        self.bad_images: Counter[str] = Counter()
        self.epoch_length = epoch_length
        super().__init__(*args, **kwargs)

    def skip(self, num_batches: int) -> None:
        """Let the next iterator start ``num_batches`` after the beginning of the stream; no image is read for them.

        Raises:
            TypeError: the loader has no such stream (test loaders, loaders with a batch sampler from outside).
            ValueError: a negative number.
        """
        if not isinstance(self.batch_sampler, StreamBatches):
            raise TypeError(f"Only a loader of build_reid_train_loader can skip; this one has {self.batch_sampler!r}")
        if num_batches < 0:
            raise ValueError(f"num_batches must not be negative; got {num_batches}")
        self.batch_sampler.start = int(num_batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        met: Counter[str] = Counter()
        for number, batch in enumerate(super().__iter__(), start=1):
            bad = batch.pop("bad_images", ()) if isinstance(batch, dict) else ()
            met.update(bad)
            self.bad_images.update(bad)
            if self.epoch_length and number % self.epoch_length == 0:
                met = self._report(met)
            yield batch
        self._report(met)

    def _report(self, met: Counter) -> Counter:
        """Log what was replaced since the last report; return an empty counter."""
        if met:
            lines = [f"  {message}" for message in itertools.islice(met, MAX_PATHS_LOGGED)]
            more = [f"  ... and {len(met) - len(lines)} more"] if len(met) > len(lines) else []
            logger.warning(
                "%d bad images were replaced %d times (DATALOADER.ON_BAD_IMAGE: skip):\n%s",
                len(met), met.total(), "\n".join(lines + more),
            )  # fmt: skip
        return Counter()
