"""A training of images and texts: from the text bank to weights that need no bank, and on after a stop."""

import json
import shutil

import numpy as np
import pytest
import torch

from fastreid.config import get_cfg
from fastreid.data.text_bank import TextBank
from fastreid.engine import DefaultTrainer
from fastreid.engine.ablation.checks import check_settings
from fastreid.engine.commands import load_model
from fastreid.engine.defaults import _some_may_lack_gradients
from fastreid.engine.export import export
from fastreid.engine.settings import settings_without_effect

CODES = ["0601", "0601", "1404", ""]
WIDTH = 12
TEXTUAL = ["MODEL.META_ARCHITECTURE", "ImageText", "MODEL.HEADS.NAME", "ProjectionHead",
           "MODEL.HEADS.PROJECTOR_DIM", "8", "MODEL.HEADS.WITH_BNNECK", "False", "SOLVER.OPT", "AdamW",
           "MODEL.LOSSES.NAME", "('ImageTextLoss', 'ClassTextLoss', 'CategoryTextLoss')",
           "MODEL.LOSSES.WEIGHTING", "uncertainty"]  # fmt: skip


@pytest.fixture
def options(tiny_options, tmp_path):
    """The tiny data with a Locarno code for each identity and two texts for each image."""
    names = [f"{pid}_{number}.png" for pid in range(4) for number in range(6)]
    texts = {name: [f"a view of thing {name[0]}", f"thing {name[0]}, figure {name[2]}"] for name in names}
    count = len({text for own in texts.values() for text in own})
    vectors = np.random.default_rng(0).normal(size=(count, WIDTH))
    TextBank.write(tmp_path / "bank", texts, vectors)
    patents = [{"locarno": CODES[int(name[0])], "figures": [{"file": name}]} for name in names]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, patents)))
    return [*tiny_options, "DATASETS.FILELIST.METADATA", f"('{tmp_path / 'metadata.jsonl'}',)",
            "DATASETS.TEXT_BANK", str(tmp_path / "bank"), *TEXTUAL]  # fmt: skip


def config(options, *more):
    cfg = get_cfg()
    cfg.merge_from_list([*options, *map(str, more)])
    return cfg


def trained(options, *more, resume=False):
    cfg = config(options, *more)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    results = trainer.train()
    return trainer, results


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_from_the_bank_to_weights_that_need_none(options, tmp_path):
    trainer, results = trained(options)
    model = trainer.model
    assert model.heads.feature_dim == trainer.cfg.MODEL.HEADS.EMBEDDING_DIM == WIDTH
    assert 0 < results["mAP"] <= 100
    rows = rows_of(tmp_path / "out")
    names = ("loss_clip", "loss_cls_text", "loss_cat_text")
    for row in rows:
        assert {f"s_{name.removeprefix('loss_')}" for name in names} <= row.keys()
    first = rows[0]
    assert first["s_clip"] == first["loss_weighting"] == 0
    assert first["total_loss"] == pytest.approx(sum(first[name] for name in names), rel=1e-5)
    last = [rows[-1][f"s_{name.removeprefix('loss_')}"] for name in names]
    assert all(s != 0 for s in last)
    assert model.heads.temperature.item() != pytest.approx(0.07, rel=1e-6)

    weights = ["MODEL.WEIGHTS", tmp_path / "out" / "model_final.pth", "DATASETS.TEXT_BANK", ""]
    images = torch.rand(2, 3, 32, 32) * 255
    with torch.no_grad():
        expected = model.eval()(images)
        for how in ("fixed", "uncertainty"):
            loaded = load_model(config(options, *weights, "MODEL.LOSSES.WEIGHTING", how), DefaultTrainer).eval()
            assert torch.equal(loaded(images), expected)
        fixed = {name: value for name, value in model.state_dict().items() if not name.startswith("loss_weighting.")}
        torch.save({"model": fixed}, tmp_path / "fixed.pth")
        without = config(options, *weights, "MODEL.WEIGHTS", tmp_path / "fixed.pth")
        assert torch.equal(load_model(without, DefaultTrainer).eval()(images), expected)
    cfg = config(options, *weights)
    for kind in ("torchscript", "onnx"):
        assert export(cfg, tmp_path / f"model.{kind}", kind) < 1e-4


def test_features_of_the_training_are_read_again_without_the_bank(options, tmp_path):
    trained(options, "SOLVER.MAX_EPOCH", 2, "TEST.EVAL_PERIOD", 2)
    features = tmp_path / "out" / "features" / "FileList.npz"
    before = features.stat().st_mtime_ns
    weights = ["MODEL.WEIGHTS", tmp_path / "out" / "model_final.pth"]
    for more in ([], ["DATASETS.TEXT_BANK", ""], ["MODEL.HEADS.EMBEDDING_DIM", WIDTH]):
        cfg = config(options, *weights, *more)
        DefaultTrainer.test(cfg, load_model(cfg, DefaultTrainer), reuse_features=True)
        assert features.stat().st_mtime_ns == before


def test_a_stopped_training_goes_on_to_the_same_numbers(options, tmp_path):
    trained(options)
    whole, rest = tmp_path / "out", tmp_path / "rest"
    rest.mkdir()
    shutil.copy(whole / "model_0000.pth", rest)
    (rest / "last_checkpoint").write_text("model_0000.pth")
    trained(options, "OUTPUT_DIR", rest, resume=True)
    expected, found = rows_of(whole), rows_of(rest)
    assert [row["iteration"] for row in found] == list(range(3, 9))
    for before, after in zip(expected[3:], found, strict=True):
        for name in ("total_loss", "loss_clip", "loss_weighting", "s_clip", "s_cat_text"):
            assert after[name] == before[name], (after["iteration"], name)
    a, b = (torch.load(folder / "model_final.pth", weights_only=True)["model"] for folder in (whole, rest))
    for name in ("heads.logit_scale", "loss_weighting.loss_clip", "heads.projector.0.weight"):
        assert torch.equal(a[name], b[name]), name


def test_widths_are_compared_when_the_trainer_is_built(options):
    with pytest.raises(ValueError, match=f"gives 5 .MODEL.HEADS.EMBEDDING_DIM., the text bank {WIDTH} .DATASETS.TEXT"):
        DefaultTrainer(config(options, "MODEL.HEADS.EMBEDDING_DIM", 5))
    assert DefaultTrainer(config(options, "MODEL.HEADS.EMBEDDING_DIM", WIDTH)).model.heads.feature_dim == WIDTH
    with pytest.raises(ValueError, match=r"MODEL.HEADS.PROJECTOR is '', .* width 16 .* width 12"):
        DefaultTrainer(config(options, "MODEL.HEADS.PROJECTOR", ""))
    with pytest.raises(ValueError, match="needs text_features .*set DATASETS.TEXT_BANK"):
        trained(options, "DATASETS.TEXT_BANK", "")


def test_another_head_has_its_own_width(options):
    cfg = config(options, "MODEL.META_ARCHITECTURE", "Baseline", "MODEL.HEADS.NAME", "EmbeddingHead",
                 "MODEL.LOSSES.NAME", "('TripletLoss',)")  # fmt: skip
    assert DefaultTrainer(cfg).model.heads.feature_dim == 16


def test_parallel_training_looks_for_idle_parameters_only_where_some_are(options):
    def lacking(*more):
        cfg = config(options, *more)
        return _some_may_lack_gradients(cfg, DefaultTrainer.build_model(cfg))

    # the tiny backbone is from outside, of which nothing is known
    own = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", 8]
    assert not lacking(*own)
    assert lacking(*own, "MODEL.META_ARCHITECTURE", "Baseline", "MODEL.LOSSES.NAME", "('TripletLoss',)")
    assert lacking()


def test_settings_of_a_head_without_neck_and_classifier(options):
    assert settings_without_effect(config(options)) == []
    head = ["MODEL.HEADS.WITH_BNNECK", True, "MODEL.HEADS.CLS_LAYER", "ArcSoftmax", "MODEL.HEADS.SCALE", 30,
            "MODEL.HEADS.PROJECTOR", "linear"]  # fmt: skip
    idle = settings_without_effect(config(options, *head))
    reason = "(ProjectionHead has neither neck nor classifier)"
    assert idle == [
        f"MODEL.HEADS.WITH_BNNECK = True {reason}", f"MODEL.HEADS.CLS_LAYER = 'ArcSoftmax' {reason}",
        f"MODEL.HEADS.SCALE = 30 {reason}",
        "MODEL.HEADS.PROJECTOR_DIM = 8 (only for ProjectionHead with MODEL.HEADS.PROJECTOR 'mlp')",
    ]  # fmt: skip
    fixed = settings_without_effect(config(options, "MODEL.LOSSES.WEIGHTING", "fixed", "SOLVER.WEIGHTING_LR_FACTOR", 5))
    assert fixed == ["SOLVER.WEIGHTING_LR_FACTOR = 5.0 (MODEL.LOSSES.WEIGHTING is 'fixed')"]
    plain = ["MODEL.HEADS.NAME", "EmbeddingHead", "MODEL.META_ARCHITECTURE", "Baseline", "MODEL.LOSSES.NAME",
             "('TripletLoss',)", "MODEL.HEADS.TEMPERATURE", 0.1, "MODEL.HEADS.MIN_TEMPERATURE", 0.05]  # fmt: skip
    idle = "\n".join(settings_without_effect(config(options, *plain)))
    assert "MODEL.HEADS.TEMPERATURE = 0.1 (only for MODEL.HEADS.NAME ProjectionHead)" in idle
    assert "MIN_TEMPERATURE = 0.05 (only for ProjectionHead with MODEL.HEADS.LEARN_TEMPERATURE)" in idle
    assert "DATASETS.TEXT_BANK = " in idle
    assert "(no loss of MODEL.LOSSES.NAME reads text_features)" in idle


@pytest.mark.parametrize("key, value, message", [
    ("MODEL.HEADS.PROJECTOR", "mpl", "HEADS.PROJECTOR must be one of"),
    ("MODEL.HEADS.TEMPERATURE", 0.001, "HEADS.TEMPERATURE must be at least"),
    ("MODEL.LOSSES.WEIGHTING", "certain", "LOSSES.WEIGHTING must be one of"),
    ("MODEL.LOSSES.CLASSTEXT.LEVEL", "patent", "CLASSTEXT.LEVEL must be one of"),
    ("INPUT.GRIDMASK.KEEP", 2.0, "GRIDMASK.KEEP must be in"),
])  # fmt: skip
def test_a_table_of_ablations_refuses_wrong_settings_before_it_runs(options, key, value, message):
    cfg = config(options, "INPUT.GRIDMASK.ENABLED", True)
    check_settings(cfg)
    with pytest.raises(ValueError, match=message):
        check_settings(config(options, "INPUT.GRIDMASK.ENABLED", True, key, value))
