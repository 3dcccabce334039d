"""Losses of a model: built by name, checked against what they will find."""

from collections.abc import Sequence
from typing import Any

from fastreid.modeling.losses.utils import LOSS_REGISTRY
from fastreid.utils.errors import nearest

# columns that a training batch may have
BATCH_TABLES = ("images", "targets", "camids", "img_paths", "dates", "taxonomy", "text")


def build_losses(cfg) -> list:
    """Build the losses that ``MODEL.LOSSES.NAME`` names.

    Raises:
        KeyError: unknown name, with the nearest match.
        ValueError: no name at all, or two losses that log under one key.
    """
    names = list(cfg.MODEL.LOSSES.NAME)
    if not names:
        raise ValueError(f"MODEL.LOSSES.NAME is empty: nothing to train. Known: {', '.join(LOSS_REGISTRY.names())}")
    losses = [LOSS_REGISTRY.build(name, cfg) for name in names]
    owners: dict[str, str] = {}
    for name, loss in zip(names, losses, strict=True):
        if loss.key in owners:
            raise ValueError(f"MODEL.LOSSES.NAME: {owners[loss.key]} and {name} both log as '{loss.key}'; keep one")
        owners[loss.key] = name
    return losses


def check_needs(losses: Sequence, heads: Any) -> None:
    """Raise ``ValueError`` when a loss needs a table that neither the batch nor ``heads.provides`` gives."""
    provided = tuple(getattr(heads, "provides", ()))
    given = (*BATCH_TABLES, *provided)
    for loss in losses:
        for table in loss.needs:
            if table not in given:
                raise ValueError(
                    f"{type(loss).__name__} needs the table '{table}', which nothing provides.{nearest(table, given)} "
                    f"The batch gives {', '.join(BATCH_TABLES)}; {type(heads).__name__} gives "
                    f"{', '.join(provided) or 'nothing'}"
                )
