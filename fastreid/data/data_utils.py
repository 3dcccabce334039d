"""fast-reid's module for reading images; the code is in ``fastreid.data.images`` and ``fastreid.data.loader``."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from fastreid.data.images import read_image
from fastreid.data.loader import ReidLoader as DataLoaderX

__all__ = ["BackgroundGenerator", "DataLoaderX", "read_image"]


class BackgroundGenerator(threading.Thread):
    """Iterate over ``generator`` in a thread, some items ahead of the consumer.

    An exception in the generator is raised where its item would have come. (In fast-reid the thread died silently and
    the consumer waited for ever.)

    Args:
        local_rank: the CUDA device that the thread uses, where there is CUDA.
        max_prefetch: items ahead; 0 or less: any number.
    """

    def __init__(self, generator: Iterable, local_rank: int = 0, max_prefetch: int = 10):
        super().__init__(daemon=True)
        self.queue: queue.Queue = queue.Queue(max_prefetch)
        self.generator, self.local_rank = generator, local_rank
        self.exit_event = threading.Event()
        self._finished = False
        self.start()

    def run(self) -> None:
        import torch

        try:
            if torch.cuda.is_available():
                torch.cuda.set_device(self.local_rank)
            for item in self.generator:
                if not self._put((item, None)):
                    return
            self._put((None, StopIteration()))
        except BaseException as error:  # whatever it is belongs to the consumer
            self._put((None, error))

    def _put(self, entry: tuple[Any, BaseException | None]) -> bool:
        """Wait for a place in the queue; False when nobody will take anything any more."""
        while not self.exit_event.is_set():
            try:
                self.queue.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def close(self) -> None:
        """Let the thread end without reading the rest."""
        self.exit_event.set()
        self.join()

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        if self._finished:
            raise StopIteration
        item, error = self.queue.get()
        if error is not None:
            self._finished = True
            raise error
        return item

    next = __next__
