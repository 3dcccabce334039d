"""Weights of the losses that are learnt with the model."""

from collections.abc import Iterable

import torch
from torch import nn

from fastreid.utils import comm
from fastreid.utils.events import get_event_storage

WEIGHTINGS = ("fixed", "uncertainty")
KEY = "loss_weighting"  # of what the weighting adds, beside those of the losses


class LossWeighting(nn.Module):
    """Homoscedastic uncertainty: each loss L counts ``L e^-s + s`` with a learnt s (Kendall and Gal, NeurIPS 2017).

    Lo et al. (arXiv 2404.19360, eq. 3) join their losses so. The s, a parameter under the key of its loss, begins at 0,
    where the losses count as they are, and has no weight decay. At its best value, log L, the loss counts L e^-s = 1: a
    factor before the loss (its SCALE) then changes no more than where s begins.

    A loss that is exactly 0 in the batches of all processes, such as one without a pair to compare, leaves its s as it
    is (ours): by the formula s would fall with every such batch, without an end.

    Args:
        keys: of the losses. A loss in parts, such as MGN's ``loss_triplet_b1``, has one s for their sum, under the key
            that its parts begin with.
    """

    def __init__(self, keys: Iterable[str]):
        super().__init__()
        for key in keys:
            self.register_parameter(key, nn.Parameter(torch.zeros(())))

    @property
    def without_decay(self) -> tuple[str, ...]:
        return tuple(self._parameters)

    def forward(self, losses: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return what to add to the sum of ``losses``, scalars, to have ``sum(L e^-s + s)``; log each s.

        Raises:
            ValueError: a loss that has no s.
        """
        sums: dict[str, torch.Tensor] = {}
        for name, value in losses.items():
            key = self._key_of(name)
            sums[key] = sums[key] + value if key in sums else value
        values = torch.stack(list(sums.values()))
        s = torch.stack([self._parameters[key] for key in sums]).to(values.dtype)
        counts = comm.mean_over_processes(values) != 0
        for key, number in zip(sums, s.tolist(), strict=True):
            get_event_storage().put_scalar(f"s_{key.removeprefix('loss_')}", number, smoothing_hint=False)
        return (values * torch.expm1(-s) + s * counts).sum()

    def _key_of(self, name: str) -> str:
        keys = [key for key in self._parameters if name == key or name.startswith(f"{key}_")]
        if not keys:
            raise ValueError(
                f"MODEL.LOSSES.WEIGHTING uncertainty has no weight for '{name}', only for "
                f"{', '.join(self._parameters)}: a model's class names losses that it computes itself in `own_losses`"
            )
        return max(keys, key=len)
