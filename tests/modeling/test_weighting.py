"""Learnt weights of the losses: the formula, every meta-architecture, and nothing at all where they are fixed."""

import copy
import math

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.modeling import META_ARCH_REGISTRY, Baseline, build_model
from fastreid.modeling.losses.weighting import LossWeighting
from fastreid.solver import build_optimizer
from fastreid.utils.events import EventStorage

UNCERTAINTY = ["MODEL.LOSSES.WEIGHTING", "uncertainty"]


def config(architecture, *overrides):
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", architecture, "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "10x",
        "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64, "MODEL.HEADS.NUM_CLASSES", 4, "MODEL.QUEUE_SIZE", 20,
        "MODEL.HEADS.WITH_BNNECK", True, "MODEL.LOSSES.NAME", ["CrossEntropyLoss", "TripletLoss"],
        "KD.EMA.ENABLED", architecture == "Distiller", *overrides,
    ])  # fmt: skip
    return cfg


def batch():
    images = torch.rand(8, 3, 96, 32, generator=torch.Generator().manual_seed(3)) * 255
    return {"images": images, "targets": torch.arange(8) // 2}


def losses_of(cfg, s=None):
    """Losses of a model of fixed random weights, with the learnt numbers ``s``, if any; and the model."""
    torch.manual_seed(0)
    model = build_model(cfg).train()
    for name, value in (s or {}).items():
        model.loss_weighting.get_parameter(name).data.fill_(value)
    return model(batch()), model


def test_the_sum_and_its_gradients_are_those_of_the_formula():
    weighting = LossWeighting(["loss_a", "loss_b", "loss_c"]).double()
    s = {"loss_a": 0.5, "loss_b": -1.2, "loss_c": 3.0}
    for name, number in s.items():
        weighting.get_parameter(name).data.fill_(number)
    values = {"loss_a": 2.0, "loss_b": 0.3, "loss_c": 40.0}
    losses = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    total = sum(losses.values()) + weighting(losses)
    assert total.item() == pytest.approx(sum(losses[n].item() * math.exp(-s[n]) + s[n] for n in s), rel=1e-12)
    total.backward()
    for name, number in s.items():
        assert losses[name].grad.item() == pytest.approx(math.exp(-number), rel=1e-12)
        expected = 1 - losses[name].item() * math.exp(-number)
        assert weighting.get_parameter(name).grad.item() == pytest.approx(expected, rel=1e-12)


def test_it_begins_with_the_plain_sum_and_ends_at_the_logarithm_of_the_loss():
    weighting = LossWeighting(["loss_a", "loss_b"])
    losses = {"loss_a": torch.tensor(5.0), "loss_b": torch.tensor(0.2)}
    assert weighting(losses).item() == 0
    optimizer = torch.optim.Adam(weighting.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        weighting(losses).backward()
        optimizer.step()
    assert weighting.loss_a.item() == pytest.approx(math.log(5.0), abs=1e-3)
    assert weighting.loss_b.item() == pytest.approx(math.log(0.2), abs=1e-3)


def test_a_loss_with_nothing_to_compare_leaves_its_number_alone():
    weighting = LossWeighting(["loss_a", "loss_b"])
    weighting.loss_a.data.fill_(-3.0)
    some = {"loss_b": torch.tensor(1.5)}
    both = weighting({"loss_a": torch.zeros((), requires_grad=True), **some})
    assert both.item() == weighting(some).item()
    both.backward()
    assert weighting.loss_a.grad.item() == 0
    assert weighting.loss_b.grad.item() == pytest.approx(-0.5)


def test_a_loss_that_only_another_process_has_counts_here_too(monkeypatch):
    """The gradients of all processes are averaged: one that leaves the term out would halve it."""
    monkeypatch.setattr("fastreid.utils.comm.mean_over_processes", lambda values: values.detach() + 1)
    weighting = LossWeighting(["loss_a"])
    weighting({"loss_a": torch.zeros(())}).backward()
    assert weighting.loss_a.grad.item() == 1


def test_parts_of_a_loss_share_a_number_and_the_longest_name_wins():
    weighting = LossWeighting(["loss_cls", "loss_cls_text"])
    weighting.loss_cls.data.fill_(1.0)
    weighting.loss_cls_text.data.fill_(2.0)
    parts = {"loss_cls_b1": torch.tensor(3.0), "loss_cls_b22": torch.tensor(4.0), "loss_cls_text": torch.tensor(5.0)}
    expected = 7 * math.exp(-1) + 1 + 5 * math.exp(-2) + 2 - 12
    with EventStorage(0) as storage:
        assert weighting(parts).item() == pytest.approx(expected, rel=1e-6)
    assert {name: value for name, (value, _) in storage.latest().items()} == {"s_cls": 1.0, "s_cls_text": 2.0}


def test_a_loss_that_nobody_announced_is_named():
    with pytest.raises(ValueError, match=r"no weight for 'loss_clsx', only for loss_cls: .* `own_losses`"):
        LossWeighting(["loss_cls"])({"loss_clsx": torch.tensor(1.0)})


ARCHITECTURES = {
    "Baseline": {"loss_cls", "loss_triplet"},
    "MGN": {"loss_cls", "loss_triplet"},
    "MoCo": {"loss_cls", "loss_triplet", "loss_mb"},
    "Distiller": {"loss_cls", "loss_triplet", "loss_jsdiv"},
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_fixed_changes_neither_values_nor_names(architecture):
    losses, model = losses_of(config(architecture))
    torch.manual_seed(0)
    plain = META_ARCH_REGISTRY.get(architecture)(config(architecture)).train()  # without `build_model`
    expected = plain(batch())
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in expected)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [name for name, _ in model.named_modules()] == [name for name, _ in plain.named_modules()]
    assert not model._forward_hooks


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_uncertainty_adds_one_value_and_a_number_per_loss(architecture):
    plain, fixed = losses_of(config(architecture))
    s = {name: 0.1 * number for number, name in enumerate(sorted(ARCHITECTURES[architecture]), start=1)}
    with EventStorage(0) as storage:
        losses, model = losses_of(config(architecture, *UNCERTAINTY), s)
    assert {name for name, _ in model.loss_weighting.named_parameters()} == set(s)
    added = losses.pop("loss_weighting")
    assert losses.keys() == plain.keys()
    assert all(torch.equal(losses[name], plain[name]) for name in plain), "shown and logged as they are"
    expected = sum(s.values())
    for name, value in plain.items():
        key = next(key for key in s if name == key or name.startswith(f"{key}_"))
        expected += value.item() * (math.exp(-s[key]) - 1)
    assert added.item() == pytest.approx(expected, rel=1e-4)
    assert storage.latest()["s_triplet"][0] == pytest.approx(s["loss_triplet"])
    new = set(model.state_dict()) - set(fixed.state_dict())
    assert new == {f"loss_weighting.{name}" for name in s}
    assert isinstance(model.eval()(batch()), torch.Tensor)


def test_weights_are_trained_without_decay_saved_and_copied():
    cfg = config("Baseline", *UNCERTAINTY, "SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 0.1, "SOLVER.MOMENTUM", 0.0)
    losses, model = losses_of(cfg, {"loss_cls": 0.3})
    optimizer, _ = build_optimizer(cfg, model)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert found[id(parameter)] == ((0.1, 0) if name.startswith("loss_weighting.") else (0.1, 0.0005)), name
    cfg.SOLVER.WEIGHTING_LR_FACTOR = 3.0
    faster, _ = build_optimizer(cfg, model)
    rates = {id(p): group["lr"] for group in faster.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == pytest.approx(0.3 if name.startswith("loss_weighting.") else 0.1), name
    sum(losses.values()).backward()
    optimizer.step()
    moved = 0.3 - 0.1 * (1 - losses["loss_cls"].item() * math.exp(-0.3))
    assert model.loss_weighting.loss_cls.item() == pytest.approx(moved, rel=1e-4)
    again = build_model(cfg).train()
    again.load_state_dict(model.state_dict())
    twin = copy.deepcopy(model)
    twin.loss_weighting.loss_cls.data.fill_(-1.0)
    for other, s in ((again, moved), (twin, -1.0)):
        with EventStorage(0) as storage:
            other(batch())
        assert storage.latest()["s_cls"][0] == pytest.approx(s, rel=1e-4)


def test_models_from_outside():
    class Spread(Baseline):
        """With the constructor of fast-reid's projects, and a loss of its own."""

        def __init__(self, cfg):
            super().__init__(cfg)

        def losses(self, outputs, gt_labels):
            return {**super().losses(outputs, gt_labels), "loss_spread": outputs["features"].var()}

        def forward(self, batched_inputs):
            given = super().forward(batched_inputs)
            return given if self.training else {"features": given}

    class Bare(nn.Module):
        def __init__(self, cfg):
            super().__init__()

    META_ARCH_REGISTRY.register(Spread)
    META_ARCH_REGISTRY.register(Bare)
    try:
        with pytest.raises(ValueError, match="no weight for 'loss_spread', only for loss_cls, loss_triplet"):
            losses_of(config("Spread", *UNCERTAINTY))
        Spread.own_losses = ("loss_spread",)
        losses, model = losses_of(config("Spread", *UNCERTAINTY))
        assert "loss_weighting" in losses
        assert list(model.eval()(batch())) == ["features"]
        build_model(config("Bare"))
        with pytest.raises(ValueError, match="WEIGHTING uncertainty is for subclasses of TrainableModel, .* Bare is"):
            build_model(config("Bare", *UNCERTAINTY))
        with pytest.raises(ValueError, match="LOSSES.WEIGHTING must be one of 'fixed', 'uncertainty'; got 'uncertain'"):
            build_model(config("Baseline", "MODEL.LOSSES.WEIGHTING", "uncertain"))
    finally:
        del META_ARCH_REGISTRY._objects["Spread"], META_ARCH_REGISTRY._objects["Bare"]
