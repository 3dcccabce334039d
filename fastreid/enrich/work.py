"""The work on the figures that need texts: captions in batches, rewriting in threads, every result kept at once."""

import itertools
import logging
import re
from array import array
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from fastreid.enrich.components import Rejected
from fastreid.enrich.makers import Makers
from fastreid.enrich.progress import Outcome, Progress
from fastreid.enrich.source import Source
from fastreid.enrich.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A figure that needs texts: its number in the metadata, what is known of it, the provenance of its texts."""

    number: int
    source: Source
    head: dict[str, Any]


class Work:
    """One run of the makers over the figures of a metadata file.

    Args:
        places: gets the place of the texts of each figure by its number.
    """

    def __init__(self, makers: Makers, store: Store, places: array, outcome: Outcome, progress: Progress):
        self._makers, self.store, self._places = makers, store, places
        self.outcome, self._progress = outcome, progress
        self._pending: dict[Future, tuple[Job, str]] = {}

    def keep(self, number: int, place: int) -> None:
        """Note that the texts of a figure are there."""
        self._places[number] = place
        self.outcome.kept += 1
        self._show()

    def fail(self, file: str, reason: str) -> None:
        """Note that a figure stays without texts."""
        logger.warning("%s: %s", file, reason)
        self.outcome.failed += 1
        self.outcome.reasons[re.sub(r"\d+", "#", reason)] += 1
        self._show()

    def do(self, jobs: Iterable[Job]) -> None:
        """Do all jobs. When something ends the work early, what is on its way is waited for and kept."""
        rewriter = self._makers.rewriter
        pool = ThreadPoolExecutor(rewriter.concurrency, "rewriter")
        try:
            for job, details in self._captioned(jobs):
                future = pool.submit(rewriter.rewrite, job.source, details, self._makers.variants)
                self._pending[future] = job, details
                self._collect(2 * rewriter.concurrency)
            self._collect(0)
        except BaseException:
            rewriter.stop()
            logger.info("Ending: what is on its way for %d figures is waited for", len(self._pending))
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            for future, (job, details) in self._pending.items():
                if not future.cancelled() and future.exception() is None:
                    self._made(job, details, future.result())
            self._progress.show(self.outcome, rewriter.status, last=True)

    def _captioned(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, str]]:
        """Yield each job with its details, those of an earlier run where they are the same."""
        captioner, jobs = self._makers.captioner, iter(jobs)
        while batch := list(itertools.islice(jobs, captioner.batch_size)):
            known = [(job, self.store.details(job.head) if captioner.sees_images else None) for job in batch]
            yield from ((job, details) for job, details in known if details is not None)
            new, images = [], []
            for job in (job for job, details in known if details is None):
                try:
                    images += self._makers.image(job.source)
                    new.append(job)
                except OSError as error:
                    self.fail(job.source.file, f"no image: {error}")
            if new:
                described = captioner.describe([job.source for job in new], images)
                yield from zip(new, (" ".join(details.split()) for details in described), strict=True)

    def _collect(self, most: int) -> None:
        """Take results until at most so many figures are on their way."""
        while len(self._pending) > most:
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                job, details = self._pending[future]
                try:
                    self._made(job, details, future.result())
                except Rejected as error:
                    self._rejected(job, details, str(error))
                del self._pending[future]

    def _made(self, job: Job, details: str, texts: list[str]) -> None:
        self._add(job, {**job.head, "details": details}, texts)
        self.outcome.made += 1
        self._show()

    def _rejected(self, job: Job, details: str, reason: str) -> None:
        makers = self._makers
        if makers.fallback is None:
            return self.fail(job.source.file, reason)
        try:
            texts = makers.fallback.rewrite(job.source, details, makers.variants)
        except Rejected as error:
            return self.fail(job.source.file, f"{reason}; and the fallback: {error}")
        logger.warning("%s: %s; the fallback wrote its texts", job.source.file, reason)
        self._add(job, {**makers.instead(job.head), "details": details, "reason": reason}, texts)
        self.outcome.fallback += 1
        return self._show()

    def _add(self, job: Job, head: dict[str, Any], texts: list[str]) -> None:
        self._places[job.number] = self.store.add(head, texts)

    def _show(self) -> None:
        self._progress.show(self.outcome, self._makers.rewriter.status)
