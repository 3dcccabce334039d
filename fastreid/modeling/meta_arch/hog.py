"""Histograms of oriented gradients: the baseline that any trained network has to beat."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.config import configurable
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY


@META_ARCH_REGISTRY.register()
class HOG(nn.Module):
    """HOG descriptors (Dalal and Triggs, CVPR 2005) of whole images, without anything learnt.

    Gradient magnitudes are shared between the two nearest of ``bins`` unsigned orientations, averaged over a grid of
    ``cells`` x ``cells`` cells and L2-normalised in overlapping blocks of 2 x 2 cells. It evaluates like any model
    (``--eval-only``), best with ``INPUT.INK_CROP``; it cannot be trained.

    Args:
        cells: cells along each side of the image.
        bins: orientations in 180 degrees.
    """

    @configurable
    def __init__(self, cells: int = 8, bins: int = 9):
        super().__init__()
        self.cells, self.bins = cells, bins

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {"cells": cfg.MODEL.HOG.CELLS, "bins": cfg.MODEL.HOG.BINS}

    def forward(self, batched_inputs: dict) -> torch.Tensor:
        """Return descriptors, float32 (B, 4 * bins * (cells - 1)^2), of ``images`` (B, C, H, W) in 0..255."""
        if self.training:
            raise RuntimeError("HOG has nothing to train: use --eval-only, or choose MODEL.META_ARCHITECTURE Baseline")
        grey = batched_inputs["images"].float().mean(dim=1, keepdim=True) / 255
        dx = F.pad(grey[..., 2:] - grey[..., :-2], (1, 1))
        dy = F.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
        magnitude = (dx.square() + dy.square()).sqrt()
        orientation = (torch.atan2(dy, dx) % math.pi) * (self.bins / math.pi)
        lower = orientation.floor()
        share = orientation - lower
        lower = lower.long() % self.bins
        histogram = grey.new_zeros(grey.shape[0], self.bins, *grey.shape[2:])
        histogram.scatter_add_(1, lower, magnitude * (1 - share))
        histogram.scatter_add_(1, (lower + 1) % self.bins, magnitude * share)
        blocks = F.unfold(F.adaptive_avg_pool2d(histogram, self.cells), kernel_size=2)
        return (blocks / (blocks.norm(dim=1, keepdim=True) + 1e-3)).flatten(1)
