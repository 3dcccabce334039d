"""Trainings with the hierarchical loss: its memory goes on after a resume and stays out of the weights."""

import json
import os
import shutil

import pytest
import torch

from fastreid.engine import DefaultTrainer, default_argument_parser
from fastreid.engine.commands import setup
from fastreid.utils.checkpoint import load_weights
from tests.data.miniatures import write_metadata


@pytest.fixture
def options(tiny_data, tiny_options, tmp_path):
    """Two classes of two patents each, of one subclass; a memory of more than an epoch."""
    data = shutil.copytree(tiny_data, tmp_path / "data")
    write_metadata(data, "train.txt")
    return [
        *tiny_options, "DATASETS.FILELIST.ROOT", str(data), "DATASETS.FILELIST.METADATA", "('metadata.jsonl',)",
        "MODEL.LOSSES.NAME", "('HierarchicalContrastiveLoss',)", "MODEL.LOSSES.HIERARCHICAL.MEMORY", "40",
        "DATALOADER.SAMPLER_TRAIN", "HierarchicalSampler", "DATALOADER.NUM_INSTANCE", "2",
        "SOLVER.BASE_LR", "0.01", "TEST.EVAL_PERIOD", "0",
    ]  # fmt: skip


def trainer_of(options, *more):
    args = default_argument_parser().parse_args([*options, *map(str, more)])
    return DefaultTrainer(setup(args))


def losses(folder):
    return {row["iteration"]: row["total_loss"] for row in map(json.loads, open(folder / "metrics.json"))}


def memory_of(trainer):
    return trainer.checkpointer.checkpointables["loss_hierarchical_memory"].state_dict()


def test_a_resumed_training_goes_on_with_the_memory_and_another_one_begins_without(options, tmp_path):
    out = tmp_path / "out"
    whole = trainer_of(options)
    whole.train()
    expected, full = losses(out), memory_of(whole)
    assert sorted(expected) == list(range(9))
    assert full["tags"][0].ge(0).all(), "the memory is not full: it does not wrap around"
    (out / "last_checkpoint").write_text("model_0001.pth")
    os.remove(out / "metrics.json")
    resumed = trainer_of(options)
    resumed.resume_or_load(resume=True)
    assert not torch.equal(memory_of(resumed)["queue"], full["queue"])
    resumed.train()
    assert losses(out) == {iteration: expected[iteration] for iteration in (6, 7, 8)}
    for name, part in memory_of(resumed).items():
        assert torch.equal(part, full[name]), name

    model = torch.load(out / "model_final.pth", weights_only=True)["model"]
    assert not [name for name in model if "memory" in name or "queue" in name]
    other = trainer_of(options, "MODEL.WEIGHTS", out / "model_final.pth", "OUTPUT_DIR", tmp_path / "other")
    other.resume_or_load(resume=False)
    assert memory_of(other) == {}
    without = trainer_of(options, "MODEL.LOSSES.HIERARCHICAL.MEMORY", 0, "OUTPUT_DIR", tmp_path / "without")
    load_weights(without.model, model, optional=())
    assert "loss_hierarchical_memory" not in without.checkpointer.checkpointables


def test_a_memory_of_another_size_starts_afresh_and_says_so(options, tmp_path, capsys):
    trainer_of(options, "SOLVER.MAX_EPOCH", 2).train()
    changed = trainer_of(options, "MODEL.LOSSES.HIERARCHICAL.MEMORY", 30)
    changed.resume_or_load(resume=True)
    assert "the memory has 40 slots, MODEL.LOSSES.HIERARCHICAL.MEMORY is 30" in capsys.readouterr().out
    assert memory_of(changed) == {}


def test_data_without_codes_are_refused(options, tiny_data):
    options = [*options, "DATASETS.FILELIST.METADATA", "()"]
    with pytest.raises(ValueError, match="HierarchicalSampler needs the Locarno codes .* name none, or are not given"):
        trainer_of(options)
    trainer = trainer_of(options, "DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler")
    with pytest.raises(ValueError, match="HierarchicalContrastiveLoss needs taxonomy, which this training data"):
        trainer.train()
