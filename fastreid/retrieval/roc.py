"""Verification view of a ranking: is this pair the same identity?"""

from collections.abc import Iterator, Sequence

import numpy as np

from fastreid.retrieval.backends import backend_of
from fastreid.retrieval.candidates import Columns, join_lists
from fastreid.retrieval.counting import in_scan_order
from fastreid.retrieval.graded import agrees, is_known
from fastreid.retrieval.measured import matching_rows
from fastreid.retrieval.order_statistics import Chunk, Histogram, order_statistics
from fastreid.retrieval.scan import Tile
from fastreid.retrieval.search import Search
from fastreid.retrieval.sides import UNIT_FLOAT32

CHUNK_PAIRS = 1 << 18  # pairs looked at together
SAME_PAIRS = 1 << 18  # pairs of the same id scored together


def tpr_at_fpr(
    search: Search, fprs: Sequence[float] = (1e-4, 1e-3, 1e-2), relevance: str = "pids"
) -> dict[float, float]:
    """Return the true positive rate at each false positive rate, over all permitted pairs.

    A pair is accepted when its distance is at most a threshold; the threshold of a rate f is the largest that accepts
    no more than the share f of the pairs of different ids. Distances are the exact ones of `scan` (float64 from the
    features as given), or what re-ranking made of them. The pairs of different ids are never kept: see
    `order_statistics`.

    Args:
        relevance: the column in which the two of a pair of the same id agree. Queries with an unknown value ("" or -1)
            take no part.

    Raises:
        ValueError: a rate outside 0..1, or no permitted pair of the same id, or none of different ids.
    """
    wrong = [fpr for fpr in fprs if not 0 <= fpr <= 1]
    if wrong:
        raise ValueError(f"a false positive rate (fprs) must lie in 0..1; got {wrong[0]}")
    pairs = (_ScannedPairs if search.rescore is None else _TablePairs)(search, relevance)
    histogram, num_same = Histogram(pairs.different()), sum(len(values) for values in pairs.same())
    impostors = histogram.total
    if not num_same or not impostors:
        raise ValueError(f"TPR at FPR needs pairs of both kinds; got {num_same} same, {impostors} different")
    # The first impostor beyond the allowed ones must stay out: accept what is strictly nearer than it.
    first_out = {fpr: _allowed(fpr, impostors) for fpr in fprs}
    ranks = sorted({rank for rank in first_out.values() if rank < impostors})
    thresholds = dict(zip(ranks, order_statistics(pairs.different, histogram, ranks), strict=True))
    limits = np.array([thresholds.get(first_out[fpr], np.inf) for fpr in fprs])
    accepted = sum(np.count_nonzero(values[:, None] < limits, axis=0) for values in pairs.same())
    return dict(zip(fprs, (accepted / num_same).tolist(), strict=True))


def _allowed(fpr: float, impostors: int) -> int:
    """Largest number of impostors whose share is at most ``fpr``."""
    count = int(fpr * impostors)
    return next(n for n in (count + 1, count, count - 1) if n / impostors <= fpr)


class _ScannedPairs:
    """The permitted pairs of a search; smaller values (minus the scores) are nearer."""

    def __init__(self, search: Search, relevance: str):
        self.scan, self.candidates = search.scan(), search.candidates
        self.scan.low = False  # the narrower the error, the fewer pairs lie within it of a threshold
        self.backend = backend_of(self.scan)
        self.equal = matching_rows(search.q_columns[relevance], search.g_columns[relevance])
        self.known = is_known(search.q_columns[relevance])

    def values(self, rows: np.ndarray, items: np.ndarray) -> np.ndarray:
        return -self.backend.exact_scores(self.scan, np.ascontiguousarray(rows), np.ascontiguousarray(items))

    def same(self) -> Iterator[np.ndarray]:
        """Exact values of the pairs of the same id, float64 (n,), in portions."""
        portion = np.cumsum(self.equal.counts) // SAME_PAIRS
        for rows in np.split(np.arange(len(portion)), np.flatnonzero(np.diff(portion)) + 1):
            starts, items = self.equal(rows)
            rows = np.repeat(rows, np.diff(starts))
            kept = self.candidates.permits_pairs(rows, items)
            yield self.values(rows[kept], items[kept])

    def different(self) -> Iterator[Chunk]:
        """All pairs of queries with a known value, those of different ids wanted."""
        for rows in self.scan.query_blocks():
            rows = rows[self.known[rows]]
            offsets, width = self.scan.offsets(rows), self.candidates.num_gallery
            unwanted = join_lists(len(rows), width, self.equal(rows), self.candidates.excluded(rows))
            unwanted = in_scan_order(unwanted, self.candidates)
            for tile in self.scan.tiles(rows):
                scores, step = tile.scores.cpu().numpy(), max(1, CHUNK_PAIRS // max(1, len(tile.gallery_rows)))
                for start in range(0, len(tile.query_rows), step):
                    part = slice(start, min(start + step, len(tile.query_rows)))
                    yield self._chunk(tile, part, scores[part], offsets[tile.first :][part], unwanted)

    def _chunk(self, tile: Tile, part: slice, scores: np.ndarray, offsets: np.ndarray, unwanted) -> Chunk:
        values = scores + tile.bias.cpu().numpy().astype(np.float64)
        values *= -self.scan.slope
        values -= offsets[:, None]
        reach = np.abs(values).max(initial=0, axis=1, keepdims=True)
        rounding = 2 * UNIT_FLOAT32 * reach + 1e-12 * np.abs(offsets[:, None])
        rows = tile.query_rows[part]
        return Chunk(
            values=values.astype(np.float32),
            error=self.scan.slope * tile.error[part, None] + rounding,
            wanted=_wanted(tile, part, unwanted),
            exact=lambda at, columns: self.values(rows[at], tile.gallery_rows[columns]),
        )


def _wanted(tile: Tile, part: slice, unwanted: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which pairs of some rows of a tile are permitted and not in the lists ``unwanted`` of scanning positions."""
    shape = part.stop - part.start, len(tile.gallery_rows)
    wanted = np.ones(shape, dtype=bool) if tile.mask is None else tile.mask[part].copy()
    if tile.limits is not None:
        wanted &= tile.start + np.arange(shape[1]) < tile.limits[part, None]
    starts, positions = unwanted
    starts = starts[tile.first + part.start : tile.first + part.stop + 1]
    rows, columns = np.repeat(np.arange(shape[0]), np.diff(starts)), positions[starts[0] : starts[-1]] - tile.start
    inside = (columns >= 0) & (columns < shape[1])
    wanted[rows[inside], columns[inside]] = False
    return wanted


class _TablePairs:
    """The same for the distances of a re-ranked search, which are exact as they are."""

    def __init__(self, search: Search, relevance: str):
        self.search = search
        self.query, self.item = search.q_columns[relevance], search.g_columns[relevance]

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Distances, and the masks of the permitted pairs of the same id and of different ids."""
        for rows, distances in self.search.blocks():
            query, permitted = self.query[rows, None], self.search.permitted(rows)
            same, counted = agrees(query, self.item), is_known(query) & (True if permitted is None else permitted)
            yield distances, same & counted, ~same & counted

    def same(self) -> Iterator[np.ndarray]:
        for distances, same, _ in self._blocks():
            yield distances[same].astype(np.float64)

    def different(self) -> Iterator[Chunk]:
        for distances, _, different in self._blocks():
            values = distances.astype(np.float32, copy=False)
            error = 0.0 if distances.dtype == np.float32 else UNIT_FLOAT32 * np.abs(distances).max(initial=0)
            yield Chunk(values, np.full((len(values), 1), error), different, _looked_up(distances))


def _looked_up(distances: np.ndarray):
    return lambda rows, columns: distances[rows, columns].astype(np.float64)


def pair_scores(distances, q_columns: Columns, g_columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Return fast-reid's (scores, labels) of all pairs but those of the same id and camera.

    Scores are the distances (n,), same ids first; label 0 is the same id, 1 a different one. Beware: fast-reid fed them
    to a ROC curve as if 1 were the same id.
    """
    distances = np.asarray(distances)
    same_pid, same_camera = (
        np.asarray(q_columns[name])[:, None] == np.asarray(g_columns[name]) for name in ("pids", "camids")
    )
    if distances.shape != same_pid.shape:
        raise ValueError(f"distances must have shape {same_pid.shape}, queries by gallery; got {distances.shape}")
    same, different = distances[same_pid & ~same_camera], distances[~same_pid]
    return np.concatenate([same, different]), np.repeat([0.0, 1.0], [len(same), len(different)])
