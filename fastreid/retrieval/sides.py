"""The features of one side of a scan: lengths, exact vectors, and blocks as the matrix product reads them."""

import warnings
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from fastreid.retrieval.backends import HAS_CYTHON
from fastreid.retrieval.threads import over_rows

UNIT_FLOAT32 = 2.0**-24  # unit roundoff
UNIT_BFLOAT16 = 2.0**-8
UNIT_NORM_SLACK = 1e-6  # rows this close to unit length need no division
PLAIN_LENGTHS = 1e-30, 1e30  # whose inverses, and whose products with a feature, are float32 numbers
LARGEST_LENGTH = 1e18  # its square, twice over, is a float32 number
NORM_ROWS = 2048  # whose lengths are computed at once


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

    @cached_property
    def longest(self) -> float:
        return float(self.length.max())

    @cached_property
    def largest_error(self) -> float:
        return float(self.error.max())


class Side:
    """Features (N, D) of the queries or of the gallery: float32 or float64 array, or a tensor on a device."""

    def __init__(self, features, metric: str, name: str):
        self.features, self.metric = features, metric
        self.norms = row_norms(features)
        if not np.isfinite(self.norms).all():
            row = int(np.flatnonzero(~np.isfinite(self.norms))[0])
            raise ValueError(f"{name} row {row} is not finite: a feature is NaN, infinite or too large to square")
        for row in np.flatnonzero(self.norms == 0):
            if (self.features[row] != 0).any():
                raise ValueError(
                    f"{name} row {row} is not zero, but too small to square; multiply all features by one number"
                )
        if metric == "euclidean" and len(self.norms) and self.norms.max() > LARGEST_LENGTH:
            row = int(self.norms.argmax())
            raise ValueError(
                f"{name} row {row} has length {self.norms[row]:.4g}: too large for float32 products; divide all"
                f" features by one number, so that no length is above {LARGEST_LENGTH:g}"
            )
        self.unit = bool((np.abs(self.norms - 1) <= UNIT_NORM_SLACK).all())
        lengths = self.norms[self.norms > 0]
        self.plain = not len(lengths) or (PLAIN_LENGTHS[0] < lengths.min() and lengths.max() < PLAIN_LENGTHS[1])

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

        scaled = self.metric == "cosine" and not self.unit
        raw = np.ones_like(self.norms[rows]) if self.metric == "cosine" else self.norms[rows]
        error = 4 * UNIT_FLOAT32 * raw + (0 if scaled or self.metric != "cosine" else UNIT_NORM_SLACK)
        by_float64 = scaled and not self.plain
        if low and isinstance(self.features, np.ndarray) and HAS_CYTHON and not by_float64:
            return self._rounded(rows, mean, scaled, error)
        values = (self.exact(rows) if by_float64 else tensor_of(self.features, rows)).to(torch.float32)
        if scaled and not by_float64:
            values = values / self._divisors(rows, values)
        if mean is not None:
            values = values - mean
        length = raw * (1 + UNIT_NORM_SLACK) if mean is None else self._upper(_lengths(values))
        if low:
            rounded = values.to(torch.bfloat16)
            error = error + self._upper(_lengths(values - rounded))
            values, length = rounded, length * (1 + UNIT_BFLOAT16)
        return Block(values, length, error)

    def _rounded(self, rows, mean, scaled: bool, error: np.ndarray) -> Block:
        """As `block` with ``low``, in one pass over the features."""
        import torch

        from fastreid.retrieval import _kernels

        count, dim = len(error), self.features.shape[1]
        numbers = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        norms = np.where(self.norms[rows] > 0, self.norms[rows], 1) if scaled else np.ones(count)
        values = torch.empty((count, dim), dtype=torch.bfloat16)
        out = values.view(torch.int16).numpy().view(np.uint16)
        mean = np.zeros(dim, dtype=np.float32) if mean is None else mean.numpy()
        length, lost = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
        work = partial(_kernels.round_rows, self.features, numbers, norms, mean, out, length, lost)
        over_rows(work, count, smallest=64)
        length = self._upper(np.sqrt(length, dtype=np.float64)) * (1 + UNIT_BFLOAT16)
        return Block(values, length, error + self._upper(np.sqrt(lost, dtype=np.float64)))

    def _upper(self, lengths: np.ndarray) -> np.ndarray:
        """Upper bounds of lengths that were summed in float32: rounding, and squares that became zero."""
        return lengths * (1 + 1e-4) + 1.1e-19 * np.sqrt(self.features.shape[1])


def tensor_of(features, rows):
    """Some rows of an array or tensor as a tensor; a slice is not copied."""
    import torch

    part = features[rows]
    if isinstance(part, torch.Tensor):
        return part
    if part.flags.writeable:
        return torch.from_numpy(part)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nobody writes
        return torch.from_numpy(part)


def _lengths(values) -> np.ndarray:
    """Lengths of float32 rows, float64 (n,)."""
    import torch

    return torch.linalg.vector_norm(values, dim=1).double().cpu().numpy()


def row_norms(features) -> np.ndarray:
    """Length of every row, float64 (N,)."""
    import torch

    norms = np.empty(len(features))
    if isinstance(features, np.ndarray) and HAS_CYTHON:
        from fastreid.retrieval import _kernels

        over_rows(partial(_kernels.row_norms, features, norms), len(features), smallest=512)
        return norms
    for start in range(0, len(features), NORM_ROWS):
        part = tensor_of(features, slice(start, start + NORM_ROWS)).double()
        norms[start : start + NORM_ROWS] = torch.linalg.vector_norm(part, dim=1).cpu().numpy()
    return norms
