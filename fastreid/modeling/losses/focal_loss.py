"""Focal loss."""

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY
from fastreid.utils import comm
from fastreid.utils.errors import require_choice


@full_precision
def focal_loss(
    input: torch.Tensor, target: torch.Tensor, alpha: float, gamma: float = 2.0, reduction: str = "mean"
) -> torch.Tensor:
    """``-alpha (1 - p)^gamma log p`` with ``p`` the probability of the class (Lin et al., ICCV 2017, eq. 5).

    Computed from log-probabilities, so that saturated logits give neither inf nor NaN.

    Args:
        input: (B, C) logits. target: (B,) int64.
        reduction: "mean" or "sum" (scalar), or "none" (B,).
    """
    require_choice("reduction of focal_loss", reduction, ("mean", "sum", "none"))
    losses = _focused(F.cross_entropy(input, target, reduction="none"), alpha, gamma)
    return {"mean": losses.mean, "sum": losses.sum, "none": lambda: losses}[reduction]()


@full_precision
def focal_loss_of_mean(input: torch.Tensor, target: torch.Tensor, alpha: float, gamma: float = 2.0) -> torch.Tensor:
    """``alpha (1 - p)^gamma CE`` of the mean cross-entropy CE of a batch, with ``p = exp(-CE)``.

    One factor for the whole batch, as in the code of Higuchi and Yanai (2023; gamma 1.5, alpha 1): it does not focus on
    hard samples, but lowers the rate of learning as the batches become easy. CE is the mean over all processes, which
    must all call this with batches of equal size.

    Args:
        input: (B, C) logits. target: (B,) int64.
    """
    own = F.cross_entropy(input, target)
    # the value of all processes, the gradient of the own rows: gradients are averaged over the processes later
    return _focused(own + (comm.mean_over_processes(own) - own.detach()), alpha, gamma)


def _focused(cross_entropy: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    # below the smallest step of float32 the power's gradient, for gamma < 1, would be infinite
    missing = (-torch.expm1(-cross_entropy)).clamp(min=1e-12)
    return alpha * missing**gamma * cross_entropy


REDUCTIONS = {"sample": focal_loss, "batch": focal_loss_of_mean}


@LOSS_REGISTRY.register(node="MODEL.LOSSES.FL")
class FocalLoss:
    """Focal loss of the classifier's outputs.

    Args:
        reduction: "sample" (``focal_loss``, the published one) or "batch" (``focal_loss_of_mean``).
    """

    needs = ("cls_outputs", "targets")
    key = "loss_focal"

    def __init__(self, alpha: float = 0.25, gamma: float = 2, scale: float = 1.0, reduction: str = "sample"):
        require_choice("MODEL.LOSSES.FL.REDUCTION", reduction, REDUCTIONS)
        self.alpha, self.gamma, self.scale, self.reduction = alpha, gamma, scale, reduction

    def __call__(self, table: dict) -> torch.Tensor:
        loss = REDUCTIONS[self.reduction]
        return self.scale * loss(table["cls_outputs"], table["targets"], self.alpha, self.gamma)
