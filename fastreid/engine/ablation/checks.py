"""What of a row's settings can be checked without its data and before its network is built."""

import importlib
from collections.abc import Iterator

from torch import nn

from fastreid.config import CfgNode
from fastreid.data.feature_file import NUMBER_COLUMNS, TEXT_COLUMNS
from fastreid.data.transforms import build_transforms
from fastreid.engine.settings import SELECTORS
from fastreid.engine.text_width import has_projector
from fastreid.evaluation.build import task_of
from fastreid.evaluation.columns import DERIVED
from fastreid.evaluation.presets import PROTOCOL_REGISTRY
from fastreid.evaluation.protocol import Protocol
from fastreid.layers import POOLING_REGISTRY, SOFTMAX_REGISTRY
from fastreid.modeling import META_ARCH_REGISTRY, REID_HEADS_REGISTRY
from fastreid.modeling.heads.projection_head import check_options
from fastreid.modeling.losses.settings import losses_from, settings_from_cfg
from fastreid.modeling.losses.weighting import WEIGHTINGS
from fastreid.solver import build_optimizer
from fastreid.utils.errors import require_choice
from fastreid.utils.registry import Registry

COLUMNS = (*NUMBER_COLUMNS, *TEXT_COLUMNS, *DERIVED)  # of any data set; whether this one has them, its files say


def check_settings(cfg: CfgNode) -> None:
    """Look up the names of all components, and build those that need neither data nor network.

    Raises:
        KeyError: a component is not registered.
        ValueError: a loss, the classification layer, the optimiser, a transform or the evaluation refuses its settings.
    """
    for registry, name in _selected(cfg):
        registry.get(name)
    if META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).__module__.startswith("fastreid."):
        _check_model(cfg)
    _check_optimizer(cfg)
    for is_train in (True, False):
        build_transforms(cfg, is_train)
    if task_of(cfg) == "retrieval":
        _check_retrieval(cfg)


def _selected(cfg: CfgNode) -> Iterator[tuple[Registry, str]]:
    """Yield the registry and the name of each component."""
    for module, name, selectors in SELECTORS:
        registry = getattr(importlib.import_module(module), name)
        for selector in selectors:
            if selector != "SOLVER.OPT":  # the names of torch.optim are good there too: see `_check_optimizer`
                value = cfg.get_node(selector)
                yield from ((registry, component) for component in ([value] if isinstance(value, str) else value))


def _check_model(cfg: CfgNode) -> None:
    """Head, pooling, classification layer and losses; a meta-architecture from outside need not take them from here."""
    heads = cfg.MODEL.HEADS
    REID_HEADS_REGISTRY.get(heads.NAME)
    POOLING_REGISTRY.get(heads.POOL_LAYER)
    SOFTMAX_REGISTRY.get(heads.CLS_LAYER)(heads.NUM_CLASSES, heads.SCALE, heads.MARGIN)
    if has_projector(cfg):
        options = (heads.EMBEDDING_DIM, heads.PROJECTOR, heads.PROJECTOR_DIM, heads.TEMPERATURE, heads.MIN_TEMPERATURE)
        check_options(*options)
    require_choice("MODEL.LOSSES.WEIGHTING", cfg.MODEL.LOSSES.WEIGHTING, WEIGHTINGS)
    if cfg.MODEL.LOSSES.NAME:
        losses_from(settings_from_cfg(cfg))


def _check_optimizer(cfg: CfgNode) -> None:
    """Build it over one weight, none of which is frozen."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.FREEZE_ITERS = 0
    build_optimizer(cfg, nn.Linear(1, 1, bias=False))


def _check_retrieval(cfg: CfgNode) -> None:
    Protocol.from_config(cfg)
    if cfg.TEST.PROTOCOL:
        PROTOCOL_REGISTRY.get(cfg.TEST.PROTOCOL)
    named = {"GROUP_BY": cfg.TEST.GROUP_BY, "GAINS": [column for column, _ in cfg.TEST.GAINS]}
    for key, names in {**named, "RELEVANCE": [cfg.TEST.RELEVANCE], "LEVELS": cfg.TEST.LEVELS}.items():
        for name in names:
            require_choice(f"TEST.{key}, a column,", name, COLUMNS)
