"""The CMC of CUHK03 (Li et al., CVPR 2014): one random gallery image per identity, drawn anew several times."""

from collections.abc import Iterable

import numpy as np

from fastreid.retrieval.candidates import Candidates, Columns
from fastreid.retrieval.graded import is_known
from fastreid.retrieval.rank import evaluate_distances
from fastreid.retrieval.search import Search

REPEATS = 10


def evaluate_single_shot(
    distances,
    q_columns: Columns,
    g_columns: Columns,
    max_rank: int = 50,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the CMC (max_rank,), averaged over 10 random single-shot galleries, and the AP (V,).

    The AP is over the whole gallery. ``rng`` draws the single-shot galleries; the default is seeded with 0,
    so the result is the same every time.
    """
    metrics = evaluate_distances(distances, q_columns, g_columns, "camera", max_rank)
    distances = np.asarray(distances)
    candidates = Candidates("camera", q_columns, g_columns, *distances.shape)
    pids = np.asarray(q_columns["pids"]), np.asarray(g_columns["pids"])
    cmc = _single_shot_cmc([(slice(0, len(distances)), distances)], candidates, *pids, len(metrics.cmc), REPEATS, rng)
    return cmc, metrics.ap


def single_shot_cmc(
    search: Search, max_rank: int = 50, repeats: int = REPEATS, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Return the CMC, float32 (max_rank,), over ``repeats`` random single-shot galleries of every query.

    Each of them has one image of each identity, drawn among those that the rule permits. The search is read block by
    block, so that memory is bounded by its ``block_mib``; the draws do not depend on the blocks. ``rng`` is seeded with
    0 by default.

    Raises:
        ValueError: no query has a permitted match.
    """
    pids = search.q_columns["pids"], search.g_columns["pids"]
    max_rank = min(max_rank, len(search.gallery))
    return _single_shot_cmc(search.blocks(), search.candidates, *pids, max_rank, repeats, rng)


def _single_shot_cmc(
    blocks: Iterable[tuple[slice, np.ndarray]],
    candidates: Candidates,
    q_pids: np.ndarray,
    g_pids: np.ndarray,
    max_rank: int,
    repeats: int,
    rng: np.random.Generator | None,
) -> np.ndarray:
    rng = rng or np.random.default_rng(0)
    identities, identity_of = np.unique(g_pids, return_inverse=True)
    order = np.argsort(identity_of, kind="stable")  # gallery rows, identity by identity
    hits, valid = np.zeros(max_rank), 0
    for rows, distances in blocks:
        permitted = candidates.permitted(rows)
        for number, pid in enumerate(q_pids[rows]):
            kept = order if permitted is None else order[permitted[number, order]]
            ranks = _ranks(distances[number], kept, identity_of, identities, pid, repeats, rng)
            valid += len(ranks) > 0
            hits += np.bincount(ranks - 1, minlength=max_rank)[:max_rank] / repeats
    if not valid:
        raise ValueError("no query has a permitted match, so there is no single-shot CMC")
    return (np.cumsum(hits) / valid).astype(np.float32)


def _ranks(distances, kept, identity_of, identities, pid, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """Rank of the query's identity in each of ``repeats`` galleries, int64; empty when it has no permitted match.

    Args:
        kept: gallery rows that the query may be shown, identity by identity.
    """
    present, counts = np.unique(identity_of[kept], return_counts=True)
    own = np.flatnonzero(identities[present] == pid)
    if not len(own) or not is_known(np.asarray([pid]))[0]:
        return np.zeros(0, dtype=np.int64)
    draws = np.floor(rng.random((repeats, len(present))) * counts).astype(np.int64)
    drawn = kept[np.cumsum(counts) - counts + draws]
    row, distance = drawn[:, own], distances[drawn]
    before = (distance < distances[row]) | ((distance == distances[row]) & (drawn < row))
    return 1 + before.sum(axis=1)
