"""Distances within a batch, and what the losses share."""

import functools
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F

from fastreid.utils import comm
from fastreid.utils.locarno import read_locarno
from fastreid.utils.registry import Registry

LOSS_REGISTRY = Registry("LOSS", "MODEL.LOSSES.NAME")
LOSS_REGISTRY.__doc__ = """Losses by name.

A loss is called with one table (the columns of the batch and what the head gives) and returns a scalar, already times
its ``scale``. Its class says which columns it ``needs`` and under which ``key`` its value is logged.
"""


def normalize(x: torch.Tensor, axis: int = -1) -> torch.Tensor:
    """Scale to unit length along ``axis``; a zero vector stays zero."""
    return x / (x.norm(dim=axis, keepdim=True) + 1e-12)


def euclidean_dist(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(M, D), (N, D) -> (M, N) Euclidean distances, not squared, at least 1e-6 (the root's gradient stays finite)."""
    squared = x.pow(2).sum(1)[:, None] + y.pow(2).sum(1)[None, :] - 2 * x @ y.t()
    return squared.clamp(min=1e-12).sqrt()


def cosine_dist(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """(M, D), (N, D) -> (M, N) values of ``2 - 2 cos``, the squared distance of the normalised vectors."""
    return 2 - 2 * normalize(x) @ normalize(y).t()


def pair_masks(targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N,) -> two (N, N) bool masks: pairs of one class without the diagonal, pairs of two classes."""
    same = targets[:, None] == targets
    oneself = torch.eye(len(targets), dtype=torch.bool, device=targets.device)
    return same & ~oneself, ~same


def locarno_codes(taxonomy: Iterable[str | None], device: torch.device | str | None = None) -> torch.Tensor:
    """N texts -> (N,) int64, their Locarno codes as numbers ``100 * class + subclass`` ("14-04": 1404).

    An unknown subclass counts as 0 ("1400"), an unknown class gives 0: numbers below 100 are equal to nothing.
    """
    codes = [read_locarno(text or "") for text in taxonomy]
    return torch.tensor([100 * code.class_ + code.subclass for code in codes], dtype=torch.int64, device=device)


def pair_softplus(
    positive: torch.Tensor, negative: torch.Tensor, is_positive: torch.Tensor, is_negative: torch.Tensor
) -> torch.Tensor:
    """Mean over rows of ``softplus(logsumexp(positive) + logsumexp(negative))`` over the marked pairs only.

    A row without positives or without negatives adds 0 and no gradient.
    """
    # a large finite value instead of -inf, whose logsumexp over an empty row has NaN gradients
    positive = torch.where(is_positive, positive, -1e8)
    negative = torch.where(is_negative, negative, -1e8)
    return F.softplus(positive.logsumexp(1) + negative.logsumexp(1)).mean()


def over_all_processes(loss: Callable) -> Callable:
    """Decorate ``loss(embedding, targets, ...)``, a mean over the batch, so that it sees the batches of all processes.

    Mining and pairs then reach over the global batch, and W processes with B / W images each train as one process
    with B does: each computes the loss L of the joined rows, and the gradients that flow back to a process (see
    ``comm.all_gather_with_grad``) are those of W * L, which ``DistributedDataParallel`` averages to those of L. A
    loss that is a mean of single rows needs no joining: the mean of the means of equal shares is the mean (where rows
    can be left out, ``masked_mean``).

    The function must be called by all processes, with batches of equal size. Further tensors given by position are
    columns of the batch and are joined too, without gradient; those given by name are not.
    """

    @functools.wraps(loss)
    def joined(embedding: torch.Tensor, targets: torch.Tensor, *args, **options) -> torch.Tensor:
        columns = [concat_all_gather(value) if isinstance(value, torch.Tensor) else value for value in args]
        return loss(comm.all_gather_with_grad(embedding), concat_all_gather(targets), *columns, **options)

    return joined


def masked_mean(losses: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the entries of ``losses`` that ``mask`` marks, in the batches of all processes; 0 where there are none.

    Each process divides its sum by the mean count of a process, so that values and gradients averaged over the
    processes are those of all entries. All must call it.
    """
    count = comm.mean_over_processes(mask.sum().to(losses.dtype))
    return (losses * mask).sum() / count.clamp(min=1 / comm.get_world_size())


@torch.no_grad()
def concat_all_gather(tensor: torch.Tensor) -> torch.Tensor:
    """Concatenate ``tensor`` (B, ...) of all processes along the first axis, in rank order, without gradient."""
    if comm.get_world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(comm.get_world_size())]
    torch.distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
