"""Multiple granularity network: one global branch and two that also look at horizontal stripes."""

import copy
import logging
from collections.abc import Callable, Sequence

import torch
from torch import nn

from fastreid.config import configurable
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.heads import REID_HEADS_REGISTRY, build_heads
from fastreid.modeling.losses.build import build_losses
from fastreid.modeling.losses.cross_batch import LossWithMemory
from fastreid.modeling.losses.cross_entropy_loss import log_accuracy
from fastreid.modeling.meta_arch.baseline import TrainableModel, pixel_statistics
from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY

logger = logging.getLogger(__name__)

HEADS = ("b1", "b2", "b21", "b22", "b3", "b31", "b32", "b33")
# order of their features in the descriptor, which released checkpoints were evaluated with
DESCRIPTOR = ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33")
# what a metric loss sees: the features of these heads side by side, under the name of the last one
METRIC_GROUPS = (("b1",), ("b2",), ("b3",), ("b21", "b22"), ("b31", "b32", "b33"))
LOGITS = {"cls_outputs", "pred_class_logits"}
PARTS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")


@META_ARCH_REGISTRY.register()
class MGN(TrainableModel):
    """Batch table -> dict of losses (training) or (B, 8 D) features (evaluation) (Wang et al., ACM MM 2018).

    Three branches continue from the first block of stage 3, each with its own copy of the rest. The second is cut into
    two stripes, the third into three, by height; together with the whole maps that makes eight heads of width D.

    A metric loss, one of features alone, is the mean over the three whole maps and the two sets of joined stripes, in
    parts (``loss_triplet_b1``, ..., ``loss_triplet_b33``); any other one is the mean over the eight heads
    (``loss_cls_b1``, ...).

    Args:
        backbone: a network of the ResNet family: ``conv1``, ``bn1``, ``relu``, ``maxpool``, ``layer1`` .. ``layer4``.
            It is taken apart.
        part_stage: the fourth stage of the striped branches, which never reduces the map; ``None``: as the backbone's.
        make_head: returns a new head.
        losses, pixel_mean, pixel_std: see :class:`TrainableModel`. A loss with a memory is refused (``ValueError``).
    """

    @configurable
    def __init__(
        self, *, backbone: nn.Module, make_head: Callable[[], nn.Module], losses: Sequence,
        pixel_mean: Sequence[float], pixel_std: Sequence[float], part_stage: nn.Module | None = None,
    ):
        heads = {f"{name}_head": make_head() for name in HEADS}
        super().__init__(losses, heads["b1_head"], pixel_mean, pixel_std)
        _require_no_memory(losses)
        stem = [getattr(backbone, part) for part in PARTS[:6]]
        rest = nn.Sequential(*list(backbone.layer3)[1:])  # a slice would keep its numbers, which are names of weights
        part_stage = backbone.layer4 if part_stage is None else part_stage
        self.backbone = nn.Sequential(*stem, backbone.layer3[0])
        self.b1 = nn.Sequential(rest, backbone.layer4)
        self.b2 = copy.deepcopy(nn.Sequential(rest, part_stage))
        self.b3 = copy.deepcopy(nn.Sequential(rest, part_stage))
        for name, head in heads.items():
            setattr(self, name, head)

    @classmethod
    def from_config(cls, cfg) -> dict:
        _require_descriptors(cfg)
        backbone = build_backbone(cfg)
        _require_resnet(backbone, cfg)
        return {
            "backbone": backbone,
            "part_stage": _without_stride(backbone.layer4, cfg) if cfg.MODEL.BACKBONE.LAST_STRIDE != 1 else None,
            "make_head": lambda: build_heads(cfg, feat_dim=backbone.feature_dim),
            "losses": build_losses(cfg),
            **pixel_statistics(cfg),
        }

    def forward(self, batched_inputs: dict | torch.Tensor) -> dict[str, torch.Tensor] | torch.Tensor:
        """Args: batched_inputs: the batch table, or only its images (evaluation)."""
        maps = self.maps(self.preprocess_image(batched_inputs))
        if not self.training:
            return torch.cat([self.head(name)(maps[name]) for name in DESCRIPTOR], dim=1)
        targets = self.targets_of(batched_inputs)
        outputs = {name: self.head(name)(maps[name], targets) for name in HEADS}
        return self.losses(outputs, targets, batched_inputs)

    def head(self, name: str) -> nn.Module:
        return getattr(self, f"{name}_head")

    def maps(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the feature map that each of ``HEADS`` sees, from normalised images."""
        shared = self.backbone(images)
        b1, b2, b3 = self.b1(shared), self.b2(shared), self.b3(shared)
        b21, b22 = stripes(b2, 2)
        b31, b32, b33 = stripes(b3, 3)
        return dict(zip(HEADS, (b1, b2, b21, b22, b3, b31, b32, b33), strict=True))

    def losses(
        self, outputs: dict[str, dict[str, torch.Tensor]], gt_labels: torch.Tensor, batched_inputs: dict | None = None
    ) -> dict[str, torch.Tensor]:
        """Return ``{loss.key_branch: scalar}`` from the tables of the heads, and log the accuracy of the first."""
        values = {}
        for loss in self.loss_functions:
            is_metric = "features" in loss.needs and LOGITS.isdisjoint(loss.needs)
            tables = metric_tables(outputs) if is_metric else outputs
            for name, table in tables.items():
                value = self.loss_value(loss, table, gt_labels, batched_inputs)
                values[f"{loss.key}_{name}"] = value / len(tables)
        if "pred_class_logits" in outputs["b1"]:
            log_accuracy(outputs["b1"]["pred_class_logits"], gt_labels)
        return values


def stripes(x: torch.Tensor, count: int) -> tuple[torch.Tensor, ...]:
    """Cut (B, D, h, w) into ``count`` stripes by height, all of ``ceil(h / count)`` rows but the last.

    Where that leaves no row for the last ones (4 rows in 3), the first are a row higher than the others instead.

    Raises:
        ValueError: fewer rows than stripes.
    """
    if x.shape[2] < count:
        raise ValueError(
            f"MGN cuts its feature map into {count} stripes, and this one has a height of {x.shape[2]}: the images "
            "(INPUT.SIZE_TRAIN, INPUT.SIZE_TEST) are too low"
        )
    parts = x.chunk(count, dim=2)
    return parts if len(parts) == count else x.tensor_split(count, dim=2)


def metric_tables(outputs: dict[str, dict]) -> dict[str, dict]:
    """Return, for each of ``METRIC_GROUPS``, a table with the features of its heads side by side."""
    return {
        group[-1]: {"features": torch.cat([outputs[name]["features"] for name in group], dim=1)}
        for group in METRIC_GROUPS
    }


def _require_no_memory(losses: Sequence) -> None:
    for loss in losses:
        if isinstance(loss, LossWithMemory) and loss.memory:  # one ring for features of five groups, and two widths
            raise ValueError(
                f"MODEL.META_ARCHITECTURE MGN gives each metric loss five different features of an image, which one "
                f"memory cannot hold: {loss.node}.MEMORY is {loss.memory}; it must be 0"
            )


def _require_descriptors(cfg) -> None:
    task = getattr(REID_HEADS_REGISTRY.get(cfg.MODEL.HEADS.NAME), "task", "retrieval")
    if task != "retrieval":  # eight outputs side by side would be read as those of one classifier
        raise ValueError(
            f"MODEL.META_ARCHITECTURE MGN joins the features of eight heads; MODEL.HEADS.NAME {cfg.MODEL.HEADS.NAME} "
            f"gives {task}. MODEL.META_ARCHITECTURE Baseline takes it"
        )


def _require_resnet(backbone: nn.Module, cfg) -> None:
    missing = [part for part in PARTS if not hasattr(backbone, part)]
    if missing:
        raise ValueError(
            f"MODEL.META_ARCHITECTURE MGN needs a backbone of the ResNet family with {', '.join(PARTS)}; "
            f"MODEL.BACKBONE.NAME {cfg.MODEL.BACKBONE.NAME} has no {', '.join(missing)}"
        )
    if cfg.MODEL.BACKBONE.WITH_NL:
        logger.warning("MGN has no non-local blocks: MODEL.BACKBONE.WITH_NL True changes nothing")


def _without_stride(stage: nn.Module, cfg) -> nn.Module:
    """Return a fourth stage of stride 1 with the weights of ``stage``."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.BACKBONE.LAST_STRIDE = 1
    cfg.MODEL.BACKBONE.PRETRAIN = False
    unreduced = build_backbone(cfg).layer4
    unreduced.load_state_dict(stage.state_dict())
    return unreduced
