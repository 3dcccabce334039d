"""Feature expansion: a feature becomes a weighted sum of its neighbours, without an (N, N) similarity table.

Three kinds that papers confuse: `joint_aqe` (what the DIRA 2022 system and fast-reid run: queries and gallery
expand each other), `alpha_qe` (queries only) and `dba` (gallery only). The weight of a neighbour is its
cosine similarity to the power ``alpha`` (Radenovic et al., TPAMI 2019).

Neighbours are exact (`topk.nearest`) and are summed in their order, block by block of the scan: nothing is kept but the
result. Arrays give arrays, tensors give tensors on their device, which their features never leave.
"""

from collections.abc import Iterator

import numpy as np

from fastreid.retrieval.candidates import Columns, EveryRule, Rule, get_rule
from fastreid.retrieval.distance import as_features, as_given
from fastreid.retrieval.scan import Scan
from fastreid.retrieval.search import BLOCK_MIB, Search
from fastreid.retrieval.sides import row_norms, tensor_of
from fastreid.retrieval.topk import nearest
from fastreid.utils.errors import require_whole

SUM_NUMBERS = 1 << 20  # in one block of sums
ROW_COLUMN = "row of the gallery"


def joint_aqe(q, g, k: int = 5, alpha: float = 3.0, times: int = 1, block_mib: float = BLOCK_MIB):
    """Average every feature over its ``k`` nearest in the UNION of queries and gallery, itself included.

    ``x_i' = (1/k) sum_j cos(x_i, x_j)^alpha x_j`` over the k largest cosines; x_j is the raw feature and the
    sum is divided by k, not by the weights. The gallery changes with the queries, so the result depends on
    all of them. Memory: the union (none where ``q`` and ``g`` are the parts of one array), its successor and a block.

    Args:
        q, g: features (Q, D) and (G, D).
        times: how often the whole step is repeated.

    Returns:
        The new queries (Q, D) and gallery (G, D).
    """
    require_whole("times, the number of passes of joint query expansion,", times, 1)
    pair = Search(q, g)
    count, features = len(pair.queries), _union(pair.queries, pair.gallery)
    for _ in range(times):
        step, new = Search(features, features, block_mib=block_mib), _empty_like(features)
        num_neighbours = min(k, len(features))
        for rows, sums in _sums(step.scan(), k, alpha, unit=False):
            tensor_of(new, slice(None))[rows] = sums.div_(num_neighbours)
        features = new
    return as_given(features[:count], q), as_given(features[count:], g)


def alpha_qe(
    q,
    g,
    k: int = 5,
    alpha: float = 3.0,
    rule: Rule | str | None = None,
    q_columns: Columns | None = None,
    g_columns: Columns | None = None,
    block_mib: float = BLOCK_MIB,
):
    """Add to every query its ``k`` nearest permitted gallery items.

    ``q' = unit(q + sum_j cos(q, g_j)^alpha g_j)``. All features count with unit length. With a rule that
    permits only the past, the result is causal too.

    Returns:
        The new queries, (Q, D), rows of unit length.
    """
    search = Search(q, g, q_columns or {}, g_columns or {}, rule=rule, block_mib=block_mib)
    new = unit_rows(search.queries)
    values = tensor_of(new, slice(None))
    for rows, sums in _sums(search.scan(), k, alpha, unit=True):
        values[rows] = _to_unit_length(sums.add_(values[rows]))
    return as_given(new, q)


def dba(
    g,
    k: int = 5,
    alpha: float = 3.0,
    block_mib: float = BLOCK_MIB,
    rule: Rule | str | None = None,
    columns: Columns | None = None,
):
    """Database-side augmentation: as `alpha_qe`, for every gallery item over the other gallery items.

    Args:
        rule: which gallery item may expand which other one, asked with the gallery's columns on both sides. With
            "granted_before" an item takes from earlier items alone, and whoever may see the item may see those.
        columns: of length G, those that ``rule`` needs.

    Returns:
        The new gallery, (G, D), rows of unit length.
    """
    gallery = as_features(g, "gallery")
    columns = {**(columns or {}), ROW_COLUMN: np.arange(len(gallery))}
    rule = EveryRule([_OtherRow(), get_rule(rule)])
    return as_given(alpha_qe(gallery, gallery, k, alpha, rule, columns, columns, block_mib), g)


class _OtherRow:
    """Rule: not the item itself."""

    needs = (ROW_COLUMN,)
    within = ROW_COLUMN

    def permits(self, query: Columns, item: Columns) -> np.ndarray:
        return query[ROW_COLUMN] != item[ROW_COLUMN]


def _sums(scan: Scan, k: int, alpha: float, unit: bool) -> Iterator[tuple[np.ndarray, "torch.Tensor"]]:  # noqa: F821
    """Yield query rows with their ``sum_j cos_j^alpha g_j`` over the ``k`` nearest gallery rows, of unit length or raw.

    Nothing comes from an empty gallery.
    """
    k = require_whole("k, the number of neighbours,", k, 1)
    gallery, k = scan.gallery, min(k, len(scan.gallery))
    divisors = np.where(gallery.norms > 0, gallery.norms, 1) if unit else np.ones(len(gallery))
    step = max(1, SUM_NUMBERS // max(1, scan.dim))
    for rows, items, scores in nearest(scan, k) if k else ():
        weights = similarity_weights(scores, alpha) / divisors[items]
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            yield rows[part], weighted_sum(gallery.features, items[part], weights[part])


def similarity_weights(similarity: np.ndarray, alpha: float) -> np.ndarray:
    """Return ``similarity ** alpha``, and 0 for the padding (-inf) of a short neighbour list.

    A negative similarity counts as 0 when ``alpha`` is not an integer (the power would be NaN). An integer
    ``alpha`` keeps fast-reid's values, in which an even power makes a negative similarity positive.
    """
    if not 0 <= alpha < np.inf:
        raise ValueError(f"alpha, the power of a similarity, must be a number and must not be negative; got {alpha}")
    padding = np.isneginf(similarity)
    similarity = np.where(padding, 0, similarity)
    if alpha != int(alpha):
        similarity = np.maximum(similarity, 0)
    return np.where(padding, 0, similarity**alpha)


def weighted_sum(features, indices: np.ndarray, weights: np.ndarray) -> "torch.Tensor":  # noqa: F821
    """Tensor (r, D): row i = ``sum_j weights[i, j] * features[indices[i, j]]`` in the order of j; -1 has weight 0."""
    import torch

    table = tensor_of(features, slice(None))
    indices = torch.from_numpy(np.maximum(indices, 0)).to(table.device)
    weights = torch.from_numpy(weights).to(table)
    return torch.nn.functional.embedding_bag(indices, table, mode="sum", per_sample_weights=weights)


def unit_rows(features):
    """A copy of features (N, D), array or tensor, with rows of unit L2 length; a zero row stays zero."""
    features = as_features(features)
    new = _empty_like(features)
    step = max(1, SUM_NUMBERS // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        rows = slice(start, start + step)
        tensor_of(new, rows).copy_(tensor_of(features, rows))
        _to_unit_length(tensor_of(new, rows))
    return new


def _to_unit_length(values: "torch.Tensor") -> "torch.Tensor":  # noqa: F821
    import torch

    norms = row_norms(values)
    return values.div_(torch.from_numpy(np.where(norms > 0, norms, 1)).to(values)[:, None])


def _spans(whole: np.ndarray, first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two contiguous arrays, the second behind the first, are all of ``whole``."""
    start, behind = whole.ctypes.data, first.ctypes.data + first.nbytes
    fits = first.ctypes.data == start and second.ctypes.data == behind and whole.nbytes == first.nbytes + second.nbytes
    return fits and whole.dtype == first.dtype and whole.flags.c_contiguous


def _empty_like(features):
    return np.empty_like(features) if isinstance(features, np.ndarray) else features.new_empty(features.shape)


def _union(queries, gallery):
    """Queries, then gallery; without a copy where they lie one after the other in one array (a feature file's do)."""
    if isinstance(queries, np.ndarray):
        whole = queries.base
        if whole is not None and whole is gallery.base and _spans(whole, queries, gallery):
            return whole.reshape(-1, queries.shape[1])
        return np.concatenate([queries, gallery])
    import torch

    return torch.cat([queries, gallery])
