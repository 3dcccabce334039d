import pytest
import torch

from fastreid.modeling.backbones import build_shufflenetv2_backbone
from fastreid.modeling.backbones.shufflenet import ShuffleV2Block


@pytest.mark.parametrize(
    ("depth", "width", "parameters"),
    [("0.5x", 1024, 341_792), ("1.0x", 1024, 1_254_760), ("1.5x", 1024, 2_482_720), ("2.0x", 2048, 5_354_600)],
)
def test_sizes_are_those_of_fast_reid(depth, width, parameters):
    with torch.device("meta"):
        model = build_shufflenetv2_backbone(depth=depth).eval()
        assert model(torch.empty(1, 3, 64, 32)).shape == (1, width, 2, 1)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.feature_dim == width
    assert len(model.state_dict()) == 336


def test_a_thirty_second_of_the_image():
    model = build_shufflenetv2_backbone(depth="0.5x").eval()
    assert model(torch.randn(1, 3, 96, 33)).shape == (1, 1024, 3, 2)


def test_even_channels_pass_and_odd_ones_are_convolved():
    torch.manual_seed(0)
    block, x = ShuffleV2Block(8, 8, stride=1).eval(), torch.randn(2, 8, 5, 3)
    out = block(x)
    odd = torch.stack([x[:, 2 * c + 1] for c in range(4)], dim=1)
    for c in range(4):
        assert torch.equal(out[:, c], x[:, 2 * c])
    assert torch.equal(out[:, 4:], block.branch_main(odd))


def test_a_block_of_stride_two_halves_both_branches():
    torch.manual_seed(0)
    block, x = ShuffleV2Block(6, 16, stride=2).eval(), torch.randn(2, 6, 5, 4)
    out = block(x)
    assert out.shape == (2, 16, 3, 2)
    assert torch.equal(out[:, :6], block.branch_proj(x))
    assert torch.equal(out[:, 6:], block.branch_main(x))


def test_same_function_as_torchvision_after_a_permutation():
    """torchvision shuffles at the end of a block: its channels 2c and 2c + 1 are c and half + c of ours."""
    from torchvision.models.shufflenetv2 import InvertedResidual

    torch.manual_seed(0)
    ours, theirs, x = ShuffleV2Block(8, 8, 1).eval(), InvertedResidual(8, 8, 1).eval(), torch.randn(2, 8, 4, 4)
    theirs.branch2.load_state_dict(ours.branch_main.state_dict())
    halves = torch.cat((x[:, 0::2], x[:, 1::2]), dim=1)
    assert torch.allclose(theirs(halves)[:, [0, 2, 4, 6, 1, 3, 5, 7]], ours(x), atol=1e-6)


def test_initial_values_of_the_authors():
    torch.manual_seed(0)
    model = build_shufflenetv2_backbone(depth="1.0x")
    assert abs(model.first_conv[0].weight.std() - 0.01) < 0.001
    assert abs(model.conv_last[0].weight.std() - 1 / 464) < 0.0001
    assert abs(model.features[1].branch_main[3].weight.std() - 1.0) < 0.1, "one input channel per depthwise filter"
    assert torch.equal(model.conv_last[1].bias, torch.full((1024,), 1e-4))


def test_parameter_names_of_fast_reid():
    with torch.device("meta"):
        names = [name for name in build_shufflenetv2_backbone(depth="0.5x").state_dict() if name.endswith("weight")]
    assert names[:2] == ["first_conv.0.weight", "first_conv.1.weight"]
    parts = [("branch_main", index) for index in (0, 1, 3, 4, 5, 6)] + [("branch_proj", index) for index in range(4)]
    assert names[2:12] == [f"features.0.{branch}.{index}.weight" for branch, index in parts]
    assert names[-2:] == ["conv_last.0.weight", "conv_last.1.weight"]
    assert sum(name.startswith("features.15.") for name in names) == 6


def test_the_authors_files_are_loaded(tmp_path):
    source = build_shufflenetv2_backbone(depth="0.5x").state_dict()
    weights = {f"module.{k}": v for k, v in source.items()} | {"module.classifier.0.weight": torch.zeros(1000, 1024)}
    torch.save({"state_dict": weights}, tmp_path / "w.pth.tar")
    model = build_shufflenetv2_backbone(depth="0.5x", pretrain=True, pretrain_path=str(tmp_path / "w.pth.tar"))
    assert all(torch.equal(value, source[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "1x"}, "DEPTH of build_shufflenetv2_backbone must .* got '1x'. Did you mean '1.5x'"),
        ({"depth": "0.5x", "pretrain": True}, "no public weights are known for .* 0.5x. Known: none. Give a file in"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build_shufflenetv2_backbone(**options)
