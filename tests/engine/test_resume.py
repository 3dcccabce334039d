"""A killed training continues to the same losses; two processes train one model."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.engine import DefaultTrainer, commands
from fastreid.engine.defaults import _plan
from fastreid.solver import build_lr_scheduler

# freeze goes on past the checkpoint, the warm-up ends before it: the schedule, too, has a state to restore
STATEFUL = ["MODEL.FREEZE_LAYERS", "['backbone.layer1']", "SOLVER.FREEZE_ITERS", "5", "SOLVER.WARMUP_ITERS", "2"]


def command(repo, options):
    return [sys.executable, str(repo / "tools" / "train_net.py"), *options]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def with_output(options, folder):
    return [*options, "OUTPUT_DIR", str(folder)]


def metrics(folder):
    return {row["iteration"]: row for row in map(json.loads, (folder / "metrics.json").read_text().splitlines())}


def run(*arguments):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the process that is killed: sums in another order round otherwise
    assert commands.train(arguments) == 0
    torch.set_num_threads(threads)


def kill_after(arguments, words):
    """Start a process, kill it with SIGKILL as soon as a line with ``words`` appears on its console."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(arguments, env=environment(), **pipes)
    seen = []
    for line in process.stdout:
        seen.append(line)
        if words in line:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL, "".join(seen)[-3000:]


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_losses(repo, tiny_options, tmp_path, capsys):
    options = [*tiny_options, *STATEFUL, "SOLVER.AMP.ENABLED", "True"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(*with_output(options, whole))
    kill_after(command(repo, with_output(options, broken)), "model_0000.pth")
    assert not (broken / "model_final.pth").exists()
    run("--resume", *with_output(options, broken))
    assert "Resuming from" in capsys.readouterr().out
    expected, resumed = metrics(whole), metrics(broken)
    assert sorted(resumed) == sorted(expected) == list(range(9))
    for iteration, row in expected.items():
        for name in ("total_loss", "loss_cls", "loss_triplet", "lr"):
            assert resumed[iteration][name] == row[name], (iteration, name)
    assert resumed[8]["mAP"] == expected[8]["mAP"]
    a, b = (torch.load(f / "model_final.pth", weights_only=True) for f in (whole, broken))
    for name, value in a["model"].items():
        assert torch.equal(value, b["model"][name]), name
    assert a["best_metric"] == b["best_metric"]


def train_and_describe(args):
    """One process of the test below: train and write what it saw."""
    from fastreid.utils import comm

    cfg = commands.setup(args)
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    model = trainer.model.module
    digest = {name: float(value.double().sum()) for name, value in model.state_dict().items()}
    every = comm.all_gather(digest)
    if comm.is_main_process():
        with open(os.path.join(cfg.OUTPUT_DIR, "every.json"), "w") as file:
            json.dump(every, file)


def test_two_processes_hold_one_model(quick_launch, tiny_options, tmp_path):
    from fastreid.engine import default_argument_parser, launch

    out = tmp_path / "two"
    # no cross-entropy: the classification weights get no gradient, which stops fast-reid under DDP
    options = [*tiny_options, *STATEFUL, "MODEL.LOSSES.NAME", "('TripletLoss',)", "OUTPUT_DIR", str(out),
               "SOLVER.MAX_EPOCH", "2"]  # fmt: skip
    args = default_argument_parser().parse_args(["--num-gpus", "2", *options])
    launch(train_and_describe, args.num_gpus, args=(args,))
    first, second = json.loads((out / "every.json").read_text())
    assert first == second
    assert (out / "log.txt.rank1").exists()
    assert not any("rank" in name for name in os.listdir(out) if name.startswith("metrics"))
    assert len(metrics(out)) == 6
    assert metrics(out)[5]["mAP"] >= 0


@pytest.mark.parametrize(
    "name, options",
    [
        ("MultiStepLR", []),
        ("CosineAnnealingLR", []),
        ("CosineAnnealingWarmRestarts", [["T_0", 2], ["T_mult", 2]]),
        ("ExponentialLR", [["gamma", 0.9]]),
        ("LinearLR", [["start_factor", 1], ["end_factor", 0.5]]),
        ("PolynomialLR", []),
        ("StepLR", [["step_size", 2]]),
    ],
)
def test_how_far_a_schedule_is_counts_as_no_change_of_settings(name, options):
    cfg = get_cfg()
    cfg.SOLVER.SCHED, cfg.SOLVER.SCHED_OPTIONS = name, options
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = build_lr_scheduler(cfg, optimizer, 100)
    before = _plan(schedulers)
    for _ in range(5):
        optimizer.step()
        schedulers["lr_sched"].step()
    assert _plan(schedulers) == before
    assert any(key.startswith("lr_sched.") for key in before)


class RatesKept(DefaultTrainer):
    """Keeps the rates of all groups in each iteration."""

    def run_step(self):
        super().run_step()
        self.rates = {**getattr(self, "rates", {}), self.iter: [group["lr"] for group in self.optimizer.param_groups]}


def as_of_fastreid(path):
    """Rewrite a checkpoint as fast-reid's: the optimiser has one flat buffer, and the schedules one base rate."""
    state = torch.load(path, weights_only=True)
    state["optimizer"] = {"state": {}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
    for scheduler in (state["lr_sched"], state["warmup_sched"]):
        scheduler.update({key: scheduler[key][:1] for key in ("base_lrs", "_last_lr")})
    for key in ("iteration", "events", "best_metric"):
        state.pop(key)
    torch.save(state, path)


def test_rates_go_on_without_the_optimiser_of_the_checkpoint(tiny_cfg, tmp_path, capsys):
    tiny_cfg.merge_from_list([
        "SOLVER.MAX_EPOCH", 6, "SOLVER.WARMUP_ITERS", 5, "SOLVER.SCHED", "MultiStepLR", "SOLVER.STEPS", [1, 3],
        "SOLVER.BIAS_LR_FACTOR", 2.0, "TEST.EVAL_PERIOD", 0, "MODEL.FREEZE_LAYERS", ["backbone.layer1"],
        "SOLVER.FREEZE_ITERS", 4,
    ])  # fmt: skip
    whole = RatesKept(tiny_cfg)
    whole.train()
    out = tmp_path / "out"
    for epoch, frozen_steps in ((0, 1), (1, 0), (4, 0)):  # in the warm-up, before the rate drops, after it dropped
        as_of_fastreid(out / f"model_{epoch:04d}.pth")
        (out / "last_checkpoint").write_text(f"model_{epoch:04d}.pth")
        resumed = RatesKept(tiny_cfg)
        capsys.readouterr()
        resumed.resume_or_load(resume=True)
        shown = capsys.readouterr().out
        assert "'optimizer' of" in shown
        assert "settings changed" not in shown
        left = {group.get("frozen_steps_left", frozen_steps) for group in resumed.optimizer.param_groups}
        assert left == {frozen_steps}
        resumed.checkpointer.save_to_disk = False
        resumed.train()
        assert sorted(resumed.rates) == list(range(3 * (epoch + 1), 18))
        for iteration, rates in resumed.rates.items():
            assert rates == whole.rates[iteration], iteration


@pytest.mark.parametrize("weights, what", [("", "the training starts anew$"), ("w.pth", "from MODEL.WEIGHTS .*w.pth$")])
def test_nothing_to_resume_is_said(tiny_cfg, tmp_path, capsys, weights, what):
    trainer = DefaultTrainer(tiny_cfg)
    if weights:
        torch.save({"model": trainer.model.state_dict()}, tmp_path / weights)
        trainer.cfg.MODEL.WEIGHTS = str(tmp_path / weights)
    trainer.resume_or_load(resume=False)
    assert "holds no checkpoint" not in capsys.readouterr().out
    trainer.resume_or_load(resume=True)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "holds no checkpoint" in line]
    assert f"OUTPUT_DIR {tmp_path / 'out'} holds no checkpoint" in line
    assert re.search(what, line)
