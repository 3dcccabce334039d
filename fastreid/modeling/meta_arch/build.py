"""Whole models by name."""

import logging

import torch
from torch import nn

from fastreid.utils.errors import nearest
from fastreid.utils.registry import Registry

logger = logging.getLogger(__name__)

META_ARCH_REGISTRY = Registry("META_ARCH", "MODEL.META_ARCHITECTURE")


def build_model(cfg) -> nn.Module:
    """Build ``MODEL.META_ARCHITECTURE``, a class called with ``cfg``, on ``MODEL.DEVICE``, without loading weights.

    Raises:
        ValueError: the model has no losses whose weights could be learnt (``MODEL.LOSSES.WEIGHTING``).
    """
    model = META_ARCH_REGISTRY.build(cfg.MODEL.META_ARCHITECTURE, cfg)
    if hasattr(model, "weigh_losses"):
        model.weigh_losses(cfg.MODEL.LOSSES.WEIGHTING)
    elif cfg.MODEL.LOSSES.WEIGHTING != "fixed":
        raise ValueError(
            f"MODEL.LOSSES.WEIGHTING {cfg.MODEL.LOSSES.WEIGHTING} is for subclasses of TrainableModel, such as "
            f"Baseline; MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} is none"
        )
    return model.to(choose_device(cfg.MODEL.DEVICE))


def choose_device(name: str) -> torch.device:
    """Return the device ``name``; CUDA without a usable CUDA device becomes the CPU, with a warning.

    Raises:
        ValueError: no device of PyTorch has this name, or there are fewer CUDA devices.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        hint = nearest(name.lower().replace("gpu", "cuda"), ("cpu", "cuda", "mps", "xpu"))
        raise ValueError(
            f"MODEL.DEVICE must be cpu, cuda, cuda:N (from 0) or another device of PyTorch; got '{name}'.{hint}"
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        logger.warning("MODEL.DEVICE is '%s', but no CUDA device is available: the CPU is used", name)
        return torch.device("cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"MODEL.DEVICE is '{name}', but this machine has {torch.cuda.device_count()} CUDA devices, from cuda:0"
        )
    return device
