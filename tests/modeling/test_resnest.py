import pytest
import torch
import torch.nn.functional as F

from fastreid.config import get_cfg
from fastreid.layers import SplAtConv2d
from fastreid.modeling.backbones import build_backbone, build_resnest_backbone

STEM = ["conv1.0.weight", "conv1.1.weight", "conv1.3.weight", "conv1.4.weight", "conv1.6.weight", "bn1.weight"]
FIRST_BLOCK = ["conv1", "bn1", "conv2.conv", "conv2.bn0", "conv2.fc1", "conv2.bn1", "conv2.fc2", "conv3", "bn3"]


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [("50x", 25_434_240), ("101x", 46_226_016), ("200x", 68_152_544), ("269x", 108_880_480)],
)
def test_sizes_are_those_of_the_paper(depth, parameters):
    with torch.device("meta"):
        model = build_resnest_backbone(depth).eval()
        assert model(torch.empty(1, 3, 64, 32)).shape == (1, 2048, 4, 2)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.feature_dim == 2048


@pytest.fixture(scope="module")
def models():
    """A network of stride 16 and its twin of stride 32, with weights and statistics unlike the initial ones."""
    torch.manual_seed(0)
    dense, twin = build_resnest_backbone("50x").eval(), build_resnest_backbone("50x", last_stride=2).eval()
    for key, value in dense.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif value.dim() == 1:
            value.add_(0.1 * torch.randn_like(value))
    twin.load_state_dict(dense.state_dict())
    return {1: dense, 2: twin}


def test_parameter_names_of_fast_reid(models):
    names = list(models[1].state_dict())
    assert [name for name in names if not name.startswith("layer") and name.endswith("weight")] == STEM
    assert [n[9:-7] for n in names if n.startswith("layer1.1.") and n.endswith(".weight")] == FIRST_BLOCK
    assert {n for n in names if "downsample" in n and n.endswith("weight")} == {
        f"layer{stage}.0.downsample.{index}.weight" for stage in (1, 2, 3, 4) for index in (1, 2)
    }
    assert len(names) == 474


def norm(x, weights, name):
    values = (weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *values)


def split_attention(x, weights, dilation):
    """Section 3.1 of the paper with one cardinal group and two splits, one image and channel after the other."""
    splits = F.conv2d(x, weights["conv2.conv.weight"], padding=dilation, dilation=dilation, groups=2)
    splits = norm(splits, weights, "conv2.bn0").relu()
    channels = splits.shape[1] // 2
    means = (splits[:, :channels] + splits[:, channels:]).mean((2, 3), keepdim=True)
    hidden = F.conv2d(means, weights["conv2.fc1.weight"], weights["conv2.fc1.bias"])
    scores = F.conv2d(norm(hidden, weights, "conv2.bn1").relu(), weights["conv2.fc2.weight"], weights["conv2.fc2.bias"])
    out = torch.empty_like(splits[:, :channels])
    for image in range(len(x)):
        for c in range(channels):
            first, second = scores[image, c, 0, 0].exp(), scores[image, channels + c, 0, 0].exp()
            mixed = first * splits[image, c] + second * splits[image, channels + c]
            out[image, c] = mixed / (first + second)
    return out


def residual_block(block, x, stride, dilation, first):
    weights = block.state_dict()
    y = norm(F.conv2d(x, weights["conv1.weight"]), weights, "bn1").relu()
    y = split_attention(y, weights, dilation)
    shortcut = x
    if first:
        y = F.avg_pool2d(y, 3, stride, padding=1)
        shortcut = F.avg_pool2d(x, stride, stride, ceil_mode=True, count_include_pad=False)
        shortcut = norm(F.conv2d(shortcut, weights["downsample.1.weight"]), weights, "downsample.2")
    return (norm(F.conv2d(y, weights["conv3.weight"]), weights, "bn3") + shortcut).relu()


@pytest.mark.parametrize("last_stride", [1, 2])
def test_last_stage_is_what_its_formulas_say(models, last_stride):
    x = torch.randn(2, 1024, 5, 3)
    with torch.no_grad():
        expected = residual_block(models[last_stride].layer4[0], x, last_stride, dilation=1, first=True)
        for block in models[last_stride].layer4[1:]:
            expected = residual_block(block, expected, 1, dilation=3 - last_stride, first=False)
        out = models[last_stride].layer4(x)
    assert out.shape == (2, 2048, *((5, 3) if last_stride == 1 else (3, 2)))
    assert torch.allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_split_attention_is_the_layer_of_this_package(models):
    theirs, x = models[1].layer2[1].conv2, torch.randn(2, 128, 4, 3)
    ours = SplAtConv2d(128, 128, 3, padding=1, bias=False, radix=2, norm_layer="BN").eval()
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_parts_by_which_mgn_takes_a_backbone_apart(models):
    model, x = models[1], torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        y = model.maxpool(model.relu(model.bn1(model.conv1(x))))
        assert torch.equal(model.layer4(model.layer3(model.layer2(model.layer1(y)))), model(x))


def test_switches_of_other_networks_are_named(caplog):
    """The published AGW_S50 sets WITH_NL, and fast-reid's network has no such blocks."""
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_resnest_backbone", "MODEL.BACKBONE.WITH_NL", True])
    with torch.device("meta"):
        assert not any("NL" in key for key in build_backbone(cfg).state_dict())
    assert "MODEL.BACKBONE.WITH_NL is True, which build_resnest_backbone does not have: ignored" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "50"}, "DEPTH of build_resnest_backbone must .* got '50'. Did you mean '50x'"),
        ({"last_stride": 4}, "MODEL.BACKBONE.LAST_STRIDE must be one of 1, 2; got 4"),
        ({"norm": "LN"}, "The norm .* got 'LN'"),
    ],
)
def test_wrong_options_are_named(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_resnest_backbone(**options)
