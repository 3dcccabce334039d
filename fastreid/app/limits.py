"""What one request, and all of them together, may cost."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fastreid.app.problems import Problem


@dataclass(frozen=True)
class Limits:
    """Limits of the service.

    Attributes:
        upload_bytes, upload_pixels: of one image.
        uploads, uploads_bytes: images that are kept, and the bytes of their files in all; the least recently used go.
        pixel_bytes: of the images that are kept decoded.
        query_figures: of one search.
        page: results of one answer.
        body_bytes: of a JSON body.
        running, waiting: requests that work, and that wait for their turn; more are told to come back.
        decoding: images that are decoded at the same time.
        patience: seconds that a request waits for its turn, and the server for the next piece of a body.
        body_seconds: that a whole body may take.
    """

    upload_bytes: int = 20 << 20
    upload_pixels: int = 64_000_000
    uploads: int = 64
    uploads_bytes: int = 400 << 20
    pixel_bytes: int = 400 << 20
    query_figures: int = 8
    page: int = 100
    body_bytes: int = 1 << 20
    running: int = 32
    waiting: int = 64
    decoding: int = 4
    patience: float = 20.0
    body_seconds: float = 300.0


class Gate:
    """Lets a bounded number of requests work, in threads, and a bounded number wait, ``patience`` seconds at most."""

    def __init__(self, running: int, waiting: int, patience: float):
        self.most, self.patience = running + waiting, patience
        self._pool = ThreadPoolExecutor(running, thread_name_prefix="work")
        self._free = asyncio.Semaphore(running)
        self._inside = 0

    @contextlib.asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._inside >= self.most:
            raise Problem(503, "busy", "the server is busy; try again in a moment", retry=1)
        self._inside += 1
        try:
            try:
                await asyncio.wait_for(self._free.acquire(), self.patience)
            except asyncio.TimeoutError:
                raise Problem(503, "busy", "the server is busy; try again in a moment", retry=2) from None
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._inside -= 1

    async def run(self, work: Callable, *args: Any) -> Any:
        """Return ``work(*args)``, done in a thread in its turn; 503 where too many wait already, or for too long."""
        async with self._turn():
            return await asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(work, *args))

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
