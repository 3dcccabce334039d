import math

import pytest
import torch

from fastreid.config import get_cfg
from fastreid.solver import WarmupLR, build_lr_scheduler
from fastreid.solver.lr_scheduler import counters, replay


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.WARMUP_ITERS = 1.0, 10, 0
    return cfg


def optimizer(lr=1.0):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def curve(cfg, iters_per_epoch):
    """Learning rate in the middle of each epoch, with the trainer's rule for stepping."""
    opt = optimizer(cfg.SOLVER.BASE_LR)
    schedulers = build_lr_scheduler(cfg, opt, iters_per_epoch)
    done, rates = 0, []
    for epoch in range(cfg.SOLVER.MAX_EPOCH):
        for _ in range(iters_per_epoch):
            opt.step()
            done += 1
            if done <= cfg.SOLVER.WARMUP_ITERS:
                schedulers["warmup_sched"].step()
        rates.append(opt.param_groups[0]["lr"])
        if done > cfg.SOLVER.WARMUP_ITERS and epoch + 1 > cfg.SOLVER.DELAY_EPOCHS:
            schedulers["lr_sched"].step()
    return rates


@pytest.mark.parametrize(
    "method, expected",
    [
        ("linear", [0.1, 0.325, 0.55, 0.775, 1.0, 1.0]),
        ("exp", [0.1 ** (1 - i / 4) for i in range(5)] + [1.0]),
        ("constant", [0.1, 0.1, 0.1, 0.1, 1.0, 1.0]),
    ],
)
def test_warmup(method, expected):
    opt = optimizer(2.0)
    scheduler = WarmupLR(opt, 0.1, 4, method)
    rates = []
    for _ in expected:
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    assert rates == pytest.approx([2.0 * factor for factor in expected])


def test_steps_count_from_the_end_of_the_warmup(cfg):
    cfg.SOLVER.STEPS, cfg.SOLVER.GAMMA, cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR = [2, 4], 0.1, 5, 1.0
    # five warm-up iterations of four per epoch end within the second epoch, whose end is the first step
    assert curve(cfg, 4) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01, 0.01])


def test_cosine_spans_what_warmup_and_delay_leave(cfg):
    cfg.SOLVER.SCHED, cfg.SOLVER.DELAY_EPOCHS, cfg.SOLVER.ETA_MIN_LR = "CosineAnnealingLR", 4, 0.2
    expected = [1.0] * 5 + [0.2 + 0.8 * (1 + math.cos(math.pi * e / 6)) / 2 for e in range(1, 6)]
    assert curve(cfg, 3) == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0, 6])
@pytest.mark.parametrize(
    "name, options, factor",
    [
        ("StepLR", [["step_size", 2], ["gamma", 0.5]], lambda e: 0.5 ** (e // 2)),
        ("ExponentialLR", [["gamma", 0.8]], lambda e: 0.8**e),
        ("PolynomialLR", [["total_iters", 5], ["power", 2]], lambda e: (1 - min(e, 5) / 5) ** 2),
        ("LinearLR", [["start_factor", 1], ["end_factor", 0.2], ["total_iters", 4]], lambda e: 1 - 0.2 * min(e, 4)),
        ("CosineAnnealingWarmRestarts", [["T_0", 4]], lambda e: (1 + math.cos(math.pi * (e % 4) / 4)) / 2),
    ],
)
def test_further_schedules_of_torch_count_epochs_from_the_end_of_the_warmup(cfg, name, options, factor, warmup):
    cfg.SOLVER.SCHED, cfg.SOLVER.SCHED_OPTIONS = name, options
    cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.WARMUP_FACTOR = warmup, 0.5
    rates = curve(cfg, 3)  # the warm-up of six iterations is two epochs; the epoch that ends it is not counted
    start = warmup // 3
    assert rates[start:] == pytest.approx([factor(epoch) for epoch in range(10 - start)], abs=1e-9)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("StepLR", [["step", 3]], "do not suit StepLR: name of an option must be one of .* Did you mean 'step_size'"),
        ("StepLR", [], "SCHED_OPTIONS {} do not suit StepLR: .*step_size"),
        ("StepLR", ["gamma"], r"SCHED_OPTIONS \['gamma'\] do not suit StepLR"),
        ("LinearLR", [["total_iters", 3]], "does not begin at the base learning rate; SOLVER.WARMUP_"),
    ],
)
def test_options_that_do_not_suit_a_schedule(cfg, name, options, message):
    cfg.SOLVER.SCHED, cfg.SOLVER.SCHED_OPTIONS = name, options
    with pytest.raises(ValueError, match=message):
        build_lr_scheduler(cfg, optimizer(), 10)


@pytest.mark.parametrize("name", ["ReduceLROnPlateau", "LambdaLR", "OneCycleLR"])
def test_a_schedule_that_needs_more_than_numbers_is_refused(cfg, name):
    cfg.SOLVER.SCHED = name
    with pytest.raises(KeyError, match=f"No object named '{name}' .* Registered: CosineAnnealingLR, "):
        build_lr_scheduler(cfg, optimizer(), 10)


def test_no_warmup_scheduler_without_warmup(cfg):
    assert set(build_lr_scheduler(cfg, optimizer(), 5)) == {"lr_sched"}


def test_no_epoch_left_for_the_cosine_is_an_error(cfg):
    cfg.SOLVER.SCHED, cfg.SOLVER.MAX_EPOCH = "CosineAnnealingLR", 3
    for warmup, delay, remedy in (
        (100, 0, "SOLVER.MAX_EPOCH 11 or more, or SOLVER.WARMUP_ITERS at most 20"),
        (0, 4, "SOLVER.MAX_EPOCH 5 or more, or SOLVER.DELAY_EPOCHS at most 2"),
        (100, 3, "SOLVER.MAX_EPOCH 11 or more, or SOLVER.WARMUP_ITERS at most 20 and SOLVER.DELAY_EPOCHS at most 2"),
    ):
        cfg.SOLVER.WARMUP_ITERS, cfg.SOLVER.DELAY_EPOCHS = warmup, delay
        with pytest.raises(ValueError, match="at least one epoch after warm-up and delay, got -?[0-9]+") as caught:
            build_lr_scheduler(cfg, optimizer(), 10)
        assert f"One epoch is 10 iterations, the warm-up {warmup} (SOLVER.WARMUP_ITERS)" in str(caught.value)
        assert f"delay {delay} epochs (SOLVER.DELAY_EPOCHS), SOLVER.MAX_EPOCH 3: set {remedy}" in str(caught.value)
        assert str(caught.value).endswith(remedy)


def test_steps_beyond_the_end_are_reported(cfg, caplog):
    cfg.SOLVER.STEPS = [5, 10]
    build_lr_scheduler(cfg, optimizer(), 10)
    assert "SOLVER.STEPS [10] are never reached: 10 epochs remain" in caplog.text


def test_wrong_names_and_lengths(cfg):
    with pytest.raises(ValueError, match="iters_per_epoch must be at least 1, got 0"):
        build_lr_scheduler(cfg, optimizer(), 0)
    cfg.SOLVER.SCHED = "CosineAnealingLR"
    with pytest.raises(KeyError, match="Did you mean 'CosineAnnealingLR'"):
        build_lr_scheduler(cfg, optimizer(), 10)
    with pytest.raises(ValueError, match=r"WARMUP_METHOD must be one of .* got 'lineal'. Did you mean 'linear'"):
        WarmupLR(optimizer(), 0.1, 4, "lineal")


def two_groups(cfg):
    """An optimiser of two groups and its schedules."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (0.5, 1.0)]
    opt = torch.optim.SGD(groups, lr=1.0)
    return opt, build_lr_scheduler(cfg, opt, 3)


def train(opt, schedulers, warmup_iters, epochs):
    """Yield the rates of both groups in each iteration of ``epochs``, three iterations each."""
    for epoch in epochs:
        for iteration in range(3 * epoch, 3 * epoch + 3):
            opt.step()
            yield [group["lr"] for group in opt.param_groups]
            if iteration < warmup_iters:
                schedulers["warmup_sched"].step()
        if 3 * epoch + 3 > warmup_iters:
            schedulers["lr_sched"].step()


@pytest.mark.parametrize("base_rates", [[0.5, 1.0], [7.0], [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("warmup_iters", [0, 5])
@pytest.mark.parametrize(
    "schedule, options",
    [
        ("MultiStepLR", []),
        ("CosineAnnealingLR", []),
        ("CosineAnnealingWarmRestarts", [["T_0", 2], ["T_mult", 2]]),
        ("PolynomialLR", [["total_iters", 6]]),
    ],
)
def test_a_fresh_optimiser_gets_the_rates_of_restored_schedules(cfg, schedule, options, warmup_iters, base_rates):
    cfg.SOLVER.SCHED, cfg.SOLVER.SCHED_OPTIONS, cfg.SOLVER.STEPS = schedule, options, [1, 3]
    cfg.SOLVER.WARMUP_ITERS = warmup_iters
    whole = list(train(*two_groups(cfg), warmup_iters, range(8)))
    for done in (1, 2, 3, 5, 7):
        first = two_groups(cfg)
        list(train(*first, warmup_iters, range(done)))
        opt, schedulers = two_groups(cfg)
        start = counters(schedulers)
        for name, scheduler in schedulers.items():
            scheduler.load_state_dict({**first[1][name].state_dict(), "base_lrs": base_rates})
        replay(opt, schedulers, start)
        assert [group["lr"] for group in opt.param_groups] == [group["lr"] for group in first[0].param_groups]
        assert list(train(opt, schedulers, warmup_iters, range(done, 8))) == whole[3 * done :]


def test_base_rates_of_the_checkpoint_go_on_where_each_group_has_one(cfg):
    opt, schedulers = two_groups(cfg)
    start = counters(schedulers)
    schedulers["lr_sched"].load_state_dict({"base_lrs": [3.0, 4.0], "last_epoch": 1, "_step_count": 2})
    replay(opt, schedulers, start)
    assert [group["lr"] for group in opt.param_groups] == [3.0, 4.0]
