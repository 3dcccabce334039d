"""Start the processes of a training, and end all of them when one fails."""

import logging
import os
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.elastic.multiprocessing.errors import record

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT = timedelta(minutes=30)
STORE_OF_ITS_OWN = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"  # "1": torchrun gives each round of processes a new store
GRACE_SECONDS = 3.0  # for processes to end by themselves, before they are told to and before they are made to


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
) -> Any:
    """Call ``main_func(*args)`` in each of ``num_gpus_per_machine * num_machines`` processes.

    With one process it is called here and its result returned. Under ``torchrun`` the processes exist already: each
    joins their group and calls it. Tensors on GPUs travel through NCCL, those on a CPU through gloo. When one process
    fails, the others are ended within seconds.

    Args:
        main_func: importable from a module (it is sent to new processes by name).
        dist_url: ``tcp://host:port`` of process 0; ``None`` or "auto" picks a free port, for one machine only.
        timeout: how long a process waits for the others.

    Raises:
        ValueError: several machines without an address, a machine beyond them, or fewer GPUs than processes.
        ProcessRaisedException: a process raised an error; its traceback is in the message.
        ChildProcessError: a process was killed or left without an error.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ:
        if may_restart() and os.environ.get(STORE_OF_ITS_OWN) != "1":
            logger.warning(
                "--max-restarts without %s=1 in the environment of torchrun: after a restart, processes may find the "
                "addresses of those that have gone", STORE_OF_ITS_OWN,
            )  # fmt: skip
        return record(_run)(main_func, args, "env://", timeout)
    if not 0 <= machine_rank < num_machines:
        raise ValueError(f"--machine-rank is {machine_rank}, but --num-machines is {num_machines}, numbered from 0")
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        return main_func(*args)
    if torch.cuda.is_available() and num_gpus_per_machine > torch.cuda.device_count():
        raise ValueError(
            f"--num-gpus is {num_gpus_per_machine}, but this machine has {torch.cuda.device_count()} (processes on the "
            "CPU need CUDA_VISIBLE_DEVICES= and MODEL.DEVICE cpu)"
        )
    if dist_url in (None, "", "auto"):
        if num_machines > 1:
            raise ValueError(f"{num_machines} machines need --dist-url tcp://HOST:PORT, the address of machine 0")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    with tempfile.TemporaryDirectory(prefix="fastreid-") as folder:
        job = (main_func, num_gpus_per_machine, num_machines, machine_rank, dist_url, args, timeout, folder)
        processes = mp.spawn(_worker, nprocs=num_gpus_per_machine, args=job, join=False).processes
        try:
            _wait(processes)
        finally:
            stopped = _end(processes)
        _raise_first_failure(processes, stopped, Path(folder))
    return None


def is_restart() -> bool:
    """Whether ``torchrun`` started this process after another one of the same job had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def may_restart() -> bool:
    """Whether ``torchrun`` will start the processes again when one fails (its ``--max-restarts``)."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _worker(local_rank: int, main_func, local_size, num_machines, machine_rank, url, args, timeout, folder) -> None:
    os.environ["RANK"] = str(machine_rank * local_size + local_rank)
    os.environ["WORLD_SIZE"] = str(num_machines * local_size)
    os.environ["LOCAL_RANK"] = str(local_rank)
    os.environ["LOCAL_WORLD_SIZE"] = str(local_size)
    try:
        _run(main_func, args, url, timeout)
    except BaseException as error:
        if isinstance(error, SystemExit) and not error.code:
            raise
        # written before this process leaves, which is what makes others fail: the first report tells the cause
        Path(folder, f"{time.time_ns()}-{local_rank}").write_text(traceback.format_exc(), encoding="utf-8")
        raise SystemExit(1) from None


def _run(main_func: Callable, args: tuple, url: str, timeout: timedelta) -> Any:
    """Join the group that the environment describes, call ``main_func`` and leave the group.

    After an error the group is not left in order: that could mean to wait for the others, who wait for this process.
    """
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        init_method=url,
        world_size=int(os.environ["WORLD_SIZE"]),
        rank=int(os.environ["RANK"]),
        timeout=timeout,
    )
    result = main_func(*args)
    dist.destroy_process_group()
    return result


def _wait(processes: Sequence) -> None:
    """Return when all processes have ended well, or one has not."""
    running = list(processes)
    while running and not any(process.exitcode for process in processes):
        wait([process.sentinel for process in running])
        running = [process for process in running if process.is_alive()]


def _end(processes: Sequence) -> set[int]:
    """Let processes end, then ask them to, then kill them: those of a failed training may wait for each other.

    Returns:
        The process ids of those that did not end by themselves.
    """
    stopped: set[int] = set()
    for act in (None, "terminate", "kill"):
        for process in filter(lambda process: act and process.is_alive(), processes):
            stopped.add(process.pid)
            getattr(process, act)()
        deadline = time.monotonic() + GRACE_SECONDS
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
    return stopped


def _raise_first_failure(processes: Sequence, stopped: set[int], folder: Path) -> None:
    """Raise what ended the first process that failed; the errors of others, which lost it, follow from that.

    A killed process leaves no report and comes first, since no error of another process kills it. (An abort is no
    such sign: PyTorch may abort in a process that lost another one.)
    """
    failed = [(rank, process) for rank, process in enumerate(processes) if process.exitcode]
    failed = [(rank, process) for rank, process in failed if process.pid not in stopped]
    failed.sort(key=lambda item: item[1].exitcode >= 0 or item[1].exitcode == -signal.SIGABRT)
    if not failed:
        return
    rank, process = failed[0]
    killed = process.exitcode < 0 and process.exitcode != -signal.SIGABRT
    reports = sorted(folder.iterdir())
    if reports and not killed:
        _raise_report(reports[0], processes)
    how = f"was killed by {signal.Signals(-process.exitcode).name}" if process.exitcode < 0 else "left"
    hint = ", perhaps for want of memory" if process.exitcode == -signal.SIGKILL else ""
    raise ChildProcessError(f"Process {rank} of {len(processes)} {how} (exit status {process.exitcode}){hint}")


def _raise_report(report: Path, processes: Sequence) -> None:
    text, rank = report.read_text(encoding="utf-8"), int(report.name.partition("-")[2])
    if text.rstrip().endswith("KeyboardInterrupt"):
        raise KeyboardInterrupt
    raise mp.ProcessRaisedException(
        f"\n\n-- Process {rank} terminated with the following error:\n{text}", rank, processes[rank].pid
    )
