"""Any network of timm by name: maps of every kind, its own width, last stride, pretrained weights."""

import logging

import pytest
import timm
import torch
from torch import nn

from fastreid.modeling.backbones import build_backbone, build_timm_backbone, pretrained
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.timm_backbone import _grid_of_tokens
from tests.modeling.stand_ins import build, fill


def tiny(depth, channels=1, size=(64, 32), **options):
    return build_timm_backbone(depth=depth, in_channels=channels, img_size=size, **options)


@pytest.mark.parametrize(
    "depth, width, shape, other",
    [
        ("test_efficientnet", 256, (4, 2), (6, 4)),  # ordinary maps
        ("test_vit", 64, (4, 2), (6, 4)),  # tokens behind a class token
        ("swin_s3_tiny_224", 768, (2, 1), (3, 2)),  # maps with channels last
        ("mixer_s32_224", 512, (2, 1), None),  # tokens without a class token, for one size only
        ("resnet10t", 512, (2, 1), (3, 2)),  # pools in its shortcut, so that its stride has to stay
    ],
)
def test_every_kind_becomes_a_map_of_its_own_width(depth, width, shape, other, caplog):
    backbone = tiny(depth).eval()
    with torch.no_grad():
        out = backbone(torch.randn(2, 1, 64, 32))
        assert out.shape == (2, width, *shape)
        assert backbone.feature_dim == width
        if other is not None:
            assert backbone(torch.randn(1, 1, 96, 64)).shape == (1, width, *other)
    kept = "LAST_STRIDE 1 cannot be had" in caplog.text
    assert kept == (depth != "test_efficientnet")


def test_tokens_keep_their_places():
    backbone = tiny("test_vit").eval()
    x = torch.randn(1, 1, 64, 32)
    with torch.no_grad():
        tokens = backbone.net.forward_features(x)[0, 1:]
        out = backbone(x)[0]
    assert all(torch.equal(out[:, row, column], tokens[2 * row + column]) for row in range(4) for column in range(2))


def test_tokens_without_a_grid_are_named():
    with pytest.raises(ValueError, match=r"7 tokens fill no grid with the proportions of an image of \(64, 32\)"):
        _grid_of_tokens(torch.zeros(1, 7, 3), (64, 32))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_network_of_tokens_can_be_traced():
    backbone = tiny("test_vit").eval()
    x = torch.randn(1, 1, 64, 32)
    with torch.no_grad():
        assert torch.allclose(torch.jit.trace(backbone, x)(x), backbone(x), atol=1e-6)


@pytest.mark.parametrize("depth", ["test_efficientnet", "resnet18"])
def test_the_last_stride_goes_without_any_other_change(depth):
    first, second = (fill(tiny(depth, last_stride=stride)).eval() for stride in (1, 2))
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        fine, coarse = first(x), second(x)
    assert fine.shape[2:] == (4, 4)
    assert coarse.shape[2:] == (2, 2)
    assert first.state_dict().keys() == second.state_dict().keys()


@pytest.mark.parametrize("depth, stages", [("test_efficientnet", [-2, -1]), ("test_vit", [0, 1])])
def test_maps_of_several_stages_stand_side_by_side(depth, stages):
    backbone = fill(tiny(depth, stages=stages, last_stride=2)).eval()
    x = torch.randn(2, 1, 64, 32)
    with torch.no_grad():
        out = backbone(x)
        maps = backbone.net.forward_intermediates(x, indices=stages, intermediates_only=True)
    assert out.shape[1] == backbone.feature_dim == sum(each.shape[1] for each in maps)
    parts = out.split([each.shape[1] for each in maps], dim=1)
    for part, each in zip(parts, maps, strict=True):  # pooled, each part is what its stage gives alone
        assert torch.allclose(part.mean((2, 3)), each.mean((2, 3)), atol=1e-5)
        assert torch.equal(part.amax((2, 3)), each.amax((2, 3)))


def test_layers_behind_the_last_chosen_stage_are_not_trained():
    names = {name for name, value in tiny("test_efficientnet", stages=[1], last_stride=2).named_parameters()
             if value.requires_grad}  # fmt: skip
    assert any(name.startswith("net.blocks.1.") for name in names)
    assert not any(name.startswith(("net.blocks.4.", "net.conv_head")) for name in names)


@pytest.mark.parametrize("norm", ["FrozenBN", "syncBN"])
def test_other_norms_give_the_same_map_of_the_same_weights(norm):
    own = fill(tiny("tf_efficientnet_lite0", last_stride=2))  # its eps is 1e-3
    other = tiny("tf_efficientnet_lite0", norm=norm, last_stride=2)
    other.load_state_dict(own.state_dict(), strict=False)  # frozen ones count no batches
    x = torch.randn(1, 1, 64, 32)
    with torch.no_grad():
        assert torch.allclose(own.eval()(x), other.eval()(x), rtol=1e-4, atol=1e-5)


def test_a_stage_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"test_efficientnet.* does not work with images .*9"):
        tiny("test_efficientnet", stages=[9], last_stride=2)


def test_branches_that_meet_keep_their_stride(caplog):
    backbone = tiny("hrnet_w18_small").eval()
    assert "LAST_STRIDE 1 cannot be had with hrnet_w18_small" in caplog.text
    with torch.no_grad():
        assert backbone(torch.randn(1, 1, 64, 32)).shape == (1, 2048, 2, 1)


@pytest.mark.parametrize("depth, unused", [("mobilenetv3_small_050", {"net.conv_head.weight"}), ("test_vit", set())])
def test_every_trained_parameter_gets_a_gradient(depth, unused):
    backbone = tiny(depth)
    backbone(torch.randn(2, 1, 64, 32)).square().mean().backward()
    without = {name for name, parameter in backbone.named_parameters() if parameter.grad is None}
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert without == frozen
    assert unused <= frozen
    assert len(frozen) <= 2


def test_names_are_those_of_timm_and_its_weights_load():
    reference = fill(timm.create_model("test_resnet", num_classes=0, in_chans=1)).eval()
    backbone = tiny("test_resnet", last_stride=2).eval()
    assert set(backbone.state_dict()) == set(reference.state_dict())
    backbone.load_state_dict(reference.state_dict(), strict=True)
    x = torch.randn(1, 1, 64, 32)
    with torch.no_grad():
        assert torch.equal(backbone(x), reference.forward_features(x))


def test_the_norm_is_replaced_or_refused():
    backbone = tiny("test_efficientnet", norm="FrozenBN")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    with pytest.raises(ValueError, match="NORM is 'GN', but test_vit of timm has no batch norm"):
        tiny("test_vit", norm="GN")


@pytest.mark.parametrize(
    "depth, message",
    [
        ("efficientnet_b00", "timm has no network 'efficientnet_b00'. Did you mean 'efficientnet_b0'"),
        ("deit_tiny_distilled_patch16_224", "timm cannot build 'deit_tiny_distilled_patch16_224' as a backbone"),
        ("eva02_tiny_patch14_224", r"does not work with images of INPUT.SIZE_TRAIN \(64, 32\): .*divisible"),
    ],
)
def test_what_does_not_work_is_said_when_it_is_built(depth, message):
    with pytest.raises(ValueError, match=message):
        tiny(depth)


def test_weights_of_a_file(tmp_path, caplog):
    reference = fill(timm.create_model("test_resnet", num_classes=7))
    path = tmp_path / "w.pth"
    torch.save(reference.state_dict(), path)
    backbone = tiny("test_resnet", channels=3, pretrain=True, pretrain_path=str(path))
    assert torch.equal(backbone.net.layer1[0].conv1.weight, reference.layer1[0].conv1.weight)
    assert "unexpected" not in caplog.text


def hub(monkeypatch, answer):
    """Put ``answer`` in the place of timm's downloads."""
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained=False, **options: (
        answer(name) if pretrained else create(name, **options)
    ))  # fmt: skip


def test_weights_of_timm_reach_the_names_of_fast_reid(monkeypatch, caplog):
    create = timm.create_model
    asked = []

    def answer(name):
        asked.append(name)
        return fill(create(name))

    hub(monkeypatch, answer)
    backbone = build("effnet", PRETRAIN=True, CHANNELS=1)
    expected = fill(create("efficientnet_b0"))
    assert asked == ["efficientnet_b0.ra_in1k"]
    state = backbone.state_dict()
    assert torch.equal(state["s2.b1.dwise.weight"], expected.blocks[1][0].conv_dw.weight)
    assert torch.equal(state["stem.conv.weight"], expected.conv_stem.weight.sum(1, keepdim=True))
    assert not [record for record in caplog.records if "Pretrained backbone weights" in record.getMessage()]


def test_without_a_network_the_way_out_is_named_in_one_line(monkeypatch, caplog):
    client = logging.getLogger("huggingface_hub.utils._http")

    def answer(name):
        client.warning("Retrying in 1s")
        raise OSError("no route to the hub.\nand more")

    hub(monkeypatch, answer)
    for make in (lambda: build("regnet", PRETRAIN=True), lambda: tiny("test_vit.r160_in1k", pretrain=True)):
        with pytest.raises(ConnectionError, match=r"no route to the hub.*BACKBONE\.PRETRAIN_PATH.*PRETRAIN False") as e:
            make()
        assert "\n" not in str(e.value)
    assert "of test_vit.r160_in1k from https://huggingface.co/timm/test_vit.r160_in1k (no route" in str(e.value)
    assert not [record for record in caplog.records if "Retrying" in record.getMessage()]
    assert client.isEnabledFor(logging.WARNING)


def test_a_network_without_weights_names_those_that_timm_has():
    with pytest.raises(ValueError, match=r"No pretrained weights exist for mobilenetv2_075.*that timm knows: none"):
        load_pretrained(build("mobilenetv2", "0.75x"), "timm:mobilenetv2_075")
    with pytest.raises(ValueError, match="no public weights are known for build_mobilenetv2_backbone 0.75x"):
        build("mobilenetv2", "0.75x", PRETRAIN=True)


def test_every_public_source_of_timm_exists():
    from fastreid.modeling.backbones.pretrained_urls import PRETRAINED_URLS

    sources = [source for table in PRETRAINED_URLS.values() for source in table.values()]
    named = [source.removeprefix(pretrained.TIMM) for source in sources if source.startswith(pretrained.TIMM)]
    assert len(named) > 30
    assert set(named) <= set(timm.list_pretrained())


def test_the_builder_gives_channels_and_size():
    from fastreid.config import get_cfg

    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_timm_backbone", "test_vit"
    cfg.INPUT.CHANNELS, cfg.INPUT.SIZE_TRAIN = 1, [64, 48]
    backbone = build_backbone(cfg)
    assert backbone.net.patch_embed.grid_size == (4, 3)
    assert backbone.net.patch_embed.proj.in_channels == 1
