"""Losses with a memory, step after step: in one process, or with a part of each batch in each of two."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from fastreid.engine import launch
from fastreid.utils import comm
from fastreid.utils.events import EventStorage

STEPS = 4


def steps_of(losses: Iterable, table: Callable[[int], dict], size: int) -> list[dict]:
    """Value and gradient as averaged over the processes, and the memories, of each step and loss.

    Args:
        table: the whole batch of a step, ``size`` rows, of which this process takes its part.
    """
    torch.set_num_threads(1)
    found, world, rank = [], comm.get_world_size(), comm.get_rank()
    part = slice(rank * size // world, (rank + 1) * size // world)
    losses = list(losses)
    with EventStorage(0) as storage:
        for storage.iter in range(STEPS):
            for loss in losses:
                batch = {name: values[part] for name, values in table(storage.iter).items()}
                batch["features"] = batch["features"].detach().clone().requires_grad_(True)
                value = loss(batch)
                value.backward()
                kept = [memory.state_dict() for memory in loss.checkpointables().values()]
                found.append({
                    "value": comm.mean_over_processes(value), "gradient": batch["features"].grad / world,
                    "kept": [{name: rows.clone() for name, rows in state.items()} for state in kept],
                })  # fmt: skip
    return found


def save_steps(folder: str, steps: Callable[[], list[dict]]) -> None:
    torch.save(steps(), f"{folder}/{comm.get_rank()}.pt")


def require_two_processes_like_one(folder: Path, steps: Callable[[], list[dict]]) -> list[dict]:
    """Compare the steps of two processes with those of one, and return these."""
    launch(save_steps, 2, args=(str(folder), steps))
    first, second = (torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2))
    threads = torch.get_num_threads()
    found = steps()
    for one, other, whole in zip(first, second, found, strict=True):
        torch.testing.assert_close(one["value"], whole["value"])
        torch.testing.assert_close(torch.cat([one["gradient"], other["gradient"]]), whole["gradient"])
        assert whole["gradient"].abs().max() > 0
        for a, b, c in zip(one["kept"], other["kept"], whole["kept"], strict=True):
            assert a.keys() == b.keys() == c.keys()
            for name in c:
                assert torch.equal(a[name], b[name])
                torch.testing.assert_close(a[name], c[name])
    torch.set_num_threads(threads)
    return found
