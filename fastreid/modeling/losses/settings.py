"""Losses as fast-reid's ``loss_kwargs``, for meta-architectures written for it.

``{"loss_names": ("CrossEntropyLoss", ...), "ce": {"eps": 0.1, ...}, "tri": {...}, ...}``: the names, and for each
config node below ``MODEL.LOSSES`` the options of its loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastreid.modeling.losses.utils import LOSS_REGISTRY
from fastreid.utils.registry import key_of, option_names

# names of options in loss_kwargs that differ from those of the losses
_RENAMED = {"epsilon": "eps"}


def settings_from_cfg(cfg) -> dict[str, Any]:
    """Return ``loss_kwargs`` of a config, with the options of all losses that have a config node.

    A loss that is called with the whole config stands there itself, instead of its options.

    Raises:
        ValueError: ``MODEL.LOSSES.NAME`` is empty.
    """
    names = tuple(cfg.MODEL.LOSSES.NAME)
    if not names:
        raise ValueError(f"MODEL.LOSSES.NAME is empty: nothing to train. Known: {', '.join(LOSS_REGISTRY.names())}")
    settings: dict[str, Any] = {"loss_names": names}
    for name, loss in LOSS_REGISTRY:
        node = LOSS_REGISTRY.node(name)
        if node is not None and name not in names and not cfg.has_node(node):
            continue  # of a plug-in that another config of this process has loaded
        if node is not None:
            values, options = cfg.get_node(node), option_names(loss)
            given = {_RENAMED.get(o, o): values[key_of(o)] for o in options if key_of(o) in values}
            settings.setdefault(_group(name), {}).update(given)
        elif name in names:
            settings[_group(name)] = LOSS_REGISTRY.build(name, cfg)
    return settings


def settings_of(losses: Sequence) -> dict[str, Any]:
    """Return ``loss_kwargs`` of losses that are built already."""
    names = {type(loss): name for name, kind in LOSS_REGISTRY for loss in losses if type(loss) is kind}
    settings: dict[str, Any] = {"loss_names": tuple(names.get(type(loss), type(loss).__name__) for loss in losses)}
    for loss in losses:
        if type(loss) in names and LOSS_REGISTRY.node(names[type(loss)]):
            values = {_RENAMED.get(o, o): getattr(loss, o) for o in option_names(type(loss)) if hasattr(loss, o)}
            settings[_group(names[type(loss)])] = values
    return settings


def losses_from(settings: Mapping[str, Any], more: bool = False) -> list:
    """Build the losses of ``loss_kwargs``; options that it leaves out have their defaults.

    Args:
        more: names that are not registered are left to a model that computes them itself.

    Raises:
        KeyError: an unknown name, with the nearest match.
        TypeError: an option that the loss does not have.
        ValueError: two losses that log under one key.
    """
    names = [name for name in settings["loss_names"] if not more or name in LOSS_REGISTRY]
    losses = [_build(name, settings.get(_group(name), {})) for name in names]
    owners: dict[str, str] = {}
    for name, loss in zip(names, losses, strict=True):
        if loss.key in owners:
            raise ValueError(f"MODEL.LOSSES.NAME: {owners[loss.key]} and {name} both log as '{loss.key}'; keep one")
        owners[loss.key] = name
    return losses


def _build(name: str, given: Any) -> Any:
    kind = LOSS_REGISTRY.get(name)
    if not isinstance(given, Mapping):
        return given
    own = {new: old for old, new in _RENAMED.items()}
    options = {own.get(option, option): value for option, value in given.items()}
    # losses may share a config node, and then have the options of each other beside their own
    others = {o for other, loss in LOSS_REGISTRY if _group(other) == _group(name) for o in option_names(loss)}
    return kind(**{o: value for o, value in options.items() if o not in others.difference(option_names(kind))})


def _group(name: str) -> str:
    """``TripletLoss`` -> ``tri``, the last part of its config node."""
    return (LOSS_REGISTRY.node(name) or name).rpartition(".")[2].lower()
