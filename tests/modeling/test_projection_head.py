import math

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.heads import ProjectionHead, build_heads
from fastreid.modeling.heads.projection_head import width_in
from fastreid.solver import build_optimizer


def feature_map(channels=32):
    return torch.randn(4, channels, 3, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("targets", [None, torch.arange(4)])
def test_training_gives_what_it_provides(targets):
    out = ProjectionHead(feat_dim=32, embedding_dim=8)(feature_map(), targets)
    assert tuple(out) == ProjectionHead.provides
    assert out["features"].shape == (4, 8)
    assert out["temperature"].shape == ()
    assert out["temperature"].item() == pytest.approx(0.07)
    assert not any("weight" == name for name, _ in ProjectionHead(feat_dim=32).named_parameters()), "no classes"


@pytest.mark.parametrize("options, shapes", [
    ({}, [(32, 32), (32,), (8, 32), (8,)]),
    ({"projector_dim": 5}, [(5, 32), (5,), (8, 5), (8,)]),
    ({"projector": "linear"}, [(8, 32), (8,)]),
])  # fmt: skip
def test_projector_by_its_parts(options, shapes):
    head = ProjectionHead(feat_dim=32, embedding_dim=8, **options).eval()
    parameters = list(head.projector.parameters())
    assert [tuple(p.shape) for p in parameters] == shapes
    expected = feature_map().mean((2, 3))
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        if weight is not parameters[0]:
            expected = expected * (1 + torch.erf(expected / 2**0.5)) / 2  # GELU
        expected = expected @ weight.t() + bias
    assert torch.allclose(head(feature_map()), expected, atol=1e-6)
    assert head.feature_dim == 8
    assert width_in({f"heads.{name}": value for name, value in head.state_dict().items()}) == 8


def test_without_projector_the_feature_is_the_pooled_one():
    head = ProjectionHead(feat_dim=32, projector="", pool_type="GlobalMaxPool").eval()
    assert torch.equal(head(feature_map()), feature_map().amax((2, 3)))
    assert [name for name, _ in head.named_parameters()] == ["logit_scale"]
    assert ProjectionHead(feat_dim=32, projector="", embedding_dim=32).feature_dim == 32
    assert width_in({f"heads.{name}": value for name, value in head.state_dict().items()}) == 0
    with pytest.raises(ValueError, match=r"PROJECTOR is '', .* width 32 .* width 8 \(MODEL.HEADS.EMBEDDING_DIM\)"):
        ProjectionHead(feat_dim=32, projector="", embedding_dim=8)


def step(head, towards, lr=1.0):
    """One step of gradient descent on the distance of the temperature from ``towards``."""
    optimizer = torch.optim.SGD([head.logit_scale], lr=lr)
    loss = (head(feature_map())["temperature"] - towards).abs()
    loss.backward()
    optimizer.step()
    head.zero_grad()
    return head(feature_map())["temperature"].item()


def test_temperature_never_falls_below_its_bound_and_leaves_it_at_once():
    head = ProjectionHead(feat_dim=32, temperature=0.02, min_temperature=0.01)
    for _ in range(20):
        assert step(head, towards=0.0, lr=50.0) >= 0.01 * (1 - 1e-6)
    assert head(feature_map())["temperature"].item() == pytest.approx(0.01)
    assert step(head, towards=1.0, lr=10.0) > 0.0105, "the first step back is one of full size"


def test_gradient_at_the_bound_is_that_of_the_formula():
    head = ProjectionHead(feat_dim=32, temperature=0.01, min_temperature=0.01)
    head(feature_map())["temperature"].backward()
    assert head.logit_scale.grad.item() == pytest.approx(-0.01)
    with torch.no_grad():
        head.logit_scale.add_(5)  # as a step of the optimiser may
    head.logit_scale.grad = None
    head(feature_map())["temperature"].backward()
    assert head.logit_scale.item() == pytest.approx(math.log(100))
    assert head.logit_scale.grad.item() == pytest.approx(-0.01)


def test_two_forwards_before_a_backward():
    head = ProjectionHead(feat_dim=32, temperature=0.01)
    first, second = head(feature_map())["temperature"], head(feature_map())["temperature"]
    (first + second).backward()
    assert head.logit_scale.grad.item() == pytest.approx(-0.02)


def test_a_fixed_temperature_is_saved_and_not_trained():
    head = ProjectionHead(feat_dim=32, temperature=0.2, learn_temperature=False)
    assert not head.logit_scale.requires_grad
    other = ProjectionHead(feat_dim=32)
    other.load_state_dict(head.state_dict())
    assert other(feature_map())["temperature"].item() == pytest.approx(0.2)


def test_every_option_comes_from_the_config():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.HEADS.NAME", "ProjectionHead", "MODEL.HEADS.EMBEDDING_DIM", 6, "MODEL.HEADS.PROJECTOR",
                         "mlp", "MODEL.HEADS.PROJECTOR_DIM", 4, "MODEL.HEADS.POOL_LAYER", "GlobalMaxPool",
                         "MODEL.HEADS.TEMPERATURE", 0.5, "MODEL.HEADS.MIN_TEMPERATURE", 0.25,
                         "MODEL.HEADS.LEARN_TEMPERATURE", False, "MODEL.HEADS.NUM_CLASSES", 99])  # fmt: skip
    head = build_heads(cfg, feat_dim=32)
    assert [tuple(p.shape) for p in head.projector.parameters()] == [(4, 32), (4,), (6, 4), (6,)]
    assert type(head.pool_layer).__name__ == "GlobalMaxPool"
    assert head.temperature.item() == pytest.approx(0.5)
    assert head.max_logit_scale == pytest.approx(math.log(4))
    assert not head.logit_scale.requires_grad


@pytest.mark.parametrize("name, depth", [
    ("build_vit_backbone", "small"), ("build_timm_backbone", "test_vit"), ("build_timm_backbone", "test_efficientnet"),
    ("build_timm_backbone", "swin_tiny_patch4_window7_224"),
])  # fmt: skip
def test_it_takes_what_backbones_give(name, depth):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", depth, "MODEL.HEADS.NAME",
                         "ProjectionHead", "MODEL.HEADS.EMBEDDING_DIM", 8, "INPUT.SIZE_TRAIN", [64, 64],
                         "MODEL.BACKBONE.LAST_STRIDE", 2])  # fmt: skip
    with torch.device("meta"):
        backbone = build_backbone(cfg)
        head = build_heads(cfg, feat_dim=backbone.feature_dim)
        assert head.eval()(backbone.eval()(torch.empty(2, 3, 64, 64))).shape == (2, 8)


def test_the_temperature_has_no_weight_decay():
    cfg = get_cfg()
    head = ProjectionHead(feat_dim=4)
    groups = build_optimizer(cfg, torch.nn.ModuleDict({"heads": head}))[0].param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay.pop(id(head.logit_scale)) == 0
    assert set(decay.values()) == {cfg.SOLVER.WEIGHT_DECAY}


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"projector": "MLP"}, ValueError, "HEADS.PROJECTOR must be one of '', 'linear', 'mlp'; got 'MLP'. Did you"),
        ({"projector_dim": -1}, ValueError, "HEADS.PROJECTOR_DIM must be at least 0; got -1"),
        ({"embedding_dim": 2.5}, TypeError, "HEADS.EMBEDDING_DIM must be a whole number; got 2.5"),
        ({"min_temperature": 0}, ValueError, "HEADS.MIN_TEMPERATURE must be positive; got 0"),
        ({"temperature": 0.005}, ValueError, "HEADS.TEMPERATURE must be at least .*MIN_TEMPERATURE 0.01; got 0.005"),
        ({"temperature": float("nan")}, ValueError, "HEADS.TEMPERATURE must be at least .* got nan"),
        ({"pool_type": "GlobalAvgPol"}, KeyError, "MODEL.HEADS.POOL_LAYER.. Did you mean 'GlobalAvgPool'"),
    ],
)
def test_wrong_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        ProjectionHead(feat_dim=32, **options)
