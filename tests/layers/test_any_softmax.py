import math

import pytest
import torch

from fastreid.layers import SOFTMAX_REGISTRY

SCALE, MARGIN, CLASSES = 16.0, 0.3, 5
COSINES = torch.rand(6, CLASSES) * 1.8 - 0.9
TARGETS = torch.tensor([0, 3, -1, 4, 2, -1])


def one_logit(name: str, cosine: float, is_target: bool) -> float:
    """The formula of each paper for one logit."""
    if name == "CosSoftmax":
        return SCALE * (cosine - MARGIN * is_target)
    if name == "ArcSoftmax":
        return SCALE * math.cos(math.acos(cosine) + MARGIN * is_target)
    if name.startswith("ArcSoftmax"):
        return SCALE * (arc_target(name, math.acos(cosine), MARGIN) if is_target else cosine)
    if name == "CircleSoftmax":
        if is_target:
            return SCALE * max(1 + MARGIN - cosine, 0) * (cosine - (1 - MARGIN))
        return SCALE * max(cosine + MARGIN, 0) * (cosine - MARGIN)
    return SCALE * cosine


def arc_target(name: str, angle: float, margin: float) -> float:
    """What becomes of the cosine of a target at ``angle``, by the authors' if and else."""
    if name == "ArcSoftmaxEasy":
        return math.cos(angle + margin) if math.cos(angle) > 0 else math.cos(angle)
    if name == "ArcSoftmaxHard" and math.cos(angle) <= math.cos(math.pi - margin):
        return math.cos(angle) - math.sin(math.pi - margin) * margin
    return math.cos(angle + margin)


@pytest.mark.parametrize("name", SOFTMAX_REGISTRY.names())
def test_against_loops_with_absent_classes(name):
    given = COSINES.clone()
    out = SOFTMAX_REGISTRY.get(name)(CLASSES, SCALE, MARGIN)(given, TARGETS)
    expected = [[one_logit(name, float(COSINES[i, j]), int(TARGETS[i]) == j) for j in range(CLASSES)] for i in range(6)]
    assert torch.allclose(out, torch.tensor(expected), atol=1e-4)
    assert torch.equal(given, COSINES), "the caller's logits changed"


@pytest.mark.parametrize("name", SOFTMAX_REGISTRY.names())
def test_finite_at_the_ends_of_the_range(name):
    cosines = torch.tensor([[1.0, -1.0], [1.0 + 1e-6, -1.0 - 1e-6]], requires_grad=True)
    out = SOFTMAX_REGISTRY.get(name)(2, 64, 0.5)(cosines, torch.tensor([0, 1]))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(cosines.grad).all()


ARCS = ("ArcSoftmax", "ArcSoftmaxEasy", "ArcSoftmaxHard")


@pytest.mark.parametrize("name", ARCS)
@pytest.mark.parametrize("margin", [0.0, 0.5, 1.2])
def test_arc_margins_over_all_angles(name, margin):
    """Values and gradients on both sides of a right angle and of pi - m, and near the ends of the range."""
    layer, step = SOFTMAX_REGISTRY.get(name)(2, SCALE, margin), 1e-3
    edges = [math.pi / 2, math.pi - margin]
    angles = [0.01, 0.3, *(edge + side for edge in edges for side in (-0.01, 0.01)), math.pi - 0.005]
    for angle in angles:
        cosines = torch.tensor([[math.cos(angle), 0.2]], dtype=torch.float64, requires_grad=True)
        out = layer(cosines, torch.tensor([0]))
        assert float(out[0, 0].detach()) == pytest.approx(SCALE * arc_target(name, angle, margin), abs=1e-6)
        (gradient,) = torch.autograd.grad(out[0, 0], cosines)
        around = [SCALE * arc_target(name, angle + side, margin) for side in (-step, step)]
        slope = (around[1] - around[0]) / (math.cos(angle + step) - math.cos(angle - step))
        assert float(gradient[0, 0]) == pytest.approx(slope, rel=0.02, abs=1e-3)
        assert out[0, 1].item() == pytest.approx(SCALE * 0.2)


@pytest.mark.parametrize("name", ARCS)
def test_arc_margins_at_the_very_edges(name):
    """Angles 0 and pi, whose arc cosine has no slope; a right angle and pi - m, which belong to the other side."""
    margin = 0.5
    layer = SOFTMAX_REGISTRY.get(name)(1, 1.0, margin)
    cosines = [1.0, 0.0, -math.cos(margin), -1.0]
    out = layer(torch.tensor(cosines, dtype=torch.float64)[:, None], torch.zeros(4, dtype=torch.long))[:, 0].tolist()
    far = math.cos(math.pi + margin)
    expected = {
        "ArcSoftmax": [math.cos(margin), math.cos(math.pi / 2 + margin), -1.0, far],
        "ArcSoftmaxEasy": [math.cos(margin), 0.0, -math.cos(margin), -1.0],
        "ArcSoftmaxHard": [
            math.cos(margin), math.cos(math.pi / 2 + margin), *(c - margin * math.sin(margin) for c in cosines[2:]),
        ],
    }  # fmt: skip
    assert out == pytest.approx(expected[name], abs=3e-4)  # the angle keeps 4e-4 away from 0 and pi


def test_what_the_remedies_are_for():
    """Behind pi - m the plain logit of a target rises as it moves away; those of the remedies do not."""
    away = torch.tensor([[math.cos(angle)] for angle in (2.7, 2.9, 3.1)])
    logits = {name: SOFTMAX_REGISTRY.get(name)(1, 1.0, 0.5)(away, torch.zeros(3, dtype=torch.long)) for name in ARCS}
    assert (logits["ArcSoftmax"].diff(dim=0) > 0).all()
    assert (logits["ArcSoftmaxEasy"].diff(dim=0) < 0).all()
    assert (logits["ArcSoftmaxHard"].diff(dim=0) < 0).all()


def test_circle_weights_have_no_gradient():
    cosines = torch.tensor([[0.5, 0.5]], requires_grad=True)
    SOFTMAX_REGISTRY.get("CircleSoftmax")(2, 1.0, 0.25)(cosines, torch.tensor([0])).sum().backward()
    assert torch.allclose(cosines.grad, torch.tensor([[0.75, 0.75]]))


def test_scale_and_margin_are_readable():
    layer = SOFTMAX_REGISTRY.get("ArcSoftmax")(7, 30, 0.5)
    assert (layer.num_classes, layer.s, layer.m) == (7, 30, 0.5)


@pytest.mark.parametrize("name", ARCS)
@pytest.mark.parametrize("margin", [28.6, -0.1, math.nan])
def test_a_margin_that_is_no_angle_in_radians_is_named(name, margin):
    message = rf"MODEL\.HEADS\.MARGIN of {name} is an angle in radians, 0\.\.pi; got {margin}"
    with pytest.raises(ValueError, match=message):
        SOFTMAX_REGISTRY.get(name)(3, 20, margin)
