"""Losses as fast-reid's ``loss_kwargs``, for meta-architectures written for it.

``{"loss_names": ("CrossEntropyLoss", ...), "ce": {"eps": 0.1, ...}, "tri": {...}, ...}``: the names, and for each
config node below ``MODEL.LOSSES`` the options of its loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastreid.modeling.losses.build import require_own_keys
from fastreid.modeling.losses.utils import LOSS_REGISTRY
from fastreid.utils.registry import key_of, option_names

# names of options in loss_kwargs that differ from those of the losses
_RENAMED = {"epsilon": "eps"}


def settings_from_cfg(cfg) -> dict[str, Any]:
    """Return ``loss_kwargs`` of a config, with the options of all losses that have a config node."""
    settings: dict[str, Any] = {"loss_names": tuple(cfg.MODEL.LOSSES.NAME)}
    for name, loss in LOSS_REGISTRY:
        node = LOSS_REGISTRY.node(name)
        if node is not None:
            values = cfg.get_node(node)
            settings[_group(name)] = {_RENAMED.get(o, o): values[key_of(o)] for o in option_names(loss)}
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
    """
    names = [name for name in settings["loss_names"] if not more or name in LOSS_REGISTRY]
    own = {new: old for old, new in _RENAMED.items()}
    losses = []
    for name in names:
        kind, given = LOSS_REGISTRY.get(name), settings.get(_group(name), {})
        losses.append(kind(**{own.get(option, option): value for option, value in given.items()}))
    return require_own_keys(names, losses)


def _group(name: str) -> str:
    """``TripletLoss`` -> ``tri``, the last part of its config node."""
    return (LOSS_REGISTRY.node(name) or name).rpartition(".")[2].lower()
