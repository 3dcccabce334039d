"""When one process fails, all end within seconds, and what is shown is the error that came first."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torch.multiprocessing import ProcessRaisedException

from fastreid.engine import launch
from fastreid.utils.command import message_of
from tests.distributed import failing

PATIENCE = 60  # seconds; a hang would take half an hour


def is_running(pid: int) -> bool:
    """Is there such a process, other than one that waits to be counted as dead?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        threading.Event().wait(0.05)


@pytest.mark.parametrize(
    "job, rank, error",
    [
        (failing.in_a_data_worker, 1, "page 3 is torn"),
        (failing.in_the_evaluation, 0, "no query has a match"),
        (failing.leaves, 1, "3"),
    ],
)
def test_the_first_error_ends_all_and_is_shown(quick_launch, tmp_path, job, rank, error):
    start = time.monotonic()
    with pytest.raises(ProcessRaisedException, match=f"-- Process {rank} terminated") as caught:
        launch(job, 2, args=(str(tmp_path),))
    assert time.monotonic() - start < PATIENCE
    assert message_of(caught.value) == error
    assert job.__name__ in str(caught.value), "the traceback"
    assert not multiprocessing.active_children()
    workers = [int(file.read_text()) for file in tmp_path.iterdir()]
    wait_until(lambda: not any(map(is_running, workers)), "a data worker is left")


@pytest.mark.parametrize(
    "job, error, message",
    [
        (failing.is_killed, ChildProcessError, r"Process 1 of 2 was killed by SIGKILL .*memory"),
        (failing.is_interrupted, KeyboardInterrupt, "^$"),
    ],
)
def test_a_signal_to_one_process_ends_all_and_is_named(quick_launch, tmp_path, job, error, message):
    with pytest.raises(error, match=message):
        launch(job, 2, args=(str(tmp_path),))
    assert not multiprocessing.active_children()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_parent_leaves_no_process_behind(repo, tmp_path, sent):
    environment = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    parent = subprocess.Popen([sys.executable, failing.__file__, str(tmp_path)], env=environment, **pipes)
    files = [tmp_path / rank for rank in "01"]
    wait_until(lambda: parent.poll() is not None or all(f.exists() and f.read_text() for f in files), "not begun")
    children = [int(file.read_text()) for file in files]
    parent.send_signal(sent)
    _, shown = parent.communicate(timeout=PATIENCE)
    assert parent.returncode != 0
    assert sent == signal.SIGKILL or shown.rstrip().endswith("KeyboardInterrupt")
    wait_until(lambda: not any(map(is_running, children)), "a process is left")
