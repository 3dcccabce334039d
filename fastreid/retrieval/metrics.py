"""Ranking metrics per query, computed from nothing but the ranks of the query's matches.

With R matches at ranks r_1 < ... < r_R (1-based, among the permitted gallery items), the precision at the i-th match is
i / r_i, and every metric here but nDCG follows from sums over matches. Metrics go by their names, see `parse_metric`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastreid.utils.errors import nearest

ALL, MAX_BIN_COUNT = "all", "max_bin_count"
NORMS, TIES = ("min", "R", "hits"), ("optimistic", "pessimistic")
ALIASES = {"mAP": "AP", "mINP": "INP", "CMC": "hit"}


@dataclass(frozen=True, eq=False)
class Matches:
    """Ranks of the matches of V queries that have at least one.

    Attributes:
        counts: int64 (V,), number of matches R, at least 1.
        ranks: int64 (sum of counts,), 1-based, ascending per query, query after query.
    """

    counts: np.ndarray
    ranks: np.ndarray

    @cached_property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def precision(self) -> np.ndarray:
        """Precision i / r_i at each match, float64 (sum of counts,)."""
        return (np.arange(len(self.ranks)) - np.repeat(self.starts, self.counts) + 1) / self.ranks

    @property
    def first(self) -> np.ndarray:
        """Rank of the first match, int64 (V,)."""
        return self.ranks[self.starts]

    @property
    def last(self) -> np.ndarray:
        return self.ranks[self.starts + self.counts - 1]

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Sum of ``values`` (one per match) for each query, (V,)."""
        return np.add.reduceat(values, self.starts)

    def hits(self, k: int | np.ndarray) -> np.ndarray:
        """Number of matches at rank <= k, int64 (V,); ``k`` is one number or one per query."""
        k = np.repeat(k, self.counts) if np.ndim(k) else k
        return self.sum((self.ranks <= k).astype(np.int64))


def average_precision(matches: Matches, k: int | None = None, norm: str | None = "R") -> np.ndarray:
    """Non-interpolated average precision (Manning, Raghavan and Schuetze, 2008, section 8.4), float64 (V,).

    ``sum of i / r_i over r_i <= k``, divided by R (the default; a missed match costs), by ``min(R, k)`` (norm "min":
    the first k can be perfect; the usual AP@k) or by the hits found (norm "hits": a missed match costs nothing; 0
    without a hit). "min" and "R" at k = 10 are the two readings of the DIRA challenge's mAP@10.
    """
    if k is None:
        return matches.sum(matches.precision) / matches.counts
    total = matches.sum(matches.precision * (matches.ranks <= k))
    if norm == "hits":
        return total / np.maximum(matches.hits(k), 1)
    return total / (np.minimum(matches.counts, k) if norm == "min" else matches.counts)


def hit(matches: Matches, k: int) -> np.ndarray:
    """1.0 with a match at rank <= k, else 0.0; averaged: the CMC at k (Moon and Phillips, 2001), or top-k accuracy."""
    return (matches.first <= k).astype(np.float64)


def recall(matches: Matches, k: int) -> np.ndarray:
    """Share of the R matches at rank <= k (Manning et al., 2008, section 8.3). Below 1 by force where R > k."""
    return matches.hits(k) / matches.counts


def capped_recall(matches: Matches, k: int) -> np.ndarray:
    """``hits / min(k, R)``: recall that can reach 1 also where R > k (BEIR, Thakur et al., 2021, "capped recall")."""
    return matches.hits(k) / np.minimum(matches.counts, k)


def precision(matches: Matches, k: int) -> np.ndarray:
    """``hits / k``, also where fewer than k items are permitted (as trec_eval's ``P_k``)."""
    return matches.hits(k) / k


def reciprocal_rank(matches: Matches, k: int | None = None) -> np.ndarray:
    """``1 / r_1``, 0 where r_1 > k (Voorhees, TREC-8, 1999); its mean over queries is the MRR."""
    values = 1 / matches.first
    return values if k is None else np.where(matches.first <= k, values, 0.0)


def inverse_negative_penalty(matches: Matches) -> np.ndarray:
    """``R / r_R``, what the hardest match costs (Ye et al., TPAMI 2021, section 5.1; averaged: mINP)."""
    return matches.counts / matches.last


def r_precision(matches: Matches) -> np.ndarray:
    """``hits(R) / R``, precision and recall at once (Manning et al., 2008, section 8.4)."""
    return matches.hits(matches.counts) / matches.counts


@dataclass(frozen=True)
class _Definition:
    compute: Callable[..., np.ndarray] | None  # None: nDCG, which needs more than ranks
    cutoff: str  # "required", "optional" or "" where the metric has none


DEFINITIONS = {
    "AP": _Definition(average_precision, "optional"),
    "hit": _Definition(hit, "required"),
    "recall": _Definition(recall, "required"),
    "capped_recall": _Definition(capped_recall, "required"),
    "precision": _Definition(precision, "required"),
    "MRR": _Definition(reciprocal_rank, "optional"),
    "INP": _Definition(inverse_negative_penalty, ""),
    "R-precision": _Definition(r_precision, ""),
    "nDCG": _Definition(None, "required"),
}


@dataclass(frozen=True)
class Metric:
    """A metric's name taken apart.

    Attributes:
        name: a key of `DEFINITIONS`.
        k: how many of the first items count; "max_bin_count" is a number that only the data can tell; ``None``: all.
        norm: what AP@k is divided by, one of `NORMS`; ``None`` elsewhere.
        ties: "optimistic" or "pessimistic" for the ranks with ties broken for or against the matches; ``None``: by row.
    """

    name: str
    k: int | str | None = None
    norm: str | None = None
    ties: str | None = None

    def compute(self, matches: Matches, k: int | None) -> np.ndarray:
        """Value per query, float64 (V,); ``k`` is this metric's, as a number."""
        options = {"k": k} if DEFINITIONS[self.name].cutoff else {}
        if self.norm:
            options["norm"] = self.norm
        return DEFINITIONS[self.name].compute(matches, **options)


_PATTERN = re.compile(
    r"(?P<name>[A-Za-z]+(?:[-_][A-Za-z]+)*?)(?:@(?P<k>all|max_bin_count|[1-9]\d*))?"
    rf"(?:_(?P<norm>{'|'.join(NORMS)}))?(?:_(?P<ties>{'|'.join(TIES)}))?"
)


def parse_metric(text: str) -> Metric:
    """Take the name of a metric apart.

    Examples: ``AP``, ``recall@10``, ``AP@10_min``, ``AP@max_bin_count_hits``, ``AP_optimistic``, ``hit@1_pessimistic``.
    ``mAP``, ``mINP``, ``CMC@5`` and ``Rank-5`` mean AP, INP and hit@5; ``AP@all`` is AP. ``AP@max_bin_count`` is
    divided by R.

    Raises:
        ValueError: not such a name; the message says what is allowed and the nearest match.
    """
    parts = _PATTERN.fullmatch(re.sub(r"^Rank-(?=\d)", "hit@", text))
    name = ALIASES.get(parts["name"], parts["name"]) if parts else ""
    if name not in DEFINITIONS:
        raise ValueError(f"unknown metric '{text}'; allowed: {', '.join(_examples('k'))}.{_suggestion(text)}")
    norm, ties = parts["norm"], parts["ties"]
    k = int(parts["k"]) if (parts["k"] or "").isdigit() else None if parts["k"] == ALL else parts["k"]
    if name == "AP" and k == MAX_BIN_COUNT:
        norm = norm or "R"
    problem = _problem(name, k, norm, ties)
    if problem:
        raise ValueError(f"metric '{text}': {problem}")
    return Metric(name, k, norm, ties)


def _problem(name: str, k: int | str | None, norm: str | None, ties: str | None) -> str:
    """What is wrong with the parts of a name, or ""."""
    cutoff = DEFINITIONS[name].cutoff
    if cutoff == "required" and k is None:
        return f"{name} needs the number of items that count, as in {name}@10"
    if not cutoff and k is not None:
        return f"{name} looks at all items and takes no @{k}"
    if name == "AP" and k is not None and norm is None:
        return f"say what AP@{k} is divided by: " + ", ".join(f"AP@{k}_{norm}" for norm in NORMS)
    if norm and (name != "AP" or k is None):
        return f"_{norm} belongs to AP@k only, as in AP@10_{norm}"
    if name == "nDCG" and (ties or k == MAX_BIN_COUNT):
        return "nDCG is computed from one list of the first k items: nDCG@10"
    return ""


def _examples(k: str) -> list[str]:
    """Every kind of metric name, with ``k`` in the place of the number."""
    bare = [name for name, definition in DEFINITIONS.items() if definition.cutoff != "required"]
    cut = [f"{name}@{k}" for name, definition in DEFINITIONS.items() if definition.cutoff and name != "AP"]
    normed = [f"AP@{cutoff}_{norm}" for cutoff in (k, MAX_BIN_COUNT) for norm in NORMS]
    return [*bare, *cut, *normed, f"AP@{MAX_BIN_COUNT}", *(f"AP_{ties}" for ties in TIES)]


def _suggestion(text: str) -> str:
    number = re.search(r"[1-9]\d*", text)
    return nearest(text, _examples(number[0] if number else "10"))
