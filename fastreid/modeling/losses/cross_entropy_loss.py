"""Cross-entropy with label smoothing, and the training accuracy."""

import torch
import torch.nn.functional as F

from fastreid.layers.partial_fc import ShardedLogits, sharded_cross_entropy
from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY, masked_mean
from fastreid.utils import comm
from fastreid.utils.events import get_event_storage


@full_precision
def cross_entropy_loss(
    pred_class_outputs: torch.Tensor, gt_classes: torch.Tensor, eps: float, alpha: float = 0.2
) -> torch.Tensor:
    """Cross-entropy with smoothed targets: ``1 - eps`` for the class, ``eps / (C - 1)`` for each other one.

    Samples whose loss is exactly zero do not count in the mean. One class alone cannot be smoothed: ``eps`` is then 0.

    Args:
        pred_class_outputs: (B, C) logits.
        gt_classes: (B,) int64.
        eps: smoothing in 0..1 (Szegedy et al., 2016); negative: adaptive, ``alpha`` times the predicted probability
            of the class, so that sure samples are smoothed more.
    """
    num_classes = pred_class_outputs.shape[1]
    log_probs = F.log_softmax(pred_class_outputs, dim=1)
    own = log_probs.gather(1, gt_classes[:, None])[:, 0]
    if num_classes == 1:
        eps = 0.0
    smooth = torch.full_like(own, eps) if eps >= 0 else alpha * own.detach().exp()
    others = (log_probs.sum(1) - own) / max(num_classes - 1, 1)
    losses = -(1 - smooth) * own - smooth * others
    return masked_mean(losses, losses.detach() != 0)


@torch.no_grad()
def log_accuracy(
    pred_class_logits: torch.Tensor | ShardedLogits, gt_classes: torch.Tensor, topk: tuple[int, ...] = (1,)
) -> None:
    """Write the share of samples whose class is among the best ``topk[0]`` to the open event storage, if any.

    With logits that are spread over the processes it is the best one, among the classes of the step.
    """
    if isinstance(pred_class_logits, ShardedLogits):
        correct = pred_class_logits.is_best().float().mean()
    else:
        best = pred_class_logits.topk(min(topk[0], pred_class_logits.shape[1]), dim=1).indices
        correct = (best == gt_classes[:, None]).any(1).float().mean()
    get_event_storage().put_scalar("cls_accuracy", comm.mean_over_processes(correct).item())


@LOSS_REGISTRY.register(node="MODEL.LOSSES.CE")
class CrossEntropyLoss:
    """``cross_entropy_loss`` of the classifier's outputs, which may be spread over the processes."""

    needs = ("cls_outputs", "targets")
    takes_shards = True
    key = "loss_cls"

    def __init__(self, epsilon: float = 0.0, alpha: float = 0.2, scale: float = 1.0):
        self.epsilon, self.alpha, self.scale = epsilon, alpha, scale

    def __call__(self, table: dict) -> torch.Tensor:
        logits = table["cls_outputs"]
        if isinstance(logits, ShardedLogits):
            return self.scale * sharded_cross_entropy(logits, self.epsilon, self.alpha)
        return self.scale * cross_entropy_loss(logits, table["targets"], self.epsilon, self.alpha)
