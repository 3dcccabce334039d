"""Whole models by name."""

import logging

import torch
from torch import nn

from fastreid.utils.registry import Registry

logger = logging.getLogger(__name__)

META_ARCH_REGISTRY = Registry("META_ARCH", "MODEL.META_ARCHITECTURE")


def build_model(cfg) -> nn.Module:
    """Build ``MODEL.META_ARCHITECTURE``, a class called with ``cfg``, on ``MODEL.DEVICE``, without loading weights."""
    model = META_ARCH_REGISTRY.build(cfg.MODEL.META_ARCHITECTURE, cfg)
    return model.to(choose_device(cfg.MODEL.DEVICE))


def choose_device(name: str) -> torch.device:
    """Return the device ``name``; CUDA without a usable CUDA device becomes the CPU, with a warning."""
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        logger.warning("MODEL.DEVICE is '%s', but no CUDA device is available: the CPU is used", name)
        return torch.device("cpu")
    return device
