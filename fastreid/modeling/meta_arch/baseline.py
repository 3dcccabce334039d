"""The model of strong re-identification baselines: backbone, head, losses."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from fastreid.config import configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.heads import build_heads
from fastreid.modeling.losses.build import check_needs
from fastreid.modeling.losses.cross_entropy_loss import log_accuracy
from fastreid.modeling.losses.settings import losses_from, settings_from_cfg, settings_of
from fastreid.modeling.losses.weighting import KEY, WEIGHTINGS, LossWeighting
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY
from fastreid.utils.errors import require_choice


class TrainableModel(nn.Module):
    """What meta-architectures share: the normalisation of images, the targets and the losses.

    Args:
        losses: objects as ``LOSS_REGISTRY`` holds them.
        provider: the head whose ``provides`` names the tables that the losses will find beside the batch.
        pixel_mean, pixel_std: one value per channel, on the scale 0..255.

    Attributes:
        own_losses: keys of the losses that a subclass computes itself, beside ``losses``.

    Raises:
        ValueError: a loss needs a table that neither the batch nor the head gives.
    """

    own_losses: tuple[str, ...] = ()

    def __init__(
        self, losses: Sequence, provider: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float]
    ):
        super().__init__()
        check_needs(losses, provider)
        self.loss_functions = tuple(losses)
        # losses with weights of their own are trained and saved with the model
        self.loss_modules = nn.ModuleList(loss for loss in losses if isinstance(loss, nn.Module))
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)

    def weigh_losses(self, how: str) -> None:
        """Join the losses as ``MODEL.LOSSES.WEIGHTING`` says; ``build_model`` calls it.

        With "uncertainty" a forward in training gives, beside the losses as they are, ``loss_weighting``: what their
        weighted sum differs by from their sum. The weights are trained and saved with the model.
        """
        require_choice("MODEL.LOSSES.WEIGHTING", how, WEIGHTINGS)
        if how == "uncertainty":
            self.loss_weighting = LossWeighting([*(loss.key for loss in self.loss_functions), *self.own_losses])
            self.register_forward_hook(_add_weighting)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess_image(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        """Return normalised images (B, C, H, W) float; the caller's tensor (any number type) stays as it is."""
        images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
        return (images.to(self.device, non_blocking=True) - self.pixel_mean) / self.pixel_std

    def targets_of(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        """Return the class indices (B,) of a training batch; ``ValueError`` for one without."""
        if not isinstance(batched_inputs, dict) or "targets" not in batched_inputs:
            raise ValueError("Training needs a batch table with 'targets', class indices (B,) int64")
        return batched_inputs["targets"].to(self.device, non_blocking=True)

    def checkpointables(self) -> dict[str, Any]:
        """Return what a training saves and restores beside the weights, by name: that of losses which have some."""
        parts = [getattr(loss, "checkpointables", dict)() for loss in self.loss_functions]
        return {name: part for own in parts for name, part in own.items()}

    @staticmethod
    def loss_value(loss, outputs: dict, gt_labels: torch.Tensor, batched_inputs: dict | None = None) -> torch.Tensor:
        """Return ``loss`` over one table: the batch, what the head gives and the targets.

        Raises:
            ValueError: the batch lacks a column that the loss needs.
        """
        table = {**(batched_inputs or {}), **outputs, "targets": gt_labels}
        missing = [name for name in loss.needs if name not in table]
        if missing:  # a column that only some data sets have
            raise ValueError(
                f"{type(loss).__name__} needs {', '.join(missing)}, which this training data does not have; the "
                f"batch has {', '.join(batched_inputs or {})}"
            )
        return loss(table)


def _add_weighting(model: TrainableModel, inputs: tuple, output: Any) -> Any:
    if not model.training or not isinstance(output, dict):
        return output
    return {**output, KEY: model.loss_weighting(output)}


@META_ARCH_REGISTRY.register()
class Baseline(TrainableModel):
    """Batch table -> dict of losses (training) or (B, D) features (evaluation).

    Args:
        backbone: (B, C, H, W) -> (B, D, h, w).
        heads: takes the feature map and, in training, targets; gives the tables that it names in ``provides``.
        losses, pixel_mean, pixel_std: see :class:`TrainableModel`.
        loss_kwargs: instead of ``losses``, the losses as fast-reid described them (see ``losses/settings.py``).

    A subclass from outside that overrides ``losses`` may have names in ``MODEL.LOSSES.NAME`` that only it knows; its
    ``losses`` may take the outputs and the labels alone, and may return something else than a dict to a trainer of its
    own.
    """

    @configurable
    def __init__(
        self, *, backbone: nn.Module, heads: nn.Module, losses: Sequence | None = None,
        pixel_mean: Sequence[float], pixel_std: Sequence[float], loss_kwargs: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        if losses is None:
            losses = losses_from(loss_kwargs or {"loss_names": ()}, more=_has_losses_from_outside(type(self)))
        super().__init__(losses, heads, pixel_mean, pixel_std)
        self.backbone, self.heads = backbone, heads
        self.loss_kwargs = dict(loss_kwargs or settings_of(losses))
        self._losses_take_batch = len(inspect.signature(self.losses).parameters) > 2

    @classmethod
    def from_config(cls, cfg) -> dict:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "heads": build_heads(cfg, feat_dim=backbone.feature_dim),
            "loss_kwargs": settings_from_cfg(cfg),
            **pixel_statistics(cfg),
        }

    def forward(self, batched_inputs: dict | torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        """Args: batched_inputs: the batch table, or only its images (evaluation)."""
        features = self.extract(batched_inputs)
        if not self.training:
            return self.heads(features)
        targets = self.targets_of(batched_inputs)
        outputs = self.heads(features, targets)
        if self._losses_take_batch:
            return self.losses(outputs, targets, batched_inputs)
        return self.losses(outputs, targets)

    def extract(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        """Return the feature map; a backbone that says so in ``takes_camids`` also sees the cameras of the batch."""
        images = self.preprocess_image(batched_inputs)
        if not getattr(self.backbone, "takes_camids", False):
            return self.backbone(images)
        return self.backbone(images, batched_inputs.get("camids") if isinstance(batched_inputs, dict) else None)

    def losses(
        self, outputs: dict[str, torch.Tensor], gt_labels: torch.Tensor, batched_inputs: dict | None = None
    ) -> dict[str, torch.Tensor]:
        """Return ``{loss.key: scalar}`` of all losses (see :meth:`loss_value`), and log the accuracy."""
        values = {
            loss.key: self.loss_value(loss, outputs, gt_labels, batched_inputs) for loss in self.loss_functions
        }
        # last, because reading its number ends what torch.compile can join into one graph
        if "pred_class_logits" in outputs:
            log_accuracy(outputs["pred_class_logits"], gt_labels)
        return values


def _has_losses_from_outside(kind: type[Baseline]) -> bool:
    return not kind.losses.__module__.startswith("fastreid.")


def pixel_statistics(cfg) -> dict[str, list[float]]:
    """Return ``pixel_mean`` and ``pixel_std`` with one value per channel of the images."""
    channels = cfg.INPUT.CHANNELS
    return {
        "pixel_mean": per_channel(cfg.MODEL.PIXEL_MEAN, channels, "MODEL.PIXEL_MEAN"),
        "pixel_std": per_channel(cfg.MODEL.PIXEL_STD, channels, "MODEL.PIXEL_STD"),
    }


def per_channel(values: Sequence[float], channels: int, key: str) -> list[float]:
    """Fit ``values`` to the image channels: three values for one channel become their mean, one value is repeated."""
    if len(values) == channels:
        return list(values)
    if channels == 1:
        return [sum(values) / len(values)]
    if len(values) == 1:
        return list(values) * channels
    raise ValueError(f"{key} must have one value or INPUT.CHANNELS = {channels} values; got {list(values)}")
