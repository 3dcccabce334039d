"""Distances between query and gallery features, one block of queries at a time."""

from collections.abc import Iterator

import numpy as np

from fastreid.utils.errors import require_choice

METRICS = ("cosine", "euclidean")
BYTES_PER_PAIR = 16  # a float32 distance, an int64 sorting index and the byte masks beside them
_TINY_NORM = 1e-12


def as_features(x, name: str = "features") -> np.ndarray:
    """Return ``x`` as a contiguous (N, D) array: float32, or float64 where float32 would change values.

    A tensor on a device other than the CPU stays a tensor there.

    Raises:
        ValueError: ``x`` is not two-dimensional, or has no columns.
        TypeError: ``x`` is not made of real numbers, or is masked.
    """
    on_device = hasattr(x, "detach")
    if on_device:
        x = x.detach()
        on_device = x.device.type != "cpu"
    if not on_device:
        if np.ma.is_masked(x):
            raise TypeError(f"{name} are a masked array; leave the masked rows out, or fill them")
        # bfloat16 has no NumPy type
        x = np.asarray(x.float() if hasattr(x, "detach") and str(x.dtype) == "torch.bfloat16" else x)
        if x.dtype.kind not in "fiub":
            raise TypeError(f"{name} must be real numbers; got an array of {x.dtype}")
    if x.ndim != 2:
        raise ValueError(f"{name} must have shape (N, D); got {tuple(x.shape)}")
    if not x.shape[1] and x.shape[0]:
        raise ValueError(f"{name} must have at least one column; got shape {tuple(x.shape)}")
    if on_device:
        return (x if str(x.dtype) == "torch.float64" else x.float()).contiguous()
    return np.ascontiguousarray(x, dtype=np.float32 if np.can_cast(x.dtype, np.float32) else np.float64)


def to_array(x) -> np.ndarray:
    """An array or tensor as an array."""
    return np.asarray(x.cpu() if hasattr(x, "cpu") else x)


def as_given(result, given):
    """``result`` as an array, or as a tensor on the device of ``given`` when that is a tensor."""
    if not hasattr(given, "detach"):
        return to_array(result)
    import torch

    return torch.as_tensor(result, device=given.device)


def normalize(x) -> np.ndarray:
    """Scale the rows of (N, D) to unit L2 length; a zero row stays zero."""
    x = as_features(x)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), _TINY_NORM)


def prepare(x, metric: str) -> np.ndarray:
    """Do once what every block of ``metric`` would repeat: unit rows for cosine, nothing for Euclidean."""
    require_choice("metric of a distance", metric, METRICS)
    return normalize(x) if metric == "cosine" else as_features(x)


def prepared_distances(q: np.ndarray, g: np.ndarray, metric: str) -> np.ndarray:
    """Distances (q, g) between features which `prepare` has seen.

    Cosine is ``1 - cos``, Euclidean is the SQUARED L2 distance (as fast-reid), never below 0.
    """
    distances = q @ g.T
    if metric == "cosine":
        return np.subtract(1, distances, out=distances)
    distances *= -2
    distances += np.einsum("ij,ij->i", q, q)[:, None]
    distances += np.einsum("ij,ij->i", g, g)
    return np.maximum(distances, 0, out=distances)


def block_distances(q, g, metric: str = "cosine") -> np.ndarray:
    """Distances (q, g) between raw features (q, D) and (g, D); metrics as in `prepared_distances`."""
    q, g = prepare(q, metric), prepare(g, metric)
    if q.shape[1] != g.shape[1]:
        raise ValueError(f"queries have {q.shape[1]} feature columns but the gallery has {g.shape[1]}")
    return prepared_distances(q, g, metric)


def query_blocks(num_queries: int, num_gallery: int, block_mib: float = 32) -> Iterator[slice]:
    """Cut the query rows so that work on a block (`BYTES_PER_PAIR` per pair) stays within ``block_mib`` MiB.

    A block has at least one row, however large the gallery is.
    """
    if block_mib <= 0:
        raise ValueError(
            f"block_mib, the memory for one block of distances in MiB, must be positive; got {block_mib}"
        )
    rows = max(1, int(block_mib * 2**20) // (BYTES_PER_PAIR * max(1, num_gallery)))
    for start in range(0, num_queries, rows):
        yield slice(start, min(start + rows, num_queries))


def check_finite(distances: np.ndarray, rows: slice) -> None:
    """Raise ``ValueError`` naming the first query and gallery row of a NaN or infinite distance."""
    finite = np.isfinite(distances)
    if not finite.all():
        query, item = np.argwhere(~finite)[0]
        raise ValueError(
            f"{np.count_nonzero(~finite)} distances are NaN or infinite, the first between query row "
            f"{rows.start + query} and gallery row {item}; the features of one of them are not finite"
        )
