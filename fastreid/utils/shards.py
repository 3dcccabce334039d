"""Class weights that are spread over the processes: which rows are whose, and the whole table in files.

A head with ``partial_fc`` (see :mod:`fastreid.layers.partial_fc`) holds in ``weight`` the rows of its own process. A
file always holds all rows, so that it fits any number of processes and the head without shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from fastreid.utils import comm


@dataclass(frozen=True)
class Shard:
    """The rows ``start`` to ``stop - 1`` of a table of ``total`` rows."""

    start: int
    stop: int
    total: int

    @classmethod
    def of(cls, total: int, rank: int, world: int) -> "Shard":
        """Return the part of process ``rank``: all are equally large, but the first ``total % world`` have one more."""
        size, more = divmod(total, world)
        start = rank * size + min(rank, more)
        return cls(start, start + size + (rank < more), total)

    @classmethod
    def own(cls, total: int) -> "Shard":
        return cls.of(total, comm.get_rank(), comm.get_world_size())

    @property
    def size(self) -> int:
        return self.stop - self.start


def sharded_parameters(model: nn.Module) -> dict[str, Shard]:
    """Return the shards of the class weights of ``model``, by the name of the parameter."""
    found = {}
    for name, module in model.named_modules():
        if getattr(module, "partial_fc", None) is not None:
            found[f"{name}.weight".lstrip(".")] = module.partial_fc.shard
    return found


def join(rows: torch.Tensor, total: int) -> torch.Tensor:
    """Return the (total, ...) rows of all processes on the CPU of the main one; the others get their own back.

    All processes must call it. The main process needs memory for the whole table; it receives one shard at a time.
    """
    world = comm.get_world_size()
    rows = rows.detach().contiguous()
    if world == 1:
        return rows
    if not comm.is_main_process():
        dist.send(rows, dst=0)
        return rows
    whole = rows.new_empty((total, *rows.shape[1:]), device="cpu")
    whole[: len(rows)] = rows
    for rank in range(1, world):
        shard = Shard.of(total, rank, world)
        part = rows.new_empty((shard.size, *rows.shape[1:]))
        dist.recv(part, src=rank)
        whole[shard.start : shard.stop] = part
    return whole


def joined_weights(state: Mapping[str, Any], shards: Mapping[str, Shard]) -> dict[str, Any]:
    """Return the state dict of a model with all rows of its sharded parameters; see :func:`join`."""
    return {**state, **{name: join(state[name], shard.total) for name, shard in shards.items()}}


def joined_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """Return the state dict of ``optimizer`` with the state of all rows; see :func:`join`."""
    state = optimizer.state_dict()
    entries = dict(state["state"])
    for number, (shape, shard) in _numbered(optimizer, model).items():
        if number in entries:
            entries[number] = {
                key: join(value, shard.total) if _is_per_row(value, shape) else value
                for key, value in entries[number].items()
            }
    return {**state, "state": entries}


def split_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Any]:
    """The inverse of :func:`joined_optimizer`: ``state`` with the rows of this process alone."""
    entries = dict(state.get("state", {}))
    for number, (shape, shard) in _numbered(optimizer, model).items():
        if number in entries:
            whole = (shard.total, *shape[1:])
            entries[number] = {
                key: value[shard.start : shard.stop].clone() if _is_per_row(value, whole) else value
                for key, value in entries[number].items()
            }
    return {**state, "state": entries}


def _is_per_row(value: Any, shape: tuple[int, ...]) -> bool:
    return isinstance(value, torch.Tensor) and tuple(value.shape) == tuple(shape)


def _numbered(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[int, tuple[tuple[int, ...], Shard]]:
    """Number of each sharded parameter in the optimiser's state dict -> shape of its shard, shard."""
    shards = sharded_parameters(model)
    by_id = {id(model.get_parameter(name)): shard for name, shard in shards.items()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {
        number: (tuple(parameter.shape), by_id[id(parameter)])
        for number, parameter in enumerate(parameters)
        if id(parameter) in by_id
    }
