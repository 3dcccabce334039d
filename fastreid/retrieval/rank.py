"""Ranking metrics (mAP, CMC, mINP, AP@10), streamed over blocks of queries.

Conventions of Market-1501 as fast-reid has them: a match is a permitted gallery item with the query's id, the
rule removes items before anything is counted, and a query without a match is dropped (and counted).
"""

import logging
from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np

from fastreid.retrieval import _rank_py
from fastreid.retrieval.candidates import Columns, Rule, get_rule
from fastreid.retrieval.distance import as_features, check_finite, query_blocks
from fastreid.retrieval.results import RetrievalMetrics
from fastreid.retrieval.search import Search, check_columns, permitted_pairs

try:
    from fastreid.retrieval import _rank_cy
except ImportError:
    _rank_cy = None

HAS_CYTHON = _rank_cy is not None


@cache
def _say_slower() -> None:
    logging.getLogger(__name__).warning("fastreid was installed without its compiled part; ranking is slower")


def _kernel(use_cython: bool):
    if use_cython and not HAS_CYTHON:
        _say_slower()
    return (_rank_cy if use_cython and HAS_CYTHON else _rank_py).relevant_ranks


def evaluate(
    q,
    g,
    q_columns: Columns,
    g_columns: Columns,
    metric: str = "cosine",
    rule: Rule | str | None = "camera",
    max_rank: int = 50,
    block_mib: float = 256,
) -> RetrievalMetrics:
    """Rank gallery features (G, D) for query features (Q, D) and measure the ranking; ties by gallery row.

    Args:
        q_columns, g_columns: columns of length Q and G: "pids" (matches), and what ``rule`` needs.
        max_rank: length of the CMC curve (not beyond G).

    Raises:
        ValueError: no gallery, no query with a match (with the likely cause), or a distance that is NaN or
            infinite.
    """
    return evaluate_search(Search(q, g, q_columns, g_columns, metric, rule, block_mib), max_rank)


def evaluate_search(search: Search, max_rank: int = 50, use_cython: bool = True) -> RetrievalMetrics:
    """As `evaluate`, for a `Search` (which may be re-ranked)."""
    return _evaluate_blocks(
        search.blocks(), search.q_columns, search.g_columns, search.rule, max_rank, use_cython
    )


def evaluate_distances(
    distances,
    q_columns: Columns,
    g_columns: Columns,
    rule: Rule | str | None = "camera",
    max_rank: int = 50,
    block_mib: float = 256,
    use_cython: bool = True,
) -> RetrievalMetrics:
    """As `evaluate`, for distances (Q, G) that exist already."""
    distances, rule = np.asarray(distances), get_rule(rule)
    q_columns = check_columns(q_columns, distances.shape[0], rule, "queries")
    g_columns = check_columns(g_columns, distances.shape[1], rule, "gallery")
    return _evaluate_blocks(
        _blocks_of(distances, block_mib), q_columns, g_columns, rule, max_rank, use_cython
    )


def _blocks_of(distances: np.ndarray, block_mib: float) -> Iterator[tuple[slice, np.ndarray]]:
    for rows in query_blocks(*distances.shape, block_mib):
        block = as_features(distances[rows], "distances")
        check_finite(block, rows)
        yield rows, block


def relevant_pairs(q_columns: Columns, g_columns: Columns, rows: slice) -> np.ndarray:
    """Bool (b, G): the gallery item has the id of the query."""
    return q_columns["pids"][rows, None] == g_columns["pids"][None, :]


def _evaluate_blocks(
    blocks: Iterable[tuple[slice, np.ndarray]],
    q_columns: Columns,
    g_columns: Columns,
    rule: Rule,
    max_rank: int,
    use_cython: bool,
) -> RetrievalMetrics:
    num_gallery = _check_ids(q_columns, g_columns, max_rank)
    kernel, parts = _kernel(use_cython), []
    for rows, distances in blocks:
        permitted = permitted_pairs(rule, q_columns, g_columns, rows)
        parts.append(kernel(distances, relevant_pairs(q_columns, g_columns, rows), permitted))
    counts, ranks = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not len(ranks):
        raise ValueError(_why_no_match(q_columns["pids"], g_columns["pids"], rule))
    return RetrievalMetrics.from_ranks(counts, ranks, min(max_rank, num_gallery))


def _check_ids(q_columns: Columns, g_columns: Columns, max_rank: int) -> int:
    """Check what evaluation needs beyond search; return the number of gallery items."""
    for side, columns in (("queries", q_columns), ("gallery", g_columns)):
        if "pids" not in columns:
            raise ValueError(
                f"evaluation needs the column 'pids' of the {side}; given: {', '.join(columns) or 'none'}"
            )
        if not len(columns["pids"]):
            raise ValueError(f"evaluation needs at least one item; the {side} have none")
    if max_rank < 1:
        raise ValueError(f"max_rank, the length of the CMC curve, must be at least 1; got {max_rank}")
    return len(g_columns["pids"])


def _why_no_match(q_pids: np.ndarray, g_pids: np.ndarray, rule: Rule) -> str:
    shared = int(np.isin(q_pids, g_pids).sum())
    if not shared:
        cause = f"the ids are disjoint: none of the query ids (such as {q_pids[0]}) occurs in the gallery"
    else:
        cause = (
            f"{shared} queries have their id in the gallery, but rule {type(rule).__name__} excludes all of"
            " them (under the camera rule: do queries and gallery carry the same camera id?)"
        )
    return f"none of the {len(q_pids)} queries has a match: {cause}"
