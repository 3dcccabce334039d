"""Backbones by name."""

import logging

from torch import nn

from fastreid.utils.registry import Registry

logger = logging.getLogger(__name__)

BACKBONE_REGISTRY = Registry("BACKBONE")


def build_backbone(cfg) -> nn.Module:
    """Build ``MODEL.BACKBONE.NAME``: a module (B, C, H, W) -> (B, D, h, w) that states D as ``feature_dim``.

    A backbone registered with a config node also receives ``in_channels`` (``INPUT.CHANNELS``); one registered without
    is called with ``cfg``, and its width is ``MODEL.BACKBONE.FEAT_DIM`` where it does not state one.
    """
    name = cfg.MODEL.BACKBONE.NAME
    wired = {"in_channels": cfg.INPUT.CHANNELS} if BACKBONE_REGISTRY.node(name) else {}
    backbone = BACKBONE_REGISTRY.build(name, cfg, **wired)
    if not hasattr(backbone, "feature_dim"):
        backbone.feature_dim = cfg.MODEL.BACKBONE.FEAT_DIM
    elif backbone.feature_dim != cfg.MODEL.BACKBONE.FEAT_DIM:
        logger.warning(
            "MODEL.BACKBONE.FEAT_DIM is %d, but %s %s gives %d channels; %d is used",
            cfg.MODEL.BACKBONE.FEAT_DIM, name, cfg.MODEL.BACKBONE.DEPTH, backbone.feature_dim, backbone.feature_dim,
        )
    return backbone
