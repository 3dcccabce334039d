"""Communication between the processes of one training; every function also works with a single process."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_world_size() -> int:
    return dist.get_world_size() if _initialized() else 1


def get_rank() -> int:
    return dist.get_rank() if _initialized() else 0


def get_local_rank() -> int:
    """Return the rank of this process on its machine, as set by ``launch`` or ``torchrun`` in ``LOCAL_RANK``."""
    return int(os.environ.get("LOCAL_RANK", 0)) if _initialized() else 0


def get_local_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1)) if _initialized() else 1


def is_main_process() -> bool:
    return get_rank() == 0


def synchronize() -> None:
    """Wait until every process has come here."""
    if get_world_size() > 1:
        dist.barrier()


def all_gather(data: Any) -> list[Any]:
    """Return the ``data`` (any picklable object) of each process, by rank, in every process."""
    if get_world_size() == 1:
        return [data]
    gathered = [None] * get_world_size()
    dist.all_gather_object(gathered, data)
    return gathered


def gather(data: Any, dst: int = 0) -> list[Any]:
    """Return the ``data`` of each process, by rank, in process ``dst``; an empty list in the others."""
    if get_world_size() == 1:
        return [data]
    gathered = [None] * get_world_size() if get_rank() == dst else None
    dist.gather_object(data, gathered, dst=dst)
    return gathered or []


def shared_random_seed() -> int:
    """Return one random number below 2**31 that is the same in every process; it follows torch's global seed."""
    return all_gather(int(torch.randint(2**31, (1,))))[0]


def reduce_dict(values: dict[str, torch.Tensor], average: bool = True) -> dict[str, torch.Tensor]:
    """Sum or average scalar tensors over the processes; the result is meaningful in process 0 only.

    All processes must hold the same keys.
    """
    world = get_world_size()
    if world == 1 or not values:
        return values
    with torch.no_grad():
        names = sorted(values)
        stacked = torch.stack([values[name].detach().float() for name in names])
        dist.reduce(stacked, dst=0)
        return dict(zip(names, stacked / world if average else stacked, strict=True))


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``value`` (any shape) over the processes, in each of them, without gradient."""
    value = value.detach()
    if get_world_size() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / get_world_size()


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: torch.Tensor) -> torch.Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> torch.Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.split(ctx.count)[get_rank()]


def all_gather_with_grad(tensor: torch.Tensor) -> torch.Tensor:
    """Return the rows of ``tensor`` (B, ...) of all processes, (W * B, ...) in rank order; gradients flow back.

    Every process must call it, with the same shape. The gradient of a process's rows is the sum over the processes
    of what each of them makes of these rows: the gradient of the *sum* of their losses. Training divides that by W
    (``DistributedDataParallel`` averages), so what is minimised is the *mean* of the processes' losses. Where each
    process computes the same loss L of the gathered rows, that mean is L itself: one process with the whole batch
    would have had the same gradient.
    """
    return tensor if get_world_size() == 1 else _AllGather.apply(tensor.contiguous())


def same_everywhere(model: nn.Module) -> None:
    """Give every process the buffers of process 0 (parameters are the business of ``DistributedDataParallel``)."""
    if get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def average_buffers(model: nn.Module) -> None:
    """Replace the floating-point buffers (running means and variances) by their average over the processes.

    Each process normalises its own part of a batch, so its running statistics drift apart from the others'.
    """
    if get_world_size() == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= get_world_size()
