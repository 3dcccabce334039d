import pytest
import torch
from torch import nn

from fastreid.layers import IBN, FrozenBatchNorm, GhostBatchNorm, SyncBatchNorm, get_norm


@pytest.mark.parametrize("name", ["BN", "GhostBN", "FrozenBN", "GN"])
def test_names_give_layers_of_that_width(name):
    x = torch.randn(4, 64, 3, 3)
    assert get_norm(name, 64, bias_freeze=True)(x).shape == x.shape


def test_no_name_gives_no_layer():
    assert get_norm("", 8) is None


def test_callable_is_called_with_the_channels():
    assert get_norm(lambda channels: nn.GroupNorm(2, channels), 8).num_groups == 2


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'syncBN'.*got 'SyncBN'. Did you mean 'syncBN'"):
        get_norm("SyncBN", 8)


@pytest.mark.parametrize("channels", [16, 48])
def test_group_norm_says_which_channels_it_needs(channels):
    with pytest.raises(ValueError, match=f"GN .*NORM.* multiple of 32 channels; got {channels}"):
        get_norm("GN", channels)


def test_bias_freeze_keeps_only_the_bias_from_training():
    norm = get_norm("BN", 8, bias_freeze=True)
    assert norm.weight.requires_grad
    assert not norm.bias.requires_grad


def test_sync_batch_norm_type_and_frozen_bias():
    norm = get_norm("syncBN", 8, bias_freeze=True)
    assert isinstance(norm, SyncBatchNorm)
    assert not norm.bias.requires_grad


def test_ghost_batch_norm_normalises_each_part_alone():
    x = torch.randn(6, 4, 3, 2)
    norm = GhostBatchNorm(4, num_splits=3)
    out = norm(x)
    for part in range(3):
        rows = x.reshape(2, 3, 4, 3, 2)[:, part]
        expected = (rows - rows.mean((0, 2, 3), keepdim=True)) / (
            rows.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5
        ).sqrt()
        assert torch.allclose(out.reshape(2, 3, 4, 3, 2)[:, part], expected, atol=1e-5)
    assert torch.allclose(norm.running_mean, 0.1 * x.mean((0, 2, 3)), atol=1e-6)


def test_ghost_batch_norm_refuses_a_batch_that_does_not_divide():
    with pytest.raises(ValueError, match="num_splits=4 does not divide a batch of 6"):
        GhostBatchNorm(4, num_splits=4)(torch.randn(6, 4, 2, 2))


def test_frozen_batch_norm_starts_as_identity_and_never_learns():
    norm, x = FrozenBatchNorm(4).train(), torch.randn(5, 4, 3, 3)
    assert torch.allclose(norm(x), x, atol=1e-5)
    assert not list(norm.parameters())
    assert norm.running_mean.abs().max() == 0


def test_convert_frozen_keeps_the_function():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    model(torch.randn(8, 3, 4, 4))
    x = torch.randn(2, 3, 4, 4)
    expected = model.eval()(x)
    frozen = FrozenBatchNorm.convert_frozen_batchnorm(model).train()
    assert torch.allclose(frozen(x), expected, atol=1e-5)


@pytest.mark.parametrize("planes", [8, 5])
def test_ibn_splits_the_channels(planes):
    layer, x = IBN(planes, "BN"), torch.randn(3, planes, 4, 4)
    half = planes // 2
    out = layer(x)
    per_image = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    per_batch = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(out[:, :half], per_image[:, :half], atol=1e-5)
    assert torch.allclose(out[:, half:], per_batch[:, half:], atol=1e-5)
