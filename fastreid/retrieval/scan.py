"""The scan: approximate scores of all pairs, tile by tile, with a proven bound on their error.

A score grows with nearness: the cosine, or minus the squared Euclidean distance. The EXACT score of a pair is
its float64 value from the features as given, summed in a fixed order; items are ordered by it, ties by
gallery row. Tiles come from a library GEMM, in float32, or in bfloat16 where the processor has it; whoever
reads them scores exactly what the bound leaves undecided, so the precision and the block sizes change no result.

How a tile approximates. Both metrics are, for a fixed query, increasing functions of
``s(q, g) = (q - m) . (g - m) + bias(g)`` for any vector m:

* cosine, for unit vectors: ``cos = s + q . m`` with ``bias(g) = (g - m) . m``;
* Euclidean: ``-|q - g|^2 = 2 s - |q - m|^2`` with ``bias(g) = -|g - m|^2 / 2``.

m is the gallery's mean when that is large (features that all point one way), else 0. It makes the products
small, and with them their errors.
"""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from fastreid.retrieval.candidates import Candidates
from fastreid.retrieval.distance import METRICS
from fastreid.retrieval.full_float32 import full_float32
from fastreid.retrieval.sides import UNIT_BFLOAT16, UNIT_FLOAT32, Block, Side
from fastreid.retrieval.threads import in_parallel, num_threads
from fastreid.utils.errors import require_choice

UNIT_FLOAT64 = 2.0**-53
MEAN_ROWS = 2048  # that the mean is taken over; any vector would do
MEAN_SHARE = 0.1  # squared length of the mean, relative to the mean squared length, from which centring pays
UNDECIDED_SHARE = 0.02  # of the pairs of a tile, from which float32 is faster than bfloat16 with its rechecks
LOW_PRECISION_PAIRS = 1 << 22  # a smaller scan is over before the conversion has paid
PROBE_ROWS = 64
FEWEST_ROWS = 128  # of a tile, for a thread of its own to pay
TILE_NUMBERS = 1 << 22  # of all threads' tiles together
PRECISIONS = ("auto", "fp32", "bf16")


def wanted_precision() -> str:
    """The environment variable FASTREID_SCAN: "auto" (default), "fp32" or "bf16"; the results are the same."""
    wanted = os.environ.get("FASTREID_SCAN", "auto")
    require_choice("environment variable FASTREID_SCAN", wanted, PRECISIONS)
    return wanted


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware (AVX512_BF16 or AMX)."""
    import torch

    return any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


@dataclass(frozen=True)
class Tile:
    """Approximate scores of a block of queries against a block of the gallery.

    Attributes:
        first: row of the query block at which the tile begins.
        query_rows: int64 (r,).
        start: scanning position of the first column.
        gallery_rows: int64 (c,).
        scores: tensor (r, c), float32 or bfloat16, without the bias; valid until the next tile.
        bias: tensor float32 (c,).
        error: float64 (r,), bound of the error of ``scores + bias`` before its last rounding.
        rounding: relative error of that rounding of ``scores``.
        largest_bias: largest absolute value in ``bias``.
        limits: int64 (r,) or None; positions from there on take no part.
        mask: bool (r, c) or None; true where the pair may take part.
    """

    first: int
    query_rows: np.ndarray
    start: int
    gallery_rows: np.ndarray
    scores: "torch.Tensor"  # noqa: F821
    bias: "torch.Tensor"  # noqa: F821
    error: np.ndarray
    rounding: float
    largest_bias: float
    limits: np.ndarray | None
    mask: np.ndarray | None


class Scan:
    """Tiles of queries (Q, D) against a gallery (G, D).

    Args:
        metric: "cosine" or "euclidean".
        candidates: the rule, applied to the columns.
        block_mib: memory for blocks and tile, MiB.
    """

    def __init__(self, queries, gallery, metric: str, candidates: Candidates, block_mib: float = 32):
        require_choice("metric of a scan", metric, METRICS)
        if block_mib <= 0:
            raise ValueError(f"block_mib, the memory for a block of scores in MiB, must be positive; got {block_mib}")
        self.metric, self.candidates = metric, candidates
        self.queries = Side(queries, metric, "features" if gallery is queries else "queries")
        self.gallery = self.queries if gallery is queries else Side(gallery, metric, "gallery")
        self.dim = queries.shape[1]
        self.device = getattr(queries, "device", "cpu")
        self._memory, self._converted = threading.local(), None
        self.adaptive = wanted_precision() == "auto"
        self.low = self._begin_low()
        self._plan_blocks(block_mib)
        self.mean = self._mean()

    def _plan_blocks(self, block_mib: float) -> None:
        """Width of a gallery block, and how many queries stay converted while the gallery passes by.

        Three eighths of the memory are for the queries, a quarter for a gallery block, the rest for tiles.
        """
        numbers = block_mib * 2**20 / max(1, self.dim) / (2 if self.low else 4)
        self.side = int(np.clip(numbers / 4, 1, 2048))
        if self.side > 128:
            self.side -= self.side % 128  # libraries like even panels
        self.query_block = max(self.side, int(3 * numbers / 8))

    def _begin_low(self) -> bool:
        if not self.adaptive:
            return wanted_precision() == "bf16"
        on_cpu = str(self.device) == "cpu"
        return on_cpu and len(self.queries) * len(self.gallery) >= LOW_PRECISION_PAIRS and has_fast_bfloat16()

    def _mean(self):
        """About the gallery's mean as a float32 tensor (D,) when subtracting it pays, else None."""
        if not len(self.gallery):
            return None
        sample = slice(None, None, -(-len(self.gallery) // MEAN_ROWS))
        values = self.gallery.block(sample, None, False).values
        mean, size = values.mean(dim=0), float(values.square().sum(dim=1).mean())
        return mean if float(mean @ mean) > MEAN_SHARE * size else None

    def query_blocks(self, most: int | None = None) -> Iterator[np.ndarray]:
        """Query rows, int64, block by block; by their limit where there is one, so that a block can end early."""
        limits = self.candidates.limits
        order = np.arange(len(self.queries)) if limits is None else np.argsort(limits, kind="stable")
        step = min(self.query_block, most or self.query_block)
        for start in range(0, len(order), step):
            yield order[start : start + step]

    @property
    def slope(self) -> int:
        """A step on the scale of the tiles is so many on that of the exact scores."""
        return 2 if self.metric == "euclidean" else 1

    def offsets(self, rows: np.ndarray) -> np.ndarray:
        """Float64 (r,): ``exact score = slope * tile score + offset`` for each query, up to the tile's error."""
        if self.mean is None:
            return np.zeros(len(rows)) if self.metric == "cosine" else -(self.queries.norms[rows] ** 2)
        offsets, mean = np.empty(len(rows)), self.mean.double()
        for start in range(0, len(rows), self.side):
            exact = self.queries.exact(rows[start : start + self.side])
            part = exact @ mean if self.metric == "cosine" else -((exact - mean) ** 2).sum(dim=1)
            offsets[start : start + self.side] = part.cpu().numpy()
        return offsets

    def _bias(self, rows) -> "torch.Tensor":  # noqa: F821
        import torch

        if self.mean is None:
            norms = self.gallery.norms[rows]
            bias = np.zeros(len(norms)) if self.metric == "cosine" else norms**2 / -2
            return torch.from_numpy(bias.astype(np.float32)).to(self.device)
        exact, mean = self.gallery.exact(rows), self.mean.double()
        if self.metric == "cosine":
            return ((exact - mean) @ mean).float()
        return (((exact - mean) ** 2).sum(dim=1) / -2).float()

    def tiles(self, rows: np.ndarray) -> Iterator[Tile]:
        """All tiles of some query rows, gallery block after gallery block."""
        for start in self._starts(rows):
            step = self._step(rows, start)
            for part in _cut(slice(0, len(rows)), self.side):
                with full_float32():
                    tile = self._tile(step, part)
                if tile is not None:
                    yield tile
            del step, tile

    def visit(self, rows: np.ndarray, see: Callable[[Tile], int]) -> None:
        """Call ``see`` on all tiles of some query rows, on the CPU in several threads with different rows.

        ``see`` returns how many pairs of the tile needed their exact score. Where these are many, the following
        tiles are float32.
        """
        for start in self._starts(rows):
            step = self._step(rows, start)
            for parts in self._rounds(len(rows), start == 0):
                if step.low != self.low:
                    step = self._step(rows, start)
                tiles = partial(self._see_part, step, see)
                with full_float32():
                    undecided = sum(in_parallel(tiles, parts) if len(parts) > 1 else map(tiles, parts))
                pairs = sum(part.stop - part.start for part in parts) * len(step.gallery_rows)
                if step.low and self.adaptive and undecided > UNDECIDED_SHARE * pairs:
                    self.low = False
            del step, tiles  # before the next block of the gallery takes its place

    def _see_part(self, step: "Step", see: Callable[[Tile], int], part: slice) -> int:
        tile = self._tile(step, part)
        return 0 if tile is None else see(tile) or 0

    def _rounds(self, count: int, first: bool) -> Iterator[list[slice]]:
        """Cut ``count`` rows into parts, in lists that run side by side; the very first is a small probe."""
        start = 0
        if first and self.low and self.adaptive and count > PROBE_ROWS:
            start = PROBE_ROWS
            yield [slice(0, start)]
        workers = num_threads() if str(self.device) == "cpu" else 1
        share = -(-(count - start) // workers)
        if workers == 1 or share < FEWEST_ROWS:  # the library's own threads do it
            yield from ([part] for part in _cut(slice(start, count), self.side))
        else:
            height = max(FEWEST_ROWS, min(self.side, TILE_NUMBERS // (workers * self.side)))
            yield list(_cut(slice(start, count), -(-share // -(-share // height))))

    def _starts(self, rows: np.ndarray) -> range:
        """Scanning positions at which gallery blocks begin; none beyond the last limit."""
        end = len(self.gallery) if self.candidates.limits is None else self.candidates.limits[rows].max(initial=0)
        return range(0, int(end), self.side)

    def _step(self, rows: np.ndarray, start: int) -> "Step":
        order = self.candidates.order
        stop = min(start + self.side, len(self.gallery))
        items = slice(start, stop) if order is None else order[start:stop]
        if self._converted is None or self._converted[0] is not rows or self._converted[1] != self.low:
            self._converted = None  # first let the old ones go
            self._converted = rows, self.low, self.queries.block(rows, self.mean, self.low)
        return Step(
            low=self.low,
            rows=rows,
            start=start,
            items=items,
            gallery_rows=np.arange(start, stop) if order is None else items,
            queries=self._converted[2],
            gallery=self.gallery.block(items, self.mean, self.low),
            bias=self._bias(items),
        )

    def _tile(self, step: "Step", part: slice) -> Tile | None:
        """One tile, or ``None`` where no query of the part may see an item of the block."""
        rows, limits = step.rows[part], None
        if self.candidates.limits is not None:
            limits = np.ascontiguousarray(self.candidates.limits[rows])
            if limits.max() <= step.start:
                return None
        return Tile(
            first=part.start,
            query_rows=rows,
            start=step.start,
            gallery_rows=step.gallery_rows,
            scores=self._product(step.queries.values[part], step.gallery.values),
            bias=step.bias,
            error=self._error(step, part),
            rounding=UNIT_BFLOAT16 if step.low else 0.0,
            largest_bias=step.largest_bias,
            limits=limits,
            mask=self.candidates.mask(rows, step.items),
        )

    def _error(self, step: "Step", part: slice) -> np.ndarray:
        length, error = step.queries.length[part], step.queries.error[part]
        reach, slip = step.gallery.longest, step.gallery.largest_error
        summing = (self.dim + 4) * UNIT_FLOAT32 * (2 if step.low else 1)
        total = summing * length * reach + error * (reach + slip) + length * slip
        total = 1.001 * total + 4 * UNIT_FLOAT32 * (step.largest_bias + length * reach) + 1e-30
        # Exact scores are sums of float64 numbers of this size: nothing finer decides.
        total += (self.dim + 20) * UNIT_FLOAT64 * ((length + reach) ** 2 if self.metric == "euclidean" else 4)
        return total

    def _product(self, queries, gallery):
        """``queries @ gallery.T`` in memory that this thread's next tile takes over."""
        import torch

        count, memory = len(queries) * len(gallery), getattr(self._memory, "tile", None)
        if memory is None or memory.dtype != queries.dtype or len(memory) < count:
            memory = self._memory.tile = torch.empty(count, dtype=queries.dtype, device=queries.device)
        out = memory[:count].view(len(queries), len(gallery))
        return torch.mm(queries, gallery.T, out=out)


@dataclass(frozen=True)
class Step:
    """A block of queries against a block of the gallery, before it is cut into tiles."""

    low: bool
    rows: np.ndarray
    start: int
    items: slice | np.ndarray
    gallery_rows: np.ndarray
    queries: Block
    gallery: Block
    bias: "torch.Tensor"  # noqa: F821

    @cached_property
    def largest_bias(self) -> float:
        return float(self.bias.abs().max())


def _cut(rows: slice, height: int) -> Iterator[slice]:
    for start in range(rows.start, rows.stop, height):
        yield slice(start, min(start + height, rows.stop))


def band(tile: Tile, counts: np.ndarray, thresholds: np.ndarray, slack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the tile's values, float32 (n,) twice, within which an item may be on either side of a threshold.

    Args:
        counts: number of thresholds of each tile row.
        thresholds, slack: float64 (n,) on the tile's scale, and their own error.
    """
    error = np.repeat(tile.error, counts) + slack
    # Rounding is monotonic: a value on one side of a threshold is not rounded beyond the rounded threshold.
    error += 1.02 * tile.rounding * (np.abs(thresholds) + tile.largest_bias + error)
    lower, upper = (thresholds - error).astype(np.float32), (thresholds + error).astype(np.float32)
    return np.nextafter(lower, np.float32(-np.inf)), np.nextafter(upper, np.float32(np.inf))
