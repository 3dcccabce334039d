"""Losses of a model: built by name, checked against what they will find."""

from collections.abc import Sequence
from typing import Any

from fastreid.modeling.losses.utils import LOSS_REGISTRY
from fastreid.utils.errors import nearest

# columns that a training batch may have
BATCH_TABLES = ("images", "targets", "camids", "img_paths", "dates", "taxonomy", "text", "attributes")


def build_losses(cfg, more: bool = False) -> list:
    """Build the losses that ``MODEL.LOSSES.NAME`` names.

    Args:
        more: names that are not registered are left to a model that computes them itself.

    Raises:
        KeyError: unknown name, with the nearest match.
        ValueError: no name at all, or two losses that log under one key.
    """
    names = list(cfg.MODEL.LOSSES.NAME)
    if not names:
        raise ValueError(f"MODEL.LOSSES.NAME is empty: nothing to train. Known: {', '.join(LOSS_REGISTRY.names())}")
    names = [name for name in names if not more or name in LOSS_REGISTRY]
    return require_own_keys(names, [LOSS_REGISTRY.build(name, cfg) for name in names])


def require_own_keys(names: Sequence[str], losses: list) -> list:
    """Return ``losses``; raise ``ValueError`` when two of them log under one key."""
    owners: dict[str, str] = {}
    for name, loss in zip(names, losses, strict=True):
        if loss.key in owners:
            raise ValueError(f"MODEL.LOSSES.NAME: {owners[loss.key]} and {name} both log as '{loss.key}'; keep one")
        owners[loss.key] = name
    return losses


def check_needs(losses: Sequence, heads: Any) -> None:
    """Raise ``ValueError`` when a loss needs a table that neither the batch nor ``heads.provides`` gives.

    A head from outside that states nothing is not checked here; the first batch shows what it gives.
    """
    if not hasattr(heads, "provides"):
        return
    provided = tuple(heads.provides)
    given = (*BATCH_TABLES, *provided)
    for loss in losses:
        for table in loss.needs:
            if table not in given:
                raise ValueError(
                    f"{type(loss).__name__} needs the table '{table}', which nothing provides.{nearest(table, given)} "
                    f"The batch gives {', '.join(BATCH_TABLES)}; {type(heads).__name__} gives "
                    f"{', '.join(provided) or 'nothing'}"
                )
