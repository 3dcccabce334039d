"""Layers of whole networks: against loops, and their options."""

import pytest
import torch
from torch import nn

from fastreid.layers import FRN, TLU, ContextBlock, DropBlock2d, GatherLayer, SplAtConv2d, drop_block_2d
from fastreid.utils import comm


def slow_split_attention(layer, x):
    """One sample, group and channel at a time; the layer has no norms."""
    groups, radix, channels = layer.cardinality, layer.radix, layer.channels
    out = []
    for sample in layer.conv(x).relu():
        splits = [sample[r * channels : (r + 1) * channels] for r in range(radix)]
        means = sum(splits).mean((1, 2))
        scores = layer.fc2(layer.fc1(means[None, :, None, None]).relu())[0, :, 0, 0]
        result, per_group = torch.zeros_like(splits[0]), channels // groups
        for channel in range(channels):
            group, within = divmod(channel, per_group)
            own = torch.stack([scores[(group * radix + r) * per_group + within] for r in range(radix)])
            weights = own.softmax(0) if radix > 1 else own.sigmoid()
            result[channel] = sum(weight * split[channel] for weight, split in zip(weights, splits, strict=True))
        out.append(result)
    return torch.stack(out)


@pytest.mark.parametrize("groups, radix", [(1, 2), (2, 2), (4, 3), (2, 1)])
def test_split_attention_against_loops(groups, radix):
    torch.manual_seed(0)
    layer = SplAtConv2d(12, 24, 3, stride=2, padding=1, groups=groups, radix=radix)
    x = torch.randn(3, 12, 6, 5)
    out = layer(x)
    assert out.shape == (3, 24, 3, 3)
    torch.testing.assert_close(out, slow_split_attention(layer, x), rtol=1e-4, atol=1e-5)


def test_split_attention_has_the_parameters_of_fast_reid():
    layer = SplAtConv2d(64, 64, 3, padding=1, bias=False, norm_layer="BN")
    shapes = {name: tuple(value.shape) for name, value in layer.named_parameters()}
    assert shapes == {
        "conv.weight": (128, 32, 3, 3), "bn0.weight": (128,), "bn0.bias": (128,),
        "fc1.weight": (32, 64, 1, 1), "fc1.bias": (32,), "bn1.weight": (32,), "bn1.bias": (32,),
        "fc2.weight": (128, 32, 1, 1), "fc2.bias": (128,),
    }  # fmt: skip


def test_split_attention_drops_blocks_in_training_only():
    torch.manual_seed(0)
    layer, x = SplAtConv2d(8, 8, 1, dropblock_prob=0.5), torch.randn(2, 8, 9, 9)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))


def test_split_attention_refuses_rectified_convolutions():
    with pytest.raises(ValueError, match="rectify and rectify_avg of SplAtConv2d are not supported"):
        SplAtConv2d(8, 8, 3, rectify=True)


@pytest.mark.parametrize("pooling", ["att", "avg"])
@pytest.mark.parametrize("fusion", [("channel_add",), ("channel_mul",), ("channel_add", "channel_mul")])
def test_context_block_against_loops(pooling, fusion):
    torch.manual_seed(0)
    block, x = ContextBlock(8, 0.5, pooling, fusion), torch.randn(2, 8, 3, 4)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    for sample, out in zip(x, block(x), strict=True):
        positions = sample.flatten(1).t()  # (HW, C)
        if pooling == "att":
            weight, bias = block.conv_mask.weight.flatten(), block.conv_mask.bias
            shares = torch.stack([position @ weight + bias[0] for position in positions]).softmax(0)
        else:
            shares = torch.full((12,), 1 / 12)
        context = sum(share * position for share, position in zip(shares, positions, strict=True))[None, :, None, None]
        expected = sample
        if "channel_mul" in fusion:
            expected = expected * block.channel_mul_conv(context)[0].sigmoid()
        if "channel_add" in fusion:
            expected = expected + block.channel_add_conv(context)[0]
        torch.testing.assert_close(out, expected)


def test_a_fresh_context_block_adds_nothing():
    x = torch.randn(2, 8, 3, 4)
    assert torch.equal(ContextBlock(8, 0.25)(x), x)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pooling_type": "max"}, "pooling_type of ContextBlock must be one of 'att', 'avg'; got 'max'"),
        ({"fusion_types": ("channel_ad",)}, "fusion_types of ContextBlock must be one of .* mean 'channel_add'"),
        ({"fusion_types": ()}, r"must be a list of at least one type; got \(\)"),
        ({"fusion_types": "channel_add"}, "must be a list of at least one type; got 'channel_add'"),
    ],
)
def test_context_block_names_the_wrong_option(options, message):
    with pytest.raises(ValueError, match=message):
        ContextBlock(8, 0.25, **options)


@pytest.mark.parametrize("learnable", [False, True])
def test_frn_against_loops(learnable):
    layer, x = FRN(3, eps=0.1, is_eps_leanable=learnable), torch.randn(2, 3, 4, 5)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    out = layer(x)
    for sample in range(2):
        for channel in range(3):
            values = x[sample, channel]
            normed = values / (sum(float(v) ** 2 for v in values.flatten()) / 20 + 0.1) ** 0.5
            torch.testing.assert_close(out[sample, channel], layer.weight[channel] * normed + layer.bias[channel])
    assert ("eps" in dict(layer.named_parameters())) == learnable
    assert layer.state_dict()["eps"].shape == (1,)


def test_tlu_has_a_threshold_per_channel():
    layer = TLU(2)
    layer.tau.data = torch.tensor([0.5, -1.0])
    x = torch.tensor([-2.0, 0.0, 3.0]).expand(1, 2, 1, 3)
    assert layer(x)[0, :, 0].tolist() == [[0.5, 0.5, 3.0], [-1.0, 0.0, 3.0]]


def test_drop_block_zeroes_whole_blocks_of_the_share_asked_for():
    torch.manual_seed(0)
    x = torch.ones(64, 4, 16, 16)
    out = drop_block_2d(x, 0.2, block_size=3)
    dropped = out == 0
    assert float(dropped.float().mean()) == pytest.approx(0.2, abs=0.03)
    assert float(out.mean()) == pytest.approx(1, abs=1e-3), "the rest is scaled up"
    blocks = nn.functional.max_pool2d(1 - dropped.float(), 3, stride=1) == 0  # corners of windows that are all zero
    covered = nn.functional.max_pool2d(nn.functional.pad(blocks.float(), (2, 2, 2, 2)), 3, stride=1) > 0
    assert torch.equal(covered, dropped), "every zero lies in a block of 3 x 3"
    assert torch.equal(x, torch.ones_like(x))


def test_drop_block_options():
    torch.manual_seed(0)
    x = torch.full((8, 2, 12, 12), 2.0)
    assert drop_block_2d(x, 0.3, 3, gamma_scale=0.0).unique().tolist() == [2.0]
    same = drop_block_2d(x, 0.3, 3, batchwise=True) == 0
    assert same.any()
    assert torch.equal(same, same[:1].expand_as(same))
    noisy = drop_block_2d(x, 0.3, 3, with_noise=True)
    kept = noisy == 2
    assert 0.5 < float(kept.float().mean()) < 1
    assert float(noisy[~kept].std()) == pytest.approx(1, abs=0.15)
    assert drop_block_2d(x, 0.3, 3, inplace=True) is x
    assert (x == 0).any()
    assert drop_block_2d(torch.ones(2, 2, 2, 2), 0.3, block_size=7).shape == (2, 2, 2, 2)


def test_drop_block_module_is_active_in_training_only():
    x = torch.ones(4, 2, 12, 12)
    assert (DropBlock2d(0.5, 3).train()(x) == 0).any()
    assert DropBlock2d(0.5, 3).eval()(x) is x
    assert DropBlock2d(0.0).train()(x) is x
    with pytest.raises(ValueError, match=r"drop_prob of DropBlock2d must be in \[0, 1\); got 1.5"):
        DropBlock2d(1.5)


def test_gather_of_one_process():
    x = torch.ones(2)
    assert [part.tolist() for part in GatherLayer.apply(x)] == [[1.0, 1.0]]


@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_gather_gives_one_tensor_per_process(monkeypatch, shape):
    """What the processes exchange is tested with two of them (tests/distributed)."""
    monkeypatch.setattr(comm, "all_gather_with_grad", lambda rows: torch.cat((rows, 3 * rows)))
    x = torch.ones(shape, requires_grad=True)
    first, second = GatherLayer.apply(x)
    assert first.shape == second.shape == shape
    (10 * first + second**2).sum().backward()
    assert set(x.grad.flatten().tolist()) == {10 + 2 * 3 * 3}
