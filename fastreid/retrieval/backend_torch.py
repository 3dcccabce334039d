"""The inner loops of a scan in tensor operations, on the device of the features. Same results as `backend_compiled`.

On a GPU the float64 sums have another order than on a CPU, so that scores may differ in the last bit.
"""

import numpy as np

from fastreid.retrieval.scan import Scan, Tile, band
from fastreid.retrieval.sides import tensor_of

PAIRS_AT_ONCE = 1 << 22  # numbers per chunk of exact work
SPARE = 64  # candidates of a query beyond 2 k


def exact_scores(scan: Scan, q_rows: np.ndarray, g_rows: np.ndarray) -> np.ndarray:
    """Exact scores of the pairs (q_rows[i], g_rows[i]), float64 (n,)."""
    scores, step = np.empty(len(q_rows)), max(1, PAIRS_AT_ONCE // max(1, scan.dim))
    for start in range(0, len(q_rows), step):
        part = slice(start, start + step)
        scores[part] = _score(scan, q_rows[part], g_rows[part])
    return scores


def _score(scan: Scan, q_rows: np.ndarray, g_rows: np.ndarray) -> np.ndarray:
    queries = tensor_of(scan.queries.features, q_rows).double()
    gallery = tensor_of(scan.gallery.features, g_rows).double()
    if scan.metric == "euclidean":
        return -((queries - gallery) ** 2).sum(dim=1).cpu().numpy()
    norms = scan.queries.norms[q_rows] * scan.gallery.norms[g_rows]
    return np.divide((queries * gallery).sum(dim=1).cpu().numpy(), norms, out=np.zeros(len(norms)), where=norms > 0)


def _values(tile: Tile, excluded: tuple[np.ndarray, np.ndarray]):
    """Approximate scores (r, c), float32; -inf where a pair takes no part."""
    import torch

    values = tile.scores.float() + tile.bias
    columns = torch.arange(values.shape[1], device=values.device)
    if tile.limits is not None:
        limits = torch.from_numpy(tile.limits - tile.start).to(values.device)
        values.masked_fill_(columns >= limits[:, None], -torch.inf)
    if tile.mask is not None:
        values.masked_fill_(~torch.from_numpy(tile.mask).to(values.device), -torch.inf)
    starts, positions = excluded
    counts = np.diff(starts[tile.first : tile.first + len(values) + 1])
    rows = np.repeat(np.arange(len(values)), counts)
    items = positions[starts[tile.first] : starts[tile.first + len(values)]] - tile.start
    inside = (items >= 0) & (items < values.shape[1])
    rows, items = (torch.from_numpy(part[inside]).to(values.device) for part in (rows, items))
    values[rows, items] = -torch.inf
    return values


class Counter:
    """As `backend_compiled.Counter`."""

    def __init__(self, scan: Scan, matches, excluded: tuple[np.ndarray, np.ndarray], ties: bool):
        self.scan, self.matches, self.excluded, self.starts = scan, matches, excluded, matches.starts
        self.before = np.zeros(len(matches.rows), dtype=np.int64)
        self.ties = (np.zeros_like(self.before), np.zeros_like(self.before)) if ties else None

    def see(self, tile: Tile, lower: np.ndarray, upper: np.ndarray) -> int:
        import torch

        first = tile.first
        counts = self.matches.counts[first : first + len(tile.query_rows)]
        if not counts.any():
            return 0
        negated = -_values(tile, self.excluded)
        bands = [torch.from_numpy(_padded(-band, counts)).to(negated.device) for band in (upper, lower)]
        last = torch.searchsorted(bands[0], negated, right=True)  # first threshold whose band lies below the value
        undecided = (torch.searchsorted(bands[1], negated) < last) & torch.isfinite(negated)
        width = counts.max() + 1
        local = torch.arange(len(counts), device=negated.device)[:, None] * width
        counted = (local + last)[torch.isfinite(negated) & ~undecided]
        histogram = torch.bincount(counted, minlength=len(counts) * width).cpu().numpy().reshape(-1, width)
        part = slice(self.starts[first], self.starts[first + len(counts)])
        self.before[part] += histogram[np.arange(width) < counts[:, None]]
        rows, columns = (pairs.cpu().numpy() for pairs in undecided.nonzero(as_tuple=True))
        self._decide(first + rows, tile.query_rows[rows], tile.gallery_rows[columns])
        return len(rows)

    def _decide(self, local: np.ndarray, q_rows: np.ndarray, g_rows: np.ndarray) -> None:
        """Place items by their exact scores."""
        scores = exact_scores(self.scan, q_rows, g_rows)
        step = max(1, PAIRS_AT_ONCE // max(1, self.matches.counts.max(initial=1)))
        for start in range(0, len(local), step):
            part = slice(start, start + step)
            self._place(local[part], scores[part], g_rows[part])

    def _place(self, local: np.ndarray, scores: np.ndarray, items: np.ndarray) -> None:
        starts, counts = self.starts[local], self.matches.counts[local]
        at = starts[:, None] + np.arange(counts.max(initial=0))
        real = at < (starts + counts)[:, None]
        at = np.where(real, at, 0)
        equal = real & (self.matches.scores[at] == scores[:, None])
        lower_row = self.matches.rows[at] < items[:, None]
        ahead = (real & (self.matches.scores[at] > scores[:, None])) | (equal & lower_row)
        index = ahead.sum(axis=1)
        np.add.at(self.before, (starts + index)[index < counts], 1)
        if self.ties is not None:
            np.add.at(self.ties[0], at[equal & ~lower_row], 1)
            np.add.at(self.ties[1], at[equal & lower_row], 1)

    def result(self) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
        return self.before, self.ties


def _padded(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lists of the given lengths as the rows of a table, filled up with +inf."""
    table = np.full((len(counts), counts.max()), np.inf, dtype=values.dtype)
    table[np.arange(table.shape[1]) < counts[:, None]] = values
    return table


class Selector:
    """As `backend_compiled.Selector`: keeps more than k items per query and the best value it let go.

    A query whose k-th exact score that value could still reach is searched again, see `_SecondLook`.
    """

    def __init__(self, scan: Scan, rows: np.ndarray, k: int, excluded: tuple[np.ndarray, np.ndarray]):
        import torch

        self.scan, self.rows, self.k, self.excluded = scan, rows, k, excluded
        self.width = min(2 * k + SPARE, len(scan.gallery))
        # made here: tiles are seen by several threads at once, each with rows of its own
        self.values = torch.full((len(rows), self.width), -torch.inf, device=scan.device)
        self.positions = torch.full(self.values.shape, -1, dtype=torch.int64, device=scan.device)
        self.lost = np.full(len(rows), -np.inf)  # at least the largest true tile score of what was let go

    def see(self, tile: Tile) -> None:
        import torch

        values = _values(tile, self.excluded)
        part = slice(tile.first, tile.first + len(values))
        positions = torch.arange(tile.start, tile.start + values.shape[1], device=values.device).expand_as(values)
        values = torch.cat([self.values[part], values], dim=1)
        positions = torch.cat([self.positions[part], positions], dim=1)
        best, at = values.topk(self.width + 1, dim=1)
        self.values[part], self.positions[part] = best[:, :-1], positions.gather(1, at[:, :-1])
        lost = best[:, -1].double().cpu().numpy()
        size = np.where(np.isneginf(lost), 0, np.abs(lost))
        slack = tile.error + 1.02 * tile.rounding * (size + tile.largest_bias + 2 * tile.error)
        self.lost[part] = np.maximum(self.lost[part], lost + slack)

    def finish(self) -> tuple[np.ndarray, np.ndarray, int]:
        indices = np.full((len(self.rows), self.k), -1, dtype=np.int64)
        scores = np.full(indices.shape, -np.inf)
        kept = self.positions.cpu().numpy()
        kept[self.values.isneginf().cpu().numpy()] = -1
        local, columns = np.nonzero(kept >= 0)
        order, positions = self.scan.candidates.order, kept[local, columns]
        items = positions if order is None else order[positions]
        exact = exact_scores(self.scan, self.rows[local], items)
        ranked = np.lexsort((items, -exact, local))
        at = np.arange(len(local)) - np.searchsorted(local, local)
        ranked, at = ranked[at < self.k], at[at < self.k]
        indices[local[ranked], at], scores[local[ranked], at] = items[ranked], exact[ranked]
        scored = len(local)
        limit = self.lost * self.scan.slope + self.scan.offsets(self.rows)
        limit += 1e-9 * np.where(np.isneginf(limit), 0, np.abs(limit))
        open_rows = np.flatnonzero(np.isfinite(limit) & ~(scores[:, -1] > limit))
        if len(open_rows):
            scored += self._again(open_rows, indices, scores)
        return indices, scores, scored

    def _again(self, open_rows: np.ndarray, indices: np.ndarray, scores: np.ndarray) -> int:
        rows = self.rows[open_rows]
        second = _SecondLook(self.scan, rows, indices[open_rows], scores[open_rows])
        self.scan.visit(rows, second.see)
        indices[open_rows], scores[open_rows] = second.items, second.scores
        return second.scored


class _SecondLook:
    """Lists of the best items so far, improved by every item that may still belong there, each scored exactly.

    Args:
        items, scores: int64 and float64 (r, k), the lists; no better item than their last is missing beyond doubt.
    """

    def __init__(self, scan: Scan, rows: np.ndarray, items: np.ndarray, scores: np.ndarray):
        from fastreid.retrieval.counting import in_scan_order

        self.scan, self.rows, self.items, self.scores = scan, rows, items, scores
        self.excluded = in_scan_order(scan.candidates.excluded(rows), scan.candidates)
        offsets = scan.offsets(rows)
        self.thresholds = (scores[:, -1] - offsets) / scan.slope
        self.slack = 1e-12 * (np.abs(scores[:, -1]) + np.abs(offsets))
        self.scored = 0

    def see(self, tile: Tile) -> None:
        import torch

        values = _values(tile, self.excluded)
        part = slice(tile.first, tile.first + len(values))
        lower, _ = band(tile, np.ones(len(values), dtype=np.int64), self.thresholds[part], self.slack[part])
        lower = torch.from_numpy(lower).to(values.device)[:, None]
        local, columns = (x.cpu().numpy() for x in ((values >= lower) & torch.isfinite(values)).nonzero(as_tuple=True))
        for start in range(0, len(local), PAIRS_AT_ONCE // 8):
            some = slice(start, start + PAIRS_AT_ONCE // 8)
            self._merge(tile.first + local[some], tile.gallery_rows[columns[some]])

    def _merge(self, local: np.ndarray, items: np.ndarray) -> None:
        """Put items into the lists of the rows ``local`` (ascending)."""
        k, width = self.items.shape[1], len(self.scan.gallery)
        listed = np.unique(local)
        known = np.isin(local * width + items, listed[:, None] * width + self.items[listed])
        local, items = local[~known], items[~known]
        changed = np.unique(local)
        scores = exact_scores(self.scan, self.rows[local], items)
        self.scored += len(local)
        local = np.concatenate([np.repeat(changed, k), local])
        items = np.concatenate([self.items[changed].ravel(), items])
        scores = np.concatenate([self.scores[changed].ravel(), scores])
        order = np.lexsort((items, -scores, local))
        local, items, scores = local[order], items[order], scores[order]
        at = np.arange(len(local)) - np.searchsorted(local, local)
        local, items, scores, at = (x[at < k] for x in (local, items, scores, at))
        self.items[local, at], self.scores[local, at] = items, scores
