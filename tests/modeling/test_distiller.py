"""Distillation: losses against loops, teachers that stay as they are, and the moving average of the student."""

import math

import pytest
import torch
import torch.nn.functional as F

from fastreid.config import get_cfg
from fastreid.modeling import build_model
from fastreid.modeling.backbones import build_backbone
from fastreid.modeling.meta_arch import Baseline, Distiller
from fastreid.modeling.meta_arch.overhaul import (
    make_connector,
    negative_mean,
    overhaul_loss,
    partial_l2,
    record_stages,
)
from fastreid.solver import build_optimizer
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.precision_bn import update_bn_stats

SMALL = [
    "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64,
    "MODEL.HEADS.WITH_BNNECK", True, "SOLVER.OPT", "SGD",
]  # fmt: skip
TEACHER = """
MODEL:
  META_ARCHITECTURE: {meta}
  BACKBONE: {{DEPTH: 18x, WIDTH: 16, FEAT_DIM: 128, LAST_STRIDE: {stride}, PRETRAIN: True}}
  HEADS: {{WITH_BNNECK: True, CLS_LAYER: CircleSoftmax, SCALE: 8, MARGIN: 0.3}}
INPUT: {{CHANNELS: {channels}}}
"""


def config(*overrides, architecture="Distiller"):
    cfg = get_cfg()
    cfg.merge_from_list([
        *SMALL, "MODEL.META_ARCHITECTURE", architecture, "MODEL.HEADS.NUM_CLASSES", 4, *overrides,
    ])  # fmt: skip
    return cfg


def write_teacher(folder, name="teacher", meta="Baseline", stride=1, channels=3, classes=4, seed=0):
    """Write a config and trained weights; return the overrides that name them."""
    config_file = folder / f"{name}.yml"
    config_file.write_text(TEACHER.format(meta=meta, stride=stride, channels=channels))
    cfg = get_cfg()
    cfg.merge_from_file(config_file)
    options = ["MODEL.META_ARCHITECTURE", "Baseline", "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.PRETRAIN", False]
    cfg.merge_from_list([*options, "MODEL.HEADS.NUM_CLASSES", classes])
    torch.manual_seed(seed)
    model = build_model(cfg).train()
    with torch.no_grad():
        model.backbone(torch.randn(8, channels, 32, 32))  # statistics that are not the initial ones
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    torch.save({"model": model.state_dict()}, folder / f"{name}.pth")
    return [str(config_file)], [str(folder / f"{name}.pth")]


def taught(folder, *overrides, architecture="Distiller", **teacher):
    configs, weights = write_teacher(folder, **teacher)
    return config("KD.MODEL_CONFIG", configs, "KD.MODEL_WEIGHTS", weights, *overrides, architecture=architecture)


def batch(seed: int = 3) -> dict:
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 255
    return {"images": images, "targets": torch.arange(8) // 2}


def copies(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def train(model, steps=2, lr=0.05):
    optimizer = build_optimizer(config("SOLVER.BASE_LR", lr), model)[0]
    for step in range(steps):
        loss = sum(model(batch(step)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def divergence_by_loops(student, teacher, t):
    total = 0.0
    for row_s, row_t in zip(student.tolist(), teacher.tolist(), strict=True):
        p, q = ([math.exp(x / t) for x in row] for row in (row_s, row_t))
        p, q = ([x / sum(row) for x in row] for row in (p, q))
        total += sum(a * math.log(a / b) + b * math.log(b / a) for a, b in zip(p, q, strict=True))
    return t**2 * total / 2 / len(student)


@pytest.mark.parametrize("t", [1, 16])
def test_divergence_as_by_loops(t):
    torch.manual_seed(0)
    student, teacher = 8 * torch.randn(5, 7), 8 * torch.randn(5, 7)
    expected = divergence_by_loops(student, teacher, t)
    assert float(Distiller.jsdiv_loss(student, teacher, t)) == pytest.approx(expected, rel=1e-4)
    assert float(Distiller.jsdiv_loss(teacher, student, t)) == pytest.approx(expected, rel=1e-4)
    assert float(Distiller.jsdiv_loss(student, student + 3, t)) == pytest.approx(0, abs=1e-4)


def logits_in_evaluation(teacher, table):
    """What a teacher says of a batch with its own statistics, scale and pixel values, without the margin."""
    with torch.no_grad():
        teacher = teacher.eval()
        _, neck = teacher.heads.embed(teacher.backbone(teacher.preprocess_image(table)))
        return F.linear(F.normalize(neck), F.normalize(teacher.heads.weight)) * teacher.heads.cls_layer.s


def test_loss_is_the_mean_over_the_teachers(tmp_path):
    files = [write_teacher(tmp_path, "first", seed=1), write_teacher(tmp_path, "second", seed=2)]
    configs, weights = ([pair[i][0] for pair in files] for i in range(2))
    model = build_model(config("KD.MODEL_CONFIG", configs, "KD.MODEL_WEIGHTS", weights)).train()
    values = model(batch())
    assert list(values) == ["loss_cls", "loss_jsdiv"]
    student = model.heads(model.backbone(model.preprocess_image(batch())), batch()["targets"])["pred_class_logits"]
    expected = 0.0
    for config_file, weights_file in zip(configs, weights, strict=True):
        cfg = get_cfg()
        cfg.merge_from_file(config_file)
        cfg.merge_from_list(["MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", 4])
        teacher = Baseline(cfg)
        teacher.load_state_dict(torch.load(weights_file)["model"])
        expected += divergence_by_loops(student.detach(), logits_in_evaluation(teacher, batch()), 16) / 2
    assert float(values["loss_jsdiv"].detach()) == pytest.approx(expected, rel=1e-3)


def test_teachers_stay_as_they_are_and_out_of_the_model(tmp_path):
    model = build_model(taught(tmp_path)).train()
    (teacher,) = model.model_ts
    before, weights = copies(teacher), {id(p) for p in teacher.parameters()}
    start = copies(model)
    train(model)
    after = teacher.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(p.grad is None for p in teacher.parameters())
    assert not weights & {id(p) for p in model.parameters()}
    assert set(model.state_dict()) == set(Baseline(config()).state_dict())
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, start[name])}
    assert moved == {name for name, value in model.named_parameters() if value.requires_grad}


def test_gradient_of_the_divergence_reaches_the_student(tmp_path):
    model = build_model(taught(tmp_path)).train()
    model(batch())["loss_jsdiv"].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad.abs().sum() > 0, name


def test_teachers_move_with_the_model(tmp_path):
    model = build_model(taught(tmp_path, "KD.EMA.ENABLED", True)).double()
    assert {p.dtype for teacher in model.model_ts for p in teacher.parameters()} == {torch.float64}
    assert torch.isfinite(model.train()({**batch(), "images": batch()["images"].double()})["loss_jsdiv"])


def test_evaluation_is_that_of_the_student(tmp_path):
    model = build_model(taught(tmp_path)).eval()
    plain = Baseline(config()).eval()
    plain.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(model(batch()), plain(batch()))


def test_moving_average_follows_weights_and_statistics():
    model = build_model(config("KD.EMA.ENABLED", True, "KD.EMA.MOMENTUM", 0.9)).train()
    (teacher,) = model.model_ts
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in teacher.state_dict().items())
    optimizer = build_optimizer(config("SOLVER.BASE_LR", 0.05), model)[0]
    expected = copies(teacher)
    for step in range(3):
        own = copies(model)  # as it is when the step begins
        for name, value in expected.items():
            expected[name] = 0.9 * value + 0.1 * own[name] if value.is_floating_point() else own[name]
        loss = sum(model(batch(step)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for name, value in teacher.state_dict().items():
            assert torch.allclose(value, expected[name], atol=1e-6), name
    assert not torch.equal(teacher.backbone.bn1.running_mean, model.backbone.bn1.running_mean)
    assert not any(p.requires_grad for p in teacher.parameters())


def test_moving_average_rests_while_statistics_are_taken():
    model = build_model(config("KD.EMA.ENABLED", True)).train()
    train(model, 1)
    before = copies(model.model_ts[0])
    update_bn_stats(model, [batch(7)], 1)
    assert all(torch.equal(value, before[name]) for name, value in model.model_ts[0].state_dict().items())


def test_moving_average_starts_from_loaded_weights_and_survives_a_resume(tmp_path):
    cfg = config("KD.EMA.ENABLED", True, "KD.EMA.MOMENTUM", 0.5)
    model = build_model(cfg).train()
    train(model)
    assert list(model.checkpointables()) == ["ema_teacher"]
    Checkpointer(model, str(tmp_path), **model.checkpointables()).save("model_0000")

    resumed = build_model(cfg).train()
    checkpointer = Checkpointer(resumed, str(tmp_path), **resumed.checkpointables())
    checkpointer.resume_or_load("", resume=True)
    average = model.model_ts[0].state_dict()
    assert all(torch.equal(value, average[name]) for name, value in resumed.model_ts[0].state_dict().items())
    assert torch.equal(resumed(batch(5))["loss_jsdiv"], model(batch(5))["loss_jsdiv"])

    tuned = build_model(cfg)
    checkpointer = Checkpointer(tuned, **tuned.checkpointables())
    checkpointer.resume_or_load(str(tmp_path / "model_0000.pth"), resume=False)
    student = tuned.state_dict()
    assert all(torch.equal(value, student[name]) for name, value in tuned.model_ts[0].state_dict().items())


def test_without_a_moving_average_nothing_more_is_saved(tmp_path):
    assert build_model(taught(tmp_path)).checkpointables() == {}


@pytest.mark.parametrize(
    "teacher, message",
    [
        ({"classes": 5}, "it has 5 classes, the student 4. Logits are compared class by class"),
        ({"meta": "MGN"}, "its MODEL.META_ARCHITECTURE MGN is no Baseline"),
        ({"channels": 1}, "its INPUT.CHANNELS are 1, those of the student 3"),
    ],
)
def test_teacher_that_does_not_fit_is_refused(tmp_path, teacher, message):
    with pytest.raises(ValueError, match=f"teacher.yml with .*teacher.pth does not fit: {message}"):
        build_model(taught(tmp_path, **teacher))


def test_missing_files_and_settings_are_named(tmp_path):
    configs, weights = write_teacher(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"KD.MODEL_CONFIG, .*Config file not found: 'no\.yml'"):
        build_model(config("KD.MODEL_CONFIG", ["no.yml"], "KD.MODEL_WEIGHTS", weights))
    with pytest.raises(FileNotFoundError, match=r"KD.MODEL_WEIGHTS: No checkpoint .*none\.pth"):
        build_model(config("KD.MODEL_CONFIG", configs, "KD.MODEL_WEIGHTS", [str(tmp_path / "none.pth")]))
    with pytest.raises(ValueError, match="names 1 teachers and KD.MODEL_WEIGHTS 0 files"):
        build_model(config("KD.MODEL_CONFIG", configs))
    with pytest.raises(ValueError, match="Distiller has no teacher: set KD.MODEL_CONFIG"):
        build_model(config())
    with pytest.raises(ValueError, match=r"KD.EMA.MOMENTUM must be in 0..1; got 1.5"):
        build_model(config("KD.EMA.ENABLED", True, "KD.EMA.MOMENTUM", 1.5))


def test_weights_of_another_network_are_refused(tmp_path):
    configs, weights = write_teacher(tmp_path)
    torch.save({"model": Baseline(config()).state_dict()}, weights[0])
    with pytest.raises(ValueError, match="does not fit the model, .* parameters differ"):
        build_model(config("KD.MODEL_CONFIG", configs, "KD.MODEL_WEIGHTS", weights))


# ------------------------------------------------------------------------------------------ features of the stages


def test_stages_are_recorded_before_their_last_relu():
    backbone = build_backbone(config()).eval()
    images = torch.randn(2, 3, 32, 32)
    with record_stages(backbone) as found:
        out = backbone(images)
    x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        x = getattr(backbone, stage)(x)
        assert (found[stage] < 0).any()
        assert torch.equal(F.relu(found[stage]), x)
    assert torch.equal(out, x)
    found.clear()
    backbone(images)
    assert found == {}, "nothing is recorded outside the context"


def test_margin_is_the_mean_of_the_negative_part():
    norm = torch.nn.BatchNorm2d(5)
    torch.nn.init.zeros_(norm.weight)
    with torch.no_grad():
        norm.weight[:4] = torch.tensor([1.0, -0.5, 2.0, 1.0])
        norm.bias[:] = torch.tensor([0.0, 0.3, -1.0, 5.0, -2.0])
    generator = torch.Generator().manual_seed(0)
    found = negative_mean(norm)
    assert found.shape == (1, 5, 1, 1)
    for channel in range(3):
        drawn = torch.randn(200_000, generator=generator) * norm.weight[channel] + norm.bias[channel]
        assert float(found[0, channel]) == pytest.approx(float(drawn[drawn < 0].mean().detach()), rel=0.02)
    assert float(found[0, 3]) == -3.0  # hardly ever negative
    assert float(found[0, 4]) == pytest.approx(-2.0)  # always the same


def test_partial_l2_and_its_sum_over_stages_as_by_loops():
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 4, 2), (2, 5, 2, 1)]
    students, teachers = ([torch.randn(s, generator=generator) for s in shapes] for _ in range(2))
    margins = [-torch.rand(1, s[1], 1, 1, generator=generator) for s in shapes]
    total = 0.0
    for weight, student, teacher, margin in zip((0.5, 1.0), students, teachers, margins, strict=True):
        stage = 0.0
        for (b, c, y, x), value in [((i, j, k, m), student[i, j, k, m].item())
                                    for i in range(2) for j in range(student.shape[1])
                                    for k in range(student.shape[2]) for m in range(student.shape[3])]:  # fmt: skip
            goal = max(teacher[b, c, y, x].item(), margin[0, c, 0, 0].item())
            if goal > 0 or value > goal:
                stage += (value - goal) ** 2
        assert float(partial_l2(student, teacher, margin)) == pytest.approx(stage, rel=1e-5)
        total += weight * stage / 2
    assert float(overhaul_loss(students, teachers, margins)) == pytest.approx(total, rel=1e-5)


def test_overhaul_trains_its_connectors_and_the_student(tmp_path):
    cfg = taught(tmp_path, "KD.EMA.ENABLED", True, "KD.OVERHAUL.SCALE", 1e-3, architecture="DistillerOverhaul")
    model = build_model(cfg).train()
    before = copies(model.feature_teacher)
    values = model(batch())
    assert list(values) == ["loss_cls", "loss_jsdiv", "loss_overhaul"]
    values["loss_overhaul"].backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.startswith("heads."):
            assert parameter.grad.abs().sum() > 0, name
    assert model.connectors[3][0].weight.shape == (128, 64, 1, 1)
    assert model.margin4.shape == (1, 128, 1, 1)
    assert {"connectors.0.0.weight", "connectors.3.1.running_mean", "margin1"} <= set(model.state_dict())
    first = float(values["loss_overhaul"].detach())
    train(model, steps=6, lr=0.1)
    assert float(model(batch())["loss_overhaul"].detach()) < first
    assert all(torch.equal(value, before[name]) for name, value in model.feature_teacher.state_dict().items())


def test_overhaul_loss_is_that_of_the_recorded_stages(tmp_path):
    model = build_model(taught(tmp_path, architecture="DistillerOverhaul")).train()
    table = batch()
    with record_stages(model.backbone) as own, record_stages(model.feature_teacher.backbone) as goal:
        model.backbone(model.preprocess_image(table))
        model.feature_teacher.backbone(model.feature_teacher.preprocess_image(table))
    stages = ("layer1", "layer2", "layer3", "layer4")
    expected = sum(
        partial_l2(connector(own[stage]), goal[stage], getattr(model, f"margin{i + 1}")) / 2 ** (3 - i)
        for i, (stage, connector) in enumerate(zip(stages, model.connectors, strict=True))
    )
    assert float(model(table)["loss_overhaul"].detach()) == pytest.approx(float(expected.detach()) * 1e-4 / 8, rel=1e-4)


def test_connector_is_initialised_for_the_teachers_width():
    torch.manual_seed(0)
    convolution, norm = make_connector(32, 128)
    assert float(convolution.weight.std().detach()) == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    assert (norm.weight == 1).all()


def test_overhaul_names_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match="DistillerOverhaul needs a trained teacher"):
        build_model(config("KD.EMA.ENABLED", True, architecture="DistillerOverhaul"))
    with pytest.raises(ValueError, match=r"gives maps of \(2, 2\) in layer4, the teacher of \(1, 1\)"):
        build_model(taught(tmp_path, stride=2, architecture="DistillerOverhaul")).train()(batch())
    osnet = ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"]
    with pytest.raises(ValueError, match="backbones of the ResNet family .* OSNet has none in layer1"):
        build_model(taught(tmp_path, *osnet, architecture="DistillerOverhaul"))
