"""The head for plain classification."""

import torch

from fastreid.modeling.heads.build import REID_HEADS_REGISTRY
from fastreid.modeling.heads.embedding_head import EmbeddingHead


@REID_HEADS_REGISTRY.register()
class ClasHead(EmbeddingHead):
    """``EmbeddingHead`` that gives (B, C) scaled logits in evaluation; its ``features`` are those after the neck."""

    task = "classification"
    takes_pfc = False

    def forward(self, features: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor | dict:
        _, neck = self.embed(features)
        self.require_classes()
        logits = self.classify(neck)
        scaled = logits * self.cls_layer.s
        if not self.training:
            return scaled
        return {"cls_outputs": self.cls_layer(logits, targets), "pred_class_logits": scaled, "features": neck}
