"""Memory and time of a training step with many classes: the full layer against partial FC.

    python tools/benchmarks/classes.py --sizes 33000 330000 1000000 --output table.md

Each row is a process of its own (or two, joined by gloo): an `EmbeddingHead` with `CosSoftmax`, cross-entropy, backward
to features and class weights, SGD with momentum. There is no network before it. Features are random, on the CPU.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.machine import available_memory, processor
from fastreid.config import get_cfg
from fastreid.engine import launch
from fastreid.modeling.heads import EmbeddingHead
from fastreid.modeling.losses import CrossEntropyLoss
from fastreid.solver import build_optimizer
from fastreid.utils import comm
from fastreid.utils.command import at_least_one, entry_point
from fastreid.utils.files import atomic_write
from fastreid.utils.memory import peak_memory

SCRIPT = Path(__file__).with_name("classes.py")
# what is measured: name, partial FC, sampling rate, processes
WAYS = (
    ("full layer", False, 1.0, 1),
    ("partial FC, rate 1", True, 1.0, 1),
    ("partial FC, rate 0.1", True, 0.1, 1),
    ("partial FC, rate 1", True, 1.0, 2),
    ("partial FC, rate 0.1", True, 0.1, 2),
)
GIB = 2**30
# tables of the size of the class weights at the highest point: a whole step keeps weights, momentum, the gradient and
# its sum with the decay; of drawn classes there are as many, beside weights and momentum
TABLES = 4
LOGITS = 2  # tables of the size of the logits, with their gradients
PROCESS = GIB // 2  # Python, PyTorch and what their allocators keep
SHARE = 0.9  # of the memory that is free; the rest is for what others do meanwhile
FAILED = "failed"


def needed(classes: int, dim: int, batch: int, rate: float, processes: int) -> int:
    """Roughly the bytes of all processes together, at the highest point of a step.

    For the full layer with a million classes of width 512 and a batch of 64 it says 8.6 GiB; measured were 7.7 GiB
    above what the process had at its start.
    """
    tables = TABLES if rate == 1 else 2 + TABLES * rate
    return round(classes * 4 * (dim * tables + LOGITS * batch * rate)) + processes * PROCESS


def measure(classes: int, dim: int, batch: int, steps: int, pfc: bool, rate: float, file: str) -> None:
    """Make the steps of one process; write what the slowest of all processes needed to ``file``."""
    torch.set_num_threads(1)
    before = peak_memory() or 0
    cfg = get_cfg()
    cfg.merge_from_list(["SOLVER.OPT", "SGD", "SOLVER.MOMENTUM", 0.9])
    torch.manual_seed(0)
    head = EmbeddingHead(feat_dim=dim, num_classes=classes, cls_type="CosSoftmax", scale=64, margin=0.35, pfc=pfc,
                         pfc_sample_rate=rate)  # fmt: skip
    optimizer, _ = build_optimizer(cfg, head)
    loss, rows = CrossEntropyLoss(), batch // comm.get_world_size()
    cpu, wall, gradients = [], [], 0
    for _ in range(steps + 1):
        features = torch.randn(rows, dim, 1, 1, requires_grad=True)
        targets = torch.randint(classes, (rows,))
        start = time.process_time(), time.perf_counter()
        optimizer.zero_grad()
        loss({**head(features, targets), "targets": targets}).backward()
        parameters = [head.weight, *(drawn for _, drawn in (head.partial_fc.drawn if pfc else []))]
        gradients = sum(p.grad.nbytes for p in parameters if p.grad is not None)
        del parameters
        optimizer.step()
        cpu.append(time.process_time() - start[0])
        wall.append(time.perf_counter() - start[1])
    tables = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    found = {
        "weights": head.weight.nbytes, "gradients": gradients, "state": sum(table.nbytes for table in tables),
        "peak": (peak_memory() or 0) - before, "cpu": median(cpu[1:]), "wall": median(wall[1:]),
    }  # fmt: skip
    everyone = comm.all_gather(found)
    if comm.is_main_process():
        Path(file).write_text(json.dumps({key: max(one[key] for one in everyone) for key in found}))


def in_fresh_process(case: tuple, processes: int, folder: Path) -> dict:
    """Return what ``measure`` found.

    Raises:
        subprocess.CalledProcessError: it ended with an error, or was killed.
    """
    file = folder / "case.json"
    subprocess.run([sys.executable, str(SCRIPT), "--case", json.dumps([*case, str(file), processes])], check=True)
    return json.loads(file.read_text())


def permitted(limit: float) -> float:
    """The GiB that a row may need now: ``limit``, or less where less memory is free."""
    free = available_memory()
    return limit if free is None else min(limit, SHARE * free / GIB)


def table(sizes: list[int], dim: int, batch: int, steps: int, limit: float, folder: Path) -> list[str]:
    """Return the lines of the table.

    What would need more than ``limit`` GiB, or than is free, is not run, and says so; as does what ends with an error.
    """
    lines = [
        "| classes | layer | processes | weights | gradients | optimiser | peak above start | CPU of a step | wall |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for classes in sizes:
        for name, pfc, rate, processes in WAYS:
            start = f"| {classes:,} | {name} | {processes} |"
            weights = classes * dim * 4 / processes / GIB
            estimate, most = needed(classes, dim, batch, rate, processes) / GIB, permitted(limit)
            if estimate > most:
                why = f"not run: {estimate:.2f} needed in all, {most:.2f} permitted"
                lines.append(f"{start} {weights:.2f} | | | {why} | | |")
            else:
                lines.append(f"{start} {_measured((classes, dim, batch, steps, pfc, rate), processes, folder)}")
            print(lines[-1], flush=True)
    return lines


def _measured(case: tuple, processes: int, folder: Path) -> str:
    """The columns of a row; a row that fails must not take the others along."""
    try:
        found = in_fresh_process(case, processes, folder)
    except subprocess.CalledProcessError as error:
        killed = " (killed: out of memory?)" if error.returncode == -signal.SIGKILL else ""
        return f"| | | {FAILED}: exit status {error.returncode}{killed} | | |"
    sizes_gib = " | ".join(f"{found[key] / GIB:.2f}" for key in ("weights", "gradients", "state", "peak"))
    return f"{sizes_gib} | {found['cpu']:.2f} s | {found['wall']:.2f} s |"


@entry_point()
def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description="Memory and time of a step with many classes.")
    parser.add_argument("--sizes", type=at_least_one, nargs="+", default=[33_000, 330_000, 1_000_000], help="classes")
    parser.add_argument("--dim", type=at_least_one, default=512, help="width of the features")
    parser.add_argument("--batch", type=at_least_one, default=64, help="images of all processes, an even number")
    parser.add_argument("--steps", type=at_least_one, default=5, help="steps that are timed, after one that is not")
    parser.add_argument("--limit", type=float, default=8.0, help="GiB of all processes; rows that would need more, "
                        "or more than is free, are not run")  # fmt: skip
    parser.add_argument("--output", type=Path, help="file for the table")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.case:
        *case, processes = json.loads(args.case)
        launch(measure, processes, args=tuple(case))
        return 0
    folder = (args.output or Path("classes.md")).resolve().parent
    lines = table(args.sizes, args.dim, args.batch, args.steps, args.limit, folder)
    (folder / "case.json").unlink(missing_ok=True)
    text = "\n".join(
        [
            f"Sizes in GiB per process, {args.dim} numbers per class, {args.batch} images in a step.",
            f"{processor()}, torch {torch.__version__}, one thread per process.",
            "",
            *lines,
        ]
    )
    print(text)
    if args.output:
        with atomic_write(args.output, "w") as file:
            file.write(text + "\n")
    return int(any(FAILED in line for line in lines))
