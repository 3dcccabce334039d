"""Exported files against the model they were made of."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fastreid.config import get_cfg
from fastreid.engine import DefaultPredictor, exporters
from fastreid.engine.export import TOLERANCE, export, input_shape
from fastreid.engine.exporters import FORMATS, FeatureModel, deployed, largest_difference
from fastreid.modeling import build_model
from fastreid.utils.checkpoint import read_checkpoint

SMALL = [
    "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64,
    "MODEL.HEADS.NUM_CLASSES", 3, "MODEL.HEADS.WITH_BNNECK", True, "INPUT.SIZE_TEST", [64, 32],
    "DATALOADER.NUM_WORKERS", 0,
]  # fmt: skip
SURGERY = [
    "MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_NL", True, "MODEL.BACKBONE.WITH_SE", True,
    "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP", "MODEL.HEADS.EMBEDDING_DIM", 16, "INPUT.CHANNELS", 1,
]  # fmt: skip


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list([*SMALL, *options])
    return cfg


def lively(model):
    """Random statistics and affine parameters, so that no norm is an identity."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                noise = torch.rand(value.shape, generator=generator)
                value.copy_(0.5 + noise) if name.endswith("var") else value.add_(0.1 * (noise - 0.5))
    return model


@pytest.fixture
def weights(tmp_path):
    cfg, path = config(*SURGERY), tmp_path / "weights.pth"
    torch.save({"model": lively(build_model(cfg)).state_dict()}, path)
    return str(path)


@pytest.fixture
def pictures(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for number in range(4):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(rng.integers(0, 256, (50, 40), dtype=np.uint8)).save(paths[-1])
    return paths


def test_onnx_files_give_the_features_of_the_model_at_any_batch_size(tmp_path, weights, pictures):
    pytest.importorskip("onnxruntime", reason="the extra 'export' is not installed")
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    from fastreid.engine.onnx_predictor import OnnxPredictor

    cfg = config(*SURGERY, "MODEL.WEIGHTS", weights, "INPUT.INK_CROP.ENABLED", True)
    difference = export(cfg, tmp_path / "a.onnx", "onnx", normalize=True)
    assert difference < TOLERANCE
    own, exported = DefaultPredictor(cfg).from_files(pictures), OnnxPredictor(tmp_path / "a.onnx")
    found = exported.from_files(pictures, batch_size=3)  # batches of 3 and 1; the file was made with 2
    # 1e-4 of the largest feature; prepared by what the file says of INPUT
    own = nn.functional.normalize(own)
    np.testing.assert_allclose(found, own, atol=1e-4 * own.abs().max(), rtol=0)
    assert exported.normalized is True
    assert exported.cfg.INPUT.INK_CROP.ENABLED
    about = exported.session.get_modelmeta().custom_metadata_map
    assert json.loads(about["input_shape"]) == [1, 64, 32]
    assert json.loads(about["pixel_mean"]) == pytest.approx(list(cfg.MODEL.PIXEL_MEAN))
    assert about["fastreid"]
    assert len(about["config_sha256"]) == 64
    assert b".py" not in (tmp_path / "a.onnx").read_bytes()  # no source lines, no folders


def test_a_fixed_batch_is_filled_up(tmp_path, weights, pictures):
    pytest.importorskip("onnxscript", reason="the extra 'export' is not installed")
    from fastreid.engine.onnx_predictor import OnnxPredictor

    cfg = config(*SURGERY, "MODEL.WEIGHTS", weights)
    export(cfg, tmp_path / "a.onnx", batch_size=3)
    exported = OnnxPredictor(tmp_path / "a.onnx")
    assert exported.session.get_inputs()[0].shape == [3, 1, 64, 32]
    own = DefaultPredictor(cfg).from_files(pictures)
    np.testing.assert_allclose(exported.from_files(pictures), own, atol=1e-4 * own.abs().max(), rtol=0)
    with pytest.raises(ValueError, match=r"takes images .* got height 32, width 0"):
        OnnxPredictor(tmp_path / "a.onnx", height=32)


def test_torchscript_needs_no_fastreid(tmp_path, weights):
    cfg = config(*SURGERY, "MODEL.WEIGHTS", weights)
    export(cfg, tmp_path / "a.pt", "torchscript")
    about = {"fastreid.json": ""}
    loaded = torch.jit.load(tmp_path / "a.pt", _extra_files=about)
    images = torch.rand(7, 1, 64, 32) * 255
    own = DefaultPredictor(cfg)(images)
    np.testing.assert_allclose(loaded(images), own, atol=1e-4 * own.abs().max(), rtol=0)
    assert json.loads(json.loads(about["fastreid.json"])["input_shape"]) == [1, 64, 32]


def test_safetensors_come_back_through_model_weights(tmp_path, weights):
    safetensors = pytest.importorskip("safetensors")
    cfg = config(*SURGERY, "MODEL.WEIGHTS", weights)
    assert export(cfg, tmp_path / "a.safetensors", "safetensors") == 0
    again = config(*SURGERY, "MODEL.WEIGHTS", str(tmp_path / "a.safetensors"))
    images = torch.rand(2, 1, 64, 32) * 255
    assert torch.equal(DefaultPredictor(again)(images), DefaultPredictor(cfg)(images))
    saved = read_checkpoint(tmp_path / "a.safetensors")["model"]
    assert saved.keys() == read_checkpoint(weights)["model"].keys()
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata()["config"] == cfg.dump()


class FixedShape(nn.Module):
    """What tracing cannot follow: the batch size as a Python number."""

    def forward(self, batch):
        images = batch["images"]
        return images.flatten(1)[:, :5] * len(images)


def test_a_file_that_disagrees_is_not_written(tmp_path):
    old = tmp_path / "a.pt"
    old.write_text("the file from before")
    with pytest.raises(ValueError, match=r"the torchscript file and the model disagree by .* nothing is written"):
        export(config(), old, "torchscript", model=FixedShape())
    assert old.read_text() == "the file from before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


class Branched(nn.Module):
    """A backbone whose deployment form is another network."""

    feature_dim = 2

    def __init__(self):
        super().__init__()
        self.factor, self.merged = 3.0, False

    def deploy(self, mode):
        self.merged = mode

    def forward(self, x):
        return x.mean((2, 3)) * (self.factor if self.merged else 2.0)


class Around(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Branched()

    def forward(self, batch):
        return self.backbone(batch["images"])


def test_the_deployed_form_is_exported_and_compared_with_the_trained_one(tmp_path):
    model = Around()
    assert deployed(model).backbone.merged
    assert not model.backbone.merged
    with pytest.raises(ValueError, match=r"disagree by 5\.0e-01"):  # 3 in the file, 2 in the model
        export(config(), tmp_path / "a.pt", "torchscript", model=model)
    model.backbone.factor = 2.0
    assert export(config(), tmp_path / "a.pt", "torchscript", model=model) == 0


class OneSize(nn.Module):
    """The batch size as a Python number, in a shape."""

    def forward(self, batch):
        images = batch["images"]
        return images.flatten(1)[:, :5] + torch.ones(len(images), 5)


def test_a_model_of_one_batch_size_is_refused_unless_it_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"cannot run a batch of 3, .* --batch-size N makes a file for one size"):
        export(config(), tmp_path / "a.pt", "torchscript", model=OneSize())
    assert export(config(), tmp_path / "a.pt", "torchscript", batch_size=3, model=OneSize()) == 0


def test_hog_has_no_fixed_batch(tmp_path):
    cfg = config("MODEL.META_ARCHITECTURE", "HOG")
    assert export(cfg, tmp_path / "a.pt", "torchscript") < TOLERANCE


def test_differences_are_relative_to_the_largest_feature():
    expected = torch.tensor([[200.0, 0.0], [0.0, 1.0]])
    assert largest_difference(expected, torch.tensor([[200.0, 0.0], [0.0, 1.5]])) == 0.5 / 200
    assert largest_difference(expected, torch.tensor([[200.0, 0.0], [0.0, float("nan")]])) == np.inf
    assert largest_difference(expected, torch.zeros(1, 2)) == np.inf


def test_what_cannot_be_exported_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"--format\) must be one of 'onnx', .* got 'ONXX'. Did you mean 'onnx'"):
        export(config(), tmp_path / "a", "ONXX")
    with pytest.raises(ValueError, match="mean nothing for safetensors"):
        export(config(), tmp_path / "a", "safetensors", normalize=True)
    with pytest.raises(ValueError, match=r"INPUT\.SIZE_TEST is \[0, 0\]"):
        export(config("INPUT.SIZE_TEST", [0, 0]), tmp_path / "a", "torchscript")
    missing = exporters.Format(".x", None, None, ("no_such_package",))
    monkeypatch.setitem(FORMATS, "onnx", missing)
    with pytest.raises(ImportError, match=r"package no_such_package: pip install '\.\[export\]' from the checkout"):
        export(config(), tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_centre_crop_is_the_size_of_the_input():
    assert input_shape(config("INPUT.CROP.ENABLED", True, "INPUT.CROP.SIZE", [20])) == (3, 20, 20)
    assert input_shape(config()) == (3, 64, 32)


def test_features_are_normalised_on_request():
    model = FeatureModel(Around(), normalize=True)
    assert model(torch.rand(3, 2, 4, 4)).norm(dim=1) == pytest.approx(torch.ones(3))
