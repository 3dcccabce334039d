"""What holds for every registered component of the model (its options: tests/test_contract.py)."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.layers import SOFTMAX_REGISTRY
from fastreid.modeling import BACKBONE_REGISTRY, LOSS_REGISTRY
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.losses.build import BATCH_TABLES

# a DEPTH of each backbone that is quick to build
SMALLEST = {
    "build_resnet_backbone": "10x",
    "build_resnext_backbone": "50x",
    "build_resnest_backbone": "50x",
    "build_osnet_backbone": "x0_25",
    "build_shufflenetv2_backbone": "0.5x",
    "build_mobilenetv2_backbone": "0.1x",
    "build_mobilenetv3_backbone": "Small",
    "build_regnet_backbone": "200x",
    "build_effnet_backbone": "b0",
    "build_repvgg_backbone": "A0",
    "build_vit_backbone": "small",
    "build_timm_backbone": "test_efficientnet",
}


@pytest.mark.parametrize("name", LOSS_REGISTRY.names())
def test_loss_is_a_finite_scalar_with_gradient_times_its_scale(name):
    cfg = get_cfg()
    features = torch.randn(8, 16, requires_grad=True)
    logits = features @ torch.randn(16, 4)
    table = {"features": features, "cls_outputs": logits, "pred_class_logits": logits, "targets": torch.arange(8) // 2}
    loss = LOSS_REGISTRY.build(name, cfg)
    assert set(loss.needs) <= {*table, *BATCH_TABLES}
    assert loss.key.startswith("loss_")
    value = loss(table)
    value.backward()
    assert value.shape == ()
    assert torch.isfinite(value)
    assert torch.isfinite(features.grad).all()
    assert features.grad.abs().sum() > 0
    cfg.get_node(LOSS_REGISTRY.node(name)).SCALE = 2.0
    assert torch.allclose(LOSS_REGISTRY.build(name, cfg)(table), 2 * value)


@pytest.mark.parametrize("name", SOFTMAX_REGISTRY.names())
def test_softmax_layer_has_finite_output_and_gradient(name):
    cosines = (torch.rand(6, 5) * 2 - 1).requires_grad_(True)
    out = SOFTMAX_REGISTRY.build(name, get_cfg(), num_classes=5)(cosines, torch.arange(6) % 5)
    out.square().sum().backward()
    assert out.shape == (6, 5)
    assert torch.isfinite(out).all()
    assert torch.isfinite(cosines.grad).all()


@pytest.mark.parametrize("name", BACKBONE_REGISTRY.names())
@pytest.mark.parametrize("channels", [1, 3])
def test_backbone_states_the_width_of_its_output(name, channels):
    if BACKBONE_REGISTRY.node(name) is None:
        pytest.skip("takes the whole config")
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.DEPTH = SMALLEST[name]
    cfg.INPUT.CHANNELS, cfg.INPUT.SIZE_TRAIN = channels, [32, 32]
    backbone = build_backbone(cfg)
    out = backbone(torch.randn(2, channels, 32, 32))
    out.mean().backward()
    assert out.shape[1] == backbone.feature_dim
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in backbone.parameters() if p.grad is not None)
