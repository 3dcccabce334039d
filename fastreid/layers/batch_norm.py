"""Normalisation layers by name, and IBN."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.utils import comm
from fastreid.utils.errors import require_choice

GROUPS = 32  # of the norm GN


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose weight or bias can be kept from training, as the BN-neck needs it (Luo et al., 2019).

    Args:
        weight_freeze, bias_freeze: the parameter stays at its initial value (``requires_grad`` False).
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1,
        weight_freeze: bool = False, bias_freeze: bool = False, weight_init: float = 1.0, bias_init: float = 0.0,
    ):
        super().__init__(num_features, eps=eps, momentum=momentum)
        _prepare_affine(self, weight_freeze, bias_freeze, weight_init, bias_init)


class SyncBatchNorm(nn.SyncBatchNorm):
    """``BatchNorm`` with the statistics of the batches of all processes, whose sizes may differ.

    Of tensors on a CPU, which PyTorch's own layer refuses, the statistics are joined here.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1,
        weight_freeze: bool = False, bias_freeze: bool = False, weight_init: float = 1.0, bias_init: float = 0.0,
    ):
        super().__init__(num_features, eps=eps, momentum=momentum)
        _prepare_affine(self, weight_freeze, bias_freeze, weight_init, bias_init)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Args: x: (B, C, ...). Raises ``ValueError`` for a joined batch of one value per channel."""
        if x.device.type != "cpu":
            return super().forward(x)
        if not self.training or comm.get_world_size() == 1:
            return nn.BatchNorm2d.forward(self, x)
        wide = x.to(self.weight.dtype)  # half precision is too coarse for sums
        mean, var, count = _joint_statistics(wide)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(var * count / (count - 1), share)
        columns = (1, -1) + (1,) * (x.dim() - 2)
        scale = self.weight * (var + self.eps).rsqrt()
        return ((wide - mean.view(columns)) * scale.view(columns) + self.bias.view(columns)).to(x.dtype)


def _joint_statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean (C,), biased variance (C,) and number of values per channel over ``x`` (B, C, ...) of all processes.

    Each gives its own mean and sum of squared deviations, which add up without cancellation (Chan, Golub and LeVeque,
    1979). Gradients flow back to every process.
    """
    rows = x.transpose(0, 1).flatten(1)
    mean = rows.sum(1) / max(rows.shape[1], 1)
    squares = (rows - mean[:, None]).square().sum(1)
    own = torch.cat((rows.new_tensor([rows.shape[1]]), mean, squares))
    counts, means, squares = comm.all_gather_with_grad(own[None]).split((1, len(mean), len(mean)), dim=1)
    count = counts.sum().detach()
    if count < 2:
        raise ValueError(f"syncBN needs more than one value per channel in training; all processes have {int(count)}")
    joint = (counts * means).sum(0) / count
    return joint, (squares + counts * (means - joint).square()).sum(0) / count, count


def _prepare_affine(
    norm: nn.Module, weight_freeze: bool, bias_freeze: bool, weight_init: float, bias_init: float
) -> None:
    nn.init.constant_(norm.weight, weight_init)
    nn.init.constant_(norm.bias, bias_init)
    norm.weight.requires_grad_(not weight_freeze)
    norm.bias.requires_grad_(not bias_freeze)


class GhostBatchNorm(BatchNorm):
    """Batch norm over parts of the batch (Hoffer et al., 2017): the batch is cut into ``num_splits`` ghost batches."""

    def __init__(self, num_features: int, num_splits: int = 1, **options):
        super().__init__(num_features, **options)
        self.num_splits = num_splits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.num_splits == 1:
            return super().forward(x)
        batch, channels, *size = x.shape
        if batch % self.num_splits:
            raise ValueError(f"GhostBatchNorm: num_splits={self.num_splits} does not divide a batch of {batch}")
        self.num_batches_tracked.add_(1)
        # interleaved parts: rows 0..S-1 become the channels of one row
        folded = x.reshape(batch // self.num_splits, channels * self.num_splits, *size)
        mean, var = self.running_mean.repeat(self.num_splits), self.running_var.repeat(self.num_splits)
        weight, bias = self.weight.repeat(self.num_splits), self.bias.repeat(self.num_splits)
        out = F.batch_norm(folded, mean, var, weight, bias, True, self.momentum, self.eps)
        self.running_mean.copy_(mean.view(self.num_splits, channels).mean(0))
        self.running_var.copy_(var.view(self.num_splits, channels).mean(0))
        return out.reshape(x.shape)


class FrozenBatchNorm(nn.Module):
    """Batch norm with fixed statistics and fixed affine part; all four are buffers."""

    def __init__(self, num_features: int, eps: float = 1e-5, **_ignored):
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        # less eps, so that a fresh layer is the identity
        self.register_buffer("running_var", torch.ones(num_features) - eps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, eps=self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Return ``module`` with each batch norm inside it replaced by a frozen one of the same values."""
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            frozen = cls(module.num_features, module.eps)
            for name, buffer in frozen.named_buffers():
                value = getattr(module, name)
                if value is not None:
                    buffer.copy_(value.detach())
            return frozen.to(module.running_mean.device)
        for name, child in module.named_children():
            setattr(module, name, cls.convert_frozen_batchnorm(child))
        return module


def _group_norm(channels: int, **_ignored) -> nn.GroupNorm:
    if channels % GROUPS:
        raise ValueError(
            f"The norm GN (MODEL.BACKBONE.NORM, MODEL.HEADS.NORM) has {GROUPS} groups and needs a multiple of {GROUPS} "
            f"channels; got {channels}"
        )
    return nn.GroupNorm(GROUPS, channels)


NORMS: dict[str, Callable[..., nn.Module]] = {
    "BN": BatchNorm,
    "syncBN": SyncBatchNorm,
    "GhostBN": GhostBatchNorm,
    "FrozenBN": FrozenBatchNorm,
    "GN": _group_norm,
}


def get_norm(norm: str | Callable | None, out_channels: int, **options) -> nn.Module | None:
    """Return the norm layer ``norm`` for ``out_channels`` channels.

    Args:
        norm: a name in ``NORMS`` ("BN", "syncBN", "GhostBN", "FrozenBN", "GN" with 32 groups), a callable
            ``(channels, **options) -> Module``, or ``""``, which gives ``None``.
        options: ``bias_freeze=True`` makes a BN-neck; "GN" and "FrozenBN" have no such options and ignore them.

    Raises:
        ValueError: unknown name, or channels that "GN" cannot group.
    """
    if not norm:
        return None
    if isinstance(norm, str):
        require_choice("The norm (MODEL.BACKBONE.NORM, MODEL.HEADS.NORM)", norm, NORMS)
        norm = NORMS[norm]
    return norm(out_channels, **options)


def require_norm(what: str, norm: str | Callable | None) -> None:
    """Raise ``ValueError`` where ``norm``, the value of the parameter ``what``, names no norm."""
    if not norm:
        raise ValueError(f"{what} is empty; these networks need a norm: {', '.join(NORMS)}")


class IBN(nn.Module):
    """IBN-a: instance norm on the first half of the channels, batch norm on the rest (Pan et al., ECCV 2018)."""

    def __init__(self, planes: int, bn_norm: str | Callable = "BN", **options):
        super().__init__()
        self.half = planes // 2
        self.IN = nn.InstanceNorm2d(self.half, affine=True)
        self.BN = get_norm(bn_norm, planes - self.half, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        instance, batch = x[:, : self.half], x[:, self.half :]
        if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
            # one group per channel is the same norm, and PyTorch's instance norm would change the layout
            norm = F.group_norm(instance, self.half, self.IN.weight, self.IN.bias, self.IN.eps)
            return torch.cat((norm, self.BN(batch)), dim=1)
        return torch.cat((self.IN(instance.contiguous()), self.BN(batch.contiguous())), dim=1)
