import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.layers import IBN
from fastreid.modeling.backbones import build_backbone, build_resnext_backbone
from fastreid.modeling.backbones.resnext import DEPTHS


@pytest.mark.parametrize(("depth", "parameters"), [("50x", 22_979_904), ("101x", 42_128_704), ("152x", 57_902_400)])
def test_sizes_are_those_of_the_32x4d_networks(depth, parameters):
    with torch.device("meta"):
        model = build_resnext_backbone(depth).eval()
        assert model(torch.empty(1, 3, 64, 32)).shape == (1, 2048, 4, 2)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.feature_dim == 2048


@pytest.fixture(scope="module")
def twin():
    from torchvision.models import resnext50_32x4d

    torch.manual_seed(0)
    net = resnext50_32x4d().eval()
    net.fc = nn.Identity()
    return net


def test_same_function_and_names_as_torchvision(twin):
    model = build_resnext_backbone("50x", last_stride=2).eval()
    model.load_state_dict(twin.state_dict())
    x = torch.randn(2, 3, 33, 65)
    with torch.no_grad():
        assert torch.allclose(model(x).mean((2, 3)), twin(x), rtol=1e-4, atol=1e-4)


def test_ibn_in_every_block_of_all_four_stages():
    with torch.device("meta"):
        model = build_resnext_backbone("50x", with_ibn=True)
    assert [type(stage[-1].bn1) for stage in (model.layer1, model.layer4)] == [IBN, IBN]
    assert sum(isinstance(module, IBN) for module in model.modules()) == 16
    assert model.layer4[2].bn1.IN.weight.shape == (512,), "half of the 1024 channels inside the block"


@pytest.mark.parametrize("depth", DEPTHS)
def test_non_local_blocks_as_in_fast_reid(depth):
    with torch.device("meta"):
        model = build_resnext_backbone(depth, with_nl=True)
    assert [len(getattr(model, f"NL_{stage}")) for stage in range(1, 5)] == [0, 2, 3, 0]
    assert model.NL_3[0].W[1].weight.shape == (1024,)


def test_weights_whose_last_stage_has_no_ibn_are_reported(tmp_path, caplog):
    """IBN-Net's own files have none there."""
    source = build_resnext_backbone("50x", with_ibn=True).state_dict()
    source = {key: value for key, value in source.items() if "layer4.0.bn1" not in key}
    source["layer4.0.bn1.weight"] = torch.ones(1024)
    torch.save({f"module.{key}": value for key, value in source.items()}, tmp_path / "w")
    model = build_resnext_backbone("50x", with_ibn=True, pretrain=True, pretrain_path=str(tmp_path / "w"))
    assert torch.equal(model.layer4[1].bn1.IN.weight, source["layer4.1.bn1.IN.weight"])
    assert "weights missing: layer4.0.bn1.IN.weight" in caplog.text
    assert "weights unexpected: layer4.0.bn1.weight" in caplog.text


def test_squeeze_and_excitation_is_refused_by_name(caplog):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.BACKBONE.NAME", "build_resnext_backbone", "MODEL.BACKBONE.WITH_SE", True])
    with torch.device("meta"):
        build_backbone(cfg)
    assert "MODEL.BACKBONE.WITH_SE is True, which build_resnext_backbone does not have" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": "101"}, "DEPTH of build_resnext_backbone must .* got '101'. Did you mean '101x'"),
        ({"pretrain": True, "with_ibn": True}, "known for build_resnext_backbone 50x IBN-a. Did you mean '101x IBN-a'"),
        ({"with_nl": True, "nl_layers": [0, 5, 0, 0]}, r"NL_LAYERS must give.*\(3, 4, 6, 3\)"),
    ],
)
def test_wrong_options_are_named(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_resnext_backbone(**options)
