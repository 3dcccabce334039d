"""The head for attributes: several yes-or-no questions about one image."""

import torch
from torch import nn

from fastreid.config import configurable
from fastreid.layers import SyncBatchNorm
from fastreid.modeling.heads.build import REID_HEADS_REGISTRY
from fastreid.modeling.heads.embedding_head import EmbeddingHead
from fastreid.utils.errors import require_choice


@REID_HEADS_REGISTRY.register()
class AttrHead(EmbeddingHead):
    """``EmbeddingHead`` whose classes are attributes; a batch norm over their logits balances rare and frequent ones.

    In training it returns ``attribute_logits`` (B, A) and ``features`` (B, D), so that losses over identities can be
    joined; in evaluation the probabilities (B, A) of the attributes. ``num_classes`` is A. With ``norm_type``
    "syncBN" the batch norm over logits sees the rows of all processes.

    Raises:
        ValueError: ``MODEL.HEADS.CLS_LAYER`` is not "Linear": margins have no meaning for attributes.
    """

    provides = ("attribute_logits", "features")
    task = "attributes"
    takes_pfc = False

    @configurable
    def __init__(self, *, cls_type: str = "Linear", **options):
        require_choice("MODEL.HEADS.CLS_LAYER for AttrHead", cls_type, ("Linear",))
        super().__init__(cls_type=cls_type, **options)
        norm = SyncBatchNorm if options.get("norm_type") == "syncBN" else nn.BatchNorm1d
        self.bnneck = norm(self.num_classes)

    def forward(self, features: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor | dict:
        pooled, neck = self.embed(features)
        self.require_classes()
        logits = self.bnneck(self.classify(neck)) * self.cls_layer.s
        if not self.training:
            return logits.sigmoid()
        return {"attribute_logits": logits, "features": pooled if self.neck_feat == "before" else neck}
