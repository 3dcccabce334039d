"""Heads by name."""

from torch import nn

from fastreid.utils.registry import Registry

REID_HEADS_REGISTRY = Registry("HEADS")


def build_heads(cfg, **wired) -> nn.Module:
    """Build ``MODEL.HEADS.NAME``, a class called with ``cfg``.

    Args:
        wired: what other parts determine: ``feat_dim``, the width of the backbone (by default
            ``MODEL.BACKBONE.FEAT_DIM``).
    """
    return REID_HEADS_REGISTRY.build(cfg.MODEL.HEADS.NAME, cfg, **wired)
