"""fast-reid's name for the all-gather with gradients."""

import torch

from fastreid.utils import comm


class GatherLayer:
    """Collect a tensor from all processes so that gradients flow back to each of them.

    fast-reid's hands back only the own process's part of the gradient; here it is that of all processes
    (:func:`fastreid.utils.comm.all_gather_with_grad`).
    """

    @staticmethod
    def apply(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the tensors of all processes in rank order; all must have one shape."""
        return comm.all_gather_with_grad(tensor[None]).unbind()
