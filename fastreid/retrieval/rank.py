"""Ranking metrics of a search, out of one pass over the scores and without sorting them.

A match is a permitted gallery item with the query's label; the rule removes items before anything is counted, and a
query without a match is dropped (and counted).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from fastreid.retrieval.candidates import Candidates, Columns, Rule, get_rule
from fastreid.retrieval.distance import as_features, check_finite, query_blocks
from fastreid.retrieval.graded import check_gains, grade, is_known
from fastreid.retrieval.measured import Keep, Measured, Work, here, matching_rows, measure, measure_blocks
from fastreid.retrieval.metrics import MAX_BIN_COUNT, parse_metric
from fastreid.retrieval.query_values import QueryValues
from fastreid.retrieval.results import RetrievalMetrics
from fastreid.retrieval.rules import parts_of
from fastreid.retrieval.search import BLOCK_MIB, Search, check_columns
from fastreid.utils.errors import require_whole

Over = Callable[[Work, Search], Measured | None]
GRADED_ITEMS = 100  # length of the lists that nDCG is computed from


def evaluate(
    q,
    g,
    q_columns: Columns,
    g_columns: Columns,
    metric: str = "cosine",
    rule: Rule | str | None = "camera",
    max_rank: int = 50,
    block_mib: float = BLOCK_MIB,
    *,
    relevance: str = "pids",
    ties: bool = False,
    gains: Mapping[str, float] | None = None,
) -> RetrievalMetrics:
    """Rank gallery features (G, D) for query features (Q, D) and measure the ranking; ties by gallery row.

    Args:
        q, g: arrays or tensors. On a CUDA device the scores are computed there.
        q_columns, g_columns: columns of length Q and G: ``relevance``, and what ``rule`` and ``gains`` need.
        max_rank: length of the CMC curve (not beyond G).
        relevance: the column that queries and their matches have in common; an unknown value ("" or -1) matches none.
        ties: also resolve ties in favour of and against the matches ("AP_optimistic", "AP_pessimistic").
        gains: gain of an item that agrees with the query in a column, for "nDCG@k" (k up to 100).

    Raises:
        ValueError: no gallery, no query with a match (with the likely cause), or a feature that is NaN or infinite.
    """
    search = Search(q, g, q_columns, g_columns, metric, rule, block_mib)
    return evaluate_search(search, max_rank, relevance=relevance, ties=ties, gains=gains)


def evaluate_search(
    search: Search,
    max_rank: int = 50,
    *,
    relevance: str = "pids",
    ties: bool = False,
    gains: Mapping[str, float] | None = None,
    keep: Iterable[str] | None = None,
    over: Over = here,
) -> RetrievalMetrics:
    """As `evaluate`, for a `Search` (which may be re-ranked).

    Args:
        keep: names of metrics whose values are kept instead of the ranks, which take 8 bytes for every match; what
            `RetrievalMetrics.table` shows, hits and reciprocal ranks are always among them.
        over: who does the work, see `fastreid.retrieval.measured.here`.
    """
    return _evaluate_and_list(search, 0, max_rank, relevance, ties, gains, keep, over)[0]


def evaluate_topk(
    search: Search,
    k: int,
    max_rank: int = 50,
    *,
    relevance: str = "pids",
    ties: bool = False,
    gains: Mapping[str, float] | None = None,
    keep: Iterable[str] | None = None,
    over: Over = here,
) -> tuple[RetrievalMetrics, np.ndarray, np.ndarray]:
    """Results of `evaluate_search` and of `topk_search` (indices, distances) out of one pass over the scores."""
    k = require_whole("k of a top-k search", k, 1)
    return _evaluate_and_list(search, k, max_rank, relevance, ties, gains, keep, over)


def _evaluate_and_list(search: Search, k: int, max_rank: int, relevance: str, ties: bool, gains, keep, over: Over):
    columns = search.q_columns, search.g_columns
    graded = _graded_items(*columns, max_rank, relevance, gains)
    if keep is not None:
        names = tuple(keep)
        keep = Keep(names, _max_bin_count(names, *(column[relevance] for column in columns)))
    wanted = {"top": min(k, len(search.gallery)), "gains": gains, "graded": graded, "keep": keep}
    found = over(partial(measure, relevance=relevance, ties=ties, **wanted), search)
    if found is None:
        return None, None, None
    return _metrics(found, columns, search.rule, max_rank, relevance), found.items, found.distances


def _max_bin_count(names: Iterable[str], q_labels: np.ndarray, g_labels: np.ndarray) -> int | None:
    """What the metrics ``names`` must know of all queries before they are divided; ``None`` where that is nothing."""
    if all(parse_metric(name).k != MAX_BIN_COUNT for name in names):
        return None
    return int(matching_rows(q_labels, g_labels).counts.max())


def evaluate_distances(
    distances,
    q_columns: Columns,
    g_columns: Columns,
    rule: Rule | str | None = "camera",
    max_rank: int = 50,
    block_mib: float = BLOCK_MIB,
    *,
    relevance: str = "pids",
    ties: bool = False,
    gains: Mapping[str, float] | None = None,
) -> RetrievalMetrics:
    """As `evaluate`, for distances (Q, G) that exist already."""
    distances, rule = distances.detach() if hasattr(distances, "detach") else np.asarray(distances), get_rule(rule)
    if distances.ndim != 2:
        raise ValueError(f"distances must have shape (Q, G); got {tuple(distances.shape)}")
    columns = (
        check_columns(q_columns, distances.shape[0], rule, "queries"),
        check_columns(g_columns, distances.shape[1], rule, "gallery"),
    )
    top = _graded_items(*columns, max_rank, relevance, gains)
    equal = matching_rows(columns[0][relevance], columns[1][relevance])
    candidates = Candidates(rule, *columns, *distances.shape)
    found = measure_blocks(_blocks_of(distances, block_mib), equal, candidates, ties, top)
    if gains:
        found = replace(found, graded=grade(found.items, candidates, *columns, gains))
    return _metrics(found, columns, rule, max_rank, relevance)


def _blocks_of(distances: np.ndarray, block_mib: float) -> Iterable[tuple[slice, np.ndarray]]:
    for rows in query_blocks(*distances.shape, block_mib):
        block = as_features(distances[rows], "distances")
        check_finite(block, rows)
        yield rows, block


def _graded_items(q_columns: Columns, g_columns: Columns, max_rank: int, relevance: str, gains) -> int:
    """Check what evaluation needs beyond search; return how many items nDCG needs."""
    for side, columns in (("queries", q_columns), ("gallery", g_columns)):
        if relevance not in columns:
            given = ", ".join(columns) or "none"
            raise ValueError(f"evaluation needs the column '{relevance}' of the {side}; given: {given}")
        if not len(columns[relevance]):
            raise ValueError(f"evaluation needs at least one item on each side; there are none among the {side}")
    require_whole("max_rank, the length of the CMC curve,", max_rank, 1)
    if gains:
        check_gains(gains, q_columns, g_columns)
    return min(GRADED_ITEMS, len(g_columns[relevance])) if gains else 0


def _metrics(found: Measured, columns, rule: Rule, max_rank: int, relevance: str) -> RetrievalMetrics:
    q_labels, g_labels = (column[relevance] for column in columns)
    ranks, max_rank = found.ranks, min(max_rank, len(g_labels))
    if not ranks.counts.any():
        raise ValueError(_why_no_match(q_labels, g_labels, found.same, rule, relevance))
    more = {"max_bin_count": int(found.same.max()), "graded": found.graded}
    if isinstance(ranks, QueryValues):
        return RetrievalMetrics(ranks.counts, None, max_rank, **more, kept=ranks)
    ties = {"optimistic": ranks.optimistic, "pessimistic": ranks.pessimistic}
    return RetrievalMetrics.from_ranks(ranks.counts, ranks.ranks, max_rank, **ties, **more)


def _why_no_match(q_labels: np.ndarray, g_labels: np.ndarray, same: np.ndarray, rule: Rule, relevance: str) -> str:
    what, matched = "id" if relevance == "pids" else f"value of '{relevance}'", int((same > 0).sum())
    if not is_known(q_labels).any():
        cause = f"none of them has a known {what} (-1 and '' mean unknown)"
    elif not matched:
        cause = f"the {what}s are disjoint: none of the query {what}s (such as {q_labels[0]}) occurs in the gallery"
    else:
        names = "+".join(type(part).__name__ for part in parts_of(rule))
        cause = f"{matched} queries have their {what} in the gallery, but rule {names} excludes all of them"
        if any("camids" in part.needs for part in parts_of(rule)):
            cause += " (do queries and gallery carry the same camera id?)"
    return f"none of the {len(q_labels)} queries has a match: {cause}"
