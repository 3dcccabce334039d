"""The vision transformer against a slow one of its own, its patches, cameras, positions and weights."""

import math

import pytest
import timm
import torch
import torch.nn.functional as F

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.backbones import build_backbone, build_vit_backbone
from fastreid.modeling.backbones.vision_transformer import ReidTransformer
from tests.modeling.stand_ins import fill

TINY = {"depth": 2, "num_heads": 4, "mlp_ratio": 0.25}


def tiny(img_size=(32, 48), in_channels=1, **options):
    torch.manual_seed(0)
    model = ReidTransformer(img_size, in_chans=in_channels, **TINY, **options).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def slow_forward(model, image, heads, scale, stride, camera=None):
    """One image (C, H, W): loops over patches, heads and tokens."""
    w = model.state_dict()
    kernel, bias = w["patch_embed.proj.weight"], w["patch_embed.proj.bias"]
    tokens = [w["cls_token"][0, 0]]
    for top in range(0, image.shape[1] - 15, stride[0]):
        for left in range(0, image.shape[2] - 15, stride[1]):
            patch = image[:, top : top + 16, left : left + 16]
            tokens.append((kernel * patch).sum(dim=(1, 2, 3)) + bias)
    x = torch.stack(tokens) + w["pos_embed"][0]
    if camera is not None:
        x = x + model.sie_coe * w["sie_embed"][camera, 0]
    width = x.shape[1] // heads
    for block in range(TINY["depth"]):
        p = {k.removeprefix(f"blocks.{block}."): v for k, v in w.items() if k.startswith(f"blocks.{block}.")}
        y = F.layer_norm(x, x.shape[1:], p["norm1.weight"], p["norm1.bias"], 1e-6)
        q, k, v = F.linear(y, p["attn.qkv.weight"], p.get("attn.qkv.bias")).chunk(3, dim=1)
        mixed = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * width, (head + 1) * width)
            for token in range(len(x)):
                attention = torch.softmax((k[:, part] @ q[token, part]) * scale, dim=0)
                mixed[token, part] = attention @ v[:, part]
        x = x + F.linear(mixed, p["attn.proj.weight"], p["attn.proj.bias"])
        y = F.layer_norm(x, x.shape[1:], p["norm2.weight"], p["norm2.bias"], 1e-6)
        y = F.gelu(F.linear(y, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
        x = x + F.linear(y, p["mlp.fc2.weight"], p["mlp.fc2.bias"])
    return F.layer_norm(x, x.shape[1:], w["norm.weight"], w["norm.bias"], 1e-6)[0]


@pytest.mark.parametrize("stride", [(16, 16), (12, 7)])
@pytest.mark.parametrize("scale", [None, 0.1])
def test_patches_and_attention_equal_the_slow_reference(stride, scale):
    model = tiny(stride=stride, scale=scale)
    images = torch.randn(2, 1, 32, 48)
    with torch.no_grad():
        out = model(images)
        expected = [slow_forward(model, image, 4, scale or 1 / math.sqrt(768 / 4), stride) for image in images]
    assert out.shape == (2, 768, 1, 1)
    assert torch.allclose(out[:, :, 0, 0], torch.stack(expected), atol=1e-4)


def test_cameras_add_their_embedding_as_in_the_slow_reference():
    model = tiny(num_cameras=3, sie_coe=2.5)
    torch.nn.init.normal_(model.sie_embed)
    images, cameras = torch.randn(3, 1, 32, 48), [2, 0, 2]
    with torch.no_grad():
        out = model(images, torch.tensor(cameras))[:, :, 0, 0]
        others = model(images, torch.tensor([0, 0, 0]))[:, :, 0, 0]
        scale, stride = 1 / math.sqrt(768 / 4), (16, 16)
        expected = [slow_forward(model, images[i], 4, scale, stride, camera) for i, camera in enumerate(cameras)]
    assert torch.allclose(out, torch.stack(expected), atol=1e-4)
    assert (out - others).abs().amax(1).gt(0.01).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "camids, message",
    [
        (None, "needs the 'camids' of the batch"),
        (torch.tensor([0, 3]), r"camids must lie in 0..2 \(MODEL.BACKBONE.NUM_CAMERAS 3\); got 0..3"),
        (torch.tensor([-1, 1]), r"got -1..1"),
        (torch.tensor([0]), r"camids must be 2 whole numbers; got torch.int64 \(1,\)"),
        (torch.tensor([0.0, 1.0]), "whole numbers; got torch.float32"),
    ],
)
def test_bad_cameras_are_named(camids, message):
    with pytest.raises(ValueError, match=message):
        tiny(num_cameras=3)(torch.randn(2, 1, 32, 48), camids)


def test_without_cameras_the_parameters_are_those_of_fast_reid():
    with torch.device("meta"):
        names = {k: list(v.shape) for k, v in build_vit_backbone(depth="base").state_dict().items()}
        small = build_vit_backbone(depth="small").state_dict()
        with_cameras = build_vit_backbone(depth="small", num_cameras=6).state_dict()
    assert (len(names), len(small)) == (150, 94)
    assert names["pos_embed"] == [1, 129, 768]
    assert names["blocks.11.attn.qkv.bias"] == [2304]
    assert names["blocks.0.mlp.fc1.weight"] == [3072, 768]
    assert "blocks.0.attn.qkv.bias" not in small
    assert set(with_cameras) - set(small) == {"sie_embed"}


def test_output_of_the_small_one_is_that_of_fast_reid():
    model = fill(build_vit_backbone(depth="small", drop_path_ratio=0.0)).eval()
    with torch.no_grad():
        out = model(torch.randn(1, 3, 256, 128, generator=torch.Generator().manual_seed(1)))[0, ::12, 0, 0]
    assert torch.allclose(out[:4], torch.tensor([1.5336, 1.2926, 1.913, 0.3003]), atol=1e-4)
    assert out.mean().item() == pytest.approx(0.0408, abs=1e-4)


def test_images_of_any_size_and_interpolated_positions():
    model = tiny()
    with torch.no_grad():
        assert model(torch.randn(2, 1, 48, 32)).shape == (2, 768, 1, 1)
        grid = model.pos_embed[:, 1:].unflatten(1, (2, 3)).permute(0, 3, 1, 2)
        expected = F.interpolate(grid, size=(4, 5), mode="bilinear").flatten(2).transpose(1, 2)
        resized = model._positions(model.pos_embed, (4, 5), (2, 3))
    assert torch.allclose(resized[:, 1:], expected, atol=1e-6)
    assert torch.equal(resized[:, 0], model.pos_embed[:, 0])


@pytest.mark.parametrize("prefix", [1, 2])
def test_weights_for_square_images_are_fitted_to_the_grid(prefix):
    model = tiny()
    given = torch.randn(1, prefix + 25, 768)
    adapted = model.adapt_weights({"pos_embed": given, "norm.weight": torch.ones(768)})
    grid = given[:, prefix:].unflatten(1, (5, 5)).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, size=(2, 3), mode="bilinear").flatten(2).transpose(1, 2)
    assert torch.allclose(adapted["pos_embed"], torch.cat((given[:, :1], expected), dim=1), atol=1e-6)


def test_names_of_timm_fit():
    with torch.device("meta"):
        theirs = timm.create_model("vit_base_patch16_224", num_classes=0, img_size=(256, 128)).state_dict()
        ours = build_vit_backbone(depth="base").state_dict()
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"depth": "basis"}, "DEPTH of build_vit_backbone must be one of 'small', 'base'; got 'basis'. Did you mean"),
        ({"stride_size": (16, 17)}, r"STRIDE_SIZE must be two numbers in 1\.\.16; got \(16, 17\)"),
        ({"num_cameras": -1}, "NUM_CAMERAS must be at least 0"),
        ({"drop_path_ratio": 1.5}, r"MODEL.BACKBONE.DROP_PATH_RATIO must lie in 0..1, without 1; got 1.5"),
        ({"drop_ratio": 1.0}, r"MODEL.BACKBONE.DROP_RATIO must lie in"),
        ({"att_drop_rate": -0.1}, r"MODEL.BACKBONE.ATT_DROP_RATE must lie in"),
        ({"img_size": (8, 128)}, r"SIZE_TRAIN \(8, 128\) is smaller than a patch"),
        ({"pretrain": True}, "no public weights are known for build_vit_backbone small"),
    ],
)
def test_bad_options_are_named(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_vit_backbone(**{"depth": "small", **options})


def test_the_baseline_gives_the_cameras_of_the_batch():
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.DEVICE", "cpu", "MODEL.HEADS.NUM_CLASSES", 2, "MODEL.BACKBONE.NAME", "build_vit_backbone",
        "MODEL.BACKBONE.DEPTH", "small", "MODEL.BACKBONE.NUM_CAMERAS", 2, "MODEL.BACKBONE.FEAT_DIM", 768,
        "MODEL.BACKBONE.STRIDE_SIZE", 16, "INPUT.SIZE_TRAIN", [32, 16], "INPUT.CHANNELS", 1,
    ])  # fmt: skip
    model = build_model(cfg)
    batch = {"images": torch.rand(4, 1, 32, 16) * 255, "targets": torch.arange(4) // 2, "camids": torch.arange(4) % 2}
    sum(model(batch).values()).backward()
    assert model.backbone.sie_embed.grad.abs().amax(dim=(1, 2)).gt(0).all()
    model.eval()
    with torch.no_grad():
        assert not torch.equal(model(batch), model({**batch, "camids": 1 - batch["camids"]}))
        with pytest.raises(ValueError, match="needs the 'camids'"):
            model(batch["images"])


def test_without_cameras_the_baseline_needs_none():
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.DEPTH = "build_vit_backbone", "small"
    with torch.device("meta"):
        backbone = build_backbone(cfg)
    assert not backbone.takes_camids
    assert backbone.patch_embed.grid_size == (16, 8)
