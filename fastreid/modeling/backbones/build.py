"""Backbones by name."""

import inspect
import logging
from collections.abc import Mapping

from torch import nn

from fastreid.config.input_size import input_size
from fastreid.layers.batch_norm import require_norm
from fastreid.utils.registry import Registry, key_of, option_names

logger = logging.getLogger(__name__)

BACKBONE_REGISTRY = Registry("BACKBONE", "MODEL.BACKBONE.NAME")
# switches of MODEL.BACKBONE that only some backbones have
SWITCHES = ("WITH_IBN", "WITH_SE", "WITH_NL")


def build_backbone(cfg) -> nn.Module:
    """Build ``MODEL.BACKBONE.NAME``: a module (B, C, H, W) -> (B, D, h, w) that states D as ``feature_dim``.

    A backbone registered with a config node also receives ``in_channels`` (``INPUT.CHANNELS``) and, where it has such
    an argument, ``img_size`` (of training images, ``INPUT.SIZE_TRAIN``); one registered without is called with
    ``cfg``, and its width is ``MODEL.BACKBONE.FEAT_DIM`` where it does not state one.

    Raises:
        KeyError: unknown name, with the nearest match.
        ValueError: a value that the backbone does not allow.
    """
    name, node = cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE
    wired = {}
    if BACKBONE_REGISTRY.node(name):
        component = BACKBONE_REGISTRY.get(name)
        taken = {key_of(option) for option in option_names(component)}
        if "NORM" in taken:
            require_norm("MODEL.BACKBONE.NORM", node.NORM)
        warn_unsupported(name, {key: node[key] for key in SWITCHES if key not in taken})
        given = {"in_channels": cfg.INPUT.CHANNELS, "img_size": input_size(cfg, is_train=True)}
        wired = {key: value for key, value in given.items() if key in inspect.signature(component).parameters}
    backbone = BACKBONE_REGISTRY.build(name, cfg, **wired)
    if not hasattr(backbone, "feature_dim"):
        backbone.feature_dim = node.FEAT_DIM
    elif backbone.feature_dim != node.FEAT_DIM:
        logger.warning(
            "MODEL.BACKBONE.FEAT_DIM is %d, but %s %s gives %d channels; %d is used",
            node.FEAT_DIM, name, node.DEPTH, backbone.feature_dim, backbone.feature_dim,
        )
    return backbone


def warn_unsupported(name: str, options: Mapping[str, bool]) -> None:
    """Warn about each switch of ``options``, keys of ``MODEL.BACKBONE``, that is on and that ``name`` cannot honour.

    ``build_backbone`` does so for the ``SWITCHES`` that a backbone does not take. fast-reid ignores them silently, and
    some of its published configs set them, so that this is no error.
    """
    for key, value in options.items():
        if value:
            logger.warning("MODEL.BACKBONE.%s is %s, which %s does not have: ignored", key, value, name)
