import pytest
import torch
from torch import nn

from fastreid.modeling.backbones import build_osnet_backbone
from fastreid.modeling.backbones.osnet import ChannelGate, OSBlock


@pytest.mark.parametrize(
    ("depth", "width", "parameters"),
    [("x1_0", 512, 1_905_828), ("x0_75", 384, 1_087_610), ("x0_5", 256, 497_426), ("x0_25", 128, 134_792)],
)
def test_sizes_are_those_of_fast_reid(depth, width, parameters):
    with torch.device("meta"):
        model = build_osnet_backbone(depth=depth).eval()
        assert model(torch.empty(1, 3, 64, 32)).shape == (1, width, 4, 2)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.feature_dim == width
    assert len(model.state_dict()) == 558


@pytest.mark.parametrize(("size", "map_size"), [((64, 32), (4, 2)), ((72, 33), (4, 2))])
def test_a_sixteenth_of_the_image(size, map_size):
    assert build_osnet_backbone(depth="x0_25")(torch.randn(2, 3, *size)).shape == (2, 128, *map_size)


def test_gate_scales_each_channel_by_a_sigmoid_of_all_means():
    torch.manual_seed(0)
    gate, x = ChannelGate(32), torch.randn(2, 32, 3, 5)
    (w1, b1), (w2, b2) = ((fc.weight.detach()[:, :, 0, 0], fc.bias.detach()) for fc in (gate.fc1, gate.fc2))
    assert w1.shape == (2, 32)
    expected = torch.empty_like(x)
    for image in range(2):
        means = [x[image, c].sum() / 15 for c in range(32)]
        hidden = [max(0.0, sum(w1[h, c] * means[c] for c in range(32)) + b1[h]) for h in range(2)]
        for c in range(32):
            score = sum(w2[c, h] * hidden[h] for h in range(2)) + b2[c]
            expected[image, c] = x[image, c] / (1 + torch.exp(-score))
    assert torch.allclose(gate(x), expected, atol=1e-5)


def test_a_block_sums_four_streams_through_one_gate():
    torch.manual_seed(0)
    block, x = OSBlock(16, 64).eval(), torch.randn(2, 16, 6, 4)
    assert sum(isinstance(module, ChannelGate) for module in block.modules()) == 1
    inner, mixed = block.conv1(x), 0
    for stream, depth in ((block.conv2a, 1), (block.conv2b, 2), (block.conv2c, 3), (block.conv2d, 4)):
        layers = [stream] if depth == 1 else list(stream)
        assert len(layers) == depth
        y = inner
        for layer in layers:
            y = torch.relu(layer.bn(layer.conv2(layer.conv1(y))))
        mixed = mixed + block.gate(y)
    shortcut = block.downsample.bn(block.downsample.conv(x))
    expected = torch.relu(block.conv3.bn(block.conv3.conv(mixed)) + shortcut)
    assert torch.allclose(block(x), expected, atol=1e-5)


def test_depth_of_a_stream_is_its_receptive_field():
    """A change of one pixel reaches 1, 2, 3 and 4 pixels far: windows of 3, 5, 7 and 9."""
    block, x = OSBlock(16, 64).eval(), torch.randn(1, 16, 11, 11)
    changed = x.clone()
    changed[:, :, 5, 5] += 1
    for reach, stream in enumerate((block.conv2a, block.conv2b, block.conv2c, block.conv2d), start=1):
        moved = (stream(changed) != stream(x)).any(dim=1)[0].nonzero()
        assert moved.min() == 5 - reach
        assert moved.max() == 5 + reach


def test_instance_norms_in_the_stem_and_the_first_stage_only():
    with torch.device("meta"):
        model = build_osnet_backbone(depth="x0_5", with_ibn=True)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.InstanceNorm2d)]
    assert names == ["conv1.bn", "conv2.0.IN", "conv2.1.IN"]


def test_instance_norm_stands_between_the_sum_and_the_activation():
    block, seen = OSBlock(64, 64, with_in=True).eval(), {}
    block.conv3.register_forward_hook(lambda module, args, out: seen.update(residual=out.clone()))
    block.IN.register_forward_hook(lambda module, args, out: seen.update(sum=args[0].clone(), normed=out.clone()))
    x = torch.randn(2, 64, 4, 4)
    out = block(x)
    assert torch.equal(seen["sum"], seen["residual"] + x), "without a change of width the shortcut is the input"
    assert torch.equal(out, seen["normed"].relu())


def test_parameter_names_of_fast_reid():
    with torch.device("meta"):
        names = list(build_osnet_backbone(depth="x0_25").state_dict())
    weights = [name for name in names if name.endswith("weight")]
    assert weights[:8] == [
        "conv1.conv.weight", "conv1.bn.weight", "conv2.0.conv1.conv.weight", "conv2.0.conv1.bn.weight",
        "conv2.0.conv2a.conv1.weight", "conv2.0.conv2a.conv2.weight", "conv2.0.conv2a.bn.weight",
        "conv2.0.conv2b.0.conv1.weight",
    ]  # fmt: skip
    assert {"conv2.0.gate.fc1.bias", "conv2.0.downsample.conv.weight", "conv2.2.0.conv.weight"} <= set(names)
    assert {"conv3.2.0.bn.running_var", "conv4.1.conv3.bn.weight", "conv5.conv.weight"} <= set(names)
    assert not any(name.startswith(("conv4.2", "conv2.1.downsample")) for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "x1.0"}, "DEPTH of build_osnet_backbone must .* got 'x1.0'. Did you mean 'x1_0'"),
        ({"depth": "x0_5", "with_ibn": True, "pretrain": True}, "known for .*backbone x0_5 IBN.*PRETRAIN_PATH"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_osnet_backbone(**options)
