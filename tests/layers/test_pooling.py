import pytest
import torch

from fastreid.layers import POOLING_REGISTRY
from fastreid.layers.pooling import GeneralizedMeanPooling, GeneralizedMeanPoolingP

MAP = torch.randn(2, 3, 4, 5)
REDUCING = [name for name in POOLING_REGISTRY.names() if name not in ("Identity", "Flatten")]


@pytest.mark.parametrize("name", REDUCING)
def test_pools_to_one_position_with_a_finite_gradient(name):
    x = MAP.clone().requires_grad_(True)
    out = POOLING_REGISTRY.get(name)()(x)
    assert out.shape == (2, 3, 1, 1)
    out.sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.equal(x.detach(), MAP)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GlobalAvgPool", MAP.mean((2, 3))),
        ("FastGlobalAvgPool", MAP.mean((2, 3))),
        ("GlobalMaxPool", MAP.amax((2, 3))),
        ("AdaptiveAvgMaxPool", MAP.mean((2, 3)) + MAP.amax((2, 3))),
        ("ClipGlobalAvgPool", MAP.mean((2, 3)).clamp(0, 1)),
    ],
)
def test_simple_poolings(name, expected):
    assert torch.allclose(POOLING_REGISTRY.get(name)()(MAP)[..., 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("cls", [GeneralizedMeanPooling, GeneralizedMeanPoolingP])
def test_gem_against_loops(cls):
    out = cls(p=2.5)(MAP)
    for b in range(2):
        for c in range(3):
            values = [max(float(v), 1e-6) ** 2.5 for v in MAP[b, c].flatten()]
            assert float(out[b, c, 0, 0].detach()) == pytest.approx((sum(values) / 20) ** (1 / 2.5), rel=1e-5)


def test_gem_learns_its_exponent():
    layer = GeneralizedMeanPoolingP()
    layer(MAP.abs()).sum().backward()
    assert layer.p.shape == (1,)
    assert layer.p.grad.abs() > 0
    assert list(layer.state_dict()) == ["p"]
    assert not GeneralizedMeanPooling().state_dict()


def test_gem_of_an_empty_map_is_eps():
    assert torch.allclose(GeneralizedMeanPooling()(torch.zeros(1, 1, 2, 2)), torch.tensor(1e-6), rtol=1e-3)


def test_gem_does_not_overflow_in_half_precision():
    out = GeneralizedMeanPooling()(torch.full((1, 1, 2, 2), 100.0, dtype=torch.float16))
    assert float(out) == pytest.approx(100, rel=1e-3)


def test_gem_refuses_an_exponent_of_zero():
    with pytest.raises(ValueError, match="p of GeneralizedMeanPooling must be positive; got 0"):
        GeneralizedMeanPooling(p=0)


def test_flatten_and_identity():
    assert POOLING_REGISTRY.get("Flatten")()(MAP).shape == (2, 60, 1, 1)
    assert POOLING_REGISTRY.get("Identity")()(MAP) is MAP
