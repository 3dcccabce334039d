"""Losses over pairs that also compare a batch with features of earlier ones (cross-batch memory)."""

from abc import ABC, abstractmethod

import torch

from fastreid.modeling.losses.memory import EMPTY, FeatureMemory, image_numbers
from fastreid.modeling.losses.utils import pair_masks
from fastreid.utils.errors import require_whole
from fastreid.utils.events import current_iteration


class LossWithMemory(ABC):
    """A loss over the pairs of a batch, and over those of the batch with the features of earlier ones.

    Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020, arXiv 1912.06798. The images of the batch (of
    all processes) remain the anchors. Each is compared with the other images of the batch, with gradients on both
    sides, and with the last ``memory`` features of earlier batches, which have none; all of them go into one loss,
    where the authors' code adds up that of the batch and that of the memory. The batch is stored *after* it was
    compared; there it is stored first, and also compared with its own copies. An image is never compared with a copy
    of itself in the memory, as a positive or a negative: copies are found by the paths of images, so a batch without
    paths has none to find. A forward without gradients (batch statistics for an evaluation) stores nothing. With
    SOLVER.ACCUMULATE each part of a batch is a batch of its own, and meets the former parts in the memory.

    The first ``memory_start`` iterations of a training neither store nor compare: features move fast at first. The
    sample config of the paper's authors has 1000 (github.com/msight-tech/research-xbm, ``XBM.START_ITERATION``).

    A subclass calls :meth:`_remember` in its constructor and overrides :meth:`compare`.

    Attributes:
        node: config node of the loss, for messages.
        key: name of its value; that of its memory in checkpoints is ``{key}_memory``.
        scale: factor of the value.
    """

    needs: tuple[str, ...] = ("features", "targets")
    node: str
    key: str
    scale: float = 1.0

    def _remember(self, memory: int, memory_start: int, normalized: bool = True) -> None:
        """Make the memory.

        Args:
            memory: features kept, at least the batch of all processes; 0: none.
            memory_start: iterations of a training that do without.
            normalized: keep features of unit length.

        Raises:
            TypeError, ValueError: not whole numbers from 0.
        """
        self.memory = require_whole(f"{self.node}.MEMORY", memory, 0)
        self.memory_start = require_whole(f"{self.node}.MEMORY_START", memory_start, 0)
        self._kept = FeatureMemory(self.memory, f"{self.node}.MEMORY", normalized) if self.memory else None

    @abstractmethod
    def compare(
        self, features: torch.Tensor, targets: torch.Tensor, columns: list[torch.Tensor], images: torch.Tensor | None,
        memory: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> torch.Tensor:  # fmt: skip
        """Return the loss, without ``scale``.

        Args:
            features: (B, D). targets: (B,) int64. columns: see :meth:`columns`.
            images: (B,) int64, numbers of the images, 0 = unknown; ``None`` without a memory.
            memory: see :func:`pairs_with`.
        """

    def columns(self, table: dict) -> list[torch.Tensor]:
        """Return what, beside the target, is to be known of each image of the batch and the memory: (B,) int64 each."""
        return []

    def checkpointables(self) -> dict[str, FeatureMemory]:
        """Return what a training saves and restores beside the weights of the model, by name."""
        return {} if self._kept is None else {f"{self.key}_memory": self._kept}

    def __call__(self, table: dict) -> torch.Tensor:
        """Return the loss of a batch and store it.

        Raises:
            ValueError: a memory smaller than the batch of all processes, or features of another width than before.
            RuntimeError: ``memory_start`` outside of a training.
        """
        features, targets, columns = table["features"], table["targets"], self.columns(table)
        if self._kept is None or not self._has_begun(features):
            return self.scale * self.compare(features, targets, columns, None, None)
        images = image_numbers(table.get("img_paths"), targets)
        value = self.compare(features, targets, columns, images, self._kept.rows(features.device))
        if torch.is_grad_enabled():
            self._kept.store(features, torch.stack([targets, *columns, images], dim=1))
        return self.scale * value

    def _has_begun(self, features: torch.Tensor) -> bool:
        self._kept.require_fit(features)  # at once, not after a thousand iterations
        if not self.memory_start:
            return True
        iteration = current_iteration()
        if iteration is None:
            raise RuntimeError(
                f"{self.node}.MEMORY_START {self.memory_start} counts the iterations of a training: open an "
                "EventStorage around it, whose `iter` they are"
            )
        return iteration >= self.memory_start


def pairs_with(
    memory: tuple[torch.Tensor, torch.Tensor] | None, embedding: torch.Tensor, targets: torch.Tensor,
    images: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return all that N rows are compared with, (N + M, D), and masks (N, N + M) of the positive and negative pairs.

    Neither of them are the pairs of a row with itself, with its image in the memory and with an empty slot.

    Args:
        memory: (M, D) features of earlier batches and (M, T) int64, what is known of each: first the target, ``EMPTY``
            where there is nothing, last the number of the image. ``None``: the rows among themselves.
        embedding: (N, D). targets: (N,) int64.
        images: (N,) int64, numbers of the images, 0 or ``None`` = unknown.
    """
    is_positive, is_negative = pair_masks(targets)
    if memory is None:
        return embedding, is_positive, is_negative
    rows, tags = memory
    same, compared = targets[:, None] == tags[:, 0], ~absent_or_same(images, targets, tags)
    return (
        torch.cat([embedding, rows.to(embedding.dtype)]),
        torch.cat([is_positive, same & compared], dim=1),
        torch.cat([is_negative, ~same & compared], dim=1),
    )


def absent_or_same(images: torch.Tensor | None, targets: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """(N, M) bool: is there nothing in the slot of the memory, or the image itself? For the rest see ``pairs_with``."""
    images = torch.zeros_like(targets) if images is None else images
    return (tags[:, 0] == EMPTY) | ((images[:, None] == tags[:, -1]) & (images[:, None] != 0))
