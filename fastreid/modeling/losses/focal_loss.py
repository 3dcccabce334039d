"""Focal loss."""

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY
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
    log_p = F.log_softmax(input, dim=1).gather(1, target[:, None])[:, 0]
    # below the smallest step of float32 the power's gradient, for gamma < 1, would be infinite
    missing = (-torch.expm1(log_p)).clamp(min=1e-12)
    losses = -alpha * missing**gamma * log_p
    return {"mean": losses.mean, "sum": losses.sum, "none": lambda: losses}[reduction]()


@LOSS_REGISTRY.register(node="MODEL.LOSSES.FL")
class FocalLoss:
    """``focal_loss`` of the classifier's outputs."""

    needs = ("cls_outputs", "targets")
    key = "loss_focal"

    def __init__(self, alpha: float = 0.25, gamma: float = 2, scale: float = 1.0):
        self.alpha, self.gamma, self.scale = alpha, gamma, scale

    def __call__(self, table: dict) -> torch.Tensor:
        return self.scale * focal_loss(table["cls_outputs"], table["targets"], self.alpha, self.gamma)
