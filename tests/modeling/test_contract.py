"""What holds for every registered component of the model (its options: tests/test_contract.py)."""

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.layers import SOFTMAX_REGISTRY, FrozenBatchNorm
from fastreid.modeling import BACKBONE_REGISTRY, LOSS_REGISTRY
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.backbones.build import SWITCHES
from fastreid.modeling.losses.build import BATCH_TABLES
from fastreid.utils.registry import option_names

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
    cfg.MODEL.LOSSES.BCE.POSITIVE_SHARE = [0.1, 0.2, 0.3, 0.4]  # the trainer fills it in
    features = torch.randn(8, 16, requires_grad=True)
    logits = features @ torch.randn(16, 4)
    table = {"features": features, "targets": torch.arange(8) // 2, "attributes": torch.arange(32).view(8, 4) % 2}
    table |= {"text_features": torch.randn(8, 16), "temperature": 0.1, "frequency": torch.arange(8) % 2}
    table["taxonomy"] = ["0601", "0601", "0603", "0603", "1404", "1404", "", ""]
    table |= dict.fromkeys(("cls_outputs", "pred_class_logits", "attribute_logits"), logits)
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


# other tests bring backbones of their own, without a config node
BACKBONES = [name for name in BACKBONE_REGISTRY.names() if BACKBONE_REGISTRY.node(name)]


def options_of(name):
    return option_names(BACKBONE_REGISTRY.get(name))


def build(name, *options, channels=3):
    """The smallest backbone of this name for images of 32 x 32, with further keys and values of MODEL.BACKBONE."""
    cfg = get_cfg()
    options = [f"MODEL.BACKBONE.{option}" if i % 2 == 0 else option for i, option in enumerate(options)]
    smallest = ["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", SMALLEST[name], "INPUT.SIZE_TRAIN", [32, 32]]
    cfg.merge_from_list([*smallest, "INPUT.CHANNELS", channels, *options])
    return build_backbone(cfg)


@pytest.fixture(scope="module", params=BACKBONES)
def grey(request):
    """A backbone for images of one channel."""
    return build(request.param, channels=1)


def test_backbone_states_its_width_and_trains_every_parameter(grey):
    out = grey.train()(torch.randn(2, 1, 32, 32))
    out.mean().backward()
    assert out.shape[:2] == (2, grey.feature_dim)
    assert torch.isfinite(out).all()
    for name, parameter in grey.named_parameters():
        assert parameter.grad is not None, f"{name} is unused, which stops distributed training"
        assert torch.isfinite(parameter.grad).all(), name


def test_saved_weights_of_a_backbone_give_its_output_again(grey):
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        saved = {name: value.clone() for name, value in grey.state_dict().items()}
        before = grey.eval()(x)
        for parameter in grey.parameters():
            parameter.mul_(0.5)
        assert not torch.equal(grey(x), before)
        grey.load_state_dict(saved, strict=True)
        assert torch.equal(grey(x), before)


@pytest.mark.parametrize("name", [name for name in BACKBONES if "last_stride" in options_of(name)])
def test_last_stride_of_a_backbone(name):
    x = torch.empty(1, 3, 128, 64, device="meta")
    with torch.device("meta"):
        wide, usual = (build(name, "LAST_STRIDE", stride).eval()(x) for stride in (1, 2))
    assert (wide.shape[2:], usual.shape[2:]) == ((8, 4), (4, 2))


@pytest.mark.parametrize("name", [name for name in BACKBONES if "norm" in options_of(name)])
def test_norm_of_a_backbone_is_the_chosen_one_everywhere(name):
    with torch.device("meta"):
        backbone = build(name, "NORM", "FrozenBN")
        with pytest.raises(ValueError, match=r"MODEL.BACKBONE.NORM.* got 'FrozenBn'. Did you mean 'FrozenBN'"):
            build(name, "NORM", "FrozenBn")
        with pytest.raises(ValueError, match=r"MODEL.BACKBONE.NORM is empty; .* BN, syncBN"):
            build(name, "NORM", "")
    assert any(isinstance(module, FrozenBatchNorm) for module in backbone.modules())
    assert not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in backbone.modules())


@pytest.mark.parametrize("name", BACKBONES)
def test_switches_of_a_backbone_change_it_or_are_named(name, caplog):
    with torch.device("meta"):
        plain = list(build(name).state_dict())
        for switch in SWITCHES:
            caplog.clear()
            names = list(build(name, switch, True).state_dict())
            warned = f"MODEL.BACKBONE.{switch} is True, which {name} does not have" in caplog.text
            assert warned == (names == plain) == (switch.lower() not in options_of(name)), switch


@pytest.mark.parametrize("name", BACKBONES)
def test_unknown_depth_of_a_backbone_is_named_with_the_nearest(name):
    with pytest.raises(ValueError, match=f"'{SMALLEST[name]}0'.* Did you mean"):
        build(name, "DEPTH", SMALLEST[name] + "0")
