"""Training with parameters, gradients and optimiser state divided among the processes (FSDP), for large backbones."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from fastreid.utils import comm
from fastreid.utils.checkpoint import Checkpointer, load_weights


def shard(model: nn.Module) -> None:
    """Divide the parameters of ``model``, in place, among the processes; each block of its backbone is a unit.

    Only the parameters of one unit are whole at a time; its forward gathers them. An optimiser is built afterwards.
    """
    from torch.distributed.fsdp import fully_shard

    for tensor in (*model.parameters(), *model.buffers()):
        dist.broadcast(tensor.detach(), src=0)  # all begin as process 0
    device = next(model.parameters()).device.type
    mesh = dist.init_device_mesh(device, (comm.get_world_size(),))
    for unit in blocks_of(getattr(model, "backbone", nn.Module())):
        fully_shard(unit, mesh=mesh)
    fully_shard(model, mesh=mesh)


def require_shardable(cfg) -> None:
    """Raise ``ValueError`` for settings that do not go with ``SOLVER.FSDP``."""
    refused = {
        "TEST.EVAL_PERIOD must be 0, since each process would wait for the others' batches: evaluate afterwards":
            cfg.TEST.EVAL_PERIOD != 0,
        "SOLVER.AMP.DTYPE must be bfloat16": cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE != "bfloat16",
        "TEST.PRECISE_BN must be off": cfg.TEST.PRECISE_BN.ENABLED,
        "SOLVER.CLIP_GRADIENTS must be off": cfg.SOLVER.CLIP_GRADIENTS.ENABLED,
        "SOLVER.CHANNELS_LAST must be off": cfg.SOLVER.CHANNELS_LAST,
        "SOLVER.FUSED must be off": cfg.SOLVER.FUSED,
        "MODEL.HEADS.PFC.ENABLED must be False, since both divide the class weights": cfg.MODEL.HEADS.PFC.ENABLED,
    }  # fmt: skip
    wrong = next((what for what, is_wrong in refused.items() if is_wrong), None)
    if wrong:
        raise ValueError(f"SOLVER.FSDP: {wrong}")


def blocks_of(backbone: nn.Module) -> Iterator[nn.Module]:
    """The modules in the lists and sequences of a backbone, which are called one after the other."""
    for stage in backbone.children():
        if isinstance(stage, (nn.ModuleList, nn.Sequential)):
            yield from (block for block in stage if next(block.parameters(), None) is not None)


def whole(tree: Any) -> Any:
    """Replace divided tensors in a nested value by whole ones on the CPU; every process must call it."""
    from torch.distributed.tensor import DTensor  # here, since it takes a second to import

    return torch.utils._pytree.tree_map_only(DTensor, lambda tensor: tensor.full_tensor().cpu(), tree)


def divided_as(tensor: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The part of ``tensor`` that this process has of ``own``; as it is where that is not divided."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(own, DTensor):
        return tensor
    return distribute_tensor(tensor.to(own.device), own.device_mesh, own.placements)


class WholeOptimizer:
    """The state of an optimiser as that of one process would have it."""

    def __init__(self, optimizer: torch.optim.Optimizer):
        self.optimizer = optimizer

    def state_dict(self) -> dict:
        return whole(self.optimizer.state_dict())

    def load_state_dict(self, saved: dict) -> None:
        own = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        places = [place for group in saved["param_groups"] for place in group["params"]]
        if len(own) != len(places):
            raise ValueError(f"the optimiser has {len(own)} parameters, the checkpoint {len(places)}")
        state = {
            place: {name: divided_as(value, parameter) if _is_like(value, parameter) else value
                    for name, value in saved["state"].get(place, {}).items()}
            for place, parameter in zip(places, own, strict=True)
        }  # fmt: skip
        self.optimizer.load_state_dict({**saved, "state": {place: values for place, values in state.items() if values}})


def _is_like(value: Any, parameter: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == parameter.shape


class WholeCheckpointer(Checkpointer):
    """Writes and reads the files of a model that is not divided. Every process must call ``save``."""

    def __init__(self, model: nn.Module, save_dir: str = "", *, optimizer: torch.optim.Optimizer, **others: Any):
        super().__init__(model, save_dir, optimizer=WholeOptimizer(optimizer), **others)

    def save(self, name: str, **extra: Any) -> None:
        parts = {"model": self.model, **self.checkpointables}
        self._write(name, {**{key: whole(part.state_dict()) for key, part in parts.items()}, **extra})

    def load(self, path: str, checkpointables=None, optional=None) -> dict[str, Any]:
        self._optional = optional
        return super().load(path, checkpointables, optional)

    def _load_model(self, checkpoint: dict[str, Any]) -> None:
        own, weights = self.model.state_dict(), checkpoint.pop("model")
        fitting = {name: divided_as(value, own[name]) for name, value in weights.items()
                   if name in own and _is_like(value, own[name])}  # fmt: skip
        load_weights(self.model, {**weights, **fitting}, optional=self._optional)
