"""Query figures to ranked figures and to ranked designs of an index.

One query may be several figures (views of one application), and each figure several vectors (the drawing as given,
rotated, mirrored). How their scores become one is the fusion rule:

* The score of a figure of the index for a query figure is the best over the variants of that query figure.
* The score of a design (all permitted figures of one patent) for a query figure is the best of its figures: views need
  not be paired one to one, and a view that the design does not show costs what its nearest view is away.
* The score of a design is the mean ("mean": every query figure has to be found in it) or the maximum ("max": one is
  enough) of these over the query figures.

Equal scores are ordered by the lowest permitted row of the design. The results are those of a loop over all designs,
found without it: see `search_designs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fastreid.index.base import Count, Index, require_vectors
from fastreid.index.filters import Filter
from fastreid.index.permitted import Permitted
from fastreid.utils.errors import require_choice, require_whole

FUSIONS = ("mean", "max")
FIGURES = 8  # rows taken from each list at first for each design wanted; a design patent has about seven figures
DEEPER = 4  # times as many the next time
AT_ONCE, AT_MOST = 64, 2048  # designs whose figures are fetched in the first call, in a later one


@dataclass(frozen=True, eq=False)
class QueryFigure:
    """A figure that is searched for.

    Args:
        vectors: float32 (V, D), one for each variant.
        variants: what each is: "as given", "rotated 90", "mirrored", "text", ...

    Raises:
        ValueError: not as many vectors as variants, or none.
    """

    vectors: np.ndarray = field(repr=False)
    variants: tuple[str, ...] = ("as given",)

    def __post_init__(self):
        if np.ndim(self.vectors) != 2 or not 0 < len(self.vectors) == len(self.variants):
            raise ValueError(
                f"vectors of a QueryFigure must have shape (variants, D); got {np.shape(self.vectors)} for "
                f"{len(self.variants)} variants"
            )


@dataclass(frozen=True)
class Match:
    """A query figure (its place), the variant of it that matched, and the figure of the index that it matched."""

    query: int
    variant: str
    row: int
    score: float


@dataclass(frozen=True)
class FigureHits:
    """Figures, best first; the score of each is the best over query figures and variants.

    Attributes:
        exact: whether none better can have been missed.
        count: of what was permitted.
    """

    matches: tuple[Match, ...]
    exact: bool
    count: Count


@dataclass(frozen=True)
class DesignHit:
    """One design.

    Attributes:
        best: the nearest of all its figures.
        evidence: for each query figure, the figure of the design that is nearest to it; ties by row, then by variant.
        others: rows of its further permitted figures and their scores (the best over the query), best first.
        figures: number of its permitted figures.
    """

    patent: str
    score: float
    best: Match
    evidence: tuple[Match, ...]
    others: tuple[tuple[int, float], ...]
    figures: int


@dataclass(frozen=True)
class DesignHits:
    """Designs, best first; ``exact`` and ``count`` as in :class:`FigureHits`."""

    designs: tuple[DesignHit, ...]
    exact: bool
    count: Count


class _Query:
    """All vectors of the query figures as one block, float32 (L, D), and which figure and variant each is."""

    def __init__(self, index: Index, figures: Sequence[QueryFigure]):
        if not figures:
            raise ValueError("a search needs at least one query figure")
        info = index.info
        for place, figure in enumerate(figures, start=1):
            require_vectors(figure.vectors, info.dim, info.metric, f"vectors of query figure {place}")
        self.vectors = np.concatenate([np.asarray(figure.vectors, dtype=np.float32) for figure in figures])
        self.figure = np.repeat(np.arange(len(figures)), [len(figure.variants) for figure in figures])
        self.starts = np.searchsorted(self.figure, np.arange(len(figures)))
        self.variants = [variant for figure in figures for variant in figure.variants]

    def match(self, place: int, row: int, score: float) -> Match:
        """The match of the vector at ``place`` with a row."""
        return Match(int(self.figure[place]), self.variants[place], int(row), float(score))


def search_figures(
    index: Index, queries: Sequence[QueryFigure], k: int, filter: Filter | None = None, as_of: int | None = None
) -> FigureHits:
    """Return the ``k`` best permitted figures, ties by row.

    A figure among them is among the ``k`` nearest of the vector that it is nearest to: each figure before it in that
    list is before it in the result too.

    Raises:
        ValueError: no query figure, vectors that the index refuses, or ``k`` below 1.
        VersionGone: see :meth:`Index.search`.
    """
    query, k = _Query(index, queries), require_whole("k of a search", k, 1)
    version = index.info.version if as_of is None else as_of
    permitted = Permitted(index, filter, version)
    count = permitted.count
    if not count.figures:
        return FigureHits((), True, count)
    near = permitted.search(query.vectors, min(k, count.figures))
    place, column = np.nonzero(near.rows >= 0)
    rows, scores = near.rows[place, column], near.scores[place, column]
    order = np.lexsort((place, -scores, rows))
    first = order[np.unique(rows[order], return_index=True)[1]]  # the best of each row, ties by place
    first = first[np.lexsort((rows[first], -scores[first]))[:k]]
    found = zip(place[first], rows[first], scores[first], strict=True)
    return FigureHits(tuple(query.match(*hit) for hit in found), near.exact, count)


def search_designs(
    index: Index,
    queries: Sequence[QueryFigure],
    k: int,
    filter: Filter | None = None,
    fusion: str = "mean",
    as_of: int | None = None,
) -> DesignHits:
    """Return the ``k`` best designs by the fusion rule (see this module), ties by their lowest permitted row.

    A threshold algorithm (Fagin, Lotem and Naor, PODS 2001): each vector gets a list of its nearest rows. A design that
    is in a list has its true score for that vector there; one that is not has at most the score at the end of the list.
    So every design seen has an upper bound, and all unseen ones share one. Designs are scored in the order of their
    bounds until the k-th score is above the next bound; when it is not above that of the unseen, the lists are made
    longer, at last as long as there are permitted figures.

    Raises:
        ValueError: no query figure, vectors that the index refuses, ``k`` below 1, another fusion.
        VersionGone: see :meth:`Index.search`.
    """
    require_choice("fusion of a search", fusion, FUSIONS)
    query, k = _Query(index, queries), require_whole("k of a search", k, 1)
    version = index.info.version if as_of is None else as_of
    permitted = Permitted(index, filter, version)
    count = permitted.count
    pool = _Pool(index, query, filter or Filter(), fusion, version)
    depth, exact = 0, True
    while depth < count.figures:
        depth = min(count.figures, max(DEEPER * depth, FIGURES * (k + 1)))
        near = permitted.search(query.vectors, depth)
        exact = near.exact
        whole = depth == count.figures
        ends = np.where(near.rows[:, -1] < 0, -np.inf, -np.inf if whole else near.scores[:, -1])
        pool.score_best(*_bounds(index, query, near, ends, fusion), k)
        if pool.kth(k) > fuse(np.maximum.reduceat(ends, query.starts)[None], fusion)[0]:
            break
    return DesignHits(pool.best(k), exact, count)


def fuse(scores: np.ndarray, fusion: str) -> np.ndarray:
    """Return one score, float64 (n,), of those for each query figure, (n, Q)."""
    if fusion == "max":
        return scores.max(axis=1)
    total = np.zeros(len(scores))
    for column in scores.T:  # in one order always, so that larger scores never give a smaller mean
        total = total + column
    return total / scores.shape[1]


def _bounds(index, query, near, ends, fusion) -> tuple[np.ndarray, np.ndarray]:
    """Return the patents in the lists and the score that each can have at most, highest first."""
    place, column = np.nonzero(near.rows >= 0)
    rows, at = np.unique(near.rows[place, column], return_inverse=True)
    patents, of_row = np.unique(index.figures(rows)["patent"], return_inverse=True)
    highest = np.tile(ends, (len(patents), 1))  # those seen in a list are not below its end
    np.maximum.at(highest, (of_row[at], place), near.scores[place, column])
    bounds = fuse(np.maximum.reduceat(highest, query.starts, axis=1), fusion)
    order = np.argsort(-bounds, kind="stable")
    return patents[order], bounds[order]


class _Pool:
    """Designs whose score is known."""

    def __init__(self, index: Index, query: _Query, filter: Filter, fusion: str, version: int):
        self._index, self._query, self._filter = index, query, filter
        self._fusion, self._version = fusion, version
        self._found: dict[str, tuple[float, np.ndarray, np.ndarray]] = {}  # score, rows (n,), scores (L, n)

    def kth(self, k: int) -> float:
        """The k-th best score, -inf while there are fewer."""
        scores = np.array([score for score, _, _ in self._found.values()])
        return float(np.partition(scores, len(scores) - k)[len(scores) - k]) if len(scores) >= k else -np.inf

    def score_best(self, patents: np.ndarray, bounds: np.ndarray, k: int) -> None:
        """Score patents, in falling order of their bounds, as long as one may be among the ``k`` best."""
        start, step = 0, max(AT_ONCE, k + 1)
        while start < len(patents) and self.kth(k) <= bounds[start]:
            self._score([name for name in patents[start : start + step].tolist() if name not in self._found])
            start, step = start + step, min(2 * step, AT_MOST)

    def _score(self, patents: list[str]) -> None:
        if not patents:
            return
        rows = self._index.rows_of(patents=patents, as_of=self._version)
        figures = self._index.figures(rows)
        good = np.flatnonzero(self._filter.mask(figures.columns))
        rows, owners = rows[good], figures["patent"][good]
        scores = self._index.scores(self._query.vectors, rows)
        names, owners = np.unique(owners, return_inverse=True)
        order = np.argsort(owners, kind="stable")  # rows rise within a design
        firsts = np.searchsorted(owners[order], np.arange(len(names)))
        rows, scores = rows[order], scores[:, order]
        highest = np.maximum.reduceat(np.maximum.reduceat(scores, firsts, axis=1), self._query.starts, axis=0)
        parts = zip(np.split(rows, firsts[1:]), np.split(scores, firsts[1:], axis=1), strict=True)
        for name, score, part in zip(names.tolist(), fuse(highest.T, self._fusion).tolist(), parts, strict=True):
            self._found[name] = score, *part

    def best(self, k: int) -> tuple[DesignHit, ...]:
        ranked = sorted(self._found, key=lambda name: (-self._found[name][0], self._found[name][1][0]))
        return tuple(self._hit(name) for name in ranked[:k])

    def _hit(self, patent: str) -> DesignHit:
        score, rows, scores = self._found[patent]
        evidence = []
        for own in np.split(np.arange(len(scores)), self._query.starts[1:]):
            column = int(scores[own].max(axis=0).argmax())
            place = int(own[scores[own, column].argmax()])
            evidence.append(self._query.match(place, rows[column], scores[place, column]))
        best = min(evidence, key=lambda match: (-match.score, match.row, match.query))
        shown, highest = {match.row for match in evidence}, scores.max(axis=0)
        order = [place for place in np.lexsort((rows, -highest)) if int(rows[place]) not in shown]
        others = tuple((int(rows[place]), float(highest[place])) for place in order)
        return DesignHit(patent, score, best, tuple(evidence), others, len(rows))
