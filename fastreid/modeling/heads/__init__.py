"""Heads: from a feature map to a descriptor and, in training, to class logits."""

from fastreid.modeling.heads.attr_head import AttrHead
from fastreid.modeling.heads.bn_dropout_head import BNDropoutHead
from fastreid.modeling.heads.build import REID_HEADS_REGISTRY, build_heads
from fastreid.modeling.heads.clas_head import ClasHead
from fastreid.modeling.heads.embedding_head import EmbeddingHead
from fastreid.modeling.heads.projection_head import ProjectionHead

__all__ = [
    "REID_HEADS_REGISTRY", "AttrHead", "BNDropoutHead", "ClasHead", "EmbeddingHead", "ProjectionHead", "build_heads",
]  # fmt: skip
