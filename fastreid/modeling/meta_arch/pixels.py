"""Descriptors of a whole small image: its pixels, and perceptual hashes."""

import math

import torch
import torch.nn.functional as F

from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY
from fastreid.modeling.meta_arch.descriptor import Descriptor
from fastreid.utils.errors import require_choice, require_whole


@META_ARCH_REGISTRY.register(node="MODEL.PIXELS")
class RawPixels(Descriptor):
    """The pixels of the image as it comes, L2-normalised; 1 is black and 0 is white.

    Args:
        zero_mean: subtract the mean of the image first; the cosine is then the correlation of two images.
    """

    def __init__(self, zero_mean: bool = True):
        super().__init__()
        self.zero_mean = zero_mean

    def describe(self, grey: torch.Tensor) -> torch.Tensor:
        """Return (B, H * W); an image of one grey (without ``zero_mean``: a white one) gives zeros."""
        ink = 1 - grey.flatten(1) / 255
        if self.zero_mean:
            ink = ink - ink.mean(dim=1, keepdim=True)
            # what rounding leaves of a plain image must not be blown up to length 1
            ink = ink.where(ink.abs().amax(dim=1, keepdim=True) > 1e-4, torch.zeros_like(ink))
        return F.normalize(ink, dim=1)


@META_ARCH_REGISTRY.register(node="MODEL.PHASH")
class PerceptualHash(Descriptor):
    """Hashes of ``side``^2 bits that change little when an image does, each bit as +1 or -1.

    The cosine of two such vectors is 1 - 2 d / side^2, where d is the Hamming distance of the hashes: both rank alike.
    Equal distances are frequent; like all ties they are broken by the row in the gallery.

    Args:
        kind: "dct": which of the ``side`` x ``side`` lowest frequencies of the two-dimensional DCT-II of the image are
            above their median (pHash, Zauner 2010, in the form of the package ImageHash). "difference": where a grid of
            ``side`` x (``side`` + 1) mean greys gets lighter from left to right (dHash, Krawetz 2013).
        side: bits along each side.
    """

    def __init__(self, kind: str = "dct", side: int = 8):
        super().__init__()
        require_choice("MODEL.PHASH.KIND", kind, ("dct", "difference"))
        self.kind, self.side = kind, require_whole("MODEL.PHASH.SIDE", side, 2)

    def describe(self, grey: torch.Tensor) -> torch.Tensor:
        """Return (B, side^2) of +1 and -1, row by row."""
        if self.kind == "difference":
            greys = F.adaptive_avg_pool2d(grey[:, None], (self.side, self.side + 1))[:, 0]
            bits = greys[:, :, 1:] > greys[:, :, :-1]
        else:
            low = self._low_frequencies(grey)
            bits = low > low.flatten(1).quantile(0.5, dim=1)[:, None, None]
        return bits.flatten(1).float() * 2 - 1

    def _low_frequencies(self, grey: torch.Tensor) -> torch.Tensor:
        if min(grey.shape[1:]) < self.side:
            raise ValueError(
                f"MODEL.PHASH.SIDE is {self.side}: INPUT.SIZE_TEST must be at least as large; the images are "
                f"{tuple(grey.shape[1:])}"
            )
        rows, columns = (_cosines(self.side, length).to(grey) for length in grey.shape[1:])
        # rounding as in 1 / 1000 of a grey keeps the bits of a plain image, all zeros but one, from being noise
        return (rows @ grey @ columns.T).mul(1e3 / math.prod(grey.shape[1:])).round()


def _cosines(count: int, length: int) -> torch.Tensor:
    """Return the first ``count`` rows of the DCT-II of ``length`` values, without its scale, float64."""
    places = torch.arange(length, dtype=torch.float64) + 0.5
    return torch.cos(math.pi / length * torch.arange(count, dtype=torch.float64)[:, None] * places)
