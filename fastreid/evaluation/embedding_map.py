"""Features on a plane by t-SNE or UMAP, and numbers that say how far the picture can be trusted."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.retrieval import topk
from fastreid.retrieval.distance import prepare
from fastreid.utils.errors import require_choice, require_whole

METHODS = ("tsne", "umap")
PERPLEXITY = 30.0  # van der Maaten and Hinton, JMLR 2008: between 5 and 50
UMAP_NEIGHBORS = 15
FEWEST_POINTS = 5
NEIGHBORS = 10
SAME = 1e-6  # of the largest number: features that differ less are equal


def distinct_rows(paths: Sequence[str]) -> np.ndarray:
    """Rows of the first occurrence of each path, int64 ascending: lists that overlap show an image once."""
    return np.array(sorted({path: row for row, path in reversed(list(enumerate(paths)))}.values()), dtype=np.int64)


def sample_rows(labels: np.ndarray, size: int, seed: int = 0, stratified: bool = False) -> np.ndarray:
    """Draw at most ``size`` of the rows 0 .. n - 1 without repetition; int64, ascending.

    Args:
        labels: (n,), the class of each row.
        stratified: as many rows of each class as of any other, as long as it has them; otherwise at random.
    """
    size, rng = require_whole("size of a sample", size, 1), np.random.default_rng(seed)
    return np.sort((alternating(labels, rng) if stratified else rng.permutation(len(labels)))[:size])


def alternating(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows in a random order that takes one of each class in turn, until no class has any left."""
    shuffled = rng.permutation(len(labels))
    members = np.unique(np.asarray(labels)[shuffled], return_inverse=True)[1]
    by_class = np.argsort(members, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(members))])[:-1]
    turn = np.empty(len(shuffled), dtype=np.int64)
    turn[by_class] = np.arange(len(shuffled)) - starts[members[by_class]]
    return shuffled[np.argsort(turn, kind="stable")]


def project(
    features: np.ndarray, method: str = "tsne", metric: str = "cosine", perplexity: float | None = None, seed: int = 0
) -> np.ndarray:
    """Map features (n, D) to points (n, 2), float64; equal input gives equal points on the same machine.

    One thread works, because sums of several would be added up in any order. t-SNE (van der Maaten and Hinton, JMLR
    2008; Barnes-Hut) starts from the first two principal components. UMAP (McInnes et al., 2018) needs umap-learn.

    Args:
        metric: "cosine" compares unit vectors, "euclidean" the features as they are.
        perplexity: of t-SNE, the number of neighbours that count; default: 30, or a third of fewer than 91 points.

    Raises:
        ValueError: fewer than 5 points, equal features, or a perplexity that is too large for so few points.
        ImportError: umap-learn is not installed.
    """
    require_choice("method of a map", method, METHODS)
    features = prepare(features, metric)
    if len(features) < FEWEST_POINTS:
        raise ValueError(f"a map needs at least {FEWEST_POINTS} images; got {len(features)}")
    if np.ptp(features, axis=0).max() <= SAME * np.abs(features).max():
        raise ValueError(f"all {len(features)} features are equal: there is nothing to draw a map of")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        if method == "umap":
            points = _umap(features, seed)
        else:
            points = _tsne(features, fitting_perplexity(perplexity, len(features)), seed)
    return points.astype(np.float64)


def fitting_perplexity(given: float | None, count: int) -> float:
    """Return the perplexity for ``count`` points; t-SNE looks at three times as many neighbours."""
    most = (count - 1) / 3
    if given is None:
        return min(PERPLEXITY, most)
    if not 1 <= given <= most:
        raise ValueError(f"perplexity must be from 1 to {most:.1f}, a third of the {count} points; got {given:g}")
    return float(given)


def _tsne(features: np.ndarray, perplexity: float, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    return TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed).fit_transform(features)


def _umap(features: np.ndarray, seed: int) -> np.ndarray:
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError("UMAP needs umap-learn: pip install '.[plot]' from the checkout", name="umap") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="umap|sklearn")  # of future versions of scikit-learn
        neighbors = min(UMAP_NEIGHBORS, len(features) - 1)
        return UMAP(n_neighbors=neighbors, random_state=seed, n_jobs=1).fit_transform(features)


@dataclass(frozen=True)
class Purity:
    """Share of the nearest neighbours that have a point's class.

    Attributes:
        found: mean over the points; NaN where none has a neighbour.
        chance: the same for neighbours drawn at random.
    """

    found: float
    chance: float

    def __str__(self) -> str:
        return f"{100 * self.found:.1f} % (by chance {100 * self.chance:.1f} %)"


def neighbor_purity(
    features: np.ndarray, labels: np.ndarray, apart: np.ndarray, metric: str = "cosine", k: int = NEIGHBORS
) -> Purity:
    """Measure how pure the neighbourhoods of points (n, D) are; ties by row.

    Args:
        labels: int64 (n,), the class of each point; those below 0 are unknown, and neither asked nor neighbours.
        apart: int64 (n,); points with equal values are no neighbours of each other. Their row numbers: a point is not
            its own neighbour. Their patents: nor are the other figures of its patent.
    """
    known = np.flatnonzero(np.asarray(labels) >= 0)
    features, labels, apart = features[known], np.asarray(labels)[known], np.asarray(apart)[known]
    if not len(known):
        return Purity(float("nan"), float("nan"))
    columns = {"pids": apart}
    items, _ = topk(features, features, k, metric, rule="other_patent", q_columns=columns, g_columns=columns)
    same = (labels[items] == labels[:, None]) & (items >= 0)
    share = same.sum(axis=1) / np.maximum(1, (items >= 0).sum(axis=1))
    others = len(known) - _sizes(apart)
    alike = _sizes(labels) - _sizes(np.stack([labels, apart], axis=1))
    has = others > 0
    if not has.any():
        return Purity(float("nan"), float("nan"))
    return Purity(float(share[has].mean()), float((alike[has] / others[has]).mean()))


def _sizes(values: np.ndarray) -> np.ndarray:
    """How often the value (the row) at each place occurs, int64 (n,)."""
    _, members, counts = np.unique(values, axis=0, return_inverse=True, return_counts=True)
    return counts[members.reshape(-1)]
