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
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastreid.retrieval.candidates import Candidates
from fastreid.retrieval.distance import METRICS
from fastreid.retrieval.threads import over_rows
from fastreid.utils.errors import require_choice

UNIT_FLOAT32 = 2.0**-24  # unit roundoff
UNIT_BFLOAT16 = 2.0**-9
UNIT_NORM_SLACK = 1e-6  # rows this close to unit length need no division
MEAN_SHARE = 0.1  # squared length of the mean, relative to the mean squared length, from which centring pays
UNDECIDED_SHARE = 0.02  # of the pairs of a tile, from which float32 is faster than bfloat16 with its rechecks
LOW_PRECISION_PAIRS = 1 << 22  # a smaller scan is over before the conversion has paid
PROBE_ROWS = 64
PRECISIONS = ("auto", "fp32", "bf16")


def wanted_precision() -> str:
    """The environment variable FASTREID_SCAN: "auto" (default), "fp32" or "bf16"; the results are the same."""
    return require_choice("environment variable FASTREID_SCAN", os.environ.get("FASTREID_SCAN", "auto"), PRECISIONS)


def has_fast_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices in hardware (AVX512_BF16 or AMX)."""
    import torch

    return any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


@dataclass(frozen=True)
class Block:
    """Some rows of one side as the GEMM reads them.

    Attributes:
        values: tensor (n, D), float32 or bfloat16.
        length: float64 (n,), at least the length of each row of ``values``.
        error: float64 (n,), at least the distance of each row from the exact vector.
    """

    values: "torch.Tensor"  # noqa: F821
    length: np.ndarray
    error: np.ndarray


class Side:
    """Features (N, D) of the queries or of the gallery: float32 or float64 array, or a tensor on a device."""

    def __init__(self, features, metric: str, name: str):
        self.features, self.metric = features, metric
        self.norms = row_norms(features)
        if not np.isfinite(self.norms).all():
            row = int(np.flatnonzero(~np.isfinite(self.norms))[0])
            raise ValueError(f"{name} row {row} is not finite: a feature is NaN, infinite or too large to square")
        self.unit = bool((np.abs(self.norms - 1) <= UNIT_NORM_SLACK).all())

    def __len__(self) -> int:
        return len(self.norms)

    def exact(self, rows) -> "torch.Tensor":  # noqa: F821
        """Float64 vectors of some rows, of unit length for the cosine metric (a zero row stays zero)."""
        import torch

        values = tensor_of(self.features, rows).to(torch.float64)
        if self.metric == "cosine":
            values = values / self._divisors(rows, values)
        return values

    def _divisors(self, rows, like):
        import torch

        norms = np.where(self.norms[rows] > 0, self.norms[rows], 1)
        return torch.from_numpy(norms).to(like)[:, None]

    def block(self, rows, mean, low: bool) -> Block:
        """Rows minus ``mean`` (tensor (D,) or None) as float32, or rounded to bfloat16 when ``low``."""
        import torch

        values = tensor_of(self.features, rows).to(torch.float32)
        scaled = self.metric == "cosine" and not self.unit
        if scaled:
            values = values / self._divisors(rows, values)
        raw = np.ones(len(values)) if self.metric == "cosine" else self.norms[rows]
        error = 4 * UNIT_FLOAT32 * raw + (0 if scaled or self.metric != "cosine" else UNIT_NORM_SLACK)
        length = raw * (1 + UNIT_NORM_SLACK)
        if mean is not None:
            values = values - mean
            length = _lengths(values)
        if low:
            rounded = values.to(torch.bfloat16)
            error = error + _lengths(values.sub_(rounded) if mean is not None or scaled else values - rounded)
            values, length = rounded, length * (1 + 2 * UNIT_BFLOAT16)
        return Block(values, length, error)


def tensor_of(features, rows):
    """Some rows of an array or tensor as a tensor; a slice is not copied."""
    import torch

    part = features[rows]
    if isinstance(part, torch.Tensor):
        return part
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes
        return torch.from_numpy(part)


def _lengths(values) -> np.ndarray:
    """Upper bounds of the lengths of float32 rows, float64 (n,)."""
    import torch

    return torch.linalg.vector_norm(values, dim=1).double().cpu().numpy() * (1 + 1e-4)


def row_norms(features) -> np.ndarray:
    """Length of every row, float64 (N,)."""
    import torch

    if isinstance(features, torch.Tensor):
        chunks = features.split(4096)
        return torch.cat([chunk.double().norm(dim=1) for chunk in chunks]).cpu().numpy() if len(chunks) else np.zeros(0)
    norms = np.empty(len(features))

    def work(begin: int, end: int) -> None:
        for start in range(begin, end, 1024):
            rows = features[start : min(start + 1024, end)]
            np.einsum("ij,ij->i", rows, rows, dtype=np.float64, out=norms[start : start + len(rows)])

    with np.errstate(over="ignore", invalid="ignore"):
        over_rows(work, len(features), smallest=1024)
        return np.sqrt(norms, out=norms)


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
        self.queries = Side(queries, metric, "queries")
        self.gallery = self.queries if gallery is queries else Side(gallery, metric, "gallery")
        self.dim = queries.shape[1]
        self.device = getattr(queries, "device", "cpu")
        self._plan_blocks(block_mib)
        self._memory = None
        self.low = self._begin_low()
        self.mean = self._mean()

    def _plan_blocks(self, block_mib: float) -> None:
        """Side of a square tile, and how many queries stay converted while the gallery passes by."""
        budget = block_mib * 2**20
        side = (np.sqrt((6 * self.dim) ** 2 + 2 * budget) - 6 * self.dim) / 4  # budget/2 = 4 side^2 + 12 D side / 2
        self.side = int(np.clip(side, 1, 2048))
        self.query_block = max(self.side, int(budget / 2 / (6 * self.dim)))

    def _begin_low(self) -> bool:
        wanted = wanted_precision()
        if wanted != "auto":
            return wanted == "bf16"
        on_cpu = str(self.device) == "cpu"
        return on_cpu and len(self.queries) * len(self.gallery) >= LOW_PRECISION_PAIRS and has_fast_bfloat16()

    def _mean(self):
        """The gallery's mean as a float32 tensor (D,) when subtracting it pays, else None."""
        import torch

        if not len(self.gallery):
            return None
        total, size = 0, 0.0
        for start in range(0, len(self.gallery), 4096):
            block = self.gallery.block(slice(start, start + 4096), None, False).values
            total = total + block.sum(dim=0, dtype=torch.float64)
            size += float(np.square(self.gallery.norms[start : start + 4096]).sum()) if self.metric != "cosine" else len(block)
        mean = total / len(self.gallery)
        return mean.float() if float(mean @ mean) > MEAN_SHARE * size / len(self.gallery) else None

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
        """All tiles of some query rows, gallery block after gallery block.

        Report the share of undecided pairs with `undecided`: where it is high the following tiles are float32.
        """
        limits = None if self.candidates.limits is None else np.ascontiguousarray(self.candidates.limits[rows])
        end = len(self.gallery) if limits is None else int(limits.max(initial=0))
        order, queries, low = self.candidates.order, None, None
        for start in range(0, end, self.side):
            stop = min(start + self.side, end)
            items = slice(start, stop) if order is None else order[start:stop]
            gallery_rows = np.arange(start, stop) if order is None else items
            bias = self._bias(items)
            largest_bias = float(bias.abs().max())
            gallery = None
            for first in self._steps(len(rows), start == 0):
                if queries is None or low != self.low:
                    low = self.low
                    queries = self.queries.block(rows, self.mean, low)
                    gallery = None
                if gallery is None:
                    gallery = self.gallery.block(items, self.mean, low)
                part = slice(first.start, first.stop)
                if limits is not None and limits[part].max() <= start:
                    continue
                mask = self.candidates.mask(rows[part], items)
                yield Tile(
                    first=part.start,
                    query_rows=rows[part],
                    start=start,
                    gallery_rows=gallery_rows,
                    scores=self._product(queries.values[part], gallery.values),
                    bias=bias,
                    error=self._error(queries, gallery, part, largest_bias),
                    rounding=UNIT_BFLOAT16 if low else 0.0,
                    largest_bias=largest_bias,
                    limits=None if limits is None else limits[part],
                    mask=mask,
                )

    def _steps(self, count: int, probe: bool) -> Iterator[slice]:
        """Cut a block of queries into tiles; the first is small while it is open whether bfloat16 pays."""
        start = 0
        if probe and self.low and count > PROBE_ROWS:
            yield slice(0, PROBE_ROWS)
            start = PROBE_ROWS
        for first in range(start, count, self.side):
            yield slice(first, min(first + self.side, count))

    def _error(self, queries: Block, gallery: Block, part: slice, largest_bias: float) -> np.ndarray:
        length, error = queries.length[part], queries.error[part]
        reach, slip = gallery.length.max(), gallery.error.max()
        summing = (self.dim + 4) * UNIT_FLOAT32 * (2 if self.low else 1)
        total = summing * length * reach + error * (reach + slip) + length * slip
        total = 1.001 * total + 4 * UNIT_FLOAT32 * (largest_bias + length * reach) + 1e-30
        if not np.isfinite(total).all() or total.max(initial=0) > 1e30:
            raise ValueError("features are too large for float32 products; divide them by their largest value")
        return total

    def undecided(self, tile: Tile, pairs: int) -> None:
        """Tell how many pairs of ``tile`` needed their exact score."""
        if self.low and wanted_precision() == "auto" and pairs > UNDECIDED_SHARE * tile.scores.numel():
            self.low = False

    def _product(self, queries, gallery):
        """``queries @ gallery.T`` in memory that the next tile takes over; float32 is never rounded to TF32."""
        import torch

        count = len(queries) * len(gallery)
        if self._memory is None or self._memory.dtype != queries.dtype or len(self._memory) < count:
            self._memory = torch.empty(max(count, self.side**2), dtype=queries.dtype, device=queries.device)
        out = self._memory[:count].view(len(queries), len(gallery))
        saved = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = False
        try:
            return torch.mm(queries, gallery.T, out=out)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = saved


def band(tile: Tile, counts: np.ndarray, thresholds: np.ndarray, slack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interval of the tile's values, float32 (n,) twice, within which an item may be on either side of a threshold.

    Args:
        counts: number of thresholds of each tile row.
        thresholds, slack: float64 (n,) on the tile's scale, and their own error.
    """
    error = np.repeat(tile.error, counts) + slack
    # Rounding is monotonic: a value on one side of a threshold is not rounded beyond the rounded threshold.
    error += 2 * tile.rounding * (np.abs(thresholds) + tile.largest_bias + error)
    lower, upper = (thresholds - error).astype(np.float32), (thresholds + error).astype(np.float32)
    return np.nextafter(lower, np.float32(-np.inf)), np.nextafter(upper, np.float32(np.inf))
