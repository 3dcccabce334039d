"""An index that a server keeps: what PostgreSQL and Milvus share.

The server finds candidates with its own float32 arithmetic; :func:`fastreid.index.base.exact_scores` then decides. More
are asked for until all that were left out are certain to lie below the k-th, so that ties and duplicates come out as on
every other backend.
"""

import json
import logging
import uuid
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastreid.index.base import METRICS, Count, Index, IndexInfo, Neighbours, exact_scores, require_vectors
from fastreid.index.errors import IndexCorrupt, VersionGone
from fastreid.index.figures import COLUMNS, DATE_COLUMNS, Figures
from fastreid.index.filters import FACETS, Filter
from fastreid.index.recall import QUERIES, SHARES, name_of, sample_queries
from fastreid.index.server_rows import (
    ROW,
    VECTOR,
    Condition,
    Permitted,
    conditions_of,
    parts,
    require_storable,
    storable,
)
from fastreid.utils.errors import nearest, require_choice, require_whole

logger = logging.getLogger(__name__)
T = TypeVar("T")
FORMAT = 1
DEPTH = 10  # of the results whose recall is measured
SPARE = 16  # rows that are fetched beyond k at least
UNMEASURED = {"queries": 0}  # recall of an approximate index before its first compaction
CHANGEABLE = ("config", "weights_path", "image_root", "options")


@dataclass(frozen=True)
class Manifest:
    """What the server's one row about the index says: its description, and the number of the next new row."""

    info: IndexInfo
    next_row: int = 0

    def as_text(self) -> str:
        return json.dumps({"format": FORMAT, "next_row": self.next_row, **self.info.as_json()})

    @classmethod
    def of_text(cls, text: str, where: str) -> "Manifest":
        """Read `as_text`; anything else raises ``IndexCorrupt``, which names ``where`` it was."""
        try:
            values = json.loads(text)
            form, next_row = values.pop("format"), values.pop("next_row")
            if form != FORMAT:
                raise IndexCorrupt(f"the manifest of {where} has format {form}; this fastreid reads format {FORMAT}")
            return cls(IndexInfo(**values), require_whole("next_row", next_row, 0))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, IndexCorrupt):
                raise
            raise IndexCorrupt(f"the manifest of {where} is damaged: {error}") from error

    def next(self, **changed: Any) -> "Manifest":
        """Return the manifest of the next version."""
        next_row = changed.pop("next_row", self.next_row)
        return Manifest(replace(self.info, version=self.info.version + 1, changed=now(), **changed), next_row)


@dataclass(frozen=True)
class Found:
    """Candidates for one query: rows int64 (n,), the server's scores float64 (n,), vectors float32 (n, dim)."""

    rows: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


class ServerIndex(Index):
    """The parts of an index that do not depend on the server.

    A reader whose version a compaction has dropped moves on to the newest one by itself; a version that was asked for
    with ``as_of`` is refused then.
    """

    OPTIONS: ClassVar[Mapping[str, Any]]  # names and defaults of the backend's options
    PART: ClassVar[int] = 10_000  # values that one question to the server may name

    def __init__(self, where: str, manifest: Manifest, write: bool):
        self.where, self.write = where, write  # `where`: the address without passwords, for messages
        self._manifest = manifest

    # -- what a server must do ---------------------------------------------------------------------------------------

    @abstractmethod
    def _load(self) -> Manifest:
        """Read the manifest of the last commit."""

    @abstractmethod
    def _commit(self, manifest: Manifest, figures: Figures | None, vectors: np.ndarray | None, gone: np.ndarray):
        """Add rows from ``self._manifest.next_row`` on, mark ``gone`` rows as removed, and write the manifest."""

    @abstractmethod
    def _compact(self, manifest: Manifest) -> None:
        """Write the manifest and drop all removed rows."""

    @abstractmethod
    def _save(self, manifest: Manifest) -> None:
        """Write a manifest of the same version."""

    @abstractmethod
    def _near(self, queries: np.ndarray, n: int, permitted: Permitted, share: float | None) -> list[Found]:
        """Return ``n`` near rows of each query; fewer mean that there are no more of them.

        Args:
            share: ``None``: exactly the nearest by the server's arithmetic; else by its approximate index, and this
                share of all rows is permitted.
        """

    @abstractmethod
    def _fetch(self, rows: np.ndarray, version: int, columns: Sequence[str]) -> dict[int, tuple]:
        """Return the values of ``columns`` by row; rows added after ``version`` or unknown ones are left out."""

    @abstractmethod
    def _named(self, column: str, values: Sequence[str], version: int) -> list[tuple[int, str, str]]:
        """Return (row, figure_id, patent) of the rows of a version whose ``column`` is one of at most PART values."""

    @abstractmethod
    def _count(self, permitted: Permitted) -> Count:
        """Count figures and patents."""

    @abstractmethod
    def _figures_in(self, permitted: Permitted) -> int:
        """Count figures only."""

    @abstractmethod
    def _facets(self, facets: Sequence[str], date_field: str, permitted: Permitted) -> dict[str, dict[str, Count]]:
        """Count by the values of some facets."""

    # -- manifest ----------------------------------------------------------------------------------------------------

    @classmethod
    def _first_manifest(cls, dim: int, metric: str, model, config, weights_path, image_root, options) -> Manifest:
        require_choice(f"metric of the {cls.name} index", metric, METRICS)
        options, time = cls._checked(options), now()
        return Manifest(
            IndexInfo(
                uid=uuid.uuid4().hex, version=1, oldest_version=1, backend=cls.name,
                dim=require_whole(f"dim of the {cls.name} index", dim, 1), metric=metric, figures=0, designs=0,
                created=time, changed=time, model=dict(model or {}), config=config, weights_path=weights_path,
                image_root=image_root, options=options, recall=UNMEASURED if options.get("ann") else {},
            )
        )  # fmt: skip

    @classmethod
    def _checked(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        for name, value in options.items():
            if name not in cls.OPTIONS:
                known = ", ".join(cls.OPTIONS)
                hint = nearest(name, cls.OPTIONS)
                raise ValueError(f"the {cls.name} index has no option '{name}'; it has {known}.{hint}")
            if name == "ann":
                require_choice(f"option ann of the {cls.name} index", value, ("", "hnsw"))
            else:
                require_whole(f"option {name} of the {cls.name} index", value, 0 if name == "exact_rows" else 2)
        return dict(options)

    def _option(self, name: str) -> Any:
        return self.info.options.get(name, self.OPTIONS[name])

    @property
    def info(self) -> IndexInfo:
        return self._manifest.info

    def refresh(self) -> bool:
        newest = self._load()
        changed, self._manifest = newest != self._manifest, newest
        return changed

    # -- writing -----------------------------------------------------------------------------------------------------

    def _require_writer(self) -> None:
        if not self.write:
            raise ValueError(f"the index {self.where} is open for reading; open it with write=True to change it")

    def add(self, figures: Figures, vectors: np.ndarray) -> int:
        return self._put(figures, vectors, replaces=False)

    def update(self, figures: Figures, vectors: np.ndarray) -> int:
        return self._put(figures, vectors, replaces=True)

    def _put(self, figures: Figures, vectors: np.ndarray, replaces: bool) -> int:
        self._require_writer()
        vectors = require_vectors(vectors, self.info.dim, self.info.metric, "vectors")
        if len(vectors) != len(figures):
            raise ValueError(f"there must be one vector per figure; got {len(vectors)} for {len(figures)} figures")
        require_storable(figures, self._most_bytes())
        known = self._all_named("figure_id", figures["figure_id"].tolist()) if self.info.figures else []
        if known and not replaces:
            raise ValueError(f"figure_id '{known[0][1]}' is in the index already; update() replaces it")
        return self._change(figures, vectors, known)

    def _most_bytes(self) -> int | None:
        return None

    def delete(self, figure_ids: Sequence[str] = (), patents: Sequence[str] = ()) -> int:
        self._require_writer()
        gone = {}
        for column, names, place in (("figure_id", figure_ids, 1), ("patent", patents, 2)):
            found = self._all_named(column, names)
            present = {row[place] for row in found}
            for name in names:
                if name not in present:
                    raise KeyError(f"no {'figure' if column == 'figure_id' else column} '{name}' in the index")
            gone.update((row[0], row) for row in found)
        return self._change(None, None, list(gone.values()))

    def _change(self, figures: Figures | None, vectors: np.ndarray | None, gone: list[tuple[int, str, str]]) -> int:
        """Commit added figures and removed rows (row, figure_id, patent)."""
        added = 0 if figures is None else len(figures)
        change = Counter() if figures is None else Counter(figures["patent"].tolist())
        change.subtract(row[2] for row in gone)
        before = Counter(row[2] for row in (self._all_named("patent", list(change)) if self.info.figures else ()))
        designs = sum((before[patent] + more > 0) - (before[patent] > 0) for patent, more in change.items())
        manifest = self._manifest.next(
            figures=self.info.figures + added - len(gone),
            designs=self.info.designs + designs,
            next_row=self._manifest.next_row + added,
        )
        self._commit(manifest, figures, vectors, np.array([row[0] for row in gone], dtype=np.int64))
        self._manifest = manifest
        return manifest.info.version

    def compact(self) -> int:
        self._require_writer()
        version = self.info.version + 1
        approximate = bool(self._option("ann"))
        manifest = self._manifest.next(oldest_version=version, recall=UNMEASURED if approximate else {})
        self._compact(manifest)
        self._manifest = manifest
        if approximate and self.info.figures:
            measured = replace(manifest, info=replace(manifest.info, recall=self._measured()))
            self._save(measured)
            self._manifest = measured
        return version

    def _measured(self) -> dict[str, float]:
        """Return the recall of the approximate search against the exact one, under conditions on the rows' numbers."""
        chosen = np.random.default_rng(0).choice(self._manifest.next_row, min(QUERIES, self._manifest.next_row), False)
        rows = self._fetch(np.sort(chosen), self.info.version, (VECTOR,))
        vectors = np.array([row[0] for row in rows.values()], dtype=np.float32).reshape(len(rows), self.info.dim)
        queries = require_vectors(sample_queries(vectors), self.info.dim, self.info.metric, "queries")
        found: dict[str, float] = {"queries": len(queries)}
        for share in SHARES:
            limit = Condition((ROW,), "<", max(1, round(share * self._manifest.next_row)))
            permitted = Permitted(self.info.version, (limit,))
            wanted = self._nearest(queries, DEPTH, permitted)
            got, hits, count = self._search(queries, DEPTH, permitted), 0, 0
            for place, one in enumerate(wanted):
                right = best(queries[place], one, DEPTH, self.info.metric)[0]
                hits, count = hits + len(np.intersect1d(right, got.rows[place])), count + len(right)
            found[name_of(share)] = round(hits / count, 4) if count else 1.0
        return found

    def set_info(self, **changed: Any) -> int:
        self._require_writer()
        for name in changed:
            if name not in CHANGEABLE:
                allowed = ", ".join(CHANGEABLE)
                raise ValueError(f"set_info changes {allowed}; got '{name}'.{nearest(name, CHANGEABLE)}")
        if "options" in changed:
            changed["options"] = self._checked(changed["options"])
        manifest = self._manifest.next(**changed)
        self._commit(manifest, None, None, np.zeros(0, dtype=np.int64))
        self._manifest = manifest
        return manifest.info.version

    # -- reading -----------------------------------------------------------------------------------------------------

    def _read(self, as_of: int | None, ask: Callable[[int], T]) -> T:
        """Return ``ask(version)`` of the wanted version, of the newest one if that was dropped meanwhile."""
        while True:
            info = self.info
            version = info.version if as_of is None else as_of
            if not info.oldest_version <= version <= info.version:
                raise VersionGone(
                    f"version {version} of the index cannot be searched; it has {info.oldest_version} to {info.version}"
                )
            answer = ask(version)
            newest = self._load()  # after the rows: had they been dropped before, this would say so
            if newest.info.oldest_version <= version:
                return answer
            self._manifest = newest

    def search(self, vectors: np.ndarray, k: int, filter: Filter | None = None, as_of: int | None = None) -> Neighbours:
        queries = require_vectors(vectors, self.info.dim, self.info.metric, "queries")
        k, conditions = require_whole("k of a search", k, 1), conditions_of(filter)
        return self._read(as_of, lambda version: self._search(queries, k, Permitted(version, conditions)))

    def _search(self, queries: np.ndarray, k: int, permitted: Permitted) -> Neighbours:
        found: list[Found | None] = [None] * len(queries)
        if not self.info.exact and len(queries):
            number = self._figures_in(permitted)
            if number > max(k, self._option("exact_rows")):
                share = number / max(number, self.info.figures)
                near = self._near(queries, max(k + SPARE, 2 * k), permitted, share)
                # an engine that loses rows to the filter says so by returning too few
                found = [one if len(one.rows) >= k else None for one in near]
        missing = [place for place, one in enumerate(found) if one is None]
        for place, one in zip(missing, self._nearest(queries[missing], k, permitted), strict=True):
            found[place] = one
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf)
        for place, one in enumerate(found):
            best_rows, best_scores = best(queries[place], one, k, self.info.metric)
            rows[place, : len(best_rows)], scores[place, : len(best_rows)] = best_rows, best_scores
        return Neighbours(rows, scores, exact=len(missing) == len(queries))

    def _nearest(self, queries: np.ndarray, k: int, permitted: Permitted) -> list[Found]:
        """Return for each query candidates among which its ``k`` nearest permitted rows are for certain."""
        found: list[Any] = [None] * len(queries)
        open_ones, n = list(range(len(queries))), k + SPARE
        while open_ones:
            for place, one in zip(open_ones, self._near(queries[open_ones], n, permitted, None), strict=True):
                found[place] = one
            open_ones = [place for place in open_ones if not self._settled(queries[place], found[place], k, n)]
            n *= 4
        return found

    def _settled(self, query: np.ndarray, found: Found, k: int, asked: int) -> bool:
        """Whether no row that was left out can be among the ``k`` nearest."""
        if len(found.rows) < asked:
            return True
        edge = found.scores.min()
        # a sum of dim products in float32 is off by dim / 2^24 of the sum of their sizes at most: of 1 for unit
        # vectors, of itself for squares; twice that for good measure
        off = (self.info.dim + 8) * 2.0**-23 * (1.0 if self.info.metric == "cosine" else abs(edge))
        return bool(best(query, found, k, self.info.metric)[1][-1] > edge + off)

    def scores(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        queries = require_vectors(vectors, self.info.dim, self.info.metric, "queries")
        return exact_scores(queries, self.vectors(rows), self.info.metric)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        found = self._values(rows, (VECTOR,))
        return np.array([row[0] for row in found], dtype=np.float32).reshape(len(found), self.info.dim)

    def figures(self, rows: np.ndarray) -> Figures:
        found = self._values(rows, COLUMNS)
        columns = {name: np.array([row[place] for row in found], dtype=object) for place, name in enumerate(COLUMNS)}
        return Figures.stored({n: c.astype(np.int64) if n in DATE_COLUMNS else c for n, c in columns.items()})

    def _values(self, rows: np.ndarray, columns: Sequence[str]) -> list[tuple]:
        rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        found = self._fetch(np.unique(rows), self.info.version, columns)
        for row in rows.tolist():
            if row not in found:
                raise KeyError(f"no row {row} in the index")
        return [found[row] for row in rows.tolist()]

    def rows_of(
        self, figure_ids: Sequence[str] = (), patents: Sequence[str] = (), as_of: int | None = None
    ) -> np.ndarray:
        def ask(version: int) -> np.ndarray:
            found = self._all_named("figure_id", figure_ids, version) + self._all_named("patent", patents, version)
            return np.unique(np.array([row[0] for row in found], dtype=np.int64))

        return self._read(as_of, ask)

    def _all_named(self, column: str, values: Sequence[str], version: int | None = None) -> list[tuple[int, str, str]]:
        values = [value for value in dict.fromkeys(values) if storable(value)]
        version = self.info.version if version is None else version
        return [row for part in parts(values, self.PART) for row in self._named(column, part, version)]

    def count(self, filter: Filter | None = None, as_of: int | None = None) -> Count:
        conditions = conditions_of(filter)
        return self._read(as_of, lambda version: self._count(Permitted(version, conditions)))

    def facets(self, filter: Filter | None = None, as_of: int | None = None) -> dict[str, dict[str, Count]]:
        filter = Filter() if filter is None else filter
        alike: dict[Filter, list[str]] = {}
        for facet in FACETS:
            alike.setdefault(filter.without(facet), []).append(facet)

        def ask(version: int) -> dict[str, dict[str, Count]]:
            found = {}
            for other, facets in alike.items():
                found |= self._facets(facets, filter.date_field, Permitted(version, conditions_of(other)))
            return {facet: dict(sorted(found[facet].items())) for facet in FACETS}

        return self._read(as_of, ask)


def best(query: np.ndarray, found: Found, k: int, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and exact scores of the ``k`` best candidates, best first, ties by row."""
    scores = exact_scores(query[None], found.vectors, metric)[0]
    order = np.lexsort((found.rows, -scores))[:k]
    return found.rows[order], scores[order]
