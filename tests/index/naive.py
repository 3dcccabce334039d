"""An index as slow and obvious as can be: a list of rows."""

from dataclasses import dataclass, field

import numpy as np

from fastreid.index import Figures, Filter
from fastreid.index.base import Count, exact_scores, require_vectors
from fastreid.index.figures import class_of

OFFICES = ("US", "EM", "WO", "")
VIEWS = ("front", "rear", "top", "")
CODES = ("06-01", "06-02", "14", "14-04", "D14/486", "D6", "")
TITLES = ("Office Chair", "CHAIR leg", "Straße", "cup", "50% \\ off 'now'", "")


@dataclass
class Row:
    number: int
    values: dict
    vector: np.ndarray
    added: int
    removed: int = 0


@dataclass
class NaiveIndex:
    """The contract of :class:`fastreid.index.Index`, by loops."""

    dim: int
    metric: str = "cosine"
    version: int = 1
    oldest: int = 1
    rows: list[Row] = field(default_factory=list)
    next_row: int = 0

    def alive(self, version=None):
        version = self.version if version is None else version
        return [row for row in self.rows if row.added <= version and (not row.removed or row.removed > version)]

    def add(self, figures, vectors, replace=False):
        vectors = require_vectors(vectors, self.dim, self.metric, "vectors")
        names = set(figures["figure_id"].tolist())
        if replace:
            for row in self.alive():
                if row.values["figure_id"] in names:
                    row.removed = self.version + 1
        self.version += 1
        for place in range(len(figures)):
            self.rows.append(Row(self.next_row, figures.row(place), vectors[place], self.version))
            self.next_row += 1

    def delete(self, figure_ids=(), patents=()):
        self.version += 1
        for row in self.alive(self.version - 1):
            if row.values["figure_id"] in figure_ids or row.values["patent"] in patents:
                row.removed = self.version

    def compact(self):
        self.rows = self.alive()
        self.version += 1
        self.oldest = self.version

    def permitted(self, filter=None, version=None):
        return [row for row in self.alive(version) if permits(filter or Filter(), row.values)]

    def search(self, vectors, k, filter=None, version=None):
        """Lists of (row, score), best first."""
        queries = require_vectors(vectors, self.dim, self.metric, "queries")
        rows = self.permitted(filter, version)
        found = []
        for query in queries:
            scored = [(-exact_scores(query[None], row.vector[None], self.metric)[0, 0], row.number) for row in rows]
            found.append([(number, -score) for score, number in sorted(scored)[:k]])
        return found

    def count(self, filter=None, version=None):
        return counted(self.permitted(filter, version))

    def facets(self, filter, version=None):
        found = {}
        for facet in ("class", "locarno", "office", "view", "applicant", "year"):
            groups = {}
            for row in self.permitted(filter.without(facet), version):
                groups.setdefault(facet_value(facet, row.values, filter.date_field), []).append(row)
            found[facet] = {value: counted(groups[value]) for value in sorted(groups)}
        return found


def facet_value(facet, values, date_field):
    if facet == "class":
        return class_of(values["locarno"])
    if facet == "year":
        return str(values[date_field] // 10000) if values[date_field] else ""
    return values[facet]


def counted(rows):
    return Count(len(rows), len({row.values["patent"] for row in rows}))


def permits(filter, values):
    """The conditions of a filter, each as a sentence says it."""
    date = values[filter.date_field]
    if filter.before and not 0 < date < filter.before:
        return False
    if filter.since and date < filter.since:
        return False
    if filter.locarno and not {values["locarno"], class_of(values["locarno"])} & set(filter.locarno):
        return False
    for name in ("office", "view", "applicant"):
        if getattr(filter, name) and values[name] not in getattr(filter, name):
            return False
    if filter.patents and values["patent"] not in filter.patents:
        return False
    if values["patent"] in filter.not_patents:
        return False
    return all(word.casefold() in values["title"].casefold() for word in filter.title.split())


def some_figures(rng, names):
    """Random figures with these names."""
    return Figures.of(
        {
            "figure_id": name,
            "patent": f"P{rng.integers(12)}",
            "figure": str(rng.integers(1, 8)),
            "view": rng.choice(VIEWS),
            "title": rng.choice(TITLES),
            "locarno": rng.choice(CODES),
            "office": rng.choice(OFFICES),
            "applicant": rng.choice(("ACME", "")),
            "date": int(rng.choice((0, 20100101, 20100102, 20150630))),
            "filed": int(rng.choice((0, 20090101, 20140201))),
            "path": f"{name}.png",
        }
        for name in names
    )


def some_vectors(rng, count, dim):
    """Vectors on a coarse grid, so that scores are often equal."""
    vectors = rng.integers(-1, 2, (count, dim)).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1
    return vectors


def some_filter(rng):
    """A random filter, often empty, seldom with more than three conditions."""
    choices = {
        "before": lambda: int(rng.choice((20100101, 20100102, 20160101))),
        "since": lambda: int(rng.choice((20100102, 20150101))),
        "date_field": lambda: "filed",
        "locarno": lambda: tuple(rng.choice(("06", "14", "06-01", "14-04", "D14", "D14/486"), 2).tolist()),
        "office": lambda: tuple(rng.choice(OFFICES, 2).tolist()),
        "view": lambda: (str(rng.choice(VIEWS)),),
        "applicant": lambda: ("ACME",),
        "patents": lambda: tuple(f"P{i}" for i in rng.integers(14, size=5)),
        "not_patents": lambda: tuple(f"P{i}" for i in rng.integers(14, size=3)),
        "title": lambda: str(rng.choice(("chair", "STRASSE", "% \\", "office chair", "'now'", "_"))),
    }
    names = rng.choice(list(choices), rng.integers(0, 4), replace=False)
    return Filter(**{name: choices[name]() for name in names})
