"""The names that projects, tools and demos import from fast-reid: all there, and those without another test work."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from fastreid.config import get_cfg
from fastreid.data.data_utils import BackgroundGenerator
from fastreid.engine import hooks
from fastreid.engine.train_loop import SimpleTrainer
from fastreid.evaluation import ReidEvaluator
from fastreid.modeling import build_model
from fastreid.modeling.losses import LOSS_REGISTRY, CrossEntropyLoss, TripletLoss
from fastreid.modeling.losses.settings import losses_from, settings_from_cfg, settings_of
from fastreid.modeling.meta_arch import Baseline
from fastreid.utils import checkpoint, logger
from fastreid.utils.checkpoint import Checkpointer
from fastreid.utils.file_io import PathHandler, PathManager
from fastreid.utils.params import ContiguousParams
from fastreid.utils.summary import summary

LINES = (Path(__file__).parent / "public_names.txt").read_text().splitlines()


@pytest.mark.parametrize("line", LINES, ids=[line.partition(":")[0] for line in LINES])
def test_every_name_of_fast_reid_can_be_imported(line):
    module, _, names = line.partition(": ")
    missing = []
    for name in set(names.split()) - {"*"}:
        if not hasattr(importlib.import_module(module), name):
            try:
                importlib.import_module(f"{module}.{name}")
            except ImportError:
                missing.append(name)
    assert not missing


class Letters(PathHandler):
    """Files of another storage, here of a folder."""

    def __init__(self, folder):
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["letters://"]

    def _get_local_path(self, path, **kwargs):
        return str(self.folder / path.removeprefix("letters://"))


def test_path_manager_does_what_the_functions_of_os_do(tmp_path, monkeypatch):
    monkeypatch.setattr(PathManager, "_handlers", dict(PathManager._handlers))
    assert checkpoint.PathManager is PathManager is logger.PathManager
    folder = str(tmp_path / "a" / "b")
    PathManager.mkdirs(folder)
    with PathManager.open(f"{folder}/x.txt", "w") as file:
        file.write("one")
    assert PathManager.copy(f"{folder}/x.txt", f"{folder}/y.txt")
    with PathManager.open(f"{folder}/x.txt", "w") as file:
        file.write("two")
    assert not PathManager.copy(f"{folder}/x.txt", f"{folder}/y.txt"), "an existing file stays"
    assert Path(folder, "y.txt").read_text() == "one"
    assert PathManager.copy(f"{folder}/x.txt", f"{folder}/y.txt", overwrite=True)
    assert Path(folder, "y.txt").read_text() == "two"
    assert PathManager.ls(folder) == ["x.txt", "y.txt"]
    PathManager.rm(f"{folder}/x.txt")
    assert (PathManager.exists(f"{folder}/x.txt"), PathManager.isfile(f"{folder}/y.txt")) == (False, True)
    assert PathManager.isdir(folder)
    assert PathManager.get_local_path(folder) == folder


def test_path_manager_asks_the_handler_of_the_longest_prefix(tmp_path, monkeypatch):
    monkeypatch.setattr(PathManager, "_handlers", dict(PathManager._handlers))
    (tmp_path / "x.txt").write_text("far")
    with pytest.raises(FileNotFoundError):
        PathManager.open("letters://x.txt")
    PathManager.register_handler(Letters(tmp_path))
    with PathManager.open("letters://x.txt") as file:
        assert file.read() == "far"
    assert PathManager.exists("letters://x.txt")
    assert PathManager.ls("letters://") == ["x.txt"]
    with pytest.raises(ValueError, match="Letters can only read; mode 'w'"):
        PathManager.open("letters://x.txt", "w")
    with pytest.raises(NotImplementedError, match="Letters has no _rm"):
        PathManager.rm("letters://x.txt")
    with pytest.raises(ValueError, match="within one storage only"):
        PathManager.copy("letters://x.txt", str(tmp_path / "y.txt"))
    with pytest.raises(KeyError, match="has a handler for 'letters://' already: Letters"):
        PathManager.register_handler(Letters(tmp_path))
    PathManager.register_handler(Letters(tmp_path / "other"), allow_override=True)
    assert not PathManager.exists("letters://x.txt")


def test_path_manager_downloads_addresses(tmp_path, monkeypatch):
    (tmp_path / "page").write_text("downloaded")
    monkeypatch.setattr("fastreid.utils.file_io.cached_download", lambda url: tmp_path / url.rpartition("/")[2])
    with PathManager.open("https://host/page") as file:
        assert file.read() == "downloaded"


def test_contiguous_params_train_the_model_itself():
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    params = ContiguousParams([{"params": list(model.parameters()), "lr": 0.5}])
    optimizer = torch.optim.SGD(params.contiguous(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    params.assert_buffer_is_valid()
    torch.testing.assert_close(model.weight.detach(), before - 0.5)
    assert params.buffer_is_valid()
    assert params.original() == params.contiguous()


def test_summary_lists_layers_and_counts(capsys):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8 * 4, 5)).train()
    model[1].weight.requires_grad_(False)
    assert summary(model, (3, 4, 4), batch_size=7) == (216 + 16 + 165, 216 + 8 + 165)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["Conv2d-1", "[7,", "8,", "2,", "2]", "216"]
    assert lines[-1] == "Parameters: 397, trainable: 389"
    assert model.training
    assert float(model[1].running_mean.abs().sum()) == 0


def test_summary_of_several_inputs_and_of_a_model_that_fails():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 3)

        def forward(self, x, y):
            return self.first(x) + y

    assert summary(Sum(), [(2,), (3,)]) == (9, 9)
    model = Sum().train()
    with pytest.raises(RuntimeError):
        summary(model, [(2,), (4,)])
    assert model.training
    assert not model.first._forward_hooks


def test_background_generator_gives_items_in_order_and_passes_on_errors():
    assert list(BackgroundGenerator(iter([3, None, 5]), 0, max_prefetch=1)) == [3, None, 5]

    def broken():
        yield 1
        raise OSError("corrupt image")

    background = BackgroundGenerator(broken())
    assert background.next() == 1
    with pytest.raises(OSError, match="corrupt image"):
        next(background)
    with pytest.raises(StopIteration):
        next(background)


def test_background_generator_ends_when_nobody_reads_on():
    background = BackgroundGenerator(iter(range(1000)), max_prefetch=2)
    assert next(background) == 0
    background.close()
    assert not background.is_alive()


class Batches:
    """An endless loader of one batch table after the other."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(0)
        while True:
            yield torch.randn(4, 2, generator=generator)


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(2), nn.Linear(2, 1)

    def forward(self, x):
        return {"loss": (self.layer(self.norm(x)) - 1).pow(2).mean()}


def small_trainer(extra, lr=0.1):
    torch.manual_seed(0)
    model = Tiny()
    trainer = SimpleTrainer(model, Batches(), torch.optim.SGD(model.parameters(), lr=lr))
    trainer.register_hooks([extra])
    return trainer


class Seen(hooks.HookBase):
    """Keeps the learning rate of each iteration and the weights after it."""

    def __init__(self):
        self.rates, self.weights = [], []

    def before_step(self):
        self.rates.append(self.trainer.optimizer.param_groups[0]["lr"])

    def after_step(self):
        self.weights.append(self.trainer.model.layer.weight.detach().clone())


def test_swa_ends_with_the_average_of_every_second_model():
    seen = Seen()
    trainer = small_trainer(seen)
    trainer.register_hooks([hooks.SWA(4, 2, 0.5, bn_iters=30)])
    trainer.train(0, 2, 5)
    # after iterations 5, 7 and 9; the last weights seen are those before the swap
    expected = (seen.weights[5] + seen.weights[7] + seen.weights[9]) / 3
    torch.testing.assert_close(trainer.model.layer.weight.detach(), expected)
    assert seen.rates[:5] == [0.1] * 5
    assert seen.rates[5:] == pytest.approx([0.05] * 5)
    data = torch.cat([batch for batch, _ in zip(Batches(), range(30), strict=False)])
    torch.testing.assert_close(trainer.model.norm.running_mean, data.mean(0), rtol=1e-3, atol=1e-3)


def test_swa_with_cycles_of_the_rate_and_too_late_a_start(caplog):
    swa, seen = hooks.SWA(2, 2, 1.0, eta_min=0.02, lr_sched=True), Seen()
    trainer = small_trainer(swa)
    trainer.register_hooks([seen])
    trainer.train(0, 1, 6)
    assert seen.rates == pytest.approx([0.1, 0.1, 0.1, 0.06, 0.1, 0.06])
    small_trainer(hooks.SWA(5, 4, 1.0)).train(0, 1, 6)
    assert "SWA averages nothing" in caplog.text
    with pytest.raises(ValueError, match="swa_freq >= 1; got 0 and 0"):
        hooks.SWA(0, 0, 1.0)


@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_swa_gives_the_same_average(tmp_path, stop):
    def run(start, end, model_state=None):
        trainer = small_trainer(swa := hooks.SWA(2, 1, 0.5, bn_iters=0))
        trainer.checkpointer = Checkpointer(trainer.model, tmp_path, optimizer=trainer.optimizer)
        if start:
            trainer.checkpointer.resume_or_load("", resume=True)
            for _ in range(start * 3):
                trainer.next_batch()
        trainer.train(start, end, 3)
        return trainer, swa

    whole, _ = run(0, 3)
    # a training stopped early has its own last iteration; its average is not swapped in
    part, swa = run(0, 0)
    part.start_iter = 0
    part.max_iter, swa.trainer = 9, part
    swa.before_train()
    for part.iter in range(stop * 3):
        swa.before_step()
        part.run_step()
        swa.after_step()
    part.checkpointer.save("stopped", epoch=stop - 1)
    resumed, _ = run(stop, 3)
    torch.testing.assert_close(resumed.model.layer.weight, whole.model.layer.weight)


def test_profiler_records_the_iterations_it_is_asked_for(tmp_path):
    profiler = hooks.AutogradProfiler(lambda trainer: trainer.iter == 1, tmp_path / "traces")
    small_trainer(profiler).train(0, 1, 3)
    files = list((tmp_path / "traces").iterdir())
    assert [file.name for file in files] == ["profiler-trace-iter1.json"]
    names = {event.get("name") for event in json.loads(files[0].read_text())["traceEvents"]}
    assert "aten::linear" in names


def test_loss_kwargs_describe_the_losses_both_ways():
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.LOSSES.NAME", "('CrossEntropyLoss', 'TripletLoss')", "MODEL.LOSSES.CE.EPSILON", 0.1])
    settings = settings_from_cfg(cfg)
    assert settings["loss_names"] == ("CrossEntropyLoss", "TripletLoss")
    assert settings["ce"] == {"eps": 0.1, "alpha": 0.2, "scale": 1.0}
    ours = {"all_triplets": False, "memory": 0, "memory_start": 0}
    assert settings["tri"] == {"margin": 0.3, "norm_feat": False, "hard_mining": False, "scale": 1.0, **ours}
    assert {"circle", "cosface"} <= set(settings)
    first, second = losses_from(settings)
    assert isinstance(first, CrossEntropyLoss)
    assert isinstance(second, TripletLoss)
    assert first.epsilon == 0.1
    again = settings_of([first, second])
    assert again == {name: settings[name] for name in ("loss_names", "ce", "tri")}


def test_names_of_losses_that_only_a_subclass_knows():
    settings = {"loss_names": ("CrossEntropyLoss", "OwnLoss")}
    assert [type(loss) for loss in losses_from(settings, more=True)] == [CrossEntropyLoss]
    with pytest.raises(KeyError, match="No object named 'OwnLoss'"):
        losses_from(settings)
    with pytest.raises(ValueError, match="both log as 'loss_cls'"):
        losses_from({"loss_names": ("CrossEntropyLoss", "CrossEntropyLoss")})
    with pytest.raises(TypeError, match="margn"):
        losses_from({"loss_names": ("TripletLoss",), "tri": {"margn": 1}})


def test_losses_of_one_node_and_losses_called_with_the_config(monkeypatch):
    class Sharp:
        key, needs = "loss_sharp", ()

        def __init__(self, epsilon=0.0, power=2.0):
            self.epsilon, self.power = epsilon, power

    class Whole:
        key, needs = "loss_whole", ()

        def __init__(self, cfg):
            self.device = cfg.MODEL.DEVICE

    monkeypatch.setattr(LOSS_REGISTRY, "_objects", dict(LOSS_REGISTRY._objects))
    monkeypatch.setattr(LOSS_REGISTRY, "_nodes", dict(LOSS_REGISTRY._nodes))
    LOSS_REGISTRY.register(Sharp, node="MODEL.LOSSES.CE")
    LOSS_REGISTRY.register(Whole)
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.LOSSES.NAME", "('CrossEntropyLoss', 'Sharp', 'Whole')", "MODEL.LOSSES.CE.EPSILON", 0.2])
    plain, sharp, whole = losses_from(settings_from_cfg(cfg))
    assert (plain.epsilon, sharp.epsilon, sharp.power, whole.device) == (0.2, 0.2, 2.0, cfg.MODEL.DEVICE)


def test_a_subclass_may_add_to_what_from_config_gives(cpu_cfg):
    class Attributes(Baseline):
        @classmethod
        def from_config(cls, cfg):
            parts = Baseline.from_config(cfg)
            parts["loss_kwargs"].update({"bce": {"scale": 3.0}})
            return parts

        def losses(self, outputs, gt_labels):
            return {"loss_bce": self.loss_kwargs.get("bce").get("scale") * outputs["cls_outputs"].mean()}

    cpu_cfg.merge_from_list(["MODEL.LOSSES.NAME", "('BinaryCrossEntropy',)", "MODEL.HEADS.NUM_CLASSES", 2])
    model = Attributes(cpu_cfg).train()
    batch = {"images": torch.rand(2, 3, 32, 32), "targets": torch.tensor([0, 1])}
    assert set(model(batch)) == {"loss_bce"}
    with pytest.raises(KeyError, match="No object named 'BinaryCrossEntropy'"):
        Baseline(cpu_cfg)
    for name in ("MoCo", "MGN"):
        cpu_cfg.MODEL.META_ARCHITECTURE = name
        with pytest.raises(KeyError, match="No object named 'BinaryCrossEntropy'"):
            build_model(cpu_cfg)


@pytest.mark.parametrize("part", ["process", "evaluate"])
def test_a_reid_evaluator_with_one_part_of_its_own(cpu_cfg, part):
    class Own(ReidEvaluator):
        pass

    def process(self, inputs, outputs):
        prediction = {"feats": outputs.to(self._cpu_device, torch.float32), "pids": inputs["targets"]}
        self._predictions.append({**prediction, "camids": inputs["camids"]})

    def evaluate(self):
        features = torch.cat([prediction["feats"] for prediction in self._predictions])
        return {"norm": float(features[: self._num_query].norm())}

    setattr(Own, part, {"process": process, "evaluate": evaluate}[part])
    evaluator = Own(cpu_cfg, num_query=2)
    labels = {"targets": torch.tensor([0, 1, 0, 1]), "camids": torch.tensor([0, 0, 1, 1])}
    for _ in range(2):  # the second time after a reset
        evaluator.reset()
        for rows in (slice(0, 3), slice(3, 4)):
            evaluator.process({name: value[rows] for name, value in labels.items()}, torch.eye(2).repeat(2, 1)[rows])
        results = evaluator.evaluate()
        assert results["mAP"] == 100 if part == "process" else results == {"norm": pytest.approx(2**0.5)}


def test_checkpoints_are_saved_after_figures_wherever_they_stand_in_the_list():
    calls = []

    class Named(hooks.HookBase):
        def __init__(self, name):
            self.name = name

        def after_epoch(self):
            calls.append(self.name)

    class Saving(hooks.PeriodicCheckpointer):
        def before_train(self):
            pass

        def after_epoch(self):
            calls.append("save")

    trainer = small_trainer(Named("evaluate"))
    trainer.register_hooks([Saving(None, 1), Named("own"), Named("write")])
    trainer.train(0, 1, 1)
    assert calls == ["evaluate", "own", "write", "save"]
