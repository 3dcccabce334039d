"""Heads by name."""

from torch import nn

from fastreid.utils.registry import Registry

# heads of fast-reid before 1.0
RETIRED_HEADS = {
    "BNneckHead": "EmbeddingHead with MODEL.HEADS.WITH_BNNECK True",
    "LinearHead": "EmbeddingHead with MODEL.HEADS.WITH_BNNECK False",
    "ReductionHead": "EmbeddingHead with MODEL.HEADS.EMBEDDING_DIM (the width) and MODEL.HEADS.WITH_BNNECK True",
}

REID_HEADS_REGISTRY = Registry("HEADS", retired=RETIRED_HEADS)


def build_heads(cfg, **wired) -> nn.Module:
    """Build ``MODEL.HEADS.NAME``, a class called with ``cfg``.

    Args:
        wired: what other parts determine: ``feat_dim``, the width of the backbone (by default
            ``MODEL.BACKBONE.FEAT_DIM``).
    """
    return REID_HEADS_REGISTRY.build(cfg.MODEL.HEADS.NAME, cfg, **wired)
