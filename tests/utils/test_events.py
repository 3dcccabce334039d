import builtins
import json
import logging

import pytest

from fastreid.utils.events import CommonMetricPrinter, EventStorage, JSONWriter, TensorboardXWriter, get_event_storage
from fastreid.utils.history_buffer import HistoryBuffer
from fastreid.utils.timer import Timer


def test_storage_keeps_values_with_their_iterations():
    with EventStorage(3) as storage:
        get_event_storage().put_scalar("a", 1)
        storage.put_scalars(b=2, smoothing_hint=False)
        storage.step()
        with storage.name_scope("scope"):
            storage.put_scalar("a", 5)
        assert storage.latest() == {"a": (1.0, 3), "b": (2.0, 3), "scope/a": (5.0, 4)}
        assert storage.smoothing_hints() == {"a": True, "b": False, "scope/a": True}
        assert storage.history("a").values() == [(1.0, 3)]
        with pytest.raises(KeyError, match="No scalar named 'c'"):
            storage.history("c")


def test_outside_of_a_storage_values_are_dropped():
    get_event_storage().put_scalar("lost", 1.0)
    assert get_event_storage().latest() == {}


def test_smoothing_is_the_median_and_survives_a_resume():
    with EventStorage(0) as storage:
        for storage.iter, value in enumerate([9.0, 1.0, 2.0, 30.0]):
            storage.put_scalar("loss", value)
            storage.put_scalar("lr", value, smoothing_hint=False)
        assert storage.latest_with_smoothing_hint(3) == {"loss": (2.0, 3), "lr": (30.0, 3)}
        state = storage.state_dict()
    resumed = EventStorage(4)
    resumed.load_state_dict(state)
    assert resumed.latest_with_smoothing_hint(3) == storage.latest_with_smoothing_hint(3)


def test_history_statistics():
    history = HistoryBuffer(max_length=3)
    for value in (1.0, 2.0, 6.0, 4.0):
        history.update(value)
    assert history.values() == [(2.0, 1), (6.0, 2), (4.0, 3)]
    assert (history.latest(), history.median(2), history.avg(2), history.global_avg()) == (4.0, 5.0, 5.0, 3.25)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path, start, stop, **values):
    with EventStorage(start) as storage:
        writer = JSONWriter(path, window_size=1)
        for storage.iter in range(start, stop):
            storage.put_scalars(**values)
            writer.write()
            writer.write()
        writer.close()


def test_each_iteration_stands_once_in_the_file_also_after_a_resume(tmp_path):
    path = tmp_path / "metrics.json"
    write(path, 0, 4, loss=1)
    with path.open("a") as file:
        file.write('{"iteration": 4, "lo')  # a process killed while writing
    write(path, 2, 5, loss=2)
    assert lines(path) == [{"iteration": i, "loss": 1.0 if i < 2 else 2.0} for i in range(5)]
    write(path, 0, 1, loss=3)
    assert lines(path) == [{"iteration": 0, "loss": 3.0}]


def test_a_resumed_run_does_not_repeat_older_values_as_its_own(tmp_path):
    path = tmp_path / "metrics.json"
    write(path, 0, 4, loss=1)  # killed later than its checkpoint, which was made after iteration 1
    with EventStorage(2) as storage:
        storage.load_state_dict({"mAP": {"values": [(50.0, 1)], "hint": False}})
        writer = JSONWriter(path, window_size=1)
        storage.iter = 5  # the first line is due later than that of the killed run
        storage.put_scalar("loss", 2)
        writer.write()
        writer.close()
    assert lines(path) == [{"iteration": 0, "loss": 1.0}, {"iteration": 1, "loss": 1.0}, {"iteration": 5, "loss": 2.0}]


def test_a_line_holds_what_is_new(tmp_path):
    with EventStorage(0) as storage:
        writer = JSONWriter(tmp_path / "m.json")
        storage.put_scalar("mAP", 50)
        writer.write()
        storage.iter = 1
        storage.put_scalar("loss", 1)
        writer.write()
    assert lines(tmp_path / "m.json") == [{"iteration": 0, "mAP": 50.0}, {"iteration": 1, "loss": 1.0}]


def test_console_line(caplog):
    with caplog.at_level(logging.INFO), EventStorage(0) as storage:
        storage.iter, storage.epoch = 49, 2
        storage.put_scalars(total_loss=1.25, loss_cls=1.0, time=0.5, lr=3.5e-4, img_per_s=128.0, mAP=3.0)
        CommonMetricPrinter(200).write()
    message = caplog.messages[0]
    progress, figures = "epoch 3  iter 50/200  25%  eta 0:01:15", "total_loss 1.25  loss_cls 1  lr 0.00035  128 img/s"
    assert message.startswith(f"{progress}  {figures}")
    assert "mAP" not in message


def test_tensorboard_gets_each_value_once(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with EventStorage(0) as storage:
        writer = TensorboardXWriter(str(tmp_path))
        for storage.iter in range(3):
            storage.put_scalar("lr", storage.iter * 2.0, smoothing_hint=False)
            writer.write()
            writer.write()
        writer.close()
    accumulator = events.EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in accumulator.Scalars("lr")] == [(0, 0.0), (1, 2.0), (2, 4.0)]


def test_missing_tensorboard_is_said_once(tmp_path, monkeypatch, caplog):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError("No module named 'tensorboard'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with EventStorage(0) as storage:
        storage.put_scalar("a", 1)
        writer = TensorboardXWriter(str(tmp_path))
        writer.write()
        writer.write()
        writer.close()
    assert caplog.text.count("No TensorBoard files") == 1
    assert list(tmp_path.iterdir()) == []


def test_timer(monkeypatch):
    now = iter([0.0, 2.0, 5.0, 6.0, 6.0])
    monkeypatch.setattr("fastreid.utils.timer.perf_counter", lambda: next(now))
    timer = Timer()
    timer.pause()
    assert timer.is_paused()
    timer.resume()
    assert timer.seconds() == 3.0
    assert timer.avg_seconds() == 1.5
    with pytest.raises(ValueError, match="not paused"):
        timer.resume()
