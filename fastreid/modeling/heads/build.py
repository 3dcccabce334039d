"""Heads by name."""

import inspect
from collections.abc import Callable

from torch import nn

from fastreid.utils.registry import Registry

# heads of fast-reid before 1.0
RETIRED_HEADS = {
    "BNneckHead": "EmbeddingHead with MODEL.HEADS.WITH_BNNECK True",
    "LinearHead": "EmbeddingHead with MODEL.HEADS.WITH_BNNECK False",
    "ReductionHead": "EmbeddingHead with MODEL.HEADS.EMBEDDING_DIM (the width) and MODEL.HEADS.WITH_BNNECK True",
}

REID_HEADS_REGISTRY = Registry("HEADS", "MODEL.HEADS.NAME", RETIRED_HEADS)


def build_heads(cfg, **wired) -> nn.Module:
    """Build ``MODEL.HEADS.NAME``, a class called with ``cfg``.

    Args:
        wired: what other parts determine: ``feat_dim``, the width of the backbone (by default
            ``MODEL.BACKBONE.FEAT_DIM``). A head from outside that takes the config alone finds the width there.
    """
    head = REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME)
    taken = {name: value for name, value in wired.items() if _takes(head, name)}
    if "feat_dim" in wired and "feat_dim" not in taken:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.BACKBONE.FEAT_DIM = wired["feat_dim"]
        cfg.freeze()
    return REID_HEADS_REGISTRY.build(cfg.MODEL.HEADS.NAME, cfg, **taken)


def _takes(head: Callable, name: str) -> bool:
    """Whether ``head(cfg, ...)`` takes the keyword ``name``, itself or, where it is configurable, through its class."""
    parameters = inspect.signature(head).parameters
    if name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return True
    configurable = hasattr(getattr(head, "__init__", None), "__wrapped__")
    return configurable and name in inspect.signature(head.from_config).parameters
