"""Cosines with class weights, against normalising both and multiplying."""

import pytest
import torch
import torch.nn.functional as F

from fastreid.layers import cosine
from fastreid.layers.cosine import cosine_logits


def slow(features, weight):
    return F.linear(F.normalize(features), F.normalize(weight))


def tensors(rows, classes, dim, dtype=torch.float64, seed=0):
    made = torch.Generator().manual_seed(seed)
    features = torch.randn(rows, dim, generator=made, dtype=dtype)
    return features.requires_grad_(), torch.randn(classes, dim, generator=made, dtype=dtype).requires_grad_()


def with_gradients(function, features, weight):
    logits = function(features, weight)
    downstream = torch.linspace(-1, 2, logits.numel(), dtype=logits.dtype).view_as(logits)
    return logits, *torch.autograd.grad((logits.sin() * downstream).sum(), (features, weight))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-13), (torch.float32, 2e-5)])
@pytest.mark.parametrize("classes", [1, 7, 8, 30])
def test_values_and_gradients(monkeypatch, dtype, tolerance, classes):
    monkeypatch.setattr(cosine, "ROWS", 8)
    features, weight = tensors(5, classes, 6, dtype)
    with torch.no_grad():
        weight[0] *= 1e3
        weight[-1] *= 1e-3
    for found, expected in zip(
        with_gradients(cosine_logits, features, weight), with_gradients(slow, features, weight), strict=True
    ):
        assert found.dtype == dtype
        # the gradient of a short weight is long: compare relative to each row
        error = (found - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-6)
        assert error.max() <= tolerance


@pytest.mark.parametrize("length", [0.0, 1e-13])
def test_weights_of_no_length_are_treated_as_by_normalize(length):
    features, weight = tensors(3, 4, 5)
    with torch.no_grad():
        weight[2] = length * F.normalize(weight[2], dim=0)
        features[1] = 0
    for found, expected in zip(
        with_gradients(cosine_logits, features, weight), with_gradients(slow, features, weight), strict=True
    ):
        assert found.isfinite().all()
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_gradients_by_differences():
    assert torch.autograd.gradcheck(cosine_logits, tensors(3, 4, 5))


@pytest.mark.parametrize("frozen", [0, 1])
def test_only_one_side_is_trained(frozen):
    pair = list(tensors(4, 6, 3))
    pair[frozen] = pair[frozen].detach()
    found, expected = (torch.autograd.grad(f(*pair).square().sum(), pair[1 - frozen])[0] for f in (cosine_logits, slow))
    torch.testing.assert_close(found, expected)


def test_logits_may_be_changed_in_place():
    """Classification layers written for fast-reid do."""
    features, weight = tensors(4, 6, 3)
    gradients = []
    for function in (cosine_logits, slow):
        logits = function(features, weight)
        logits.sub_(0.1).mul_(30)
        gradients.append(torch.autograd.grad(logits.logsumexp(1).sum(), (features, weight)))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_no_tensor_of_the_size_of_the_weights_is_kept():
    features, weight = tensors(2, 500, 40)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        cosine_logits(features, weight)
    assert [tensor.data_ptr() for tensor in kept if tensor.numel() >= weight.numel()] == [weight.data_ptr()]
