import os

import numpy as np
import pytest
import torch
from torch import nn

from fastreid.solver import WarmupLR
from fastreid.utils.checkpoint import Checkpointer, PeriodicCheckpointer, load_weights, read_checkpoint


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.heads = nn.Linear(2, classes, bias=False)


def filled(value, classes=3):
    net = Net(classes)
    for tensor in net.state_dict().values():
        tensor.fill_(value)
    return net


def test_round_trip_of_everything(tmp_path):
    net = filled(2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.9)
    scheduler = WarmupLR(optimizer, 0.1, 10)
    net.heads(torch.ones(1, 2)).sum().backward()
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    Checkpointer(net, tmp_path, optimizer=optimizer, warmup_sched=scheduler).save("model_0003", epoch=3, metric=1.5)

    other = filled(0)
    second = torch.optim.SGD(other.parameters(), lr=0.5, momentum=0.9)
    sched = WarmupLR(second, 0.1, 10)
    rest = Checkpointer(other, tmp_path, optimizer=second, warmup_sched=sched).resume_or_load("", resume=True)
    assert rest == {"epoch": 3, "metric": 1.5}
    assert torch.equal(other.heads.weight, net.heads.weight)
    assert second.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
    assert torch.equal(second.state[other.heads.weight]["momentum_buffer"], optimizer.state[net.heads.weight][
        "momentum_buffer"])  # fmt: skip
    assert sched.last_epoch == 3
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0003.pth"]


def test_load_without_resume_takes_the_weights_only(tmp_path):
    net = filled(2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    Checkpointer(net, tmp_path, optimizer=optimizer).save("a", epoch=1)
    other = filled(0)
    fresh = torch.optim.SGD(other.parameters(), lr=0.1)
    rest = Checkpointer(other, tmp_path / "new", optimizer=fresh).resume_or_load(str(tmp_path / "a.pth"), resume=True)
    assert rest["epoch"] == 1
    assert fresh.param_groups[0]["lr"] == 0.1
    assert float(other.heads.weight.detach().mean()) == 2


def test_other_processes_write_nothing(tmp_path):
    Checkpointer(filled(1), tmp_path, save_to_disk=False).save("a")
    assert list(tmp_path.iterdir()) == []


def test_failed_save_leaves_the_old_file(tmp_path):
    checkpointer = Checkpointer(filled(1), tmp_path)
    checkpointer.save("a")
    before = (tmp_path / "a.pth").read_bytes()
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        checkpointer.save("a", unpicklable=lambda: 0)
    assert (tmp_path / "a.pth").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["a.pth", "last_checkpoint"]


def test_parallel_prefix_extra_missing_and_wrong_shapes_are_reported(caplog):
    weights = {f"module.{k}": v for k, v in filled(5).state_dict().items() if not k.startswith("backbone.0")}
    weights["module.heads.weight"] = torch.zeros(7, 2)
    weights["module.extra.weight"] = weights["module.extra.bias"] = torch.zeros(1)
    net = filled(1)
    load_weights(net, weights, "w.pth")
    assert float(net.backbone[1].weight.detach().mean()) == 5
    assert float(net.heads.weight.detach().mean()) == 1
    assert "not in the file, kept as initialised:\n  backbone.0.{weight, bias}" in caplog.text
    assert "not in the model, ignored:\n  extra.{weight, bias}" in caplog.text
    assert "heads.weight: (7, 2) in the file, (3, 2) in the model" in caplog.text


def test_files_of_old_versions_load_without_a_word(caplog):
    class Old(nn.Module):
        def __init__(self):
            super().__init__()
            self.heads = nn.Module()
            self.heads.weight = nn.Parameter(torch.zeros(3, 2))
            self.heads.bottleneck = nn.Sequential(nn.BatchNorm1d(2))

    saved = {f"heads.bnneck.{k}": torch.full_like(v, 4) for k, v in nn.BatchNorm1d(2).state_dict().items()}
    saved["heads.classifier.weight"] = torch.full((3, 2), 6.0)
    saved["pixel_mean"] = saved["pixel_std"] = torch.zeros(1, 3, 1, 1)
    net = Old()
    load_weights(net, saved)
    assert float(net.heads.weight.detach().mean()) == 6
    assert float(net.heads.bottleneck[0].running_var.mean()) == 4
    assert caplog.text == ""


@pytest.mark.parametrize(
    "names, hint",
    [
        (lambda k: k.removeprefix("backbone."), r"lack the prefix 'backbone.' \('0.bias', the model has"),
        (lambda k: "student." + k, "carry the prefix 'student.'"),
        (lambda k: "x" + k.replace(".", "_"), "another architecture"),
    ],
)
def test_no_matching_name_is_an_error(names, hint):
    weights = {names(k): v for k, v in filled(1).state_dict().items() if k.startswith("backbone")}
    with pytest.raises(ValueError, match=f"Nothing in w.pth fits the model. Its names .*{hint}|{hint}"):
        load_weights(Net(), weights, "w.pth")


def test_same_names_of_other_shapes_are_an_error():
    with pytest.raises(ValueError, match=r"shapes do not, e.g. weight: \(1, 1\) in the file, \(2, 2\) in the model"):
        load_weights(nn.Linear(2, 2), {"weight": torch.zeros(1, 1)})


def test_numpy_arrays_and_bare_state_dicts_load(tmp_path):
    arrays = {k: v.numpy() for k, v in filled(3).state_dict().items()}
    for name, state in (("a", {"model": arrays}), ("b", arrays), ("c", {"state_dict": arrays, "epoch": np.int64(7)})):
        torch.save(state, tmp_path / f"{name}.pth")
        net = filled(0)
        Checkpointer(net).load(str(tmp_path / f"{name}.pth"))
        assert float(net.heads.weight.detach().mean()) == 3


def test_missing_file_names_the_nearest(tmp_path):
    torch.save({}, tmp_path / "model_best.pth")
    with pytest.raises(FileNotFoundError, match=r"model_bets.pth. Did you mean 'model_best.pth'"):
        Checkpointer(Net()).load(str(tmp_path / "model_bets.pth"))


def test_truncated_and_foreign_files_are_refused(tmp_path):
    Checkpointer(filled(1), tmp_path).save("a")
    whole = (tmp_path / "a.pth").read_bytes()
    foreign = {"empty": b"", "text": b"<html>not found</html>", "junk": b"\x80\x02junk"}
    foreign["image"] = b"\x89PNG\r\n\x1a\n" + bytes(40)
    for name, content in {"half": whole[: len(whole) // 2], **foreign}.items():
        (tmp_path / f"{name}.pth").write_bytes(content)
        expected = rf"{name}.pth \({len(content)} bytes\) cannot be read as a checkpoint"
        with pytest.raises(ValueError, match=expected) as refused:
            read_checkpoint(tmp_path / f"{name}.pth")
        assert "weights_only" not in str(refused.value), "no advice to run code"


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({"model": {}, "x": Evil(str(tmp_path / "made"))}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="objects other than tensors"):
        read_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content, words", [([1], "holds a list"), ({"net": 1}, r"no 'model' in it; it holds \['net'")])
def test_files_without_weights_are_refused(tmp_path, content, words):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=words):
        read_checkpoint(tmp_path / "odd.pth")


def test_optimizer_of_another_layout_starts_afresh_and_says_so(tmp_path, caplog):
    net = filled(1)
    flat = torch.optim.SGD([nn.Parameter(torch.zeros(9))], lr=1.0)
    Checkpointer(net, tmp_path, optimizer=flat).save("a", epoch=2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    assert Checkpointer(net, tmp_path, optimizer=optimizer).resume_or_load("")["epoch"] == 2
    assert "'optimizer' of" in caplog.text
    assert optimizer.param_groups[0]["lr"] == 0.5


def saved(folder):
    return {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.pth")}


def test_periodic_files_and_their_contents(tmp_path):
    periodic = PeriodicCheckpointer(Checkpointer(filled(0), tmp_path), 2, 5)
    for epoch, metric in enumerate([1, None, 5, 3, None]):
        periodic.step(epoch, metric=metric)
    files = saved(tmp_path)
    assert sorted(files) == ["model_0001", "model_0003", "model_best", "model_final"]
    assert (files["model_best"]["epoch"], files["model_best"]["metric"]) == (2, 5.0)
    assert "metric" not in files["model_0001"], "not evaluated in that epoch"
    assert files["model_0003"]["metric"] == 3.0
    assert files["model_final"]["best_metric"] == 5.0
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_keep_deletes_the_oldest_not_the_lowest(tmp_path):
    """A new training in a used folder must not delete what it just saved, the file that a resume would read."""
    (tmp_path / "model_0059.pth").write_bytes(b"of an earlier, longer training")
    os.utime(tmp_path / "model_0059.pth", (1, 1))
    PeriodicCheckpointer(Checkpointer(filled(0), tmp_path), 1, 6, keep=1).step(0)
    assert [path.name for path in tmp_path.glob("*.pth")] == ["model_0000.pth"]


def test_keep_limits_the_periodic_files(tmp_path):
    periodic = PeriodicCheckpointer(Checkpointer(filled(0), tmp_path), 1, 6, keep=2)
    for epoch in range(6):
        periodic.step(epoch, metric=-epoch)
    assert sorted(saved(tmp_path)) == ["model_0003", "model_0004", "model_best", "model_final"]


def test_a_text_bank_of_another_width_is_among_the_likely_reasons():
    def model(out, name="projector"):
        return nn.ModuleDict({"heads": nn.ModuleDict({name: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, out))})})

    with pytest.raises(ValueError, match=r"MODEL.HEADS, or the width of DATASETS.TEXT_BANK, are not those"):
        load_weights(model(3), model(5).state_dict(), optional=())
    with pytest.raises(ValueError, match=r"MODEL.HEADS are not those"):
        load_weights(model(3, "other"), model(5, "other").state_dict(), optional=())


def test_what_must_fit_is_refused_and_leaves_the_model_alone():
    weights = filled(5, classes=7).state_dict()
    net = filled(1)
    load_weights(net, weights, "w.pth", optional=("heads.weight",))
    assert float(net.backbone[0].weight.detach().mean()) == 5
    del weights["heads.weight"]
    load_weights(net, weights, "w.pth", optional=("heads.weight",))
    with pytest.raises(ValueError, match="w.pth does not fit the model, 1 parameter differs: heads.weight is missing"):
        load_weights(net, weights, "w.pth", optional=())
    grey, colour = (torch.nn.Sequential(torch.nn.Conv2d(channels, 4, 3)) for channels in (1, 3))
    with pytest.raises(ValueError, match=r"1 parameter differs: .*INPUT\.CHANNELS is 1, the file was trained with 3$"):
        load_weights(grey, colour.state_dict(), "w.pth", optional=())
    weights["backbone.0.weight"] = torch.zeros(9, 2)
    net = filled(1)
    with pytest.raises(ValueError, match=r"backbone.0.weight: \(9, 2\) in the file, \(2, 2\) in the .*MODEL.BACKBONE"):
        load_weights(net, weights, "w.pth", optional=("heads.weight",))
    assert float(net.backbone[1].weight.detach().mean()) == 1
    deeper = {**filled(5).state_dict(), "backbone.2.weight": torch.zeros(1)}
    load_weights(net, deeper, "w.pth")
    with pytest.raises(ValueError, match="backbone.2.weight is not in the model"):
        load_weights(net, deeper, "w.pth", optional=())


def test_a_resumed_model_must_be_that_of_the_checkpoint(tmp_path):
    Checkpointer(filled(2, classes=5), tmp_path).save("model_0001", epoch=1)
    with pytest.raises(ValueError, match=r"model_0001.pth does not fit .*heads.weight: \(5, 2\)"):
        Checkpointer(filled(1), tmp_path).resume_or_load("", resume=True)
    net = filled(1)
    Checkpointer(net, tmp_path).resume_or_load(str(tmp_path / "model_0001.pth"), resume=False)
    assert float(net.backbone[0].weight.detach().mean()) == 2


def test_safetensors_files_are_read_and_broken_ones_refused(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    net, other = filled(2), filled(0)
    safetensors.save_file(net.state_dict(), tmp_path / "a.safetensors")
    assert Checkpointer(other).load(str(tmp_path / "a.safetensors")) == {}
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in other.state_dict().items())
    whole = (tmp_path / "a.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-4])
    with pytest.raises(ValueError, match=r"cut\.safetensors \(\d+ bytes\) is no whole safetensors file"):
        read_checkpoint(tmp_path / "cut.safetensors")


def test_a_renamed_part_is_shown_from_both_sides():
    model = nn.ModuleDict({"backbone": nn.ModuleDict({"conv": nn.Linear(2, 2)}), "heads": nn.Linear(2, 2)})
    weights = {name.replace("backbone.", "backbone.base."): value for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match="conv.bias is missing; .*base.conv.bias is not in the model"):
        load_weights(model, dict(sorted(weights.items())), "w.pth", optional=())


def test_a_model_without_classes_takes_a_trained_one_without_a_word(caplog):
    model = nn.ModuleDict({"heads": nn.ParameterDict({"weight": torch.empty(0, 4)}), "backbone": nn.Linear(2, 2)})
    load_weights(model, {**model.state_dict(), "heads.weight": torch.ones(8, 4)}, "w.pth")
    assert caplog.text == ""
