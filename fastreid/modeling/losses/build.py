"""Losses of a model: built by name, checked against what they will find."""

from collections.abc import Sequence
from typing import Any

from fastreid.modeling.losses.settings import losses_from, settings_from_cfg
from fastreid.utils.errors import nearest

# columns that a training batch may have
BATCH_TABLES = ("images", "targets", "camids", "img_paths", "dates", "taxonomy", "text", "views", "attributes",
    "frequency", "text_features")


def build_losses(cfg) -> list:
    """Build the losses that ``MODEL.LOSSES.NAME`` names.

    Raises:
        KeyError: unknown name, with the nearest match.
        ValueError: no name at all, or two losses that log under one key.
    """
    return losses_from(settings_from_cfg(cfg))


def check_needs(losses: Sequence, heads: Any) -> None:
    """Raise ``ValueError`` when a loss needs a table that neither the batch nor ``heads.provides`` gives.

    With partial FC the logits are spread over the processes, and a loss of logits must say that it ``takes_shards``.
    A head from outside that states nothing is not checked here; the first batch shows what it gives.
    """
    if not hasattr(heads, "provides"):
        return
    provided = tuple(heads.provides)
    given = (*BATCH_TABLES, *provided)
    for loss in losses:
        spread = getattr(heads, "partial_fc", None) is not None and "cls_outputs" in loss.needs
        if spread and not getattr(loss, "takes_shards", False):
            raise ValueError(
                f"{type(loss).__name__} needs the logits of all classes, which MODEL.HEADS.PFC.ENABLED spreads over "
                "the processes; CrossEntropyLoss can do with them"
            )
        for table in loss.needs:
            if table not in given:
                raise ValueError(
                    f"{type(loss).__name__} needs the table '{table}', which nothing provides.{nearest(table, given)} "
                    f"The batch gives {', '.join(BATCH_TABLES)}; {type(heads).__name__} gives "
                    f"{', '.join(provided) or 'nothing'}"
                )
