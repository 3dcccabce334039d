"""Sparse rows, the form in which k-reciprocal encodings are kept."""

from typing import Any, NamedTuple

import numpy as np


class Rows(NamedTuple):
    """Sparse rows (CSR): row i holds ``weights[s:e]`` in the columns ``items[s:e]``, with s, e = ``starts[i : i + 2]``.

    Arrays or tensors: starts int64 (rows + 1,), items integer (n,), weights float32 (n,).
    """

    starts: Any
    items: Any
    weights: Any

    def part(self, rows: slice) -> "Rows":
        """The rows from ``rows.start`` to ``rows.stop``, as views."""
        starts = self.starts[rows.start : rows.stop + 1]
        entries = slice(int(starts[0]), int(starts[-1]))
        return Rows(starts - starts[0], self.items[entries], self.weights[entries])


def list_widths(lists, k1: int) -> tuple[int, int]:
    """How many neighbours the k1- and the k1/2-reciprocal sets look at; fast-reid takes one more than it names."""
    return min(k1 + 1, lists.shape[1]), min(int(np.around(k1 / 2)) + 1, lists.shape[1])
