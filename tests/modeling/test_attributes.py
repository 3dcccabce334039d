"""The attribute head and its loss."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling import META_ARCH_REGISTRY, Baseline
from fastreid.modeling.heads import AttrHead
from fastreid.modeling.losses import BinaryCrossEntropyLoss, binary_cross_entropy_loss
from fastreid.modeling.losses.bce_loss import fill_positive_share, positive_shares
from fastreid.modeling.losses.build import check_needs

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.0, 40.0]])
TARGETS = torch.tensor([[1, 0, -1], [1, 1, 1]])
SHARE = [0.9, 0.25, 0.5]


def slow_loss(weighted):
    total, count = 0.0, 0
    for logits, targets in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        for logit, target, share in zip(logits, targets, SHARE, strict=True):
            if target == -1:
                continue
            loss = math.log1p(math.exp(-logit if target else logit))
            weight = math.exp(1 - share) if target else math.exp(share)
            total, count = total + loss * (weight if weighted else 1), count + 1
    return total / count


@pytest.mark.parametrize("weighted", [False, True])
def test_loss_against_loops(weighted):
    table = {"attribute_logits": LOGITS, "attributes": TARGETS}
    loss = BinaryCrossEntropyLoss(weight_enabled=weighted, scale=2.0, positive_share=SHARE)
    assert float(loss(table)) == pytest.approx(2 * slow_loss(weighted), rel=1e-5)


def test_unknown_attributes_have_no_gradient_and_may_be_all():
    logits = LOGITS.clone().requires_grad_()
    binary_cross_entropy_loss(logits, TARGETS).backward()
    assert logits.grad[0, 2] == 0
    assert (logits.grad != 0).sum() == 4, "one is unknown, one saturated"
    assert binary_cross_entropy_loss(logits, torch.full((2, 3), -1)) == 0


def test_half_precision_is_widened():
    assert binary_cross_entropy_loss(LOGITS.bfloat16(), TARGETS, torch.tensor(SHARE)).dtype == torch.float32


def test_the_loss_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"The model has 3 attributes \(MODEL.HEADS.NUM_CLASSES\), the data 2"):
        BinaryCrossEntropyLoss()({"attribute_logits": LOGITS, "attributes": TARGETS[:, :2]})
    with pytest.raises(ValueError, match="POSITIVE_SHARE has 0 numbers for 3 attributes"):
        BinaryCrossEntropyLoss()({"attribute_logits": LOGITS, "attributes": TARGETS})


def test_shares_are_of_the_known():
    assert positive_shares([(1, 0, -1, -1), (1, 1, 0, -1), (0, 1, 1, -1)]) == pytest.approx([2 / 3, 2 / 3, 0.5, 0.5])


def test_the_training_set_fills_the_shares():
    cfg = get_cfg()
    data = SimpleNamespace(records=[SimpleNamespace(attributes=row) for row in ((1, 0), (1, 1), None)])
    assert fill_positive_share(cfg, data) is cfg, "no loss needs them"
    cfg.MODEL.LOSSES.NAME = ("BinaryCrossEntropyLoss",)
    assert fill_positive_share(cfg, SimpleNamespace()) is cfg, "a loader from outside"
    cfg.freeze()
    filled = fill_positive_share(cfg, data)
    assert filled.MODEL.LOSSES.BCE.POSITIVE_SHARE == [1.0, 0.5]
    assert filled.is_frozen()
    assert cfg.MODEL.LOSSES.BCE.POSITIVE_SHARE == []
    assert fill_positive_share(filled, data) is filled, "what is set stays"


def test_the_head_gives_normed_logits_and_probabilities():
    torch.manual_seed(0)
    head, features = AttrHead(feat_dim=8, num_classes=3, with_bnneck=True, scale=2), torch.randn(6, 8, 2, 2)
    out = head(features)
    assert tuple(out) == AttrHead.provides
    assert out["attribute_logits"].mean(0).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert out["attribute_logits"].std(0, correction=0).tolist() == pytest.approx([2] * 3, rel=0.05), "the scale"
    torch.testing.assert_close(out["features"], features.mean((2, 3)))
    probabilities = head.eval()(features)
    assert probabilities.shape == (6, 3)
    neck = head.bottleneck(features.mean((2, 3), keepdim=True))[..., 0, 0]
    torch.testing.assert_close(probabilities, torch.sigmoid(2 * head.bnneck(nn.functional.linear(neck, head.weight))))


def test_the_head_has_the_parameters_of_fast_reid():
    names = set(AttrHead(feat_dim=8, num_classes=3, with_bnneck=True).state_dict())
    norm = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert names == {"weight"} | {f"{layer}.{part}" for layer in ("bnneck", "bottleneck.0") for part in norm}


def test_the_head_refuses_margins_and_losses_over_classes():
    with pytest.raises(ValueError, match="CLS_LAYER for AttrHead must be one of 'Linear'; got 'ArcSoftmax'"):
        AttrHead(feat_dim=8, num_classes=3, cls_type="ArcSoftmax")
    cfg = get_cfg()
    cfg.MODEL.HEADS.NAME, cfg.MODEL.BACKBONE.WIDTH, cfg.MODEL.HEADS.NUM_CLASSES = "AttrHead", 8, 3
    with pytest.raises(ValueError, match="CrossEntropyLoss needs the table 'cls_outputs', which nothing provides"):
        Baseline(cfg)
    check_needs([BinaryCrossEntropyLoss()], AttrHead(feat_dim=8, num_classes=3))


def test_the_attribute_model_is_a_baseline_under_another_name():
    cfg = get_cfg()
    cfg.MODEL.HEADS.NAME, cfg.MODEL.BACKBONE.WIDTH, cfg.MODEL.HEADS.NUM_CLASSES = "AttrHead", 8, 3
    cfg.MODEL.LOSSES.NAME, cfg.MODEL.LOSSES.BCE.POSITIVE_SHARE = ("BinaryCrossEntropyLoss",), SHARE
    cfg.MODEL.BACKBONE.DEPTH = "18x"
    model = META_ARCH_REGISTRY.build("AttrBaseline", cfg)
    batch = {"images": torch.rand(2, 3, 32, 32), "targets": torch.tensor([0, 1]), "attributes": TARGETS}
    losses = model(batch)
    assert list(losses) == ["loss_bce"]
    losses["loss_bce"].backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
