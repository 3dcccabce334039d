"""Features by TEST.INFERENCE: those of the plain model, named in fingerprints, and the model itself stays."""

import builtins
import copy
import importlib.util

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastreid.config import get_cfg
from fastreid.data.build import build_reid_test_loader
from fastreid.data.feature_file import fingerprint_of, identity_of
from fastreid.engine.acceleration import Accelerated, accelerated
from fastreid.engine.defaults import DefaultTrainer
from fastreid.engine.extraction import cached_features
from fastreid.engine.predictor import DefaultPredictor
from fastreid.engine.query_encoder import QueryEncoder
from fastreid.index.base import IndexInfo
from fastreid.index.errors import OtherModel
from fastreid.modeling.meta_arch import build_model
from fastreid.utils import inference
from fastreid.utils.hashing import hash_weights
from tests.engine.test_query_encoder import config, images_of, paths, saved  # noqa: F401
from tests.modeling.stand_ins import fill

RESNET = [
    "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64,
    "MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_NL", True, "MODEL.HEADS.WITH_BNNECK", True,
    "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.HEADS.EMBEDDING_DIM", 16, "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling",
]  # fmt: skip
OPENVINO = pytest.param(
    ("BACKEND", "openvino"),
    marks=pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed"),
    id="openvino",
)
HALF = pytest.param(("DTYPE", "bfloat16", "CHANNELS_LAST", "True", "FOLD_BN", "True"), id="bfloat16")
WAYS = [
    pytest.param(("CHANNELS_LAST", "True"), id="channels_last"),
    pytest.param(("FOLD_BN", "True"), id="fold_bn"),
    HALF,
    OPENVINO,
]


def settings(*pairs):
    return [f"TEST.INFERENCE.{text}" if place % 2 == 0 else text for place, text in enumerate(pairs)]


@pytest.fixture
def any_processor(monkeypatch):
    """Take bfloat16 on this machine too, however slow: what it gives is the same."""
    monkeypatch.setattr(inference, "has_bfloat16", lambda device: True)


def model_of(cfg):
    torch.manual_seed(0)
    return fill(build_model(cfg))


def features_of(model, images):
    with torch.inference_mode():
        return model({"images": images})


def test_the_defaults_leave_the_model_as_it_is():
    cfg = config(RESNET)
    model = build_model(cfg)
    assert accelerated(model, cfg) is model


@pytest.mark.parametrize("way", WAYS)
def test_features_are_those_of_the_plain_model_which_stays_untouched(any_processor, way):
    cfg = config(RESNET, *settings(*way))
    model = model_of(cfg).train()
    model.heads.eval()
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    fast, images = accelerated(model, cfg), torch.rand(5, 3, 32, 32) * 255
    first = features_of(fast, images)
    after = model.state_dict()
    assert list(before) == list(after)
    for name, value in before.items():
        assert (value.dtype, value.stride()) == (after[name].dtype, after[name].stride())
        assert torch.equal(value, after[name]), name
    assert modes == [module.training for module in model.modules()]
    assert all(parameter.requires_grad for parameter in model.backbone.parameters())

    model.eval()
    expected = features_of(model, images)
    assert (first.dtype, first.shape) == (torch.float32, expected.shape)
    assert "openvino" in way or not torch.equal(first, expected)  # not simply the plain model again
    # other numbers of images, and (a conversion more with OpenVINO) another size
    for batch in (images, images[:1], images[1:4], *([] if "openvino" in way else [images[..., :24]])):
        found, wanted = features_of(fast, batch), features_of(model, batch)
        if "bfloat16" in way:
            assert F.cosine_similarity(found, wanted).min() > 0.999
        else:
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_it_stays_in_evaluation_mode():
    cfg = config(RESNET, *settings("FOLD_BN", "True"))
    fast = accelerated(build_model(cfg), cfg).train()
    assert not any(module.training for module in fast.modules())


def test_a_copy_that_gives_other_features_is_refused():
    cfg = config(RESNET, *settings("FOLD_BN", "True"))
    fast = accelerated(model_of(cfg), cfg)
    with torch.no_grad():
        fast.model.backbone.conv1.weight[:4] *= -1
    with pytest.raises(RuntimeError, match=r"FOLD_BN True changes the features .* cosine .* at least 0.99999"):
        features_of(fast, torch.rand(2, 3, 32, 32) * 255)


def test_layouts_stay_channels_last_through_the_network():
    cfg = config(RESNET, *settings("CHANNELS_LAST", "True"))
    fast, seen = accelerated(build_model(cfg), cfg), {}
    for name, module in fast.model.backbone.named_modules():
        module.register_forward_hook(lambda module, given, out, name=name: seen.update({name: out}))
    features_of(fast, torch.rand(2, 3, 32, 32) * 255)
    # with one inner channel a non-local block has no layout inside
    maps = {name: out for name, out in seen.items() if min(out.shape[1:]) > 1 and ".W" not in name}
    assert len(maps) > 20
    assert [name for name, out in maps.items() if not out.is_contiguous(memory_format=torch.channels_last)] == []


# ------------------------------------------------------------------------------------------------------ settings


def test_bfloat16_needs_a_processor_for_it(monkeypatch):
    monkeypatch.setattr(inference, "has_bfloat16", lambda device: False)
    with pytest.raises(ValueError, match=r"DTYPE bfloat16: 'cpu' has no instructions for it .* 'auto'"):
        inference.Inference.of(config(RESNET, *settings("DTYPE", "bfloat16")))
    assert inference.Inference.of(config(RESNET, *settings("DTYPE", "auto"))).dtype == "float32"
    monkeypatch.setattr(inference, "has_bfloat16", lambda device: True)
    assert inference.Inference.of(config(RESNET, *settings("DTYPE", "auto"))).dtype == "bfloat16"


def test_devices():
    assert not inference.has_bfloat16("meta")
    if not torch.cuda.is_available():
        assert not inference.has_bfloat16("cuda:0")
    assert isinstance(inference.has_bfloat16("cpu"), bool)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("BACKEND", "openvno"), "TEST.INFERENCE.BACKEND must .*'openvno'. Did you mean 'openvino'"),
        (("DTYPE", "float16"), "TEST.INFERENCE.DTYPE must .*'float16'"),
    ],
)
def test_unknown_values(given, message):
    with pytest.raises(ValueError, match=message):
        inference.Inference.of(config(RESNET, *settings(*given)))


def test_openvino_computes_on_the_cpu():
    with pytest.raises(ValueError, match="openvino computes on the CPU; MODEL.DEVICE is 'cuda'"):
        inference.Inference.of(config(["MODEL.DEVICE", "cuda"], *settings("BACKEND", "openvino")))


def test_openvino_is_asked_for_where_it_is_missing(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "openvino":
            raise ImportError("No module named 'openvino'")
        return real(name, *args, **kwargs)

    cfg = config(RESNET, *settings("BACKEND", "openvino"))
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"BACKEND openvino needs the package openvino: pip install '.\[openvino\]'"):
        accelerated(build_model(cfg), cfg)


@pytest.mark.parametrize("values", [OPENVINO])
def test_openvino_refuses_models_that_see_cameras(values):
    cfg = config(RESNET, *settings(*values))
    model = build_model(cfg)
    model.backbone.takes_camids = True
    with pytest.raises(ValueError, match="sees their cameras"):
        accelerated(model, cfg)


def test_a_model_must_give_one_tensor():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, batch):
            return {"features": self.layer(batch["images"])}

    fast = accelerated(Pair(), config(RESNET, *settings("FOLD_BN", "True")))
    with pytest.raises(ValueError, match="gives a dict"):
        features_of(fast, torch.rand(2, 2))


# --------------------------------------------------------------------------------------------------- fingerprints


@pytest.mark.parametrize(
    "way",
    [("BACKEND", "openvino"), ("DTYPE", "auto"), ("CHANNELS_LAST", "True"), ("FOLD_BN", "True")],
    ids=lambda way: way[0],
)
def test_the_setting_is_in_the_fingerprint(any_processor, way):
    plain, other = config(RESNET), config(RESNET, *settings(*way))
    model = model_of(plain)
    before, after = (fingerprint_of(cfg, model, [], 0) for cfg in (plain, other))
    key, value = settings(*way)
    expected = {"auto": "bfloat16", "True": True}.get(value, value)
    assert after["settings"] == {**before["settings"], key: expected}
    assert after["weights"] == before["weights"]


def test_default_fingerprints_are_those_of_earlier_files_and_auto_is_what_it_chose(monkeypatch):
    monkeypatch.setattr(inference, "has_bfloat16", lambda device: False)
    model = model_of(config(RESNET))
    for more in ((), settings("DTYPE", "auto")):
        assert not any("INFERENCE" in key for key in identity_of(config(RESNET, *more), model)["settings"])


def test_a_copy_has_the_fingerprint_of_the_model(any_processor):
    cfg = config(RESNET, *settings("FOLD_BN", "True"))
    model = model_of(cfg)
    fast = accelerated(model, cfg)
    assert identity_of(cfg, fast) == identity_of(cfg, model)
    assert hash_weights(fast.model.state_dict()) != hash_weights(model.state_dict())


# ------------------------------------------------------------------------------------------------- where it is used


@pytest.fixture
def used(monkeypatch):
    """How often an accelerated model was asked for features."""
    calls, forward = [], Accelerated.forward

    def counted(self, batch):
        calls.append(self.plan)
        return forward(self, batch)

    monkeypatch.setattr(Accelerated, "forward", counted)
    return calls


def test_predictor_and_encoder(saved, paths, used):  # noqa: F811
    opts, more = saved(), settings("FOLD_BN", "True", "CHANNELS_LAST", "True")
    expected = DefaultPredictor(config(opts)).from_files(paths).numpy()
    assert not used
    predicted = DefaultPredictor(config(opts, *more)).from_files(paths).numpy()
    assert len(used) == 2
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-5)
    encoder = QueryEncoder(config(opts, *more))
    np.testing.assert_allclose(encoder.encode(images_of(paths)), expected, rtol=1e-4, atol=1e-5)
    assert len(used) == 2 + 1 + 9  # a batch of 8 and one of 1, the length of a vector, nine images
    assert encoder.identity != QueryEncoder(config(opts)).identity


def test_an_index_of_plain_features_is_not_searched_with_others(saved):  # noqa: F811
    opts = saved()
    plain, other = QueryEncoder(config(opts)), QueryEncoder(config(opts, *settings("FOLD_BN", "True")))
    info = IndexInfo(
        uid="0", version=1, oldest_version=1, backend="exact", metric="cosine", dim=plain.dim, figures=0, designs=0,
        created="", changed="", model=plain.identity,
    )  # fmt: skip
    info.check_model(plain.identity)
    with pytest.raises(OtherModel, match="TEST.INFERENCE.FOLD_BN was False, is now True"):
        info.check_model(other.identity)


def test_evaluation_and_kept_features(saved, tmp_path, used):  # noqa: F811
    opts = saved()
    cfg, fast = config(opts), config(opts, *settings("FOLD_BN", "True"))
    model = DefaultTrainer.build_model(cfg)
    expected = DefaultTrainer.test(cfg, model)
    assert not used
    assert DefaultTrainer.test(fast, model) == pytest.approx(expected, abs=1e-3)
    assert len(used) == 2
    loader, num_query = build_reid_test_loader(cfg, dataset_name="FileList")
    plain = cached_features(cfg, model, loader, num_query, "FileList", tmp_path)
    other = cached_features(fast, model, loader, num_query, "FileList", tmp_path)
    assert len(used) == 4
    again = cached_features(fast, model, loader, num_query, "FileList", tmp_path)
    assert len(used) == 4
    np.testing.assert_array_equal(again.features, other.features)
    np.testing.assert_allclose(other.features, plain.features, rtol=1e-4, atol=1e-5)
    assert get_cfg().TEST.INFERENCE.FOLD_BN is False
