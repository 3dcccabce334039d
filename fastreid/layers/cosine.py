"""Cosines between features and class weights, without a normalised copy of the weights."""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

EPS = 1e-12  # shortest length that is divided by, as in F.normalize
ROWS = 1 << 13  # class weights whose gradient is finished while it is in the cache


def cosine_logits(features: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return ``F.linear(F.normalize(features), F.normalize(weight))``, (B, C), for features (B, D), weight (C, D).

    Of many classes the weights are by far the largest tensor. Autograd would keep a normalised copy of them, and go
    over several more in the backward pass: more time than all three matrix products, and twice the memory.
    """
    return _CosineToRows.apply(F.normalize(features, eps=EPS), weight)


class _CosineToRows(torch.autograd.Function):
    """Products of x (B, D) with rows w of length 1: L = x w / |w|, so dL/dw = x / |w| - L w / |w|^2."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(weight, dim=1)
        scale = length.clamp_min(EPS).reciprocal()
        ctx.save_for_backward(x, weight, scale, length)
        return F.linear(x, weight).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        x, weight, scale, length = ctx.saved_tensors
        grad = grad * scale
        to_x = grad @ weight if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return to_x, None
        to_weight, bend = torch.empty_like(weight), scale.square() * (length >= EPS)
        for start in range(0, len(weight), ROWS):
            part = slice(start, start + ROWS)
            torch.mm(grad[:, part].t(), x, out=to_weight[part])
            along = (to_weight[part] * weight[part]).sum(1) * bend[part]  # of w: its length does not change L
            to_weight[part].addcmul_(weight[part], along[:, None], value=-1)
        return to_x, to_weight
