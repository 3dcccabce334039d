"""The tables: figures per case, targets beside what was reached, and the document they are written to."""

import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmarks.cases import Case, Target
from benchmarks.environment import Peers
from benchmarks.machine import describe

HEAD = """# Benchmarks

Written by `python tools/benchmarks/run.py`, which measures and checks everything below; not edited by hand.
`--help` lists the cases.
"""
METHOD = """Every figure is the median over fresh processes, one of each contestant per round, in turn. **CPU** is the
processor time of all threads; **wall** also depends on what else runs. **Memory** is the peak above what was resident
just before the call, with the features loaded. Each process first solves a part of the problem too small to matter, so
imports are not counted. Idle threads sleep (`OMP_WAIT_POLICY=PASSIVE`). The ratio is CPU time over that of the first
row, on a GPU wall time.

Results are compared in the same run, and a disagreement makes the command fail. Ours in every precision must be equal,
and equal to a float64 full sort of every n-th query. Where others sort float32 scores, mAP may differ by 1e-5, one item
in a thousand of a list may be another one, and one value in a thousand may differ by more than 1e-5.
"""


def render(outcomes: Sequence, device: str, peers: Peers, command: str) -> str:
    """Return the section of a device as Markdown."""
    title = "GPU" if device != "cpu" else "CPU"
    machine = table(("machine", ""), describe(device))
    packages = "Peers: " + (", ".join(f"{name} {version}" for name, version in peers.versions.items()) or "none")
    parts = [f"## {title}", f"`{command}`, {date.today().isoformat()}.", machine, packages + ".", METHOD.strip()]
    targets = summary(outcomes)
    parts += ["### Targets", targets] if targets else []
    for outcome in outcomes:
        parts += [f"### {outcome.case.title}", data_line(outcome), figures(outcome, device)]
    return "\n\n".join(part for part in parts if part) + "\n"


def data_line(outcome) -> str:
    """What the data are, and what was compared."""
    from benchmarks.data import lists_folder

    kinds = {
        "deeppatent": "Identities of DeepPatent's test lists"
        if lists_folder()
        else "Identities in DeepPatent's proportions (its lists were not at hand)",
        "patents": "Identities in DeepPatent's proportions",
        "market": "Identities and cameras in Market-1501's proportions",
    }
    words = [f"{kinds[outcome.case.problem.structure]}, clustered features"]
    words += [f"mAP {outcome.mean_ap:.4f}"] if outcome.mean_ap is not None else []
    words += [f"agree with the first row: {', '.join(outcome.compared)}"] if outcome.compared else []
    return "; ".join(words) + "."


def figures(outcome, device: str) -> str:
    """Table of the contestants of a case."""
    case = outcome.case
    base = outcome.median(case.contestants[0].name, "cpu" if device == "cpu" else "wall")
    whole = any(contestant.command for contestant in case.contestants)
    rows = []
    for contestant in case.contestants:
        runs = outcome.runs.get(contestant.name)
        if contestant.referee:
            continue
        if not runs:
            rows.append((contestant.name, outcome.missing.get(contestant.name, ""), "", "", "", ""))
            continue
        cpu, wall, extra = (outcome.median(contestant.name, name) for name in ("cpu", "wall", "extra"))
        ratio = (cpu if device == "cpu" else wall) / base if base else float("nan")
        load = max(run.load for run in runs)
        rows.append(
            (contestant.name, seconds(cpu), seconds(wall), f"{extra:.0f}", f"{ratio:.2f}", f"{len(runs)}, {load:.1f}")
        )
    memory = "peak of the process, MiB" if whole else "memory, MiB"
    return table(("", "CPU s", "wall s", memory, "ratio", "runs, load before"), rows)


def summary(outcomes: Sequence) -> str:
    """Table of the targets; empty when none belongs to these cases."""
    rows = [target_row(outcome, target) for outcome in outcomes for target in outcome.case.targets]
    return table(("case", "figure", "target", "measured", ""), rows) if rows else ""


def target_row(outcome, target: Target) -> tuple[str, ...]:
    case: Case = outcome.case
    unit = " MiB" if target.measure == "extra" else "x" if target.over else " s"
    name = {"cpu": "CPU time", "extra": "extra memory"}[target.measure]
    figure = f"{name}, {target.of}" + (f" / {target.over}" if target.over else "")
    wanted = f"{'>=' if target.at_least else '<='} {target.limit:g}{unit}"
    value = reached(outcome, target)
    if value is None:
        return case.name, figure, wanted, "not measured", ""
    return case.name, figure, wanted, f"{value:.2f}{unit}", verdict(value, target)


def reached(outcome, target: Target) -> float | None:
    value = outcome.median(target.of, target.measure)
    if not target.over or value is None:
        return value
    over = outcome.median(target.over, target.measure)
    return value / over if over else None


def verdict(value: float, target: Target) -> str:
    """``"met"``, or by how much it falls short."""
    short = 1 - value / target.limit if target.at_least else value / target.limit - 1
    if short <= 0:
        return "met"
    return f"**short by {short:.0%}**" + (f": {target.why_short}" if target.why_short else "")


def seconds(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["-"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in lines)


def write_section(path: Path, device: str, body: str) -> None:
    """Write the section of a device; that of another device, measured on another machine, stays."""
    from fastreid.utils.files import atomic_write

    text = path.read_text(encoding="utf-8") if path.exists() else ""
    kept = {name: found for name in ("cpu", "cuda") if (found := section(text, name))}
    kept[device] = f"<!-- {device} -->\n{body.strip()}\n<!-- end of {device} -->\n"
    parts = [HEAD, *(kept[name] for name in ("cpu", "cuda") if name in kept)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write("\n".join(parts).encode())


def section(text: str, device: str) -> str:
    found = re.search(rf"<!-- {device} -->\n.*?<!-- end of {device} -->\n", text, re.DOTALL)
    return found.group(0) if found else ""
