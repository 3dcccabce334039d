"""State-dict names and shapes are those of fast-reid, so that its checkpoints load."""

import json
from pathlib import Path

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.modeling import build_model

BAGTRICKS = ["MODEL.HEADS.WITH_BNNECK", True]
AGW = [*BAGTRICKS, "MODEL.BACKBONE.WITH_NL", True, "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPooling"]
SBS = [
    *AGW, "MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP",
    "MODEL.HEADS.CLS_LAYER", "CircleSoftmax", "MODEL.HEADS.SCALE", 64, "MODEL.HEADS.MARGIN", 0.35,
]  # fmt: skip
IBN, R101 = ["MODEL.BACKBONE.WITH_IBN", True], ["MODEL.BACKBONE.DEPTH", "101x"]
MODELS = {
    "bagtricks_R50": BAGTRICKS,
    "bagtricks_R50-ibn": [*BAGTRICKS, *IBN],
    "AGW_R50": AGW,
    "AGW_R101-ibn": [*AGW, *IBN, *R101],
    "sbs_R50": SBS,
    "sbs_R101-ibn": [*SBS, *IBN, *R101],
}


def build(name: str, device: str = "meta") -> torch.nn.Module:
    """The meta device has shapes but no numbers, and costs nothing."""
    cfg = get_cfg()
    cfg.merge_from_list([*MODELS[name], "MODEL.DEVICE", device, "MODEL.HEADS.NUM_CLASSES", 16])
    with torch.device(device):
        return build_model(cfg)


def shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    return {key: list(value.shape) for key, value in model.state_dict().items()}


def snapshot(name: str) -> dict[str, list[int]]:
    """Read data/<name>.txt: lines of ``module: name=shape name=shape``."""
    found = {}
    for line in (Path(__file__).parent / "data" / f"{name}.txt").read_text().splitlines():
        if not line.startswith("#"):
            module, entries = line.split(": ")
            for entry in entries.split():
                leaf, shape = entry.split("=")
                found[f"{module}.{leaf}"] = [int(n) for n in shape.split("x")] if shape != "scalar" else []
    return found


@pytest.mark.parametrize("name", MODELS)
def test_names_and_shapes_of_the_snapshot(name):
    found, expected = shapes(build(name)), snapshot(name)
    assert set(found) == set(expected)
    assert found == expected


@pytest.mark.parametrize("name", MODELS)
def test_snapshot_is_that_of_the_reference(name, testdata):
    reference = testdata.parent / "reference" / "parameter_names.json"
    if not reference.is_file():
        pytest.skip(f"no {reference}")
    assert snapshot(name) == json.loads(reference.read_text())[f"Market1501/{name}"]


def test_strict_loading_of_a_checkpoint_with_these_names():
    model = build("sbs_R50", "cpu")
    weights = {key: torch.full(shape, 0.5) for key, shape in snapshot("sbs_R50").items()}
    model.load_state_dict(weights, strict=True)
    assert model.heads.pool_layer.p.item() == 0.5
    assert (model.backbone.NL_2[0].g.weight == 0.5).all()


def test_only_the_bias_of_the_neck_is_not_trained():
    frozen = [name for name, p in build("sbs_R50").named_parameters() if not p.requires_grad]
    assert frozen == ["heads.bottleneck.0.bias"]


def test_pixel_statistics_are_not_in_the_state_dict():
    model = build("bagtricks_R50")
    assert "pixel_mean" in dict(model.named_buffers())
    assert not any(key.startswith("pixel_") for key in model.state_dict())
