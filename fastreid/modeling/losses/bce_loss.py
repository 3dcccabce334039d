"""Binary cross-entropy of attributes."""

import logging
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F

from fastreid.layers.precision import full_precision
from fastreid.modeling.losses.utils import LOSS_REGISTRY, masked_mean

logger = logging.getLogger(__name__)


@full_precision
def binary_cross_entropy_loss(
    logits: torch.Tensor, targets: torch.Tensor, positive_share: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean binary cross-entropy over the known entries of a batch; 0 where none is known.

    Args:
        logits: (B, A).
        targets: (B, A) of 1 (present), 0 (absent) and -1 (unknown).
        positive_share: (A,) p in 0..1, share of images with each attribute: a positive then weighs ``exp(1 - p)``, a
            negative ``exp(p)`` (DeepMAR: Li et al., ACPR 2015, eq. 3 with sigma = 1). ``None``: all weigh 1.
    """
    known, positive = targets >= 0, targets > 0
    losses = F.binary_cross_entropy_with_logits(logits, positive.to(logits.dtype), reduction="none")
    if positive_share is not None:
        losses = losses * torch.where(positive, 1 - positive_share, positive_share).exp()
    return masked_mean(losses, known)


def positive_shares(attributes: Iterable[Sequence[int]]) -> list[float]:
    """Return for each column of rows of 1, 0 and -1 the share of 1 among the known entries; 0.5 where none is known."""
    table = torch.tensor(list(attributes))
    known, positive = (table >= 0).sum(0), (table > 0).sum(0)
    return torch.where(known > 0, positive / known.clamp(min=1), 0.5).tolist()


def fill_positive_share(cfg, dataset):
    """Return ``cfg``, or a copy with ``MODEL.LOSSES.BCE.POSITIVE_SHARE`` of the records of a training set.

    Nothing is filled in where the key is set, no loss needs it, or the records have no attributes.
    """
    options = cfg.MODEL.LOSSES.BCE
    wanted = "BinaryCrossEntropyLoss" in cfg.MODEL.LOSSES.NAME and options.WEIGHT_ENABLED
    rows = [getattr(record, "attributes", None) for record in getattr(dataset, "records", ())] if wanted else []
    rows = [row for row in rows if row is not None]
    if not rows or len(options.POSITIVE_SHARE):
        return cfg
    frozen, cfg = cfg.is_frozen(), cfg.clone()
    cfg.defrost()
    cfg.MODEL.LOSSES.BCE.POSITIVE_SHARE = positive_shares(rows)
    logger.info("MODEL.LOSSES.BCE.POSITIVE_SHARE is that of %d training images", len(rows))
    if frozen:
        cfg.freeze()
    return cfg


@LOSS_REGISTRY.register(node="MODEL.LOSSES.BCE")
class BinaryCrossEntropyLoss:
    """``binary_cross_entropy_loss`` of the head's ``attribute_logits`` and the batch's ``attributes``.

    Args:
        weight_enabled: weigh by ``positive_share``, a number per attribute.
    """

    needs = ("attribute_logits", "attributes")
    key = "loss_bce"

    def __init__(self, weight_enabled: bool = True, scale: float = 1.0, positive_share: Sequence[float] = ()):
        self.weight_enabled, self.scale, self.positive_share = weight_enabled, scale, tuple(positive_share)

    def __call__(self, table: dict) -> torch.Tensor:
        logits = table["attribute_logits"]
        targets = table["attributes"].to(logits.device)
        if logits.shape != targets.shape:
            raise ValueError(
                f"The model has {logits.shape[1]} attributes (MODEL.HEADS.NUM_CLASSES), the data {targets.shape[-1]}"
            )
        return self.scale * binary_cross_entropy_loss(logits, targets, self._share(logits))

    def _share(self, logits: torch.Tensor) -> torch.Tensor | None:
        if not self.weight_enabled:
            return None
        if len(self.positive_share) != logits.shape[1]:
            raise ValueError(
                f"MODEL.LOSSES.BCE.POSITIVE_SHARE has {len(self.positive_share)} numbers for {logits.shape[1]} "
                "attributes (the trainer takes them from the training set); or set WEIGHT_ENABLED to False"
            )
        return torch.tensor(self.positive_share, dtype=torch.float32, device=logits.device)
