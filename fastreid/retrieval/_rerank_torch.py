"""k-reciprocal re-ranking as tensor operations on the device of its input, in chunks of bounded memory.

Has the same functions as `_rerank_cpu`; used for CUDA tensors, and where the compiled kernels are missing. Sums run
in float64, so that the order in which a GPU adds does not show in the float32 results.
"""

from collections.abc import Callable, Iterator

import torch

from fastreid.retrieval._rerank_rows import Rows, list_widths

SCRATCH_ENTRIES = 2**20  # elements of the largest temporary tensor


def as_array(x, like: torch.Tensor | None = None) -> torch.Tensor:
    """A contiguous tensor, where ``like`` is: float64 stays, other numbers become float32; shares memory if it can."""
    x = x.detach() if isinstance(x, torch.Tensor) else torch.as_tensor(x, device="cpu")
    x = x if like is None else x.to(like.device)
    return (x if x.dtype == torch.float64 else x.float()).contiguous()


def as_lists(lists, like: torch.Tensor) -> torch.Tensor:
    """Neighbour lists int64 (N, k)."""
    return torch.as_tensor(lists, dtype=torch.int64, device=like.device)


def concatenate(parts: list) -> torch.Tensor:
    return torch.cat(parts)


def largest(block: torch.Tensor) -> torch.Tensor:
    return block.amax(dim=1)


def empty(like: torch.Tensor, *shape: int) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.float32, device=like.device)


def to_unit_rows(features: torch.Tensor) -> None:
    """Scale rows to length 1 in place; a zero row stays."""
    lengths = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    features /= torch.where(lengths > 0, lengths, 1)


def smallest(block: torch.Tensor, k: int) -> torch.Tensor:
    """Columns int64 (b, k) of the smallest values (float32, not negative) of each row, by (value, column).

    The bits of such a value, read as an integer, are in the order of the values: with the column below them they
    make a key without ties.
    """
    columns = torch.arange(block.shape[1], device=block.device)
    keys = ((block + 0.0).view(torch.int32).long() << 32) | columns
    return keys.topk(k, dim=1, largest=False, sorted=True).values & (2**32 - 1)


def squared_distances(features: torch.Tensor, rows: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """Squared L2 distances float32 (n,) of pairs of rows of features (N, D)."""
    distances = empty(features, len(rows))
    for part in _ranges(len(rows), features.shape[1]):
        distances[part] = (features[rows[part]] - features[items[part]]).square_().sum(dim=1).float()
    return distances


def encode(lists, k1: int, k2: int, distances_of: Callable) -> Rows:
    """Encodings (N, N); see `rerank.encode`."""
    count, (width, half) = len(lists), list_widths(lists, k1)
    near = lists[:, :width].contiguous()
    mutual = _mutual(near, width)
    mutual_half = _mutual(near[:, :half], half)
    counts, items = [], []
    for part in _ranges(count, width * half * width):
        owners, members = _expanded_sets(near, mutual, mutual_half, part)
        counts.append(torch.bincount(owners - part.start, minlength=part.stop - part.start))
        items.append(members)
    rows = _join(counts, items, lists.device)
    weights = _softmax(rows, distances_of(_owners(rows), rows.items))
    encodings = Rows(rows.starts, rows.items, weights)
    return encodings if k2 == 1 else _average(encodings, lists[:, :k2])


def invert(rows: Rows, num_columns: int) -> Rows:
    """The columns of sparse rows."""
    order = torch.argsort(rows.items, stable=True)
    starts = _starts(torch.bincount(rows.items, minlength=num_columns))
    return Rows(starts, _owners(rows)[order], rows.weights[order])


def blend(queries: Rows, columns: Rows, distances: torch.Tensor, first_row: int, share: float) -> None:
    """Turn ``distances`` (b, G) of the queries from ``first_row`` into the re-ranked ones, in place."""
    num_gallery = distances.shape[1]
    for block in _ranges(len(distances), num_gallery):
        rows = queries.part(slice(first_row + block.start, first_row + block.stop))
        shared = torch.zeros(distances[block].shape, dtype=torch.float64, device=distances.device)
        owners = _owners(rows)
        for part in _pieces((columns.starts[1:] - columns.starts[:-1])[rows.items]):
            entries, source = _ragged(columns.starts, rows.items[part])
            overlap = torch.minimum(columns.weights[entries], rows.weights[part][source])
            shared.view(-1).index_add_(0, owners[part][source] * num_gallery + columns.items[entries], overlap.double())
        jaccard = (1 - shared / (2 - shared)).clamp_(min=0)
        distances[block] = ((1 - share) * jaccard + share * distances[block]).to(distances.dtype)


def _mutual(lists: torch.Tensor, width: int) -> torch.Tensor:
    """Whether each neighbour of ``lists`` (N, width) has the item in its own list."""
    mutual = torch.empty_like(lists, dtype=torch.bool)
    for part in _ranges(len(lists), width * width):
        item = torch.arange(part.start, part.stop, device=lists.device)
        mutual[part] = (lists[lists[part]] == item[:, None, None]).any(dim=2)
    return mutual


def _expanded_sets(lists, mutual, mutual_half, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """(owner, member) of every entry of the sets R* of some rows, in ascending order."""
    half = mutual_half.shape[1]
    near, in_set = lists[part], mutual[part]
    others, other_mutual = lists[near][:, :, :half], mutual_half[near]  # (b, width, half): those of each member
    members = torch.where(in_set, near, -1)
    shared = (others[..., None] == members[:, None, None, :]).any(dim=3) & other_mutual
    accepted = in_set & (3 * shared.sum(dim=2) > 2 * other_mutual.sum(dim=2))
    joined = other_mutual & accepted[..., None]
    owner = torch.arange(part.start, part.stop, device=lists.device)[:, None]
    keys = (owner * len(lists) + near)[in_set], (owner[..., None] * len(lists) + others)[joined]
    keys = torch.unique(torch.cat(keys))
    return keys // len(lists), keys % len(lists)


def _softmax(rows: Rows, distances: torch.Tensor) -> torch.Tensor:
    """``exp(-distance)`` over its sum, within each row."""
    owners, distances = _owners(rows), distances.double()
    lowest = torch.zeros(len(rows.starts) - 1, dtype=torch.float64, device=distances.device)
    lowest.scatter_reduce_(0, owners, distances, "amin", include_self=False)
    weights = (lowest[owners] - distances).exp_().float()
    sums = torch.zeros_like(lowest).index_add_(0, owners, weights.double())
    return (weights / sums[owners]).float()


def _average(rows: Rows, nearest: torch.Tensor) -> Rows:
    """The mean of the rows of each item's ``nearest`` (N, k2)."""
    count, k2 = nearest.shape
    lengths = rows.starts[1:] - rows.starts[:-1]
    counts, items, weights = [], [], []
    for part in _pieces(lengths[nearest].sum(dim=1)):
        entries, source = _ragged(rows.starts, nearest[part].reshape(-1))
        keys, place = torch.unique((source // k2) * count + rows.items[entries], return_inverse=True)
        sums = torch.zeros(len(keys), dtype=torch.float64, device=keys.device)
        sums.index_add_(0, place, rows.weights[entries].double())
        counts.append(torch.bincount(keys // count, minlength=part.stop - part.start))
        items.append(keys % count)
        weights.append((sums / k2).float())
    means = _join(counts, items, nearest.device)
    return Rows(means.starts, means.items, torch.cat([rows.weights[:0], *weights]))


def _join(counts: list, items: list, device) -> Rows:
    """Rows, still without weights, from the pieces of consecutive rows."""
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    return Rows(_starts(torch.cat([nothing, *counts])), torch.cat([nothing, *items]), None)


def _starts(counts: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.pad(counts.cumsum(0), (1, 0))


def _owners(rows: Rows) -> torch.Tensor:
    """The row of every entry."""
    counts = rows.starts[1:] - rows.starts[:-1]
    return torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)


def _ragged(starts: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of all entries of the chosen rows, one row after the other, and for each the place of its row."""
    counts = starts[chosen + 1] - starts[chosen]
    source = torch.repeat_interleave(torch.arange(len(chosen), device=starts.device), counts)
    offsets = torch.arange(len(source), device=starts.device) - (counts.cumsum(0) - counts)[source]
    return starts[chosen][source] + offsets, source


def _ranges(count: int, entries_per_row: int) -> Iterator[slice]:
    """Consecutive ranges of rows whose temporary tensors stay within `SCRATCH_ENTRIES` elements."""
    rows = max(1, SCRATCH_ENTRIES // max(1, entries_per_row))
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))


def _pieces(sizes: torch.Tensor) -> Iterator[slice]:
    """Consecutive ranges whose ``sizes`` sum to about `SCRATCH_ENTRIES` at most; one row may exceed it."""
    total = sizes.cumsum(0)
    start, done = 0, 0
    while start < len(sizes):
        stop = int(torch.searchsorted(total, done + SCRATCH_ENTRIES, right=True))
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start, done = stop, int(total[stop - 1])
