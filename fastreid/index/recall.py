"""How much of the exact results an approximate search finds, measured on an index itself."""

from collections.abc import Callable

import numpy as np

QUERIES = 128
DEPTHS = (10, 100)
SHARES = (1.0, 0.1, 0.01)  # of the rows that are permitted
NOISE = 0.3  # length of what is added to a row to make a query of it, relative to the row

Search = Callable[[np.ndarray, int, "np.ndarray | None"], np.ndarray]


def sample_queries(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return float32 (n, D): rows with noise, as far from them as another view of a design is."""
    noise = np.random.default_rng(seed).standard_normal(vectors.shape, dtype=np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    return vectors + NOISE * lengths * noise


def name_of(share: float) -> str:
    """The name of a share in a table of recalls: "all", "10%", "1%"."""
    return "all" if share == 1 else f"{share * 100:g}%"


class RecallTest:
    """Queries with their exact results, under random masks that permit a share of the rows.

    Args:
        queries: float32 (Q, D).
        exact, approximate: ``search(queries, k, mask (N,) or None) -> rows (Q, k)``, -1 where there are fewer.
        rows: N.
    """

    def __init__(self, queries: np.ndarray, rows: int, exact: Search, seed: int = 0):
        rng, k = np.random.default_rng(seed), min(max(DEPTHS), rows)
        self.queries, self.depths = queries, [min(depth, k) for depth in DEPTHS]
        self.masks = {name_of(s): None if s == 1 else rng.random(rows) < s for s in SHARES}
        self.wanted = {name: exact(queries, k, mask) for name, mask in self.masks.items()}

    def measure(self, approximate: Search) -> dict[str, float]:
        """Return for each share of permitted rows the lower of recall@10 and recall@100, and the number of queries."""
        found = {"queries": len(self.queries)}
        for name, wanted in self.wanted.items():
            rows = approximate(self.queries, wanted.shape[1], self.masks[name])
            found[name] = round(min(recall(rows[:, :depth], wanted[:, :depth]) for depth in self.depths), 4)
        return found


def recall(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the share of wanted rows, int64 (Q, k) padded with -1, that were found, over all queries."""
    count = int((wanted >= 0).sum())
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(found, wanted, strict=True))
    return hits / count if count else 1.0
