"""Start the processes of a training."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

DEFAULT_TIMEOUT = timedelta(minutes=30)


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
    joins their group and calls it. Processes talk through NCCL where there are GPUs and through gloo on a CPU.

    Args:
        main_func: importable from a module (it is sent to new processes by name).
        dist_url: ``tcp://host:port`` of process 0; ``None`` or "auto" picks a free port, for one machine only.
        timeout: how long a process waits for the others.

    Raises:
        ValueError: several machines without an address, or fewer GPUs than processes.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ:
        return _run(main_func, args, "env://", timeout)
    world_size = num_machines * num_gpus_per_machine
    if world_size <= 1:
        return main_func(*args)
    if torch.cuda.is_available() and num_gpus_per_machine > torch.cuda.device_count():
        raise ValueError(f"--num-gpus is {num_gpus_per_machine}, but this machine has {torch.cuda.device_count()}")
    if dist_url in (None, "", "auto"):
        if num_machines > 1:
            raise ValueError(f"{num_machines} machines need --dist-url tcp://HOST:PORT, the address of machine 0")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    job = (main_func, num_gpus_per_machine, num_machines, machine_rank, dist_url, args, timeout)
    mp.spawn(_worker, nprocs=num_gpus_per_machine, args=job)
    return None


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _worker(local_rank: int, main_func, local_size: int, num_machines: int, machine_rank: int, url, args, timeout):
    os.environ["RANK"] = str(machine_rank * local_size + local_rank)
    os.environ["WORLD_SIZE"] = str(num_machines * local_size)
    os.environ["LOCAL_RANK"] = str(local_rank)
    os.environ["LOCAL_WORLD_SIZE"] = str(local_size)
    _run(main_func, args, url, timeout)


def _run(main_func: Callable, args: tuple, url: str, timeout: timedelta) -> Any:
    """Join the group that the environment describes, call ``main_func`` and leave the group."""
    local_rank = int(os.environ["LOCAL_RANK"])
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(local_rank)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    dist.init_process_group(
        "nccl" if cuda else "gloo",
        init_method=url,
        world_size=int(os.environ["WORLD_SIZE"]),
        rank=int(os.environ["RANK"]),
        timeout=timeout,
    )
    try:
        return main_func(*args)
    finally:
        dist.destroy_process_group()
