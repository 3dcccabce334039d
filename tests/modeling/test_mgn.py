"""MGN: names of its weights, its stripes and which features each loss sees."""

import logging

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine.commands import load_model
from fastreid.engine.defaults import DefaultTrainer
from fastreid.modeling import LOSS_REGISTRY, build_model
from fastreid.modeling.losses import cross_entropy_loss, triplet_loss
from fastreid.modeling.meta_arch.mgn import HEADS, stripes
from fastreid.solver import build_optimizer
from fastreid.solver.freeze import frozen_parameters
from fastreid.utils.events import EventStorage

METRIC = ("b1", "b2", "b3", "b22", "b33")
BOTH = ["MODEL.LOSSES.NAME", ["CrossEntropyLoss", "TripletLoss"]]


def config(*overrides):
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", "MGN", "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x",
        "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64, "MODEL.HEADS.NUM_CLASSES", 4,
        "MODEL.HEADS.EMBEDDING_DIM", 12, "MODEL.HEADS.WITH_BNNECK", True, "MODEL.HEADS.NECK_FEAT", "after",
        "MODEL.FREEZE_LAYERS", ["backbone", "b1", "b2", "b3"], *overrides,
    ])  # fmt: skip
    return cfg


def batch(height: int = 96) -> dict:
    images = torch.rand(8, 3, height, 32, generator=torch.Generator().manual_seed(3)) * 255
    return {"images": images, "targets": torch.arange(8) // 2, "camids": torch.arange(8) % 3}


def outputs_of(model, table):
    """What the eight heads give, by the plain way through the network."""
    shared = model.backbone(model.preprocess_image(table))
    b1, b2, b3 = model.b1(shared), model.b2(shared), model.b3(shared)
    half, third = b2.shape[2] // 2, b3.shape[2] // 3
    maps = {
        "b1": b1, "b2": b2, "b21": b2[:, :, :half], "b22": b2[:, :, half:],
        "b3": b3, "b31": b3[:, :, :third], "b32": b3[:, :, third : 2 * third], "b33": b3[:, :, 2 * third :],
    }  # fmt: skip
    targets = (table["targets"],) if model.training else ()
    return {name: getattr(model, f"{name}_head")(x, *targets) for name, x in maps.items()}


def test_losses_are_those_of_the_parts():
    model = build_model(config(*BOTH, "MODEL.LOSSES.CE.EPSILON", 0.1, "MODEL.LOSSES.TRI.SCALE", 2.0)).train()
    table = batch()
    with EventStorage(0) as storage:
        values = model(table)
    outputs, targets = outputs_of(model, table), table["targets"]
    expected = {
        f"loss_cls_{name}": cross_entropy_loss(outputs[name]["cls_outputs"], targets, 0.1) * 0.125 for name in HEADS
    }
    seen = {name: outputs[name]["features"] for name in ("b1", "b2", "b3")}
    seen["b22"] = torch.cat([outputs["b21"]["features"], outputs["b22"]["features"]], 1)
    seen["b33"] = torch.cat([outputs[name]["features"] for name in ("b31", "b32", "b33")], 1)
    expected |= {
        f"loss_triplet_{name}": triplet_loss(x, targets, 0.3, False, False) * 2 * 0.2 for name, x in seen.items()
    }
    assert list(values) == list(expected)
    for key, value in expected.items():
        assert torch.allclose(values[key], value, atol=1e-5), key
    assert "cls_accuracy" in storage.latest()


@pytest.mark.parametrize("name", ["CircleLoss", "Cosface", "FocalLoss"])
def test_every_loss_of_the_registry_is_used(name):
    model = build_model(config("MODEL.LOSSES.NAME", [name])).train()
    key = LOSS_REGISTRY.get(name).key
    parts = HEADS if name == "FocalLoss" else METRIC
    assert list(model(batch())) == [f"{key}_{part}" for part in parts]


def test_evaluation_gives_the_eight_features_in_the_order_of_the_checkpoints():
    model = build_model(config()).eval()
    with torch.no_grad():
        features, outputs = model(batch()), outputs_of(model, batch())
        assert torch.equal(features, model(batch()["images"]))
    expected = torch.cat([outputs[name] for name in ("b1", "b2", "b3", "b21", "b22", "b31", "b32", "b33")], 1)
    assert features.shape == (8, 8 * 12)
    assert torch.allclose(features, expected, atol=1e-6)


def test_names_of_the_weights():
    names = set(build_model(config("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP")).state_dict())
    assert {"backbone.0.weight", "backbone.1.running_mean", "backbone.4.0.conv1.weight", "backbone.6.bn2.bias"} <= names
    for branch in ("b1", "b2", "b3"):
        assert {f"{branch}.0.0.conv1.weight", f"{branch}.1.0.downsample.0.weight", f"{branch}.1.1.bn2.bias"} <= names
    for head in HEADS:
        own = {name.partition(".")[2] for name in names if name.startswith(f"{head}_head.")}
        assert {"weight", "pool_layer.p", "bottleneck.0.weight", "bottleneck.1.running_var"} <= own
    assert {name.partition(".")[0] for name in names} == {"backbone", "b1", "b2", "b3", *(f"{h}_head" for h in HEADS)}


def test_names_and_shapes_are_those_of_fast_reid(testdata, repo):
    reference = testdata.parent / "reference" / "parameter_names.json"
    if not reference.is_file():
        pytest.skip(f"no {reference}")
    import json

    cfg = get_cfg()
    cfg.merge_from_file(repo / "configs" / "Market1501" / "mgn_R50-ibn.yml")
    cfg.merge_from_list(["MODEL.DEVICE", "meta", "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 16])
    with torch.device("meta"):
        found = {key: list(value.shape) for key, value in build_model(cfg).state_dict().items()}
    assert found == json.loads(reference.read_text())["Market1501/mgn_R50-ibn"]


def test_branches_begin_equal_and_part_in_training():
    model = build_model(config(*BOTH, "SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 0.1, "MODEL.FREEZE_LAYERS", [])).train()
    pairs = [(name, name.replace("b2.", "b3.", 1)) for name in model.state_dict() if name.startswith("b2.")]
    weights = model.state_dict()
    assert all(torch.equal(weights[a], weights[b]) for a, b in pairs)
    optimizer = build_optimizer(config("SOLVER.OPT", "SGD", "MODEL.FREEZE_LAYERS", []), model)[0]
    totals = []
    for _ in range(2):
        loss = sum(model(batch()).values())
        optimizer.zero_grad()
        loss.backward()
        totals.append(float(loss.detach()))
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
        optimizer.step()
    assert totals[1] < totals[0]
    assert any(not torch.equal(weights[a], weights[b]) for a, b in pairs)


def test_freezing_the_branches_leaves_the_heads_to_train():
    cfg = config("SOLVER.FREEZE_ITERS", 5, "SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 0.1)
    model = build_model(cfg).train()
    frozen = {id(p) for p in frozen_parameters(model, cfg.MODEL.FREEZE_LAYERS)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert (id(parameter) in frozen) == (not name.split(".")[0].endswith("_head")), name
    before = {name: value.clone() for name, value in model.named_parameters()}
    optimizer = build_optimizer(cfg, model)[0]
    sum(model(batch()).values()).backward()
    optimizer.step()
    moved = {name.split(".")[0] for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {f"{head}_head" for head in HEADS}


@pytest.mark.parametrize(
    "rows, count, expected",
    [(24, 2, [12, 12]), (24, 3, [8, 8, 8]), (7, 2, [4, 3]), (10, 3, [4, 4, 2]), (4, 3, [2, 1, 1]), (3, 3, [1, 1, 1])],
)
def test_stripes_of_uneven_heights(rows, count, expected):
    x = torch.arange(rows).view(1, 1, rows, 1)
    parts = stripes(x, count)
    assert [part.shape[2] for part in parts] == expected
    assert torch.equal(torch.cat(parts, 2), x)


def test_images_that_are_too_low_are_refused():
    with pytest.raises(ValueError, match="3 stripes, and this one has a height of 2: the images .INPUT.SIZE_TRAIN"):
        build_model(config()).eval()(batch(32))


def test_striped_branches_are_never_reduced():
    model = build_model(config("MODEL.BACKBONE.LAST_STRIDE", 2)).eval()
    shared = model.backbone(model.preprocess_image(batch()))
    assert [model.b1(shared).shape[2], model.b2(shared).shape[2], model.b3(shared).shape[2]] == [3, 6, 6]
    weights = model.state_dict()
    assert torch.equal(weights["b1.1.0.conv1.weight"], weights["b3.1.0.conv1.weight"])


def test_a_backbone_of_another_family_is_refused():
    with pytest.raises(ValueError, match=r"MGN needs a backbone of the ResNet family .* build_osnet_backbone has no"):
        build_model(config("MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"))


@pytest.mark.parametrize("head", ["ClasHead", "AttrHead"])
def test_heads_whose_output_is_no_descriptor_are_refused(head):
    with pytest.raises(ValueError, match=f"MGN joins the features of eight heads; MODEL.HEADS.NAME {head} gives"):
        build_model(config("MODEL.HEADS.NAME", head))


def test_non_local_blocks_are_said_to_be_left_out(caplog):
    with caplog.at_level(logging.WARNING, "fastreid"):
        build_model(config("MODEL.BACKBONE.WITH_NL", True))
    assert "MGN has no non-local blocks: MODEL.BACKBONE.WITH_NL True changes nothing" in caplog.text


def test_training_without_targets_is_refused():
    with pytest.raises(ValueError, match="Training needs a batch table with 'targets'"):
        build_model(config()).train()(batch()["images"])


def test_checkpoint_evaluates_without_knowing_the_classes(tmp_path):
    trained = build_model(config("MODEL.HEADS.NUM_CLASSES", 7)).eval()
    torch.save({"model": trained.state_dict()}, tmp_path / "mgn.pth")
    cfg = config("MODEL.HEADS.NUM_CLASSES", 0, "MODEL.WEIGHTS", str(tmp_path / "mgn.pth"))
    model = load_model(cfg, DefaultTrainer).eval()
    assert model.b33_head.weight.shape == (7, 12)
    with torch.no_grad():
        assert torch.equal(model(batch()), trained(batch()))
