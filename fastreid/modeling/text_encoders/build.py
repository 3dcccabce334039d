"""The registry of text encoders and what all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fastreid.modeling.meta_arch.build import choose_device
from fastreid.utils.registry import Registry

TEXT_ENCODER_REGISTRY = Registry("TEXT_ENCODER", "MODEL.TEXT_ENCODER.NAME")
INSTALL = "pip install '.[text]' from the checkout"
BATCH = 256  # texts that a network sees at a time
SHOWN = 3  # texts that an error names


class TextEncoder(ABC):
    """Texts to vectors of unit length, without gradients.

    A subclass gives ``width`` and ``embed``, and says in ``description`` what decides about its vectors.

    Attributes:
        width: of the vectors.
        description: plain JSON values: ``name``, settings and a hash of the weights. Equal descriptions mean equal
            vectors, up to rounding.
        has_weights: whether it is a network, which may run on a device.
        cut: how many texts so far were longer than what the encoder reads, or as long.
    """

    width: int
    description: dict[str, Any]
    has_weights = False
    cut = 0

    @abstractmethod
    def embed(self, texts: list[str]) -> np.ndarray:
        """Return vectors, (N, width), of at least one and at most ``BATCH`` texts; of any length but zero."""

    def missing(self, texts: Sequence[str]) -> list[str]:
        """Return those of the texts that have no vector."""
        return []

    def check(self, texts: Sequence[str]) -> None:
        """Raise ``ValueError`` where texts have no vector, before the work begins."""
        missing = self.missing(texts)
        if missing:
            named = ", ".join(map(repr, missing[:SHOWN]))
            raise ValueError(
                f"{type(self).__name__} has no vector for {len(missing)} of {len(texts)} texts, such as {named}"
            )

    def to(self, device: torch.device) -> "TextEncoder":
        """Move the weights; called where ``has_weights``."""
        return self

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of the texts, float32 (N, width), of unit length.

        Raises:
            TypeError: a single text.
            ValueError: a text that has no vector, or one that is zero, NaN or infinite.
        """
        if isinstance(texts, str):
            raise TypeError(f"encode takes a list of texts; got the single text {texts!r}")
        texts = list(texts)
        self.check(texts)
        batches = [self.embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        vectors = np.concatenate(batches).astype(np.float32) if batches else np.empty((0, self.width), np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
        if len(bad):
            raise ValueError(
                f"{type(self).__name__} gives {len(bad)} of {len(texts)} texts a vector that is zero or not finite, "
                f"such as {texts[bad[0]]!r}"
            )
        return vectors / lengths


def build_text_encoder(cfg) -> TextEncoder:
    """Build ``MODEL.TEXT_ENCODER.NAME`` on ``MODEL.DEVICE``.

    Raises:
        KeyError: unknown name, with the nearest match.
        ImportError: the package that it needs is not installed.
        FileNotFoundError, ConnectionError, ValueError: its model is not to be had, or does not fit.
    """
    encoder = TEXT_ENCODER_REGISTRY.build(cfg.MODEL.TEXT_ENCODER.NAME, cfg)
    return encoder.to(choose_device(cfg.MODEL.DEVICE)) if encoder.has_weights else encoder
