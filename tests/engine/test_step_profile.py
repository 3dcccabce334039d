"""Where the time of a training goes, and layouts in training."""

import gzip
import json
import time

import pytest
import torch
from torch import nn

from fastreid.engine import DefaultTrainer
from fastreid.engine.hooks import IterationTimer
from fastreid.engine.step_profile import PHASES, StepProfile
from fastreid.engine.train_loop import SimpleTrainer

SLEEP = {"data": 0.02, "forward": 0.04, "backward": 0.06, "optimizer": 0.03}  # seconds


class SlowGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        time.sleep(SLEEP["backward"])
        return gradient


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, batch):
        time.sleep(SLEEP["forward"])
        return {"loss": SlowGradient.apply(self.layer(batch["images"])).mean()}


class SlowDescent(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure=None):
        time.sleep(SLEEP["optimizer"])
        for parameter in self.param_groups[0]["params"]:
            parameter -= self.param_groups[0]["lr"] * parameter.grad


def batches(seconds):
    while True:
        time.sleep(seconds)
        yield {"images": torch.ones(4, 2)}


def trainer_of(*hooks, wait=SLEEP["data"]):
    net = Net()
    trainer = SimpleTrainer(net, batches(wait), SlowDescent(net.parameters(), {"lr": 0.1}))
    trainer.register_hooks(hooks)
    return trainer


def test_shares_are_those_of_the_phases(tmp_path):
    trainer = trainer_of(StepProfile(tmp_path / "profile", start=1, iters=2))
    trainer.train(0, 1, 6)
    found = json.loads((tmp_path / "profile" / "shares.json").read_text())
    assert found["iterations"] == 2
    assert list(found["shares"]) == list(PHASES)
    assert sum(found["shares"].values()) == pytest.approx(1)
    for phase, seconds in SLEEP.items():
        assert found["seconds"][phase] >= 2 * seconds, phase
    # each phase has its own sleep and not that of a neighbour, however slow the machine: at most what the others leave
    total = sum(found["seconds"].values())
    for phase, seconds in found["seconds"].items():
        others = sum(2 * sleep for name, sleep in SLEEP.items() if name != phase)
        assert seconds <= total - others + 1e-6, phase
    assert not trainer.model._forward_hooks
    assert not trainer.model._forward_pre_hooks


def test_the_trace_names_the_phases_of_its_iterations(tmp_path):
    trainer_of(StepProfile(tmp_path, start=0, iters=2)).train(0, 1, 5)
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        events = [event.get("name") for event in json.load(file)["traceEvents"]]
    assert {phase: events.count(phase) for phase in PHASES} == dict.fromkeys(PHASES, 2)
    assert "aten::linear" in events
    assert "aten::" in (tmp_path / "operators.txt").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["operators.txt", "shares.json", "trace.json.gz"]


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_a_training_that_ends_early_leaves_what_there_is(tmp_path, iterations):
    trainer_of(StepProfile(tmp_path, start=0, iters=2)).train(0, 1, iterations)
    assert json.loads((tmp_path / "shares.json").read_text())["iterations"] == min(iterations, 2)
    assert (tmp_path / "trace.json.gz").exists() == (iterations == 3)


def test_a_training_that_ends_before_says_so(tmp_path, caplog):
    trainer_of(StepProfile(tmp_path, start=5)).train(0, 1, 2)
    assert "the training ended before" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "name"), [({"start": -1}, "PROFILE.START"), ({"iters": 0}, "PROFILE.ITERS")])
def test_bad_values(tmp_path, options, name):
    with pytest.raises(ValueError, match=name):
        StepProfile(tmp_path, **options)


@pytest.mark.parametrize("wait", [0.0, 0.05])
def test_iterations_that_wait_for_the_loader_are_counted(wait):
    trainer = trainer_of(IterationTimer(warmup_iter=1), wait=wait)
    trainer.train(0, 1, 4)
    assert trainer.storage.latest()["loader_stalls"][0] == (3 if wait else 0)


def test_a_training_writes_its_profile(tiny_cfg, tmp_path):
    tiny_cfg.PROFILE.ENABLED, tiny_cfg.PROFILE.START, tiny_cfg.PROFILE.ITERS = True, 1, 2
    DefaultTrainer(tiny_cfg).train()
    folder = tmp_path / "out" / "profile"
    assert json.loads((folder / "shares.json").read_text())["iterations"] == 2
    assert (folder / "trace.json.gz").is_file()
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.json").read_text().splitlines()]
    assert "loader_stalls" in rows[-1]


def test_a_training_in_channels_last_has_the_losses_of_another(tiny_cfg):
    tiny_cfg.SEED = 1

    def losses(*options):
        torch.manual_seed(0)
        tiny_cfg.merge_from_list(options)
        trainer = DefaultTrainer(tiny_cfg)
        layouts = []
        trainer.model.backbone.layer1[0].register_forward_hook(
            lambda module, given, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
        )
        found = []
        trainer._trainer._write_metrics = lambda values, data_time: found.append(float(sum(values.values())))
        trainer.iter, trainer._trainer.iter = 0, 0
        for _ in range(3):
            trainer.run_step()
        return found, layouts

    plain, layouts = losses()
    assert not any(layouts)
    other, layouts = losses("SOLVER.CHANNELS_LAST", True, "SOLVER.FUSED", True)
    assert layouts == [True] * 3
    assert other == pytest.approx(plain, rel=1e-3)
    assert len(set(plain)) == 3
