"""The re-identification head: pooling, reduction, BN-neck and classifier."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from fastreid.config import configurable
from fastreid.layers import POOLING_REGISTRY, SOFTMAX_REGISTRY, full_precision, get_norm, weights_init_kaiming
from fastreid.layers.batch_norm import require_norm
from fastreid.layers.cosine import cosine_logits
from fastreid.layers.partial_fc import PartialFC, ShardedLogits, initialize_shard
from fastreid.modeling.heads.build import REID_HEADS_REGISTRY
from fastreid.utils.errors import require_choice, require_whole


@REID_HEADS_REGISTRY.register()
class EmbeddingHead(nn.Module):
    """Feature map (B, ``feat_dim``, h, w) -> descriptor (B, D), with a classifier for training.

    In training it returns a dict: ``cls_outputs`` (B, C), the logits with margin and scale; ``pred_class_logits``
    (B, C), the logits with scale only; ``features``, what the metric losses see. In evaluation it returns the (B, D)
    descriptor. D is ``embedding_dim``, or ``feat_dim`` where that is 0.

    Args:
        num_classes: training classes; 0 is possible for a model that only extracts features.
        neck_feat: ``features`` "before" or "after" all that follows the pooling, (B, ``feat_dim``) or (B, D). As in
            fast-reid, "before" is so the pooled vector even where there is a reduction.
        test_feat: the descriptor "after" the BN-neck (Luo et al., 2019) or "before" it, behind the reduction where
            there is one (Wang and Zhang, 2023). Without BN-neck both are the same.
        pool_type: name in ``POOLING_REGISTRY``. cls_type: name in ``SOFTMAX_REGISTRY``.
        scale, margin: of the classification layer.
        with_bnneck: normalise the descriptor with a batch norm ``norm_type`` whose bias is frozen.
        pfc: partial FC: ``weight`` holds the classes of this process alone, and ``cls_outputs`` and
            ``pred_class_logits`` are :class:`~fastreid.layers.partial_fc.ShardedLogits` of the images of all processes.
        pfc_sample_rate: share of the classes in a step, in 0..1 without 0.
    """

    provides = ("cls_outputs", "pred_class_logits", "features")
    takes_pfc = True  # can its classes be spread over the processes?
    task = "retrieval"  # or "classification" or "attributes": what the output in evaluation is, and who judges it

    @configurable
    def __init__(
        self, *, feat_dim: int, embedding_dim: int = 0, num_classes: int = 0, neck_feat: str = "before",
        pool_type: str = "GlobalAvgPool", cls_type: str = "Linear", scale: float = 1, margin: float = 0.0,
        with_bnneck: bool = False, norm_type: str = "BN", test_feat: str = "after", pfc: bool = False,
        pfc_sample_rate: float = 0.1,
    ):
        super().__init__()
        require_choice("MODEL.HEADS.NECK_FEAT", neck_feat, ("before", "after"))
        require_choice("MODEL.HEADS.TEST_FEAT", test_feat, ("before", "after"))
        require_whole("MODEL.HEADS.EMBEDDING_DIM", embedding_dim, 0)
        require_whole("MODEL.HEADS.NUM_CLASSES", num_classes, 0)
        self.num_classes, self.neck_feat, self.test_feat = num_classes, neck_feat, test_feat
        self.pool_layer = POOLING_REGISTRY.get(pool_type)()
        neck, width = [], feat_dim
        if embedding_dim > 0:
            neck.append(nn.Conv2d(feat_dim, embedding_dim, 1, bias=False))
            width = embedding_dim
        self.with_bnneck = with_bnneck
        if with_bnneck:
            require_norm("MODEL.HEADS.NORM", norm_type)
            neck.append(get_norm(norm_type, width, bias_freeze=True))
        self.bottleneck = nn.Sequential(*neck)
        if pfc and not self.takes_pfc:
            raise ValueError(
                f"{type(self).__name__} needs the logits of all classes: MODEL.HEADS.PFC.ENABLED must be False"
            )
        self.partial_fc = PartialFC(num_classes, pfc_sample_rate) if pfc else None
        self.weight = nn.Parameter(torch.empty(self.partial_fc.shard.size if pfc else num_classes, width))
        self.cls_layer = SOFTMAX_REGISTRY.get(cls_type)(num_classes, scale, margin)
        self.feature_dim = width
        self.reset_parameters()

    @classmethod
    def from_config(cls, cfg, feat_dim: int | None = None) -> dict:
        heads = cfg.MODEL.HEADS
        return {
            "feat_dim": feat_dim or cfg.MODEL.BACKBONE.FEAT_DIM,
            "embedding_dim": heads.EMBEDDING_DIM,
            "num_classes": heads.NUM_CLASSES,
            "neck_feat": heads.NECK_FEAT,
            "pool_type": heads.POOL_LAYER,
            "cls_type": heads.CLS_LAYER,
            "scale": heads.SCALE,
            "margin": heads.MARGIN,
            "with_bnneck": heads.WITH_BNNECK,
            "norm_type": heads.NORM,
            "test_feat": heads.TEST_FEAT,
            "pfc": cfg.MODEL.HEADS.PFC.ENABLED,
            "pfc_sample_rate": cfg.MODEL.HEADS.PFC.SAMPLE_RATE,
        }

    def reset_parameters(self) -> None:
        self.bottleneck.apply(weights_init_kaiming)
        self.draw_classes(lambda rows: nn.init.normal_(rows, std=0.01))

    def draw_classes(self, init: Callable[[torch.Tensor], object]) -> None:
        """Give the class weights the start values of ``init``, which fills (rows, D) in place."""
        if self.num_classes and self.partial_fc is not None:
            initialize_shard(self.weight, self.partial_fc.shard, init)
        elif self.num_classes:
            init(self.weight)

    def forward(self, features: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor | dict:
        """Args: features: (B, feat_dim, h, w). targets: (B,) int64 class indices, needed in training."""
        if not self.training:
            return self.descriptor(features)
        pooled, neck = self.embed(features)
        self.require_classes()
        return {**self.class_outputs(neck, targets), "features": pooled if self.neck_feat == "before" else neck}

    def class_outputs(self, neck: torch.Tensor, targets: torch.Tensor) -> dict:
        """Return the logits with margin and scale, and with scale only."""
        if self.partial_fc is None:
            logits = self.classify(neck)
            return {"cls_outputs": self.cls_layer(logits, targets), "pred_class_logits": logits * self.cls_layer.s}
        neck, targets = self.partial_fc.gather(neck, targets)
        weight, targets = self.partial_fc.choose(self.weight, targets)
        logits = _logits(neck, weight, getattr(self.cls_layer, "cosine", True))
        plain = logits.detach() * self.cls_layer.s  # for the accuracy alone
        return {
            "cls_outputs": ShardedLogits(self.cls_layer(logits, targets), targets),
            "pred_class_logits": ShardedLogits(plain, targets),
        }

    def embed(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pooled vector and the one after the neck, (B, feat_dim) and (B, D)."""
        pooled = self.pool_layer(features)
        return pooled[..., 0, 0], self.bottleneck(pooled)[..., 0, 0]

    def descriptor(self, features: torch.Tensor) -> torch.Tensor:
        """Return what retrieval compares, (B, D)."""
        if self.test_feat == "after" or not self.with_bnneck:
            return self.embed(features)[1]
        return self.bottleneck[:-1](self.pool_layer(features))[..., 0, 0]

    def classify(self, neck: torch.Tensor) -> torch.Tensor:
        """Return (B, C) logits: cosines, or plain products where the classification layer says ``cosine = False``."""
        if self.partial_fc is not None:
            raise ValueError("A head with MODEL.HEADS.PFC.ENABLED has no logits of all classes; see class_outputs")
        return _logits(neck, self.weight, getattr(self.cls_layer, "cosine", True))

    def require_classes(self) -> None:
        if self.num_classes < 1:
            raise ValueError(
                "MODEL.HEADS.NUM_CLASSES is 0: training needs the number of classes (the trainer takes it from the "
                "training set; a model built by hand needs the key set)"
            )


@full_precision
def _logits(features: torch.Tensor, weight: torch.Tensor, cosine: bool) -> torch.Tensor:
    return cosine_logits(features, weight) if cosine else F.linear(features, weight)
