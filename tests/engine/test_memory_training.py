"""Trainings whose pair losses have a memory: a resumed one is exact, and parts of a batch meet in the memory."""

import json
import os

import pytest
import torch
from torch import nn

from fastreid.engine import DefaultTrainer, default_argument_parser
from fastreid.engine.commands import setup
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.modeling.losses import Cosface, TripletLoss
from fastreid.utils.events import EventStorage

NODES = {"TRI": "TripletLoss", "CIRCLE": "CircleLoss", "COSFACE": "Cosface"}


def trainer_of(options, *more):
    pairs = [text for node in NODES for text in (f"MODEL.LOSSES.{node}.MEMORY", "20")]
    pairs += ["MODEL.LOSSES.NAME", str(tuple(NODES.values())), "SOLVER.BASE_LR", "0.01", "TEST.EVAL_PERIOD", "0"]
    return DefaultTrainer(setup(default_argument_parser().parse_args([*options, *pairs, *map(str, more)])))


def losses(folder):
    return {row["iteration"]: row["total_loss"] for row in map(json.loads, open(folder / "metrics.json"))}


def memories(trainer):
    parts = trainer.checkpointer.checkpointables
    return {name: parts[name].state_dict() for name in ("loss_triplet_memory", "loss_circle_memory",
                                                        "loss_cosface_memory")}  # fmt: skip


@pytest.mark.parametrize("start, parts", [(0, 1), (7, 1), (2, 2)])
def test_a_resumed_training_goes_on_with_the_memories(tiny_options, tmp_path, start, parts):
    """Also one that was stopped, at iteration 6, before the memories begin; and with parts of batches."""
    out, starts = tmp_path / "out", [text for n in NODES for text in (f"MODEL.LOSSES.{n}.MEMORY_START", start)]
    options = [*tiny_options, *map(str, starts), "SOLVER.ACCUMULATE", str(parts)]
    whole = trainer_of(options)
    whole.train()
    expected = losses(out)
    assert sorted(expected) == list(range(9))
    taken = [int(kept["tags"][0].ge(0).sum()) for kept in memories(whole).values()]
    assert taken == [min(20, 8 * (9 - start))] * 3
    (out / "last_checkpoint").write_text("model_0001.pth")
    os.remove(out / "metrics.json")
    resumed = trainer_of(options)
    resumed.resume_or_load(resume=True)
    assert all(bool(kept) == (start < 6) for kept in memories(resumed).values())
    resumed.train()
    assert losses(out) == {iteration: expected[iteration] for iteration in (6, 7, 8)}
    for name, kept in memories(whole).items():
        for key, part in kept.items():
            assert torch.equal(memories(resumed)[name][key], part), (name, key)
    model = torch.load(out / "model_final.pth", weights_only=True)["model"]
    assert not [name for name in model if "memory" in name or "queue" in name]


class Model(nn.Module):
    def __init__(self, loss):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.loss = nn.Linear(5, 3), loss

    def forward(self, batch):
        return {"loss": self.loss({**batch, "features": self.layer(batch["images"])})}


@pytest.mark.parametrize("kind, options", [(TripletLoss, {"hard_mining": True}), (Cosface, {"gamma": 8})])
def test_parts_of_a_batch_are_batches_and_an_iteration_is_all_of_them(kind, options):
    """By hand: losses that begin with the second step, on halves one after the other, and a step of the optimiser."""
    draw = torch.Generator().manual_seed(1)
    batches = [{"images": torch.randn(8, 5, generator=draw), "targets": torch.tensor([0, 0, 1, 1, 0, 0, 2, 2]),
                "img_paths": [f"{step}_{i}.png" for i in range(8)]} for step in range(4)]  # fmt: skip
    model, whole = Model(kind(memory=12, memory_start=1, **options)), Model(kind(**options))
    trainer = SimpleTrainer(model, batches, torch.optim.SGD(model.parameters(), lr=0.1))
    trainer.accumulate = 2
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1)
    for step, batch in enumerate(batches):
        with EventStorage(step) as storage:
            trainer.run_step()
            found = storage.history("total_loss").latest()
        optimizer.zero_grad()
        if step == 1:
            whole.loss = kind(memory=12, **options)
        total = 0
        for rows in (slice(0, 4), slice(4, 8)):
            value = whole({name: values[rows] for name, values in batch.items()})["loss"] / 2
            value.backward()
            total += float(value.detach())
        optimizer.step()
        assert found == pytest.approx(total, rel=1e-6)
    torch.testing.assert_close(model.layer.state_dict(), whole.layer.state_dict())
    (memory,), (other,) = model.loss.checkpointables().values(), whole.loss.checkpointables().values()
    torch.testing.assert_close(memory.state_dict(), other.state_dict())
