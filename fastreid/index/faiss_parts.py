"""Make faiss indexes and ask them for proposals, whatever their kind."""

import logging
from typing import Any

import numpy as np

from fastreid.index.store import Snapshot

logger = logging.getLogger(__name__)
WIDEST = 16  # times as wide at most for a filter
POINTS = 40  # per list, to train on
TRAINING = 50_000  # rows to train on at least
BLOCK = 1 << 16  # rows added at once
MOST_CANDIDATES = 4096  # of a graph


def new_index(factory: str, dim: int, metric: str) -> Any:
    """Return an empty faiss index; ``ValueError`` for a string that faiss does not take."""
    import faiss

    kind = faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2
    try:
        made = faiss.index_factory(dim, factory, kind)
    except RuntimeError as error:
        raise ValueError(
            f"factory of a faiss index: '{factory}' is none that faiss takes for vectors of {dim} numbers "
            f"({reason_of(error)})"
        ) from error
    if isinstance(faiss.downcast_index(made), faiss.IndexIDMap):
        raise ValueError(f"factory of a faiss index: '{factory}' numbers its vectors, which the store does already")
    return made


def reason_of(error: RuntimeError) -> str:
    """The last part of faiss's message, after the place in its source."""
    return str(error).rpartition("Error: ")[2].strip() or str(error)


def build(factory: str, snapshot: Snapshot) -> Any:
    """Return a trained faiss index of all vectors of a snapshot, built on GPUs where faiss has them.

    Raises:
        ValueError: there are too few vectors to train it.
    """
    import faiss

    info, count = snapshot.manifest.info, len(snapshot.table)
    made = new_index(factory, info.dim, info.metric)
    inverted = faiss.try_extract_index_ivf(made)
    lists = inverted.nlist if inverted is not None else 0
    if lists:
        inverted.cp.max_points_per_centroid, inverted.cp.min_points_per_centroid = POINTS, 1
    rows = min(count, max(POINTS * lists, TRAINING))
    chosen = np.sort(np.random.default_rng(0).choice(count, rows, replace=False))
    on_gpu = _on_gpus(made)
    filled = made if on_gpu is None else on_gpu
    try:
        if not filled.is_trained:
            filled.train(snapshot.gather(chosen))
        for start in range(0, count, BLOCK):
            filled.add(snapshot.gather(np.arange(start, min(count, start + BLOCK))))
    except RuntimeError as error:
        raise ValueError(f"a faiss index '{factory}' of {count} figures cannot be made: {reason_of(error)}") from error
    return filled if on_gpu is None else faiss.index_gpu_to_cpu(filled)


def _on_gpus(made: Any) -> Any:
    """Return the index on all GPUs; ``None`` where there is none, or faiss has no such index there."""
    import faiss

    if faiss.get_num_gpus() <= 0:
        return None
    try:
        return faiss.index_cpu_to_all_gpus(made)
    except RuntimeError as error:
        logger.warning("The faiss index is built without a GPU: %s", reason_of(error))
        return None


class Proposer:
    """A filled faiss index, and what it can do.

    Attributes:
        count: vectors, numbered 0 to count - 1.
        widest: up to which the width can be chosen, lists that are looked into or candidates of a graph; 0 for none.
        selects: whether it can be told to leave rows out.
    """

    def __init__(self, made: Any):
        self.made, self.count = made, made.ntotal
        self.widest = _widest(made)
        self.selects = self._selects()

    def _selects(self) -> bool:
        params, _kept = _parameters(self.made, 1, np.ones(self.count, dtype=bool))
        try:
            self.made.search(np.zeros((1, self.made.d), dtype=np.float32), 1, params=params)
        except RuntimeError:
            return False
        return True

    def propose(self, queries: np.ndarray, n: int, width: int, mask: np.ndarray | None) -> np.ndarray:
        """Return about ``n`` near rows of each query, int64 (Q, m), padded with -1; unordered.

        Args:
            width: lists to look into, or candidates of a graph; more of them for a mask.
            mask: bool (count,), the rows that are permitted; ``None`` for all.
        """
        share = 1.0 if mask is None else np.count_nonzero(mask) / max(1, self.count)
        if not share:
            return np.full((len(queries), 0), -1, dtype=np.int64)
        width = round(width * min(WIDEST, 1 / share))
        if mask is not None and not self.selects:
            found = self._search(queries, int(n / share) + 1, width, None)
            return np.where((found >= 0) & mask[found], found, -1)
        return self._search(queries, n, width, mask)

    def _search(self, queries: np.ndarray, n: int, width: int, mask: np.ndarray | None) -> np.ndarray:
        n = min(self.count, n)
        params, _kept = _parameters(self.made, width, mask, n)
        return self.made.search(queries, n, params=params)[1]


def _widest(made: Any) -> int:
    import faiss

    kind = faiss.downcast_index(made)
    if isinstance(kind, faiss.IndexRefine):
        return _widest(kind.base_index)
    if isinstance(kind, faiss.IndexPreTransform):
        return _widest(kind.index)
    if isinstance(kind, faiss.IndexIVF):
        return kind.nlist
    return min(MOST_CANDIDATES, made.ntotal) if isinstance(kind, faiss.IndexHNSW) else 0


def _parameters(made: Any, width: int, mask: np.ndarray | None, n: int = 1) -> tuple[Any, list]:
    """Return search parameters, and what must live as long as they do."""
    import faiss

    kind = faiss.downcast_index(made)
    if isinstance(kind, faiss.IndexRefine):
        inner, kept = _parameters(kind.base_index, width, mask, 4 * n)
        return faiss.IndexRefineSearchParameters(k_factor=4.0, base_index_params=inner), [inner, *kept]
    if isinstance(kind, faiss.IndexPreTransform):
        inner, kept = _parameters(kind.index, width, mask, n)
        return faiss.SearchParametersPreTransform(index_params=inner), [inner, *kept]
    options: dict[str, Any] = {}
    kept = []
    if mask is not None:
        bits = np.packbits(mask, bitorder="little")
        options["sel"] = faiss.IDSelectorBitmap(bits)
        kept = [bits, options["sel"]]
    if isinstance(kind, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=min(width, kind.nlist), **options), kept
    if isinstance(kind, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=max(width, n), **options), kept
    return (faiss.SearchParameters(**options) if options else None), kept
