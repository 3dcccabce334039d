"""The inner loops of a scan by `_kernels`, several threads on the rows of a tile."""

import numpy as np

from fastreid.retrieval import _kernels
from fastreid.retrieval.scan import Scan, Tile
from fastreid.retrieval.threads import over_rows


def pairs_of(scan: Scan) -> _kernels.Pairs:
    return _kernels.Pairs(
        scan.queries.features, scan.gallery.features, scan.metric, scan.queries.norms, scan.gallery.norms
    )


def exact_scores(scan: Scan, q_rows: np.ndarray, g_rows: np.ndarray) -> np.ndarray:
    """Exact scores of the pairs (q_rows[i], g_rows[i]), float64 (n,)."""
    pairs, scores = pairs_of(scan), np.empty(len(q_rows))
    over_rows(lambda begin, end: pairs.scores(q_rows, g_rows, scores, begin, end), len(q_rows), smallest=256)
    return scores


def kernel_tile(tile: Tile, excluded: tuple[np.ndarray, np.ndarray]) -> _kernels.Tile:
    """A tile for the kernels; ``excluded`` are the lists of the whole block of queries."""
    import torch

    starts, positions = excluded
    scores = tile.scores
    scores = scores.numpy() if scores.dtype == torch.float32 else scores.view(torch.int16).numpy().view(np.uint16)
    return _kernels.Tile(
        scores,
        tile.bias.numpy(),
        tile.query_rows,
        tile.gallery_rows,
        tile.start,
        tile.limits,
        None if tile.mask is None else np.ascontiguousarray(tile.mask).view(np.uint8),
        (starts[tile.first : tile.first + len(tile.query_rows) + 1], positions),
    )


class Counter:
    """Counts, for the matches of a block of queries, the items ahead of them.

    Args:
        matches: a `counting.Matches`.
        excluded: CSR of scanning positions that do not count: all relevant items, and what the rule lists.
    """

    def __init__(self, scan: Scan, matches, excluded: tuple[np.ndarray, np.ndarray], ties: bool):
        self.pairs, self.matches, self.excluded, self.starts = pairs_of(scan), matches, excluded, matches.starts
        self.before = np.zeros(len(matches.rows), dtype=np.int64)
        self.ties = (np.zeros_like(self.before), np.zeros_like(self.before)) if ties else None

    def see(self, tile: Tile, lower: np.ndarray, upper: np.ndarray) -> int:
        """Count a tile; ``lower``, ``upper``: bands of the matches of its rows. Returns how many pairs were scored."""
        starts = self.starts[tile.first : tile.first + len(tile.query_rows) + 1]
        part = slice(starts[0], starts[-1])
        arrays = (self.matches.scores[part], self.matches.rows[part], self.before[part])
        ties = None if self.ties is None else tuple(tied[part] for tied in self.ties)
        shared = kernel_tile(tile, self.excluded), self.pairs, starts - starts[0], lower, upper, *arrays, ties
        return sum(over_rows(lambda begin, end: _kernels.count_ahead(*shared, begin, end), len(tile.query_rows)))

    def result(self) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
        """Items between the previous match and each match, int64 (n,); and tied items before, after, if asked for."""
        return self.before, self.ties


class Selector:
    """Keeps what may be among the ``k`` best of a block of queries."""

    def __init__(self, scan: Scan, rows: np.ndarray, k: int, excluded: tuple[np.ndarray, np.ndarray]):
        self.rows, self.k, self.excluded = rows, k, excluded
        self.selection = _kernels.Selection(pairs_of(scan), rows, scan.candidates.order, k)
        self.rounding = self.largest_bias = 0.0

    def see(self, tile: Tile) -> None:
        self.rounding = max(self.rounding, tile.rounding)
        self.largest_bias = max(self.largest_bias, tile.largest_bias)
        shared = kernel_tile(tile, self.excluded), tile.first, tile.error, self.rounding, self.largest_bias
        over_rows(lambda begin, end: self.selection.see(*shared, begin, end), len(tile.query_rows))

    def finish(self) -> tuple[np.ndarray, np.ndarray, int]:
        """The best gallery rows, int64 (r, k) padded with -1; their scores, float64 padded with -inf; pairs scored."""
        indices = np.full((len(self.rows), self.k), -1, dtype=np.int64)
        scores = np.full(indices.shape, -np.inf)
        shared = self.rounding, self.largest_bias
        scored = over_rows(
            lambda begin, end: self.selection.finish(*shared, indices, scores, begin, end), len(self.rows)
        )
        return indices, scores, sum(scored)
