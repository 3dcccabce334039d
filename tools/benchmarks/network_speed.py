"""Images per second of training steps and of feature extraction, against a loop as one writes it without this package.

    python tools/benchmarks/throughput.py --models R18 R50 R101-IBN-NL --batch 4 --rounds 3

All ways take turns in one process: one step each, round after round. On a CPU a step counts by the CPU time of all
threads, on a GPU by the time that passes until it is done. The ratio is the median over the rounds. The share of the
peak is the floating-point operations of a step, as PyTorch counts them, over those of a large matrix product in the
same run and precision. The plain loop is that of fast-reid: float32, normalisation in place, forward, backward, an
optimiser that goes from parameter to parameter; of an evaluation a forward pass and a copy to the CPU. A stall is a
step that waited longer for its batch than 5 % of its time.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from tabulate import tabulate
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.machine import describe
from fastreid.config import get_cfg
from fastreid.engine.acceleration import accelerated
from fastreid.engine.train_loop import AMPTrainer, SimpleTrainer
from fastreid.evaluation.evaluator import forward
from fastreid.modeling import build_model
from fastreid.solver import build_optimizer
from fastreid.utils.command import at_least_one, entry_point
from fastreid.utils.events import EventStorage
from fastreid.utils.inference import has_bfloat16

MODELS = {
    "R18": ("MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512),
    "R50": ("MODEL.BACKBONE.DEPTH", "50x"),
    "R101-IBN-NL": ("MODEL.BACKBONE.DEPTH", "101x", "MODEL.BACKBONE.WITH_IBN", True, "MODEL.BACKBONE.WITH_NL", True),
}
IDENTITIES, STALL = 8, 0.05
FOLDED = ("TEST.INFERENCE.FOLD_BN", True)
LAST = ("TEST.INFERENCE.CHANNELS_LAST", True)
HALF = ("TEST.INFERENCE.DTYPE", "bfloat16")
EXTRACTION = {
    "ours, as it is": (),
    "channels last": LAST,
    "folded norms": FOLDED,
    "folded norms, channels last": (*FOLDED, *LAST),
    "bfloat16, folded norms, channels last": (*HALF, *FOLDED, *LAST),
    "OpenVINO": ("TEST.INFERENCE.BACKEND", "openvino"),
    "OpenVINO, bfloat16": ("TEST.INFERENCE.BACKEND", "openvino", *HALF),
}
QUICK = ("SOLVER.CHANNELS_LAST", True, "SOLVER.FUSED", True)
TRAINING = {
    "ours, as it is": (),
    "fused optimiser": ("SOLVER.FUSED", True),
    "fused optimiser, channels last": QUICK,
    "bfloat16, fused, channels last": (*QUICK, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "bfloat16"),
}


class Images(Dataset):
    """Random bytes as images of (3, side, side), as an image cache gives them, with their identities."""

    def __init__(self, side: int, length: int):
        self._side, self._length = side, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> dict:
        generator = torch.Generator().manual_seed(row)
        size = (3, self._side, self._side)
        images = torch.randint(0, 256, size, dtype=torch.uint8, generator=generator)
        return {"images": images, "targets": row % IDENTITIES, "camids": 0}


@dataclass
class Way:
    """One way to do a step, and the seconds (or CPU seconds) of its steps, with those it waited for the loader."""

    name: str
    step: Callable[[dict], object]
    half: bool = False
    seconds: list[float] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    made.add_argument("--tasks", nargs="+", choices=("training", "extraction"), default=["training", "extraction"])
    made.add_argument("--device", default="cpu")
    made.add_argument("--batch", type=at_least_one, default=4, help="images (default: %(default)s)")
    made.add_argument("--side", type=at_least_one, default=256, help="of the images, pixels (default: %(default)s)")
    made.add_argument("--rounds", type=at_least_one, default=3, help="steps of each way (default: %(default)s)")
    made.add_argument("--threads", type=at_least_one, default=1, help="of the CPU (default: %(default)s)")
    made.add_argument("--workers", type=int, default=1, help="processes of the loader (default: %(default)s)")
    return made


@entry_point("Interrupted.")
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print Markdown."""
    args = parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    print(", ".join(f"{name}: {value}" for name, value in describe(args.device)))
    print(
        f"\nBatches of {args.batch} images of {args.side} x {args.side}, {args.threads} thread(s), medians of ", end=""
    )
    print(f"{args.rounds} rounds.")
    peaks = {half: peak(args.device, half) for half in (False, True) if not half or has_bfloat16(args.device)}
    for task in args.tasks:
        rows = [row for name in args.models for row in measured(args, task, name, peaks)]
        unit = "images/s" if args.device.startswith("cuda") else "images per CPU second"
        heads = ("network", task, unit, "against the plain loop", "images/s", "share of the peak", "loader stalls")
        print(f"\n{tabulate(rows, heads, tablefmt='github', disable_numparse=True)}", flush=True)


def measured(args: argparse.Namespace, task: str, name: str, peaks: dict[bool, float]) -> list[tuple]:
    """Rows of the table of one network."""
    ways = (training_ways if task == "training" else extraction_ways)(args, name)
    dataset = Images(args.side, args.batch * len(ways) * (args.rounds + 1))
    # as our loaders: pinned for a GPU, so that the copy to it waits for nothing
    loader = iter(DataLoader(dataset, args.batch, num_workers=args.workers, pin_memory=args.device != "cpu"))
    with FlopCounterMode(display=False) as counter:
        ways[0].step(next(loader))
    operations = counter.get_total_flops()
    for way in ways[1:]:  # conversions, caches
        way.step(next(loader))
    for _ in range(args.rounds):
        for way in ways:
            timed(way, loader, args.device)
    rows = []
    for way in ways:
        seconds = statistics.median(way.seconds)
        ratio = statistics.median(a / b for a, b in zip(ways[0].seconds, way.seconds, strict=True))
        stalls = sum(wait > STALL * wall for wait, wall in zip(way.waits, way.walls, strict=True))
        rows.append(
            (
                name, way.name, f"{args.batch / seconds:.2f}", f"{ratio:.2f}x",
                f"{args.batch / statistics.median(way.walls):.2f}",
                f"{operations / seconds / peaks[way.half]:.0%}", f"{stalls} of {len(way.waits)}",
            )
        )  # fmt: skip
    return rows


def timed(way: Way, loader, device: str) -> None:
    """One step of a way."""
    start = time.perf_counter()
    batch = next(loader)
    way.waits.append(time.perf_counter() - start)
    synchronise(device)
    wall, cpu = time.perf_counter(), time.process_time()
    way.step(batch)
    synchronise(device)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    way.seconds.append(wall if device.startswith("cuda") else cpu)
    way.walls.append(wall)


def synchronise(device: str) -> None:
    """Wait until a GPU is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def peak(device: str, half: bool, size: int = 2048) -> float:
    """Floating-point operations per second (of CPU time on a CPU) of a matrix product: the best of five."""
    kind = torch.bfloat16 if half else torch.float32
    one, other = (torch.rand(size, size, device=device).to(kind) for _ in range(2))
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    best = float("inf")
    for _ in range(5):
        synchronise(device)
        start = clock()
        one @ other
        synchronise(device)
        best = min(best, clock() - start)
    return 2 * size**3 / best


def config(args: argparse.Namespace, name: str, *more):
    """The config of a network with some further keys."""
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.DEVICE", args.device, "MODEL.BACKBONE.PRETRAIN", False, "MODEL.HEADS.NUM_CLASSES", IDENTITIES,
        "MODEL.HEADS.WITH_BNNECK", True, "INPUT.SIZE_TEST", [args.side, args.side], *MODELS[name], *more,
    ])  # fmt: skip
    return cfg


def possible(args: argparse.Namespace, ways: dict[str, tuple]) -> dict[str, tuple]:
    """The ways that this machine has."""
    half = has_bfloat16(args.device)
    kept = {name: keys for name, keys in ways.items() if half or "bfloat16" not in name}
    return {name: keys for name, keys in kept.items() if args.device == "cpu" or "OpenVINO" not in name}


def extraction_ways(args: argparse.Namespace, name: str) -> list[Way]:
    """Forward passes of one set of weights; the features end on the CPU."""
    torch.manual_seed(0)
    model = build_model(config(args, name)).eval()

    @torch.no_grad()
    def plain(batch: dict) -> torch.Tensor:
        images = batch["images"].to(args.device).float()
        return model.heads(model.backbone(images.sub_(model.pixel_mean).div_(model.pixel_std))).cpu()

    @torch.inference_mode()
    def ours(fast, batch: dict) -> torch.Tensor:
        return forward(fast, batch).float().cpu()

    ways = [Way("plain loop", plain)]
    for label, keys in possible(args, EXTRACTION).items():
        fast = accelerated(model, config(args, name, *keys))
        ways.append(Way(label, partial(ours, fast), "bfloat16" in label))
    return ways


def training_ways(args: argparse.Namespace, name: str) -> list[Way]:
    """Steps with cross-entropy and triplet loss, each of a model and an optimiser of its own."""
    ways = [Way("plain loop", plain_step(args, name))]
    for label, keys in possible(args, TRAINING).items():
        cfg = config(args, name, *keys)
        torch.manual_seed(0)
        model = build_model(cfg)
        if cfg.SOLVER.CHANNELS_LAST:
            model.to(memory_format=torch.channels_last)
        optimizer, _ = build_optimizer(cfg, model)
        options = {"dtype": cfg.SOLVER.AMP.DTYPE} if cfg.SOLVER.AMP.ENABLED else {}
        kind = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        trainer = kind(model, [], optimizer, **options)
        ways.append(Way(label, partial(our_step, trainer), cfg.SOLVER.AMP.ENABLED))
    return ways


def our_step(trainer: SimpleTrainer, batch: dict) -> float:
    """A step of the trainer with a given batch; its loss."""
    trainer.next_batch = lambda: (batch, 0.0)
    with EventStorage() as storage:
        trainer.run_step()
        return storage.latest()["total_loss"][0]


def plain_step(args: argparse.Namespace, name: str) -> Callable[[dict], float]:
    """The step of fast-reid's loop, which gives its loss."""
    cfg = config(args, name)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    options = {"lr": cfg.SOLVER.BASE_LR, "weight_decay": cfg.SOLVER.WEIGHT_DECAY}
    optimizer = torch.optim.Adam(model.parameters(), foreach=False, **options)

    def step(batch: dict) -> float:
        images, targets = batch["images"].to(args.device).float(), batch["targets"].to(args.device)
        outputs = model.heads(model.backbone(images.sub_(model.pixel_mean).div_(model.pixel_std)), targets)
        table = {**outputs, "targets": targets}
        losses = {loss.key: loss(table) for loss in model.loss_functions}
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        return sum(float(loss.detach()) for loss in losses.values())

    return step
