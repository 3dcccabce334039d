"""Histograms of oriented gradients: the baseline that any trained network has to beat."""

import math

import torch
import torch.nn.functional as F

from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.descriptor import Descriptor
from fastreid.utils.errors import require_whole


@META_ARCH_REGISTRY.register(node="MODEL.HOG")
class HOG(Descriptor):
    """HOG descriptors (Dalal and Triggs, CVPR 2005) of whole images, without anything learnt.

    Gradient magnitudes are shared between the two nearest of ``bins`` unsigned orientations, averaged over a grid of
    ``cells`` x ``cells`` cells and L2-normalised in overlapping blocks. It evaluates like any model
    (``--eval-only``), best with ``INPUT.INK_CROP``; it cannot be trained.

    Args:
        cells: cells along each side of the image.
        bins: orientations in 180 degrees.
        block: cells along each side of a block; 0 leaves the histograms of the cells as they are.
        root: take the square root of the values at the end, so that long lines count less.
    """

    def __init__(self, cells: int = 8, bins: int = 9, block: int = 2, root: bool = False):
        super().__init__()
        self.cells = require_whole("MODEL.HOG.CELLS", cells, 1)
        self.bins = require_whole("MODEL.HOG.BINS", bins, 2)
        self.block = require_whole("MODEL.HOG.BLOCK", block, 0)
        self.root = root
        if block > cells:
            raise ValueError(f"MODEL.HOG.BLOCK is {block} cells wide, but the image has {cells} of MODEL.HOG.CELLS")

    def describe(self, grey: torch.Tensor) -> torch.Tensor:
        """Return (B, block^2 * bins * (cells - block + 1)^2), or (B, bins * cells^2) without blocks."""
        cells = F.adaptive_avg_pool2d(self._gradients(grey[:, None] / 255), self.cells)
        if self.block:
            blocks = F.unfold(cells, kernel_size=self.block)
            cells = blocks / (blocks.norm(dim=1, keepdim=True) + 1e-3)
        return cells.flatten(1).sqrt() if self.root else cells.flatten(1)

    def _gradients(self, grey: torch.Tensor) -> torch.Tensor:
        """Return the magnitude of the gradient by orientation, (B, bins, H, W), of images (B, 1, H, W)."""
        dx = F.pad(grey[..., 2:] - grey[..., :-2], (1, 1))
        dy = F.pad(grey[..., 2:, :] - grey[..., :-2, :], (0, 0, 1, 1))
        magnitude = (dx.square() + dy.square()).sqrt()
        orientation = (torch.atan2(dy, dx) % math.pi) * (self.bins / math.pi)
        lower = orientation.floor()
        share = orientation - lower
        lower = lower.long() % self.bins
        histogram = grey.new_zeros(grey.shape[0], self.bins, *grey.shape[2:])
        histogram.scatter_add_(1, lower, magnitude * (1 - share))
        return histogram.scatter_add_(1, (lower + 1) % self.bins, magnitude * share)
