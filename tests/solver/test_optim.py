"""Optimisers of our own against slow references."""

import copy
import math

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.solver import build_optimizer, optim
from fastreid.solver.optim import SWA, Lamb, RAdam


def gradients(steps, shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(steps)]


def apply(optimizer, parameters, given):
    for row in given:
        for parameter, gradient in zip(parameters, row, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()


def numbers(tensor):
    return [float(value) for value in tensor.detach().flatten()]


def slow_lamb(weights, given, lr, eps, decay, adam):
    """Algorithm 2 on lists of numbers."""
    w, m, v = numbers(weights), [0.0] * weights.numel(), [0.0] * weights.numel()
    for step, gradient in enumerate(given, start=1):
        r = []
        for i, g in enumerate(numbers(gradient)):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            r.append(m[i] / (1 - 0.9**step) / (math.sqrt(v[i] / (1 - 0.999**step)) + eps) + decay * w[i])
        norm, length = min(math.dist(w, [0] * len(w)), 10.0), math.dist(r, [0] * len(r))
        ratio = norm / length if norm > 0 and length > 0 and not adam else 1.0
        w = [old - lr * ratio * part for old, part in zip(w, r, strict=True)]
    return w


@pytest.mark.parametrize("decay, adam", [(0.0, False), (0.1, False), (0.1, True)])
def test_lamb_against_numbers(decay, adam):
    torch.manual_seed(0)
    # ordinary, longer than the bound of the norm, and zero at first (as a bias is)
    parameters = [nn.Parameter(torch.randn(3, 2)), nn.Parameter(100 * torch.randn(4)), nn.Parameter(torch.zeros(2))]
    start, given = copy.deepcopy(parameters), gradients(5, [p.shape for p in parameters])
    apply(Lamb(parameters, lr=0.05, weight_decay=decay, adam=adam), parameters, given)
    for number, (parameter, before) in enumerate(zip(parameters, start, strict=True)):
        expected = slow_lamb(before, [row[number] for row in given], 0.05, 1e-6, decay, adam)
        assert numbers(parameter) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_lamb_leaves_zero_gradients_and_missing_ones_alone():
    still, untouched = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Lamb([still, untouched], lr=0.1)
    still.grad = torch.zeros(2)
    assert optimizer.step(lambda: 5.0) == 5.0
    assert still.tolist() == untouched.tolist() == [1.0, 1.0]


def test_lamb_of_a_parameter_that_starts_late_is_that_of_one_that_starts_now():
    """Frozen layers get no gradients at first; their bias correction must count their own steps."""
    late, now = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer, given = Lamb([late], lr=0.1), gradients(3, [(3,)])
    for _ in range(50):
        optimizer.step()
    apply(optimizer, [late], given)
    apply(Lamb([now], lr=0.1), [now], given)
    assert torch.equal(late, now)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"lr": -1}, "lr of Lamb must not be negative; got -1"),
        ({"betas": (0.9, 1)}, "betas of Lamb must be two .* got"),
    ],
)
def test_lamb_names_what_is_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Lamb([nn.Parameter(torch.ones(1))], **options)


def test_radam_against_numbers():
    """Liu et al., ICLR 2020, algorithm 2: plain momentum until the variance of the adaptive rate is tractable."""
    parameter = nn.Parameter(torch.tensor([1.0, -2.0]))
    given = gradients(8, [(2,)])
    w, m, v, limit = [1.0, -2.0], [0.0] * 2, [0.0] * 2, 2 / (1 - 0.999) - 1
    for t, (gradient,) in enumerate(given, start=1):
        rho = limit - 2 * t * 0.999**t / (1 - 0.999**t)
        for i, g in enumerate(numbers(gradient)):
            m[i], v[i] = 0.9 * m[i] + 0.1 * g, 0.999 * v[i] + 0.001 * g * g
            update = m[i] / (1 - 0.9**t)
            if rho > 5:
                rectified = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
                update *= math.sqrt(rectified) * math.sqrt(1 - 0.999**t) / (math.sqrt(v[i]) + 1e-8)
            w[i] -= 0.1 * update
    apply(RAdam([parameter], lr=0.1), [parameter], given)
    assert numbers(parameter) == pytest.approx(w, rel=1e-4)


def test_torch_optimisers_are_under_the_old_path():
    assert optim.SGD is torch.optim.SGD


def test_lamb_is_built_by_name():
    cfg, model = get_cfg(), nn.Linear(3, 2)
    cfg.SOLVER.OPT, cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY = "Lamb", 0.25, 0.125
    optimizer, _ = build_optimizer(cfg, model)
    assert type(optimizer) is Lamb
    assert optimizer.param_groups[0]["weight_decay"] == 0.125
    before = copy.deepcopy(model.weight)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert float((model.weight - before).detach().norm()) == pytest.approx(
        0.25 * float(before.detach().norm()), rel=1e-4
    )


def swa_run(steps, freq, start=None):
    torch.manual_seed(0)
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    swa = SWA(torch.optim.SGD([parameter], lr=0.5, momentum=0.9), swa_freq=freq)
    if start is not None:
        swa.load_state_dict(start[0])
        parameter.data.copy_(start[1])
    return parameter, swa


def test_swa_is_the_mean_of_the_weights_at_its_steps():
    parameter, swa = swa_run(0, 2)
    seen = []
    for row in gradients(7, [(2,)]):
        apply(swa, [parameter], [row])
        seen.append(parameter.detach().clone())
    last = parameter.detach().clone()
    expected = torch.stack([seen[1], seen[3], seen[5]]).mean(0)
    swa.swap_swa_param()
    torch.testing.assert_close(parameter.detach(), expected)
    swa.swap_swa_param()
    assert torch.equal(parameter, last)


def test_swa_without_a_frequency_waits_for_calls():
    parameter, swa = swa_run(0, None)
    apply(swa, [parameter], gradients(2, [(2,)]))
    with pytest.raises(RuntimeError, match="SWA has no average yet"):
        swa.swap_swa_param()
    swa.update_swa()
    before = parameter.detach().clone()
    swa.swap_swa_param()
    assert torch.equal(parameter, before), "the mean of one"


def test_swa_goes_on_from_its_state():
    whole, swa = swa_run(0, 2)
    given = gradients(9, [(2,)])
    apply(swa, [whole], given[:5])
    second, resumed = swa_run(0, 2, start=(copy.deepcopy(swa.state_dict()), whole.detach().clone()))
    apply(swa, [whole], given[5:])
    apply(resumed, [second], given[5:])
    assert torch.equal(whole, second), "momentum was restored"
    swa.swap_swa_param()
    resumed.swap_swa_param()
    assert torch.equal(whole, second)


def test_swa_shares_its_groups_with_the_optimiser():
    parameter, swa = swa_run(0, 1)
    scheduler = torch.optim.lr_scheduler.StepLR(swa, 1, 0.1)
    apply(swa, [parameter], gradients(1, [(2,)]))
    scheduler.step()
    assert swa.optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    swa.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert len(swa.optimizer.param_groups) == 2
    swa.load_state_dict(swa.state_dict())
    swa.swa_lr_factor = 0.5
    swa.reset_lr_to_swa()
    assert [g["lr"] for g in swa.optimizer.param_groups] == pytest.approx([0.025, 0.25])


def test_swa_names_what_is_out_of_range():
    base = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    with pytest.raises(ValueError, match="swa_freq of SWA must be at least 1; got 0"):
        SWA(base, 0)
    with pytest.raises(ValueError, match="swa_lr_factor of SWA must be >= 0; got -1"):
        SWA(base, 1, -1)
    with pytest.raises(ValueError, match="swa_lr_factor of SWA is None"):
        SWA(base, 1).reset_lr_to_swa()
