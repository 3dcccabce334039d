"""Folding batch norms: the output stays, and what cannot be folded is left."""

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d, ScaledStdConv2d
from torch import nn

from fastreid.layers import IBN, get_norm
from fastreid.layers.folding import NORMS, fold_batch_norms
from tests.modeling.stand_ins import fill
from tests.modeling.test_contract import BACKBONES, build


def layers(*parts):
    """Layers with statistics and weights as training leaves them."""
    return fill(nn.Sequential(*parts)).eval()


def folded(model):
    fast = copy.deepcopy(model)
    return fast, fold_batch_norms(fast)


def assert_same(fast, model, x):
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(fast(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("norm", ["BN", "syncBN", "FrozenBN", "GhostBN"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_norm_after_a_convolution_becomes_part_of_it(norm, bias):
    model = layers(nn.Conv2d(3, 8, 3, bias=bias), get_norm(norm, 8), nn.ReLU())
    fast, count = folded(model)
    assert count == 1
    assert not any(isinstance(module, NORMS) for module in fast.modules())
    assert_same(fast, model, torch.randn(2, 3, 9, 9))


def test_grouped_and_other_layers():
    model = layers(nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 5), nn.BatchNorm1d(5))
    fast, count = folded(model)
    assert count == 2
    assert_same(fast, model, torch.randn(2, 4, 3, 3))


def test_of_an_ibn_the_batch_norm_is_folded_and_the_instance_norm_stays():
    model = layers(nn.Conv2d(3, 7, 3), IBN(7))
    fast, count = folded(model)
    assert count == 1
    assert isinstance(fast[1].IN, nn.InstanceNorm2d)
    assert isinstance(fast[1].BN, nn.Identity)
    assert_same(fast, model, torch.randn(2, 3, 9, 9))


def test_a_norm_with_an_activation_leaves_the_activation():
    model = layers(nn.Conv2d(3, 8, 3), BatchNormAct2d(8))
    fast, count = folded(model)
    assert count == 1
    assert_same(fast, model, torch.randn(2, 3, 9, 9))


class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


class Shared(UsedTwice):
    def forward(self, x):
        return self.norm(self.conv(self.norm(self.conv(x))))


class WeightRead(UsedTwice):
    def forward(self, x):
        return self.norm(self.conv(x)) * self.conv.weight.sum()


@pytest.mark.parametrize("kind", [UsedTwice, Shared, WeightRead])
def test_what_is_used_elsewhere_is_left(kind):
    model = layers(kind())
    fast, count = folded(model)
    assert count == 0
    assert_same(fast, model, torch.randn(2, 3, 5, 5))


def test_norms_without_statistics_and_convolutions_that_change_their_weights_are_left():
    for model in (
        layers(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)),
        layers(ScaledStdConv2d(3, 8, 3), nn.BatchNorm2d(8)),
        layers(nn.ReLU(), nn.BatchNorm2d(3)),
    ):
        fast, count = folded(model)
        assert count == 0
        assert_same(fast, model, torch.randn(2, 3, 9, 9))


class Untraceable(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, x):
        return self.body(x) if x.sum() > 0 else x


def test_parts_of_a_model_that_cannot_be_traced_are_folded():
    model = layers(Untraceable())
    fast, count = folded(model)
    assert count == 1
    assert_same(fast, model, torch.rand(2, 3, 5, 5))


def test_a_model_in_training_is_refused():
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norms(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))


WITHOUT_NORMS_TO_FOLD = {"build_vit_backbone"}


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_gives_the_same_maps(name, channels_last):
    options = ("WITH_IBN", True, "WITH_NL", True) if name == "build_resnet_backbone" else ()
    model = fill(build(name, *options)).eval()
    fast, count = folded(model)
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
    assert count >= 0.7 * norms  # those of identity branches in RepVGG follow no convolution
    assert (count == 0) == (name in WITHOUT_NORMS_TO_FOLD)
    if channels_last:
        fast = fast.to(memory_format=torch.channels_last)
    assert_same(fast, model, torch.randn(2, 3, 32, 32))
