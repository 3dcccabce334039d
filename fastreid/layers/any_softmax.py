"""Classification layers: margin and scale on the logits before the cross-entropy.

Each takes logits (B, C) and targets (B,) int64 and returns new logits (B, C), C classes or those of a part of them
(:mod:`fastreid.layers.partial_fc`). For all but ``Linear`` the logits are cosines between feature and class weight. A
target of -1 means that the class of this row is not among these logits (it lives on another process): the row is then
all negatives.

``MODEL.HEADS.CLS_LAYER`` names a class in ``SOFTMAX_REGISTRY``; the head calls it with (num_classes, scale, margin).
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.utils.registry import Registry

SOFTMAX_REGISTRY = Registry("SOFTMAX", "MODEL.HEADS.CLS_LAYER")
_register = SOFTMAX_REGISTRY.register(node="MODEL.HEADS")


class _Softmax(nn.Module):
    """What all share.

    Attributes:
        s, m: scale and margin.
        cosine: whether the layer expects cosines, for which the head normalises features and class weights.
    """

    cosine = True

    def __init__(self, num_classes: int, scale: float = 1, margin: float = 0.0):
        super().__init__()
        self.num_classes, self.s, self.m = num_classes, scale, margin

    def is_target(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Like ``logits``, bool: the target class of each row; no class where the target is -1."""
        return targets[:, None] == torch.arange(logits.shape[1], device=targets.device)

    def extra_repr(self) -> str:
        return f"num_classes={self.num_classes}, scale={self.s}, margin={self.m}"


@_register
class Linear(_Softmax):
    """Plain softmax: the logits times ``scale``. ``margin`` is accepted and has no effect."""

    cosine = False

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return logits * self.s


@_register
class CosSoftmax(_Softmax):
    """Additive cosine margin: ``s (cos - m)`` for the target class (CosFace, Wang et al., CVPR 2018, eq. 4)."""

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return (logits - self.m * self.is_target(logits, targets)) * self.s


@_register
class ArcSoftmax(_Softmax):
    """Additive angular margin in radians: ``s cos(angle + m)`` for the target (ArcFace, Deng et al., 2019, eq. 3).

    Cosines are kept 1e-7 away from -1 and 1, where the angle has no finite derivative. Nothing is done about targets
    farther than ``pi - m``, for which the angle passes ``pi`` and the logit grows again; ``ArcSoftmaxEasy`` and
    ``ArcSoftmaxHard`` are the two remedies.

    Raises:
        ValueError: ``margin`` does not lie in 0..pi; other toolkits give it in degrees.
    """

    def __init__(self, num_classes: int, scale: float = 1, margin: float = 0.0):
        if not 0 <= margin <= math.pi:
            raise ValueError(
                f"MODEL.HEADS.MARGIN of {type(self).__name__} is an angle in radians, 0..pi; got {margin!r}"
            )
        super().__init__(num_classes, scale, margin)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.with_margin(logits, self.m * self.is_target(logits, targets)) * self.s

    @staticmethod
    def with_margin(logits: torch.Tensor, margin: torch.Tensor | float) -> torch.Tensor:
        """Return ``cos(angle + margin)`` of cosines ``logits``."""
        return (logits.clamp(-1 + 1e-7, 1 - 1e-7).acos() + margin).cos()


@_register
class ArcSoftmaxEasy(ArcSoftmax):
    """ArcFace with an easy margin: ``s cos(angle + m)`` for a target with ``cos > 0``, and ``s cos`` for any other one.

    The option ``easy_margin`` of the authors' code (insightface): a target starts to feel the margin when it is nearer
    than a right angle. The logit jumps there, from 0 down to ``-s sin(m)``.
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        easy = torch.where(logits > 0, self.with_margin(logits, self.m), logits)
        return torch.where(self.is_target(logits, targets), easy, logits) * self.s


@_register
class ArcSoftmaxHard(ArcSoftmax):
    """ArcFace with a hard margin: targets with ``cos > cos(pi - m)`` get ``s cos(angle + m)``, others a penalty.

    Behind ``pi - m``, where the angle would pass ``pi``, the logit is ``s (cos - m sin(pi - m))``, which goes on
    falling: the default of the authors' code (insightface), where ``easy_margin`` is off.
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        last, penalty = math.cos(math.pi - self.m), self.m * math.sin(math.pi - self.m)
        hard = torch.where(logits > last, self.with_margin(logits, self.m), logits - penalty)
        return torch.where(self.is_target(logits, targets), hard, logits) * self.s


@_register
class CircleSoftmax(_Softmax):
    """Circle loss at class level (Sun et al., CVPR 2020, eq. 6): each cosine is weighted by its distance to its goal.

    Target: ``s [1 + m - cos]_+ (cos - (1 - m))``; others: ``s [cos + m]_+ (cos - m)``; no gradient through the weights.
    """

    def forward(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        cosine = logits.detach()
        positive = F.relu(1 + self.m - cosine) * (logits - (1 - self.m))
        negative = F.relu(cosine + self.m) * (logits - self.m)
        return torch.where(self.is_target(logits, targets), positive, negative) * self.s
