"""The model of strong re-identification baselines: backbone, head, losses."""

from collections.abc import Sequence

import torch
from torch import nn

from fastreid.config import configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.heads import build_heads
from fastreid.modeling.losses.build import build_losses, check_needs
from fastreid.modeling.losses.cross_entropy_loss import log_accuracy
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY


@META_ARCH_REGISTRY.register()
class Baseline(nn.Module):
    """Batch table -> dict of losses (training) or (B, D) features (evaluation).

    Args:
        backbone: (B, C, H, W) -> (B, D, h, w).
        heads: takes the feature map and, in training, targets; gives the tables that it names in ``provides``.
        losses: objects as ``LOSS_REGISTRY`` holds them.
        pixel_mean, pixel_std: one value per channel, on the scale 0..255.

    Raises:
        ValueError: a loss needs a table that neither the batch nor the head gives.
    """

    @configurable
    def __init__(
        self, *, backbone: nn.Module, heads: nn.Module, losses: Sequence,
        pixel_mean: Sequence[float], pixel_std: Sequence[float],
    ):
        super().__init__()
        check_needs(losses, heads)
        self.backbone, self.heads = backbone, heads
        self.loss_functions = tuple(losses)
        # losses with weights of their own are trained and saved with the model
        self.loss_modules = nn.ModuleList(loss for loss in losses if isinstance(loss, nn.Module))
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "heads": build_heads(cfg, feat_dim=backbone.feature_dim),
            "losses": build_losses(cfg),
            "pixel_mean": per_channel(cfg.MODEL.PIXEL_MEAN, cfg.INPUT.CHANNELS, "MODEL.PIXEL_MEAN"),
            "pixel_std": per_channel(cfg.MODEL.PIXEL_STD, cfg.INPUT.CHANNELS, "MODEL.PIXEL_STD"),
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(self, batched_inputs: dict | torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        """Args: batched_inputs: the batch table, or only its images (evaluation)."""
        features = self.backbone(self.preprocess_image(batched_inputs))
        if not self.training:
            return self.heads(features)
        if not isinstance(batched_inputs, dict) or "targets" not in batched_inputs:
            raise ValueError("Training needs a batch table with 'targets', class indices (B,) int64")
        targets = batched_inputs["targets"].to(self.device)
        return self.losses(self.heads(features, targets), targets, batched_inputs)

    def preprocess_image(self, batched_inputs: dict | torch.Tensor) -> torch.Tensor:
        """Return normalised images (B, C, H, W) float; the caller's tensor (any number type) stays as it is."""
        images = batched_inputs["images"] if isinstance(batched_inputs, dict) else batched_inputs
        return (images.to(self.device) - self.pixel_mean) / self.pixel_std

    def losses(
        self, outputs: dict[str, torch.Tensor], gt_labels: torch.Tensor, batched_inputs: dict | None = None
    ) -> dict[str, torch.Tensor]:
        """Return ``{loss.key: scalar}`` of all losses over one table: the batch, the head's outputs, the targets.

        Raises:
            ValueError: the batch lacks a column that a loss needs.
        """
        table = {**(batched_inputs or {}), **outputs, "targets": gt_labels}
        for loss in self.loss_functions:
            missing = [name for name in loss.needs if name not in table]
            if missing:  # a column that only some data sets have
                raise ValueError(
                    f"{type(loss).__name__} needs {', '.join(missing)}, which this training data does not have; the "
                    f"batch has {', '.join(batched_inputs or {})}"
                )
        values = {loss.key: loss(table) for loss in self.loss_functions}
        # last, because reading its number ends what torch.compile can join into one graph
        if "pred_class_logits" in outputs:
            log_accuracy(outputs["pred_class_logits"], gt_labels)
        return values


def per_channel(values: Sequence[float], channels: int, key: str) -> list[float]:
    """Fit ``values`` to the image channels: three values for one channel become their mean, one value is repeated."""
    if len(values) == channels:
        return list(values)
    if channels == 1:
        return [sum(values) / len(values)]
    if len(values) == 1:
        return list(values) * channels
    raise ValueError(f"{key} must have one value or INPUT.CHANNELS = {channels} values; got {list(values)}")
