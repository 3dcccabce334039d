import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.layers import IBN, Non_local, SELayer
from fastreid.modeling.backbones import build_backbone, build_resnet_backbone
from fastreid.modeling.backbones.resnet import DEPTHS, Bottleneck


def count(model: nn.Module, kind: type) -> int:
    return sum(isinstance(module, kind) for module in model.modules())


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [("18x", 11_176_512), ("34x", 21_284_672), ("50x", 23_508_032), ("101x", 42_500_160), ("152x", 58_143_808)],
)
def test_sizes_are_those_of_the_paper(depth, parameters):
    with torch.device("meta"):
        model = build_resnet_backbone(depth)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.feature_dim == (512 if depth in ("18x", "34x") else 2048)


def test_same_function_as_torchvision_apart_from_the_pooling_of_the_stem():
    from torchvision.models import resnet18

    twin, model = resnet18().eval(), build_resnet_backbone("18x", last_stride=2).eval()
    model.load_state_dict({k: v for k, v in twin.state_dict().items() if not k.startswith("fc.")})
    twin.maxpool, twin.fc = model.maxpool, nn.Identity()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.allclose(model(x).mean((2, 3)), twin(x), atol=1e-4)


@pytest.mark.parametrize(("last_stride", "size"), [(1, (8, 4)), (2, (4, 2))])
def test_last_stride(last_stride, size):
    out = build_resnet_backbone("18x", last_stride=last_stride)(torch.randn(2, 3, 128, 64))
    assert out.shape == (2, 512, *size)


@pytest.mark.parametrize("depth", DEPTHS)
def test_ibn_a_in_every_block_of_the_first_three_stages(depth):
    with torch.device("meta"):
        model = build_resnet_backbone(depth, with_ibn=True)
    assert count(model, IBN) == sum(DEPTHS[depth][1][:3])
    assert count(model.layer4, IBN) == 0


def test_blocks_take_the_flags_of_fast_reid():
    flagged, plain = (Bottleneck(256, 64, "BN", with_ibn, True) for with_ibn in (True, False))
    assert [type(flagged.bn1), type(flagged.se)] == [IBN, SELayer]
    assert not isinstance(plain.bn1, IBN)


def test_ibn_b_is_in_the_stem_and_after_the_sum_of_two_last_blocks():
    model = build_resnet_backbone("50x", with_ibn=True, ibn_type="b")
    names = [name for name, module in model.named_modules() if isinstance(module, nn.InstanceNorm2d)]
    assert names == ["bn1", "layer1.2.IN", "layer2.3.IN"]
    seen = []
    model.layer1[2].IN.register_forward_hook(lambda module, args, out: seen.append(out))
    block_out = model.layer1[:3](torch.randn(2, 64, 8, 8))
    assert torch.equal(block_out, seen[0].relu()), "the norm comes after the residual sum, before the activation"


@pytest.mark.parametrize("depth", ["18x", "34x"])
def test_depths_without_non_local_blocks_say_so_and_fit_files_of_fast_reid(depth, caplog):
    with torch.device("meta"):
        model = build_resnet_backbone(depth, with_nl=True)
        assert set(model.state_dict()) == set(build_resnet_backbone(depth).state_dict())
    assert f"build_resnet_backbone {depth} has no non-local block; NL_LAYERS adds them" in caplog.text


@pytest.mark.parametrize("depth", ["10x", "50x", "101x", "152x"])
def test_non_local_blocks_stand_after_the_last_blocks_of_a_stage(depth):
    with torch.device("meta"):
        model = build_resnet_backbone(depth, with_nl=True)
    assert [len(getattr(model, f"NL_{s}")) for s in range(1, 5)] == list(DEPTHS[depth][2])
    assert count(model, Non_local) > 0


def test_order_of_blocks_and_non_local_blocks():
    model, order = build_resnet_backbone("18x", with_nl=True, nl_layers=[2, 1, 0, 0], nl_channels=4), []
    for name, module in model.named_modules():
        if isinstance(module, Non_local) or name in ("layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0"):
            module.register_forward_hook(lambda m, args, out, name=name: order.append(name))
    model(torch.randn(2, 3, 32, 32))
    assert order == ["layer1.0", "NL_1.0", "layer1.1", "NL_1.1", "layer2.0", "layer2.1", "NL_2.0", "layer3.0"]
    assert model.NL_1[0].g.weight.shape == (4, 64, 1, 1)


def test_squeeze_and_excitation_in_every_block():
    with torch.device("meta"):
        assert count(build_resnet_backbone("50x", with_se=True), SELayer) == 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "50"}, "MODEL.BACKBONE.DEPTH of build_resnet_backbone must .* got '50'. Did you mean '50x'"),
        ({"last_stride": 3}, "MODEL.BACKBONE.LAST_STRIDE must be one of 1, 2; got 3"),
        ({"with_ibn": True, "ibn_type": "c"}, "MODEL.BACKBONE.IBN_TYPE must be one of 'a', 'b'; got 'c'"),
        ({"norm": "BatchNorm"}, "The norm .* must be one of 'BN'.* got 'BatchNorm'"),
        ({"with_nl": True, "nl_layers": [0, 9, 0, 0]}, r"NL_LAYERS must give.*\(3, 4, 6, 3\); got \[0, 9, 0, 0\]"),
        ({"with_nl": True, "nl_layers": [1]}, "NL_LAYERS must give, for each of the four stages"),
        ({"with_nl": True, "nl_channels": 0}, "MODEL.BACKBONE.NL_CHANNELS must be at least 1; got 0"),
        ({"width": 0}, "MODEL.BACKBONE.WIDTH must be at least 1; got 0"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_resnet_backbone(**options)


def test_built_from_the_config_with_one_channel_and_its_own_width(caplog):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.DEPTH", "18x", "INPUT.CHANNELS", 1])
    backbone = build_backbone(cfg)
    assert backbone.conv1.weight.shape == (64, 1, 7, 7)
    assert backbone.feature_dim == 512
    assert "FEAT_DIM is 2048, but build_resnet_backbone 18x gives 512 channels" in caplog.text
    caplog.clear()
    cfg.MODEL.BACKBONE.FEAT_DIM = 512
    build_backbone(cfg)
    assert not caplog.text


def test_unknown_backbone_has_a_near_miss():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnt_backbone"
    with pytest.raises(KeyError, match="Did you mean 'build_resnet_backbone'"):
        build_backbone(cfg)


def test_maps_of_odd_sizes():
    # the stem's pooling rounds up: 33 -> 17 -> 8 -> 4 -> 2 -> 2
    assert build_resnet_backbone("18x")(torch.randn(2, 3, 33, 33)).shape == (2, 512, 2, 2)
