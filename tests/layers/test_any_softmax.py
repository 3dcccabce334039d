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
    if name == "CircleSoftmax":
        if is_target:
            return SCALE * max(1 + MARGIN - cosine, 0) * (cosine - (1 - MARGIN))
        return SCALE * max(cosine + MARGIN, 0) * (cosine - MARGIN)
    return SCALE * cosine


@pytest.mark.parametrize("name", SOFTMAX_REGISTRY.names())
def test_against_loops_with_absent_classes(name):
    given = COSINES.clone()
    out = SOFTMAX_REGISTRY.get(name)(CLASSES, SCALE, MARGIN)(given, TARGETS)
    expected = [
        [one_logit(name, float(COSINES[i, j]), int(TARGETS[i]) == j) for j in range(CLASSES)] for i in range(6)
    ]
    assert torch.allclose(out, torch.tensor(expected), atol=1e-4)
    assert torch.equal(given, COSINES), "the caller's logits changed"


@pytest.mark.parametrize("name", SOFTMAX_REGISTRY.names())
def test_finite_at_the_ends_of_the_range(name):
    cosines = torch.tensor([[1.0, -1.0], [1.0 + 1e-6, -1.0 - 1e-6]], requires_grad=True)
    out = SOFTMAX_REGISTRY.get(name)(2, 64, 0.5)(cosines, torch.tensor([0, 1]))
    out.sum().backward()
    assert torch.isfinite(out).all()
    assert torch.isfinite(cosines.grad).all()


def test_circle_weights_have_no_gradient():
    cosines = torch.tensor([[0.5, 0.5]], requires_grad=True)
    SOFTMAX_REGISTRY.get("CircleSoftmax")(2, 1.0, 0.25)(cosines, torch.tensor([0])).sum().backward()
    assert torch.allclose(cosines.grad, torch.tensor([[0.75, 0.75]]))


def test_scale_and_margin_are_readable():
    layer = SOFTMAX_REGISTRY.get("ArcSoftmax")(7, 30, 0.5)
    assert (layer.num_classes, layer.s, layer.m) == (7, 30, 0.5)
