"""Fused optimisers: the steps of the plain ones, whatever the layout in memory, with clipping and loss scaling."""

import copy

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.engine.train_loop import AMPTrainer
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage

IMAGES = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LAST = torch.channels_last


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))

    def forward(self, images):
        return {"loss": self.body(images).square().mean() * 100}


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def config(name, fused, **more):
    cfg = get_cfg()
    cfg.SOLVER.OPT, cfg.SOLVER.FUSED, cfg.SOLVER.BASE_LR = name, fused, 0.01
    cfg.SOLVER.CLIP_GRADIENTS.merge_from_list([item for pair in more.items() for item in pair])
    return cfg


def step(net, optimizer, times):
    for _ in range(times):
        optimizer.zero_grad()
        net(IMAGES)["loss"].backward()
        optimizer.step()


def assert_same(one, other):
    for (name, value), expected in zip(one.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_steps_are_those_of_the_plain_optimiser(net, name, layout):
    other = copy.deepcopy(net).to(memory_format=layout)
    plain, _ = build_optimizer(config(name, False), net)
    fused, _ = build_optimizer(config(name, True), other)
    assert [group["fused"] for group in fused.param_groups] == [True] * len(fused.param_groups)
    assert not any(group["fused"] for group in plain.param_groups)
    step(net, plain, 4)
    step(other, fused, 4)
    assert_same(other, net)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_averages_of_a_training_with_another_layout_are_taken_over(net, name):
    plain, _ = build_optimizer(config(name, False), net)
    step(net, plain, 2)
    other = copy.deepcopy(net).to(memory_format=LAST)
    fused, _ = build_optimizer(config(name, True), other)
    saved = copy.deepcopy(plain.state_dict())
    for group, own in zip(saved["param_groups"], fused.state_dict()["param_groups"], strict=True):
        group["fused"] = own["fused"]
    fused.load_state_dict(saved)
    for parameter, state in fused.state.items():
        for value in state.values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                assert value.stride() == parameter.stride()
    step(net, plain, 2)
    step(other, fused, 2)
    assert_same(other, net)


@pytest.mark.parametrize("fused", [False, True])
def test_scaled_gradients_are_clipped_as_they_are(net, fused):
    clipping = {"ENABLED": True, "CLIP_TYPE": "value", "CLIP_VALUE": 0.01}
    other = copy.deepcopy(net)
    plain, _ = build_optimizer(config("SGD", False, **clipping), net)
    step(net, plain, 2)
    optimizer, _ = build_optimizer(config("SGD", fused, **clipping), other)
    trainer = AMPTrainer(other, [{"images": IMAGES}] * 2, optimizer, dtype="bfloat16")
    trainer._forward = lambda batch: other(batch["images"])  # in full precision
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with EventStorage():
        for _ in range(2):
            trainer.run_step()
    assert_same(other, net)


def test_a_step_of_gradients_that_are_not_finite_is_left_out(net):
    optimizer, _ = build_optimizer(config("SGD", True), net)
    before = copy.deepcopy(net.body[0].weight)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(net(IMAGES)["loss"]).backward()
    net.body[0].weight.grad[0] = float("inf")
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(net.body[0].weight, before)
    assert scaler.get_scale() == 512.0
