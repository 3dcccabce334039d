"""An index that a server keeps: what PostgreSQL and Milvus share.

The server finds candidates with its own float32 arithmetic; :func:`fastreid.index.base.exact_scores` then decides. More
are asked for until all that were left out are certain to lie below the k-th, so that ties and duplicates come out as on
every other backend.
"""

import uuid
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from fastreid.index.base import METRICS, Count, Index, IndexInfo, Neighbours, exact_scores, require_vectors
from fastreid.index.errors import VersionGone
from fastreid.index.figures import COLUMNS, DATE_COLUMNS, Figures
from fastreid.index.filters import FACETS, Filter
from fastreid.index.recall import QUERIES, SHARES, RecallTest, name_of, sample_queries
from fastreid.index.server_manifest import Manifest, now
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

T = TypeVar("T")
SAMPLE = 20_000  # row numbers that are looked at to choose queries and conditions for the measuring of recall
SPARE = 16  # rows that are fetched beyond k at least
UNMEASURED = {"queries": 0}  # recall of an approximate index before its first compaction
CHANGEABLE = ("config", "weights_path", "image_root", "options")


@dataclass(frozen=True)
class Found:
    """Candidates for one query: rows int64 (n,), the server's scores float64 (n,), vectors float32 (n, dim)."""

    rows: np.ndarray
    scores: np.ndarray
    vectors: np.ndarray


class ServerIndex(Index):
    """The parts of an index that do not depend on the server.

    A reader whose version a compaction has dropped moves on to the newest one by itself; a version that was asked for
    with ``as_of`` is refused then.
    """

    OPTIONS: ClassVar[Mapping[str, Any]]  # names and defaults of the backend's options
    CHOICES: ClassVar[Mapping[str, tuple[str, ...]]] = {"ann": ("", "hnsw")}  # of those that are texts
    LEAST: ClassVar[Mapping[str, int]] = {"exact_rows": 0}  # of those that are numbers, where it is not 2
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
                raise TypeError(f"the backend '{cls.name}' has no option '{name}'; it has {known}.{hint}")
            if name in cls.CHOICES:
                require_choice(f"option {name} of the {cls.name} index", value, cls.CHOICES[name])
            else:
                require_whole(f"option {name} of the {cls.name} index", value, cls.LEAST.get(name, 2))
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
            raise ValueError(f"the index at '{self.where}' is open for reading; open it with write=True to change it")

    def add(self, figures: Figures, vectors: np.ndarray) -> int:
        return self._put(figures, vectors, replaces=False)

    def update(self, figures: Figures, vectors: np.ndarray) -> int:
        return self._put(figures, vectors, replaces=True)

    def _put(self, figures: Figures, vectors: np.ndarray, replaces: bool) -> int:
        self._require_writer()
        vectors = require_vectors(vectors, self.info.dim, self.info.metric, "vectors of new figures")
        if len(vectors) != len(figures):
            raise ValueError(f"{len(figures)} figures need as many vectors; got {len(vectors)}")
        require_storable(figures, self._most_bytes())
        known = self._all_named("figure_id", figures["figure_id"].tolist()) if self.info.figures else []
        if known and not replaces:
            first = min(known)[1]
            raise ValueError(
                f"figure_id '{first}' is in the index already ({len(known)} of {len(figures)} are); update() replaces"
            )
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
                    raise KeyError(f"the index has no {column} '{name}'")
            gone.update((row[0], row) for row in found)
        return self._change(None, None, list(gone.values()))

    def _change(self, figures: Figures | None, vectors: np.ndarray | None, gone: list[tuple[int, str, str]]) -> int:
        """Commit added figures and removed rows (row, figure_id, patent), if there are any."""
        added = 0 if figures is None else len(figures)
        if not added and not gone:
            return self.info.version
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
        """Return the recall of the approximate search against the exact one, of all rows and of the oldest few."""
        version, rng = self.info.version, np.random.default_rng(0)
        numbers = rng.choice(self._manifest.next_row, min(SAMPLE, self._manifest.next_row), replace=False)
        alive = np.array(sorted(self._fetch(np.sort(numbers), version, ("patent",))), dtype=np.int64)
        if not len(alive):  # nearly all rows are gone
            return UNMEASURED
        chosen = np.sort(rng.choice(alive, min(QUERIES, len(alive)), replace=False))
        queries = sample_queries(self.vectors(chosen))
        queries = require_vectors(queries, self.info.dim, self.info.metric, "queries")
        conditions = {}
        for share in SHARES:
            oldest = Condition((ROW,), "<", int(np.quantile(alive, share)) + 1)
            conditions[name_of(share)] = Permitted(version, () if share == 1 else (oldest,))

        def exact(queries: np.ndarray, k: int, permitted: Permitted) -> np.ndarray:
            return self._merged(queries, self._nearest(queries, k, permitted), k)[0]

        def approximate(queries: np.ndarray, k: int, permitted: Permitted) -> np.ndarray:
            return self._search(queries, k, permitted).rows

        return RecallTest(queries, conditions, self.info.figures, exact).measure(approximate)

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
                known = f"{info.oldest_version} to {info.version}"
                raise VersionGone(f"version {version} cannot be searched: the index has versions {known}")
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
            number = self._figures_in(permitted) if permitted.conditions else self._count_of(permitted).figures
            if number > max(k, self._option("exact_rows")):
                share = number / max(number, self.info.figures)
                near = self._near(queries, max(k + SPARE, 2 * k), permitted, share)
                # an engine that loses rows to the filter says so by returning too few
                found = [one if len(one.rows) >= k else None for one in near]
        missing = [place for place, one in enumerate(found) if one is None]
        for place, one in zip(missing, self._nearest(queries[missing], k, permitted), strict=True):
            found[place] = one
        return Neighbours(*self._merged(queries, found, k), exact=len(missing) == len(queries))

    def _merged(self, queries: np.ndarray, found: Sequence[Found], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores (Q, k) of the best candidates of each query, padded."""
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf)
        for place, one in enumerate(found):
            best_rows, best_scores = best(queries[place], one, k, self.info.metric)
            rows[place, : len(best_rows)], scores[place, : len(best_rows)] = best_rows, best_scores
        return rows, scores

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
                raise KeyError(f"the index has no row {row}")
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
        return self._read(as_of, lambda version: self._count_of(Permitted(version, conditions)))

    def _count_of(self, permitted: Permitted) -> Count:
        """As `_count`, but what the manifest knows is not asked."""
        info = self.info
        known = not permitted.conditions and permitted.version == info.version
        return Count(info.figures, info.designs) if known else self._count(permitted)

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
