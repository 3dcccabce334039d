"""How much of the exact results an approximate search finds, measured on an index itself."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

QUERIES = 128
DEPTHS = (10, 100)
SHARES = (1.0, 0.1, 0.01)  # of the rows that are permitted
NOISE = 0.3  # length of what is added to a row to make a query of it, relative to the row

Search = Callable[[np.ndarray, int, Any], np.ndarray]


def sample_queries(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return float32 (n, D): rows with noise, as far from them as another view of a design is."""
    noise = np.random.default_rng(seed).standard_normal(vectors.shape, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    return vectors + NOISE * lengths * noise


def name_of(share: float) -> str:
    """The name of a share in a table of recalls: "all", "10%", "1%"."""
    return "all" if share == 1 else f"{share * 100:g}%"


def random_masks(rows: int, seed: int = 0) -> dict[str, np.ndarray | None]:
    """Return masks, bool (rows,), that permit each of ``SHARES`` by chance; ``None`` for all."""
    rng = np.random.default_rng(seed)
    return {name_of(share): None if share == 1 else rng.random(rows) < share for share in SHARES}


class RecallTest:
    """Queries with their exact results under conditions.

    Args:
        queries: float32 (Q, D).
        conditions: by name, what the searches take as their third argument: masks or filters, ``None`` for none.
        rows: number of rows of the index; no more can be found.
        exact: ``search(queries, k, condition) -> rows``, int64 (Q, k), -1 where there are fewer.
    """

    def __init__(self, queries: np.ndarray, conditions: Mapping[str, Any], rows: int, exact: Search):
        self.queries, self.conditions = queries, conditions
        self.depths = sorted({min(depth, rows) for depth in DEPTHS})
        self.wanted = {name: exact(queries, self.depths[-1], one) for name, one in conditions.items()}

    def measure(self, approximate: Search) -> dict[str, float]:
        """Return "k", "queries", and for each condition the lower of recall@10 and recall@100, rounded downwards."""
        found: dict[str, float] = {"k": self.depths[-1], "queries": len(self.queries)}
        for name, wanted in self.wanted.items():
            rows = approximate(self.queries, wanted.shape[1], self.conditions[name])
            lowest = min(recall(rows[:, :depth], wanted[:, :depth]) for depth in self.depths)
            found[name] = int(lowest * 10_000) / 10_000
        return found


def lowest(found: Mapping[str, float]) -> float:
    """Return the lowest recall of what `RecallTest.measure` gives."""
    return min((value for name, value in found.items() if name not in ("k", "queries")), default=1.0)


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the share of wanted rows, int64 (Q, k) padded with -1, that were found, over all queries."""
    count = int((wanted >= 0).sum())
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(found, wanted, strict=True))
    return hits / count if count else 1.0
