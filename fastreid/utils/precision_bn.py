"""Precise statistics of batch norms: the mean over many batches instead of the exponential average."""

import itertools
from collections.abc import Iterable

import torch
from torch import nn

BN_TYPES = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def get_bn_modules(model: nn.Module) -> list[nn.Module]:
    """Return the batch norms that are in training mode and keep running statistics."""
    return [m for m in model.modules() if isinstance(m, BN_TYPES) and m.training and m.track_running_stats]


@torch.no_grad()
def update_bn_stats(model: nn.Module, data_loader: Iterable, num_iters: int = 200) -> None:
    """Set the running statistics to the mean of the statistics of ``num_iters`` batches (fewer where there are fewer).

    Raises:
        ValueError: the loader gives no batch at all.
    """
    norms = get_bn_modules(model)
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    means = [torch.zeros_like(norm.running_mean) for norm in norms]
    variances = [torch.zeros_like(norm.running_var) for norm in norms]
    count = 0
    try:
        for norm in norms:
            norm.momentum = 1.0  # the running statistics are then those of the last batch
        for count, batch in enumerate(itertools.islice(data_loader, num_iters), start=1):
            model(batch)
            for norm, mean, variance in zip(norms, means, variances, strict=True):
                mean += (norm.running_mean - mean) / count
                variance += (norm.running_var - variance) / count
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if count == 0:
        raise ValueError("update_bn_stats got no batch from its data loader")
    for norm, mean, variance in zip(norms, means, variances, strict=True):
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
