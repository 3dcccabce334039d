import logging

import pytest
import torch
import torch.multiprocessing as mp
import yaml

from fastreid.data.images import BadImage
from fastreid.utils.command import entry_point
from fastreid.utils.logger import setup_logger


def run(error):
    def main(argv=None):
        """Says what it does."""
        if error is not None:
            raise error
        return argv

    return entry_point("Stopped.")(main)


@pytest.fixture
def log(tmp_path):
    logger = logging.getLogger("fastreid")
    handlers, propagate, level = list(logger.handlers), logger.propagate, logger.level
    setup_logger(tmp_path)
    yield tmp_path / "log.txt"
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@pytest.mark.parametrize(
    "error, message",
    [
        (ValueError("bad value"), "bad value"),
        (KeyError("no such key:\n  A.B"), "no such key:\n  A.B"),
        (FileNotFoundError(2, "No such file", "x.yml"), "[Errno 2] No such file: 'x.yml'"),
        (BadImage("x.png is empty"), "x.png is empty"),
        (ConnectionError("no network"), "no network"),
        (ModuleNotFoundError("No module named 'faiss'"), "No module named 'faiss'"),
        (yaml.YAMLError("not closed"), "not closed"),
        (FloatingPointError("loss is NaN"), "loss is NaN"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_users_mistake_is_one_line_and_its_traceback_is_in_the_log(error, message, log, capsys, monkeypatch):
    monkeypatch.delenv("FASTREID_TRACEBACK", raising=False)
    assert run(error)() == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {message}\n(FASTREID_TRACEBACK=1 shows the traceback, which is also in ")
    assert shown.err.rstrip().endswith("log.txt)")
    assert "Traceback" not in shown.out + shown.err
    assert "Traceback (most recent call last)" in log.read_text()
    assert "in main" in log.read_text()


def test_the_environment_variable_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("FASTREID_TRACEBACK", "1")
    assert run(ValueError("bad"))() == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith("error: bad\n")


@pytest.mark.parametrize("error", [RuntimeError("bug"), AttributeError("bug"), KeyError("bug"), KeyError(3)])
def test_bugs_pass(error):
    with pytest.raises(type(error)):
        run(error)()


def test_status_of_the_rest(capsys):
    assert run(None)() == 0
    assert run(None)(3) == 3
    assert run(KeyboardInterrupt())() == 130
    assert capsys.readouterr().err == "\nStopped.\n"
    with pytest.raises(SystemExit):
        run(SystemExit(2))()


class Broken(torch.utils.data.Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


def raise_in_process(rank, error):
    raise error


@pytest.mark.parametrize("error, message", [
    (BadImage("x.png is empty,\n  line 3"), "x.png is empty,\n  line 3"), (KeyError("no such name"), "no such name"),
])  # fmt: skip
def test_errors_of_other_processes_show_their_own_message(error, message, capsys):
    def load(argv):
        next(iter(torch.utils.data.DataLoader(Broken(error), num_workers=1)))

    def spawn(argv):
        mp.start_processes(raise_in_process, (error,), start_method="fork")

    for main in (load, spawn):
        assert entry_point()(main)() == 1
        assert capsys.readouterr().err.startswith(f"error: {message}\n(FASTREID")


def test_a_bug_of_another_process_passes():
    loader = torch.utils.data.DataLoader(Broken(ZeroDivisionError("x")), num_workers=1)
    with pytest.raises(ZeroDivisionError):
        entry_point()(lambda argv: next(iter(loader)))()
