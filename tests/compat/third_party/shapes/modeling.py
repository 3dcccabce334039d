# ruff: noqa
# encoding: utf-8
import torch
import torch.nn.functional as F
from torch import nn

from fastreid.config import configurable
from fastreid.layers import *
from fastreid.layers import any_softmax, pooling
from fastreid.layers.weight_init import weights_init_kaiming
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.heads.build import REID_HEADS_REGISTRY
from fastreid.modeling.losses import *
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY, Baseline


class TinyNet(nn.Module):
    def __init__(self, bn_norm, feat_dim):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False)
        self.bn1 = IBN(16, bn_norm)
        self.conv2 = nn.Conv2d(16, feat_dim, 3, stride=2, padding=1, bias=False)
        self.bn2 = get_norm(bn_norm, feat_dim)
        self.se = SELayer(feat_dim, 4)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.se(F.relu(self.bn2(self.conv2(x))))


@BACKBONE_REGISTRY.register()
def build_tiny_backbone(cfg):
    # fmt: off
    bn_norm  = cfg.MODEL.BACKBONE.NORM
    feat_dim = cfg.MODEL.BACKBONE.FEAT_DIM
    # fmt: on
    return TinyNet(bn_norm, feat_dim)


@REID_HEADS_REGISTRY.register()
class ShapesHead(nn.Module):
    @configurable
    def __init__(self, *, feat_dim, num_classes, pool_type, cls_type, scale, margin, norm_type):
        super().__init__()
        self.pool_layer = getattr(pooling, pool_type)()
        self.bottleneck = nn.Sequential(get_norm(norm_type, feat_dim, bias_freeze=True))
        self.bottleneck.apply(weights_init_kaiming)
        self.weight = nn.Parameter(torch.Tensor(num_classes, feat_dim))
        nn.init.normal_(self.weight, std=0.01)
        self.cls_layer = getattr(any_softmax, cls_type)(num_classes, scale, margin)

    @classmethod
    def from_config(cls, cfg):
        return {
            "feat_dim": cfg.MODEL.BACKBONE.FEAT_DIM,
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "pool_type": cfg.MODEL.HEADS.POOL_LAYER,
            "cls_type": cfg.MODEL.HEADS.CLS_LAYER,
            "scale": cfg.MODEL.HEADS.SCALE,
            "margin": cfg.MODEL.HEADS.MARGIN,
            "norm_type": cfg.MODEL.HEADS.NORM,
        }

    def forward(self, features, targets=None):
        pool_feat = self.pool_layer(features)
        neck_feat = self.bottleneck(pool_feat)[..., 0, 0]
        if not self.training:
            return neck_feat

        if self.cls_layer.__class__.__name__ == "Linear":
            logits = F.linear(neck_feat, self.weight)
        else:
            logits = F.linear(F.normalize(neck_feat), F.normalize(self.weight))
        return {
            "cls_outputs": self.cls_layer(logits.clone(), targets),
            "pred_class_logits": logits.mul(self.cls_layer.s),
            "features": pool_feat[..., 0, 0],
        }


@REID_HEADS_REGISTRY.register()
class BareHead(EmbeddingHead):
    """Called with the config alone; gives only features, the classification happens in the trainer."""

    def __init__(self, cfg):
        super().__init__(cfg)
        del self.weight

    def forward(self, features, targets=None):
        pool_feat = self.pool_layer(features)
        neck_feat = self.bottleneck(pool_feat)[..., 0, 0]
        if not self.training:
            return neck_feat
        return {"features": neck_feat}


def spread_loss(embedding, targets):
    """Mean similarity of images of different identities."""
    embedding = F.normalize(embedding)
    different = (targets.view(-1, 1) != targets.view(1, -1)).float()
    return (embedding.mm(embedding.t()) * different).sum() / different.sum().clamp(min=1)


@META_ARCH_REGISTRY.register()
class ShapesBaseline(Baseline):
    @configurable
    def __init__(self, *, backbone, heads, pixel_mean, pixel_std, loss_kwargs=None, spread_scale=1.0):
        super().__init__(
            backbone=backbone, heads=heads, pixel_mean=pixel_mean, pixel_std=pixel_std, loss_kwargs=loss_kwargs
        )
        self.spread_scale = spread_scale

    @classmethod
    def from_config(cls, cfg):
        ret = super().from_config(cfg)
        ret["spread_scale"] = cfg.MODEL.LOSSES.SPREAD.SCALE
        return ret

    def losses(self, outputs, gt_labels):
        loss_dict = super().losses(outputs, gt_labels)
        if "SpreadLoss" in self.loss_kwargs["loss_names"]:
            loss_dict["loss_spread"] = spread_loss(outputs["features"], gt_labels) * self.spread_scale
        return loss_dict


@META_ARCH_REGISTRY.register()
class OwnLossBaseline(Baseline):
    """Writes out forward and all losses by hand."""

    def forward(self, batched_inputs):
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images)
        if self.training:
            assert "targets" in batched_inputs, "Person ID annotation are missing in training!"
            targets = batched_inputs["targets"].to(self.device)
            if targets.sum() < 0:
                targets.zero_()
            return self.losses(self.heads(features, targets), targets)
        return self.heads(features)

    def losses(self, outputs, gt_labels):
        log_accuracy(outputs["pred_class_logits"].detach(), gt_labels)
        ce_kwargs = self.loss_kwargs.get("ce")
        tri_kwargs = self.loss_kwargs.get("tri")
        return {
            "loss_cls": cross_entropy_loss(
                outputs["cls_outputs"], gt_labels, ce_kwargs.get("eps"), ce_kwargs.get("alpha")
            )
            * ce_kwargs.get("scale"),
            "loss_triplet": triplet_loss(
                outputs["features"],
                gt_labels,
                tri_kwargs.get("margin"),
                tri_kwargs.get("norm_feat"),
                tri_kwargs.get("hard_mining"),
            )
            * tri_kwargs.get("scale"),
        }


@META_ARCH_REGISTRY.register()
class FeatureBaseline(Baseline):
    """Gives features and labels instead of losses."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.own = cfg.MODEL.HEADS.NAME == "BareHead"

    def losses(self, outputs, gt_labels):
        if not self.own:
            return super().losses(outputs, gt_labels)
        return outputs["features"], gt_labels
