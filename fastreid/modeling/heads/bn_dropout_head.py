"""The head of ArcFace models in image retrieval competitions, which Higuchi and Yanai took for patent drawings."""

import math

from torch import nn

from fastreid.config import configurable
from fastreid.layers import get_norm
from fastreid.layers.batch_norm import require_norm
from fastreid.modeling.heads.build import REID_HEADS_REGISTRY
from fastreid.modeling.heads.embedding_head import EmbeddingHead
from fastreid.utils.errors import require_whole


@REID_HEADS_REGISTRY.register()
class BNDropoutHead(EmbeddingHead):
    """Pooling, batch norm, dropout, linear layer, batch norm, PReLU: the descriptor (B, ``embedding_dim``).

    The head of Higuchi and Yanai (World Patent Information 74, 2023; their notebook: 512-d, dropout 0.5, pooling
    ``GeneralizedMeanPooling`` for EfficientNet and the network's own mean for transformers). The descriptor is what the
    classifier, the metric losses and the evaluation see alike; it is not normalised here, margin softmax layers and
    cosine distances do that themselves. Class weights start as Xavier (Glorot) uniform.

    The linear layer is a 1 x 1 convolution, as in ``EmbeddingHead``, with the start values of ``nn.Linear``.

    Args:
        dropout: share of the values that is dropped in training, 0..1 without 1.
        others: ``feat_dim``, ``embedding_dim``, ``num_classes``, ``pool_type``, ``cls_type``, ``scale``, ``margin`` and
            ``norm_type`` of ``EmbeddingHead``.

    Raises:
        ValueError: ``embedding_dim`` is 0, or ``dropout`` out of range.
    """

    @configurable
    def __init__(
        self, *, feat_dim: int, embedding_dim: int, dropout: float = 0.5, norm_type: str = "BN", **others,
    ):  # fmt: skip
        require_whole("MODEL.HEADS.EMBEDDING_DIM of BNDropoutHead", embedding_dim, 1)
        if not 0 <= dropout < 1:
            raise ValueError(f"MODEL.HEADS.DROPOUT must lie in 0..1, without 1; got {dropout!r}")
        require_norm("MODEL.HEADS.NORM", norm_type)
        super().__init__(feat_dim=feat_dim, embedding_dim=embedding_dim, neck_feat="after", **others)
        self.bottleneck = nn.Sequential(
            get_norm(norm_type, feat_dim),
            nn.Dropout(dropout),
            nn.Conv2d(feat_dim, embedding_dim, 1),
            get_norm(norm_type, embedding_dim),
            nn.PReLU(),
        )

    @classmethod
    def from_config(cls, cfg, feat_dim: int | None = None) -> dict:
        options = super().from_config(cfg, feat_dim)
        unused = ("neck_feat", "test_feat", "with_bnneck")
        return {name: options[name] for name in options if name not in unused} | {"dropout": cfg.MODEL.HEADS.DROPOUT}

    def reset_parameters(self) -> None:
        # xavier_uniform_ of all class weights, of which each process may have a part
        bound = math.sqrt(3) * math.sqrt(2 / (self.num_classes + self.feature_dim))
        self.draw_classes(lambda rows: nn.init.uniform_(rows, -bound, bound))
