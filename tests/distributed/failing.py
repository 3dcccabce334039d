"""Jobs of two processes of which one fails; as a script, a job that waits for a signal."""

import os
import signal
import sys
import threading
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from fastreid.engine import launch
from fastreid.utils import comm


class Broken(torch.utils.data.Dataset):
    """Data whose third item cannot be read, in a worker process that leaves its id."""

    def __init__(self, folder: str):
        self.folder = folder

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        if index == 0:  # once: this process may be ended in the middle of a later one
            Path(self.folder, "worker").write_text(str(os.getpid()))
        if index == 2:
            raise ValueError("page 3 is torn")
        return index


def in_a_data_worker(folder: str) -> None:
    """Process 1 loses its data while process 0 waits for it."""
    if comm.get_rank() == 1:
        list(DataLoader(Broken(folder), num_workers=1))
    comm.synchronize()


def in_the_evaluation(_folder: str) -> None:
    """Process 0 alone computes the metrics, as ``EvalHook`` has it; process 1 is at its next step."""
    from fastreid.engine.hooks import EvalHook
    from fastreid.engine.train_loop import TrainerBase

    def evaluate():
        if comm.is_main_process():
            raise RuntimeError("no query has a match")
        return {}

    trainer = TrainerBase()
    trainer.run_step = lambda: None
    trainer.register_hooks([EvalHook(1, evaluate)])
    trainer.train(0, 2, 1)


def leaves(_folder: str) -> None:
    """Process 1 leaves with a status; process 0 is busy and notices nothing."""
    if comm.get_rank() == 1:
        sys.exit(3)
    while True:
        torch.rand(100).sum()


def is_killed(_folder: str) -> None:
    if comm.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    comm.synchronize()


def is_interrupted(_folder: str) -> None:
    if comm.get_rank() == 1:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job begins with it ignored
        os.kill(os.getpid(), signal.SIGINT)
    comm.synchronize()


def waits(folder: str) -> None:
    Path(folder, str(comm.get_rank())).write_text(str(os.getpid()))
    threading.Event().wait()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    launch(waits, 2, args=(sys.argv[1],))
