import pytest
import torch
from torch import nn

from fastreid.engine import hooks
from fastreid.engine.train_loop import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
from fastreid.utils.events import EventStorage


class Model(nn.Module):
    """Losses a and b; ``scale`` of the batch multiplies them, so that a test can make them NaN."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)
        self.dtype = None

    def forward(self, batch):
        out = self.head(self.backbone(batch["x"]))
        self.dtype = out.dtype
        return {"loss_a": out.float().pow(2).mean() * batch["scale"], "loss_b": out.float().abs().mean()}


class Batches:
    def __init__(self, scales=()):
        self.scales = iter(scales)

    def __iter__(self):
        generator = torch.Generator().manual_seed(3)
        while True:
            yield {"x": torch.rand(8, 4, generator=generator), "scale": next(self.scales, 1.0)}


def simple(model=None, scales=(), cls=SimpleTrainer, **kwargs):
    model = model or Model()
    return cls(model, Batches(scales), torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


def test_hooks_are_called_in_order():
    log = []

    class Log(HookBase):
        def __init__(self, name):
            self.name = name

    for point in hooks.CallbackHook.POINTS:
        setattr(Log, point, lambda self, point=point: log.append(f"{self.name} {point}"))

    class Trainer(TrainerBase):
        def run_step(self):
            log.append(f"step {self.epoch}/{self.iter}")

    trainer = Trainer()
    trainer.register_hooks([Log("a"), None, Log("b")])
    trainer.train(1, 3, 1)
    step = ["a before_step", "b before_step", "step {}", "a after_step", "b after_step"]
    epoch = ["a before_epoch", "b before_epoch", *step, "a after_epoch", "b after_epoch"]
    expected = ["a before_train", "b before_train", *epoch, *epoch, "a after_train", "b after_train"]
    for number in ("1/1", "2/2"):
        expected[expected.index("step {}")] = f"step {number}"
    assert log == expected


def test_a_step_is_plain_sgd_on_the_sum_of_the_losses():
    trainer, model = simple(), Model()
    with EventStorage(0) as storage:
        trainer.run_step()
        seen = storage.latest()
    sum(model(next(iter(Batches()))).values()).backward()
    for expected, parameter in zip(model.parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected - 0.1 * expected.grad)
    assert seen["total_loss"][0] == pytest.approx(seen["loss_a"][0] + seen["loss_b"][0])


def test_nan_loss_names_losses_and_iteration_and_leaves_the_weights_alone():
    trainer = simple(scales=[1.0, float("nan")])
    with EventStorage(40) as storage:
        trainer.run_step()
        before = {name: value.clone() for name, value in trainer.model.named_parameters()}
        storage.step()
        with pytest.raises(FloatingPointError, match=r"iteration 41: loss_a = nan, loss_b = 0\.\d+"):
            trainer.run_step()
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())


def test_no_loss_is_an_error():
    class Silent(Model):
        def forward(self, batch):
            return {}

    with pytest.raises(ValueError, match=r"MODEL\.LOSSES\.NAME must name at least one"):
        simple(Silent()).run_step()


def test_bfloat16_step():
    trainer = simple(cls=AMPTrainer, dtype="bfloat16")
    reference = simple()
    for each in (trainer, reference):
        with EventStorage(0):
            each.run_step()
    assert trainer.model.dtype is torch.bfloat16
    assert trainer.grad_scaler is None
    for a, b in zip(trainer.model.parameters(), reference.model.parameters(), strict=True):
        assert a.dtype is torch.float32
        torch.testing.assert_close(a, b, atol=5e-3, rtol=5e-2)


def test_loss_scaling_changes_no_step_and_clipping_sees_true_gradients():
    scaled, plain = (simple(cls=AMPTrainer, dtype="bfloat16") for _ in range(2))
    scaled.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    norms = {}
    for name, trainer in (("scaled", scaled), ("plain", plain)):
        weight = trainer.model.head.weight
        trainer.optimizer.register_step_pre_hook(lambda *_, n=name, w=weight: norms.update({n: float(w.grad.norm())}))
        with EventStorage(0):
            trainer.run_step()
    assert norms["scaled"] == pytest.approx(norms["plain"], rel=1e-2)
    torch.testing.assert_close(scaled.model.state_dict(), plain.model.state_dict(), atol=1e-3, rtol=1e-2)
    assert set(scaled.grad_scaler.state_dict()) >= {"scale", "growth_factor"}


def test_float16_on_a_cpu_becomes_bfloat16_and_says_so(caplog):
    trainer = simple(cls=AMPTrainer, dtype="float16")
    assert trainer.dtype is torch.bfloat16
    assert "bfloat16 on this CPU" in caplog.text
    with pytest.raises(ValueError, match=r"AMP\.DTYPE must be one of 'float16', 'bfloat16'; got 'fp16'"):
        simple(cls=AMPTrainer, dtype="fp16")


class Loop(TrainerBase):
    """A trainer around one ``SimpleTrainer`` with attributes that hooks read."""

    def __init__(self, inner, *registered):
        super().__init__()
        self.inner = inner
        self.register_hooks(registered)

    def run_step(self):
        self.inner.run_step()


def test_frozen_layers_stay_fixed_also_after_an_evaluation_and_then_train():
    inner = simple()
    model, backbone = inner.model, inner.model.backbone
    start = {name: value.clone() for name, value in backbone.state_dict().items()}
    log = []

    def evaluate():
        model.eval()
        model.train()  # what an evaluation does to all children
        return {}

    def look(trainer):
        same = all(torch.equal(value, start[name]) for name, value in backbone.state_dict().items())
        log.append((trainer.iter, same, backbone.training, [p.grad is None for p in backbone.parameters()]))

    freeze = hooks.LayerFreeze(model, ["backbone"], 5)
    Loop(inner, freeze, hooks.EvalHook(1, evaluate), hooks.CallbackHook(after_step=look)).train(0, 4, 2)
    for iteration, same, training, no_gradient in log:
        assert same == (iteration < 5), iteration
        assert training == (iteration >= 5), iteration
        assert all(no_gradient) == (iteration < 5), iteration


def test_freeze_after_a_resume_depends_on_the_iteration():
    inner = simple()
    seen = []
    look = hooks.CallbackHook(after_step=lambda t: seen.append(inner.model.backbone.training))
    Loop(inner, hooks.LayerFreeze(inner.model, ["backbone"], 5), look).train(2, 4, 2)
    assert seen == [False, True, True, True]


def test_freeze_leaves_parameters_that_were_fixed_before():
    inner = simple()
    inner.model.backbone[1].bias.requires_grad_(False)
    Loop(inner, hooks.LayerFreeze(inner.model, ["backbone"], 1)).train(0, 1, 2)
    assert not inner.model.backbone[1].bias.requires_grad
    assert inner.model.backbone[0].weight.requires_grad


@pytest.mark.parametrize("period, epochs", [(0, []), (2, [1, 3, 4]), (5, [4]), (9, [4])])
def test_evaluation_epochs(period, epochs):
    seen = []
    loop = Loop(simple())
    loop.register_hooks([hooks.EvalHook(period, lambda: seen.append(loop.epoch) or {"d": {"metric": 1}})])
    loop.train(0, 5, 1)
    assert seen == epochs


def test_evaluation_must_give_numbers():
    loop = Loop(simple(), hooks.EvalHook(1, lambda: {"mAP": "high"}))
    with pytest.raises(ValueError, match="'mAP' is 'high'"):
        loop.train(0, 1, 1)


def test_epoch_seed_depends_on_seed_and_epoch_only():
    def draws(start, consumed):
        seen = {}
        loop = Loop(simple())
        draw = hooks.CallbackHook(before_step=lambda t: seen.setdefault(t.epoch, float(torch.rand(1))))
        loop.register_hooks([hooks.EpochSeed(7), draw])
        torch.rand(consumed)
        loop.train(start, 3, 1)
        return seen

    whole, resumed = draws(0, 5), draws(2, 11)
    assert resumed == {2: whole[2]}
    assert len(set(whole.values())) == 3


def test_unknown_callback_point():
    with pytest.raises(ValueError, match="no point 'after_iter'"):
        hooks.CallbackHook(after_iter=print)


def test_precise_bn_averages_the_statistics_of_batches():
    inner = simple()
    batches = [next(b) for b in [iter(Batches())] for _ in range(3)]
    hook = hooks.PreciseBN(inner.model, batches, 10)
    hook.update_stats()
    norm = inner.model.backbone[1]
    with torch.no_grad():
        inputs = [inner.model.backbone[0](batch["x"]) for batch in batches]
    torch.testing.assert_close(norm.running_mean, torch.stack([x.mean(0) for x in inputs]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([x.var(0) for x in inputs]).mean(0))
    assert norm.momentum == 0.1
    with pytest.raises(ValueError, match="no batch"):
        hooks.PreciseBN(inner.model, [], 10).update_stats()
