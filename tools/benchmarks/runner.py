"""The command: prepare data and peers, run the cases in fresh processes, compare, report."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.cases import CASES, QUICK, Case
from benchmarks.compare import disagreements
from benchmarks.environment import Peers
from benchmarks.measure import Contestant, Run, run
from fastreid.utils.command import entry_point
from fastreid.utils.errors import require_choice

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"


@dataclass
class Outcome:
    """What a case gave: runs per contestant, why some are missing, and where results disagree with ours."""

    case: Case
    runs: dict[str, list[Run]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    compared: list[str] = field(default_factory=list)
    mean_ap: float | None = None

    def median(self, contestant: str, measure: str) -> float | None:
        runs = self.runs.get(contestant)
        return median(getattr(run, measure) for run in runs) if runs else None


def run_case(
    case: Case, device: str, work: Path, peers: Peers, rounds: int | None = None, say: Callable[[str], None] = print
) -> Outcome:
    """Run every contestant once per round, in turn; compare the results of the first round."""
    outcome, kept = Outcome(case), work / "results" / case.name
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    table = case.problem.stored(work / "data")
    for number in range(rounds or case.rounds):
        for index, contestant in enumerate(case.contestants):
            why = missing(contestant, device, peers) or outcome.missing.get(contestant.name, "")
            if why or (contestant.referee and number):
                outcome.missing.update({contestant.name: why} if why else {})
                continue
            keep = kept / f"{index}.npz" if number == 0 else None
            python = peers.python if contestant.package else sys.executable
            done = run(contestant, table, keep, case.every, "cpu" if contestant.referee else device, python)
            record(work, case, contestant, number, device, done)
            say(line(case, contestant, done))
            if done.error:
                outcome.missing[contestant.name] = f"failed: {done.error}"
                outcome.runs.pop(contestant.name, None)
            elif not contestant.referee:
                outcome.runs.setdefault(contestant.name, []).append(done)
    compare(outcome, kept)
    shutil.rmtree(kept)
    return outcome


def missing(contestant: Contestant, device: str, peers: Peers) -> str:
    """Why a contestant cannot take part; "" when it can."""
    if device != "cpu" and not contestant.gpu and not contestant.referee:
        return "runs on the CPU only"
    if contestant.package and contestant.package not in peers.versions:
        return "not installed" + (f" ({peers.problem})" if peers.problem else "")
    return ""


def compare(outcome: Outcome, kept: Path) -> None:
    """Hold every result against the first contestant's; a failure of ours or of a referee is a fault too."""
    for contestant in outcome.case.contestants:
        why = outcome.missing.get(contestant.name, "")
        if why.startswith("failed") and not contestant.package:
            outcome.faults[contestant.name] = [why]
    own = arrays(kept, 0)
    if own is None:
        return
    if "ap" in own:
        outcome.mean_ap = float(own["ap"][own["ap"] >= 0].mean())
    for index, contestant in list(enumerate(outcome.case.contestants))[1:]:
        other = arrays(kept, index)
        if contestant.compared and other is not None:
            outcome.compared.append(contestant.name)
            found = disagreements(own, other, contestant.exact)
            outcome.faults.update({contestant.name: found} if found else {})


def arrays(kept: Path, index: int) -> dict[str, np.ndarray] | None:
    """What a contestant left: the arrays of a function, or the lists of a submission."""
    path = kept / f"{index}.npz"
    if path.exists():
        with np.load(path) as stored:
            return dict(stored)
    path = path.with_suffix(".npy")
    return {"indices": np.load(path)} if path.exists() else None


def record(work: Path, case: Case, contestant: Contestant, number: int, device: str, done: Run) -> None:
    """Append one JSON line for a process."""
    row = {"case": case.name, "contestant": contestant.name, "round": number, "device": device, "at": time.time()}
    with open(work / "runs.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, **asdict(done)}) + "\n")


def line(case: Case, contestant: Contestant, done: Run) -> str:
    if done.error:
        return f"{case.name:18}{contestant.name:42}{done.error}"
    figures = f"{done.cpu:9.2f} s CPU {done.wall:9.2f} s wall {done.extra:9.1f} MiB"
    return f"{case.name:18}{contestant.name:42}" + ("agreement only" if contestant.referee else figures)


def parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {case.name:18}{case.title}" for case in CASES)
    made = argparse.ArgumentParser(
        description="Measure the retrieval core against its peers; results that disagree make it fail.",
        epilog=f"cases:\n{names}\n\nWithout --only and --quick the figures are written to docs/benchmarks.md.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--only", nargs="+", metavar="CASE", help="these cases")
    made.add_argument("--quick", action="store_true", help="a small part of the data, once: a test of the command")
    made.add_argument("--gpu", action="store_true", help="features on the CUDA device; writes a section of its own")
    made.add_argument("--rounds", type=int, metavar="N", help="processes per contestant (default: 1 to 5, by case)")
    made.add_argument("--output", type=Path, metavar="FILE", help="Markdown file to write")
    made.add_argument(
        "--work", type=Path, default=ROOT / "logs" / "benchmarks", metavar="DIR", help="data, a JSON line per process"
    )
    made.add_argument("--peers", type=Path, metavar="DIR", help="environment of the peers (default: WORK/peers)")
    made.add_argument("--no-peers", action="store_true", help="do not install packages to compare with")
    return made


@entry_point()
def main(argv: Sequence[str] | None = None) -> int:
    from benchmarks.report import render, summary, write_section

    args = parser().parse_args(argv)
    for name in args.only or ():
        require_choice("a case of --only", name, [case.name for case in CASES])
    if args.rounds is not None and args.rounds < 1:
        raise ValueError(f"--rounds, processes per contestant, must be at least 1; got {args.rounds}")
    device = cuda_device() if args.gpu else "cpu"
    args.work.mkdir(parents=True, exist_ok=True)
    peers = Peers((args.peers or args.work / "peers").resolve(), wanted=not args.no_peers)
    cases = [case.scaled(QUICK) if args.quick else case for case in CASES if not args.only or case.name in args.only]
    if device != "cpu":  # the targets are those of a CPU
        cases = [replace(case, targets=()) for case in cases if case.contestants[0].gpu]
    outcomes = [run_case(case, device, args.work.resolve(), peers, args.rounds) for case in cases]
    print("\n" + summary(outcomes))
    command = " ".join(["python tools/benchmarks/run.py", *shown_options(args)])
    faults = [f"{o.case.name}, {name}: {'; '.join(found)}" for o in outcomes for name, found in o.faults.items()]
    if faults:
        print("\nNothing is written, results disagree:\n" + "\n".join(faults), file=sys.stderr)
        return 1
    output = args.output or (None if args.only or args.quick else DOCUMENT)
    if output:
        write_section(output, device, render(outcomes, device, peers, command))
        print(f"\nWrote {output}")
    return 0


def shown_options(args: argparse.Namespace) -> list[str]:
    """The options that change what is measured; folders belong to one machine."""
    given = ["--only", *args.only] if args.only else []
    given += [f"--{name.replace('_', '-')}" for name in ("quick", "gpu", "no_peers") if getattr(args, name)]
    return given + (["--rounds", str(args.rounds)] if args.rounds else [])


def cuda_device() -> str:
    import torch

    if not torch.cuda.is_available():
        raise ValueError("--gpu needs a CUDA device, and torch finds none; without --gpu the CPU is measured")
    return "cuda"
