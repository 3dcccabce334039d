"""The width that image features need to be compared with texts: that of the text bank, or of trained weights."""

import logging
from collections.abc import Mapping

import torch

from fastreid.config import CfgNode
from fastreid.data.text_bank import open_text_bank
from fastreid.modeling import REID_HEADS_REGISTRY, ProjectionHead
from fastreid.modeling.heads.projection_head import width_in
from fastreid.modeling.losses.image_text_losses import check_widths

logger = logging.getLogger(__name__)


def fill_text_width(cfg: CfgNode) -> CfgNode:
    """Return ``cfg``, or for a training of ``ProjectionHead`` a copy in which an ``EMBEDDING_DIM`` of 0 is filled in.

    It is the width of the text bank; without one it stays 0, the width of the backbone.

    Raises:
        FileNotFoundError, ValueError: there is no whole text bank where ``DATASETS.TEXT_BANK`` says.
        ValueError: ``MODEL.HEADS.EMBEDDING_DIM`` is set to another width than that of the bank.
    """
    bank = open_text_bank(cfg) if has_projector(cfg) else None
    if bank is None:
        return cfg
    width = cfg.MODEL.HEADS.EMBEDDING_DIM
    if width:
        check_widths(width, bank.width)
        return cfg
    logger.info("MODEL.HEADS.EMBEDDING_DIM is %d, that of the text bank", bank.width)
    return _with_width(cfg, bank.width)


def width_of_weights(cfg: CfgNode, weights: Mapping[str, torch.Tensor]) -> CfgNode:
    """Return ``cfg``, or a copy in which an ``EMBEDDING_DIM`` of 0 of ``ProjectionHead`` is that of trained weights."""
    width = width_in(weights) if has_projector(cfg) else 0
    return _with_width(cfg, width) if width and not cfg.MODEL.HEADS.EMBEDDING_DIM else cfg


def has_projector(cfg: CfgNode) -> bool:
    head = REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME)
    return isinstance(head, type) and issubclass(head, ProjectionHead)


def _with_width(cfg: CfgNode, width: int) -> CfgNode:
    frozen, cfg = cfg.is_frozen(), cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.EMBEDDING_DIM = width
    if frozen:
        cfg.freeze()
    return cfg
