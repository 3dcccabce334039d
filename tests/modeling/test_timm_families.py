"""MobileNet, RegNet, EfficientNet and RepVGG: names, widths and numbers of fast-reid, weights of timm."""

import copy
import pickle

import pytest
import timm
import torch
from torch import nn

from fastreid.layers import FrozenBatchNorm
from fastreid.modeling.backbones import effnet, mobilenet, regnet, repvgg
from tests.modeling.stand_ins import SMALLEST, build, fill

# depth: output channels, entries of the state dict where fast-reid has the network
WIDTHS = {
    "mobilenetv2": {f"{width}x": (1280, 312) for width in (1.0, 0.75, 0.5, 0.35, 0.25, 0.1)},
    "mobilenetv3": {"Large": (1280, 314), "Small": (1024, 246)},
    "regnet": {
        "200x": (368, 264), "400x": (384, 426), "600x": (528, None), "800x": (672, 318), "1600x": (912, 354),
        "3200x": (1008, 480), "4000x": (1360, 444), "6400x": (1624, 336), "8000x": (1920, None), "12000x": (2240, None),
        "16000x": (2048, None), "32000x": (2520, None), "200y": (368, 316), "400y": (440, 382), "600y": (608, None),
        "800y": (768, 338), "1600y": (888, 624), "3200y": (1512, 492), "4000y": (1088, 514), "6400y": (1296, 580),
        "8000y": (2016, None), "12000y": (2240, None), "16000y": (3024, None), "32000y": (3712, None),
    },
    "effnet": {
        "b0": (1280, 358), "b1": (1280, 506), "b2": (1408, 506), "b3": (1536, 572), "b4": (1792, 704),
        "b5": (2048, 852), "b6": (2304, None), "b7": (2560, None),
    },
    "repvgg": {
        **dict.fromkeys(("A0", "A1"), (1280, 349)), "A2": (1408, 349), "B0": (1280, 451),
        **dict.fromkeys(("B1", "B1g2", "B1g4"), (2048, 451)),
        **dict.fromkeys(("B2", "B2g2", "B2g4", "B3", "B3g2", "B3g4"), (2560, 451)),
    },
}  # fmt: skip
WITH_STRIDE = ("regnet", "effnet", "repvgg")


@pytest.mark.parametrize("family, depth", [(f, d) for f, depths in WIDTHS.items() for d in depths])
def test_width_stride_and_number_of_entries_of_every_depth(family, depth):
    width, entries = WIDTHS[family][depth]
    backbone = build(family, depth, "meta")
    size = (4, 2) if family in WITH_STRIDE else (2, 1)
    assert backbone(torch.empty(2, 3, 64, 32, device="meta")).shape == (2, width, *size)
    assert backbone.feature_dim == width
    assert entries in (None, len(backbone.state_dict()))


def test_the_table_above_has_every_depth():
    for family, module in {"mobilenetv2": mobilenet, "regnet": regnet, "effnet": effnet, "repvgg": repvgg}.items():
        assert set(WIDTHS[family]) == set(module.DEPTHS)


@pytest.mark.parametrize(
    "family, names",
    [
        ("mobilenetv2", {
            "features.0.0.weight": (4, 3, 3, 3), "features.1.conv.3.weight": (4, 4, 1, 1),
            "features.17.conv.6.weight": (32, 96, 1, 1), "features.17.conv.7.running_var": (32,),
            "conv.0.weight": (1280, 32, 1, 1), "conv.1.bias": (1280,),
        }),
        ("mobilenetv3", {
            "features.0.1.weight": (16,), "features.1.block.1.fc1.weight": (8, 16, 1, 1),
            "features.1.block.2.0.weight": (16, 16, 1, 1), "features.2.block.2.1.bias": (24,),
            "features.11.block.3.0.weight": (96, 576, 1, 1), "features.12.1.running_mean": (576,),
            "conv.0.weight": (1024, 576, 1, 1), "conv.1.num_batches_tracked": (),
        }),
        ("regnet", {
            "stem.bn.weight": (32,), "s1.b1.proj.weight": (24, 32, 1, 1), "s1.b1.bn.bias": (24,),
            "s4.b7.f.b_bn.running_var": (368,), "s4.b7.f.se.f_ex.0.weight": (92, 368, 1, 1),
            "s2.b1.f.c_bn.weight": (56,),
        }),
        ("effnet", {
            "stem.conv.weight": (32, 3, 3, 3), "s1.b1.dwise.weight": (32, 1, 3, 3), "s1.b1.lin_proj_bn.bias": (16,),
            "s2.b1.exp_bn.weight": (96,), "s7.b1.se.f_ex.2.bias": (1152,), "head.conv_bn.running_mean": (1280,),
        }),
        ("repvgg", {
            "stage0.rbr_dense.conv.weight": (48, 3, 3, 3), "stage1.1.rbr_identity.weight": (48,),
            "stage4.0.rbr_1x1.bn.running_mean": (1280,),
        }),
    ],
)  # fmt: skip
def test_parameter_names_are_those_of_fast_reid(family, names):
    backbone = build(family, device="meta")
    state = backbone.state_dict()
    assert {name: tuple(state[name].shape) for name in names if name in state} == names
    # in the order of the network, and inside a whole model
    wrapped = nn.ModuleDict({"first": nn.PReLU(), "backbone": backbone, "last": nn.PReLU()})
    assert list(wrapped.state_dict()) == ["first.weight", *(f"backbone.{name}" for name in state), "last.weight"]


# four values of fast-reid's output for an image of noise: channels 0 to 3 at a step, last row and column; the mean
RECORDED = {
    "mobilenetv2": ([0.0, 0.2337, 0.0948, 0.1175], 0.08284),
    "mobilenetv3": ([0.0, 0.0, 0.2572, 0.0], 0.09564),
    "regnet": ([0.9792, 0.2707, 0.0131, 0.8814], 0.4017),
    "effnet": ([0.1441, 0.1929, -0.0932, 0.0359], 0.0016),
    "repvgg": ([0.0, 0.0, 21.719, 161.7165], 149.37265),
}


@pytest.mark.parametrize("family", RECORDED)
def test_output_is_that_of_fast_reid(family):
    backbone = fill(build(family)).eval()
    with torch.no_grad():
        out = backbone(torch.randn(1, 3, 256, 128, generator=torch.Generator().manual_seed(1)))
    out = out[:, :: out.shape[1] // 64]
    values, mean = RECORDED[family]
    assert torch.allclose(out[0, :4, -1, -1], torch.tensor(values), atol=1e-4)
    assert out.mean().item() == pytest.approx(mean, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize(
    "family, depth, name",
    [
        ("mobilenetv2", "0.35x", "mobilenetv2_035"),
        ("regnet", "200y", "regnety_002"),
        ("effnet", "b0", "efficientnet_b0"),
        ("repvgg", "A0", "repvgg_a0"),
    ],
)
def test_weights_of_timm_fit_and_give_what_timm_gives(family, depth, name):
    reference = fill(timm.create_model(name, num_classes=0, global_pool="")).eval()
    backbone = build(family, depth, **({"LAST_STRIDE": 2} if family in WITH_STRIDE else {})).eval()
    backbone.load_state_dict(reference.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = reference.forward_features(x)
        assert torch.allclose(backbone(x), expected, atol=1e-5 * expected.abs().max().item())


def test_grouped_convolutions_of_repvgg_stand_where_timm_has_them():
    with torch.device("meta"):
        theirs = timm.create_model("repvgg_b1g4", num_classes=0).state_dict()
    backbone = build("repvgg", "B1g4", "meta")
    shapes = {name: value.shape for name, value in backbone.state_dict().items()}
    assert {name: value.shape for name, value in backbone.adapt_weights(theirs).items()} == shapes
    assert shapes["stage1.1.rbr_dense.conv.weight"] == (128, 32, 3, 3)


@pytest.mark.parametrize("family", SMALLEST)
def test_what_is_saved_loads_again_also_inside_a_model(family):
    first, second = (nn.ModuleDict({"backbone": build(family).eval()}) for _ in range(2))
    fill(first)
    second.load_state_dict(first.state_dict(), strict=True)
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(first["backbone"](x), second["backbone"](x))
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: .*backbone.other"):
        second.load_state_dict({**first.state_dict(), "backbone.other": torch.zeros(1)}, strict=True)


def test_names_survive_a_copy_and_a_pickle():
    backbone = build("mobilenetv2")
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        other.load_state_dict(backbone.state_dict(), strict=True)
        assert list(other.state_dict()) == list(backbone.state_dict())


@pytest.mark.parametrize("family", SMALLEST)
def test_every_parameter_gets_a_gradient(family):
    backbone = build(family, CHANNELS=1)
    backbone(torch.randn(2, 1, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in backbone.parameters())


@pytest.mark.parametrize("family", WITH_STRIDE)
def test_last_stride(family):
    backbone = build(family, device="meta", LAST_STRIDE=2)
    assert backbone(torch.empty(1, 3, 64, 64, device="meta")).shape[2:] == (2, 2)
    with pytest.raises(ValueError, match=r"MODEL\.BACKBONE\.LAST_STRIDE must be one of 1, 2; got 3"):
        build(family, LAST_STRIDE=3)


@pytest.mark.parametrize("family", SMALLEST)
def test_the_norm_is_honoured(family):
    backbone = build(family, NORM="FrozenBN")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert sum(isinstance(module, FrozenBatchNorm) for module in backbone.modules()) > 10
    usual = [name for name in build(family, device="meta").state_dict() if not name.endswith("num_batches_tracked")]
    assert sorted(backbone.state_dict()) == sorted(usual)
    assert torch.isfinite(backbone(torch.randn(2, 3, 32, 32))).all()


def test_a_norm_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"MODEL\.BACKBONE\.NORM 'GN' for the 4 channels of bn1"):
        build("mobilenetv2", NORM="GN")


@pytest.mark.parametrize("family", SMALLEST)
def test_unknown_depth_has_a_hint(family):
    wrong = SMALLEST[family] + "_"
    match = rf"DEPTH of build_{family}_backbone must be one of .*got '{wrong}'\. Did you mean '{SMALLEST[family]}'"
    with pytest.raises(ValueError, match=match):
        build(family, wrong)


def test_switches_that_a_backbone_does_not_have_are_named(caplog):
    build("mobilenetv2", WITH_NL=True, WITH_SE=True)
    warnings = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert warnings == [
        "MODEL.BACKBONE.WITH_SE is True, which build_mobilenetv2_backbone does not have: ignored",
        "MODEL.BACKBONE.WITH_NL is True, which build_mobilenetv2_backbone does not have: ignored",
    ]


def test_building_one_network_leaves_the_next_as_it_is():
    """fast-reid's RegNet keeps the squeeze-and-excitation of the network built before."""
    before = len(build("regnet", "400x", "meta").state_dict())
    build("regnet", "400y", "meta")
    assert len(build("regnet", "400x", "meta").state_dict()) == before == 426


def test_repvgg_deployed_equals_the_trained_branches():
    def make():
        return repvgg.RepVGG((1, 3, 2, 1), (32, 32, 64, 96), groups=4)

    backbone = fill(make())
    backbone(torch.randn(4, 3, 32, 32))  # statistics that differ from their first values
    backbone.double().eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = backbone(x)
        backbone.deploy(True)
        out = backbone.double()(x)
    assert (out - expected).abs().max() < 1e-4 * expected.abs().max()
    assert sorted(n.rpartition(".")[2] for n in backbone.state_dict() if n.startswith("stage0")) == [
        "fused_bias", "fused_weight",
    ]  # fmt: skip
    backbone.deploy(True)  # a second time changes nothing
    with pytest.raises(ValueError, match="fused branches cannot be separated"):
        backbone.deploy(False)
    other = make()
    other.deploy(True)
    other.load_state_dict(backbone.state_dict(), strict=True)


def test_repvgg_without_batch_norms_cannot_be_deployed():
    backbone = repvgg.RepVGG((1, 1, 1, 1), (32, 32, 32, 32), norm="GN")
    with pytest.raises(TypeError, match="batch norms only, not with GroupNorm"):
        backbone.deploy(True)


