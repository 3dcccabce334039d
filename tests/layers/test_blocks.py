import pytest
import torch
from torch import nn

from fastreid import layers
from fastreid.layers import DropPath, Non_local, SELayer, full_precision, make_divisible, to_2tuple


def test_non_local_starts_as_identity():
    x = torch.randn(2, 8, 3, 4)
    assert torch.equal(Non_local(8, "BN")(x), x)


@pytest.mark.parametrize("inner", [1, 3])
def test_non_local_against_the_full_position_matrix(inner):
    block, x = Non_local(8, "BN", inter_channels=inner).eval(), torch.randn(2, 8, 3, 4)
    nn.init.ones_(block.W[1].weight)
    theta, phi, g = (conv(x).flatten(2) for conv in (block.theta, block.phi, block.g))
    attention = theta.transpose(1, 2) @ phi / 12  # (B, HW, HW)
    y = (attention @ g.transpose(1, 2)).transpose(1, 2).reshape(2, inner, 3, 4)
    assert torch.allclose(block(x), block.W(y) + x, atol=1e-5)


def test_se_scales_channels():
    layer, x = SELayer(32, reduction=8), torch.randn(2, 32, 3, 3)
    ratio = layer(x) / x
    gate = layer.fc(x.mean((2, 3)))
    assert torch.allclose(ratio, gate[:, :, None, None].expand_as(ratio), atol=1e-4)
    assert sorted(layer.state_dict()) == ["fc.0.weight", "fc.2.weight"]


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("Mish", lambda x: x * torch.tanh(torch.log1p(x.exp()))),
        ("Swish", lambda x: x / (1 + (-x).exp())),
        ("MemoryEfficientSwish", lambda x: x / (1 + (-x).exp())),
        ("GELU", lambda x: 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))),
    ],
)
def test_activations(name, function):
    x = torch.linspace(-4, 4, 33)
    assert torch.allclose(getattr(layers, name)()(x), function(x), atol=1e-5)


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    x = torch.ones(4000, 2, 1, 1)
    out = DropPath(0.25).train()(x)
    assert torch.equal(out[:, 0], out[:, 1])
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float(out.mean()) == pytest.approx(1, abs=0.05)
    assert DropPath(0.25).eval()(x) is x


def test_drop_path_refuses_a_probability_of_one():
    with pytest.raises(ValueError, match=r"must be in \[0, 1\); got 1"):
        DropPath(1)


def test_helpers():
    assert to_2tuple(3) == (3, 3)
    assert to_2tuple((1, 2)) == (1, 2)
    assert [make_divisible(v) for v in (37, 10, 11, 3)] == [40, 16, 16, 8]


def test_kaiming_init_touches_convolutions_norms_and_linear_layers():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 4))
    for parameter in model.parameters():
        parameter.data.fill_(7)
    model.apply(layers.weights_init_kaiming)
    assert not any((parameter == 7).any() for parameter in model.parameters())
    assert (model[1].weight == 1).all()
    assert (model[0].bias == 0).all()


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
def test_variance_scaling_has_the_promised_variance(distribution):
    weight = layers.variance_scaling_(torch.empty(400, 300), 2.0, "fan_in", distribution)
    assert float(weight.var()) == pytest.approx(2 / 300, rel=0.05)


def test_variance_scaling_names_the_wrong_argument():
    with pytest.raises(ValueError, match="mode of variance_scaling_ must be one of .* got 'fan_inn'. Did you mean"):
        layers.variance_scaling_(torch.empty(2, 2), mode="fan_inn")


def test_full_precision_leaves_autocast_and_keeps_double():
    seen = []

    @full_precision
    def product(a, b):
        seen.append(a.dtype)
        return a @ b

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        assert product(torch.ones(2, 2, dtype=torch.bfloat16), b=torch.ones(2, 2)).dtype == torch.float32
    assert product(torch.ones(2, 2).double(), torch.ones(2, 2).double()).dtype == torch.float64
    assert seen == [torch.float32, torch.float64]
