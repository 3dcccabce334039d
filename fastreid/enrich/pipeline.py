"""From the lines of a metadata file to the file of texts: what is there stays, the rest is captioned and rewritten."""

import logging
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastreid.enrich.makers import Makers
from fastreid.enrich.progress import Outcome, Progress
from fastreid.enrich.source import sources
from fastreid.enrich.store import Store, short
from fastreid.enrich.work import Job, Work

logger = logging.getLogger(__name__)

MANY_WITHOUT_IMAGE = 100  # the first figures of the metadata: when none of them has one, the folder is the wrong one


class Pipeline:
    """Makes the texts of figures and keeps them.

    Args:
        limit: figures that are tried at most, those not counted whose texts are there. Texts of figures behind it that
            were made in another way stay, and the new ones wait for a run without a limit.
        prune: drop texts of figures that the metadata do not name.
    """

    def __init__(self, makers: Makers, limit: int | None = None, prune: bool = False):
        self.makers, self.limit, self.prune = makers, limit, prune

    def run(
        self,
        read: Callable[[], Iterable[Mapping[str, Any]]],
        output: str | os.PathLike,
        progress: Progress | None = None,
    ) -> Outcome:
        """Make the texts that are missing and put ``output`` in place, in the order of the metadata.

        Whatever stops it (Ctrl-C, a kill, a spent budget), the next call goes on from what is there.

        Args:
            read: yields the lines of metadata; called twice.

        Raises:
            ValueError: no figure is named, or one twice, or ``output`` has texts of figures that are not named.
            BudgetSpent, EndpointError: of the rewriter, after everything that it has answered is kept.
        """
        named = _names(read())
        if not named:
            raise ValueError("the metadata name no figures")
        store = Store(output, named)
        try:
            if store.num_others and not self.prune:
                raise ValueError(
                    f"{output} has texts of {store.num_others} figures that the metadata do not name, such as "
                    f"'{store.others[0]}'; take another output, or drop them with --prune"
                )
            places: Sequence[int] = array("q", [-1]) * len(named)
            work = Work(self.makers, store, places, Outcome(total=len(named)), progress or Progress())
            work.do(self._jobs(read(), work))
            places = [place for place in places if place >= 0]
            if self.limit is not None and store.loses(places):
                logger.warning("%s stays as it is: it has other texts of figures behind the limit", output)
            else:
                store.finish(places)
        finally:
            store.close()
        return work.outcome

    def _jobs(self, patents: Iterable[Mapping[str, Any]], work: Work) -> Iterator[Job]:
        """Yield the figures that need texts; those that have them get their place at once."""
        tried, before = 0, len(work.store)
        for number, source in enumerate(sources(patents)):
            if tried == self.limit and work.outcome.kept >= before:
                return
            try:
                source = self.makers.looked_at(source)
            except OSError as error:
                work.fail(source.file, f"no image: {error.strerror or error}")
                if number + 1 == work.outcome.failed == MANY_WITHOUT_IMAGE:
                    raise FileNotFoundError(f"none of the first {number + 1} images is there: {error}") from error
                continue
            head = self.makers.provenance(source)
            place = work.store.find(head)
            if place < 0 and self.makers.fallback:
                place = work.store.find(self.makers.instead(head))
            if place >= 0:
                work.keep(number, place)
            elif tried != self.limit:
                tried += 1
                yield Job(number, source, head)


def _names(patents: Iterable[Mapping[str, Any]]) -> set[bytes]:
    """Return the hashes of all file names; raises ``ValueError`` when one occurs twice."""
    names: set[bytes] = set()
    for patent in patents:
        for figure in patent["figures"]:
            before = len(names)
            names.add(short(figure["file"]))
            if len(names) == before:
                raise ValueError(f"'{figure['file']}' is named more than once in the metadata")
    return names
