"""All-gather with gradients."""

import torch
import torch.distributed as dist


class GatherLayer:
    """Collect a tensor from all processes so that gradients flow back to each of them.

    The gradient of a process' own tensor is the sum over what all processes computed from it. (fast-reid's took only
    the part of the own process.) Together with the mean that DistributedDataParallel takes, a loss over the gathered
    batch, equal on all processes, then has the gradient of a single process with that batch, times their number.
    """

    @staticmethod
    def apply(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors of all processes in rank order; all have one shape. Without a process group: one."""
        if not dist.is_available() or not dist.is_initialized():
            return (tensor,)
        from torch.distributed.nn.functional import all_gather

        return tuple(all_gather(tensor.contiguous()))
