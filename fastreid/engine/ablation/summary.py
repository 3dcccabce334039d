"""What came out of an ablation: mean and spread over the seeds as Markdown, JSON and a plot."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastreid.engine.ablation.rows import Row
from fastreid.engine.ablation.runs import Run
from fastreid.engine.ablation.table import Table
from fastreid.evaluation.scatter import Scatter
from fastreid.utils.files import atomic_write


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (divided by n - 1) of n values; ``std`` is ``None`` for one value."""

    mean: float
    std: float | None
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" if self.std is None else f"{self.mean:.1f} ± {self.std:.1f}"


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of ``values``; ``None`` without any."""
    if not len(values):
        return None
    return Spread(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Outcome:
    """What the runs of one row gave.

    Attributes:
        states: per seed, see `Run.state`.
        metrics: per finished seed ``{data set: {metric: percent}}``.
        seconds: CPU seconds per finished seed, of an evaluation with those of its training; unmeasured ones left out.
        images: images that the trainings saw, per finished seed.
    """

    row: Row
    states: dict[int, str]
    metrics: dict[int, dict[str, dict[str, float]]]
    seconds: dict[int, float]
    images: dict[int, int]

    def values(self, test: str, metric: str) -> dict[int, float]:
        """Percent per finished seed."""
        return {seed: found[test][metric] for seed, found in self.metrics.items() if metric in found.get(test, {})}

    def cost(self, kind: str) -> Spread | None:
        return spread([*{"seconds": self.seconds, "images": self.images}[kind].values()])


def collect(table: Table, output: Path) -> list[Outcome]:
    """Read what the runs of ``table`` left below ``output``."""
    return [_outcome(row, [Run(row, seed, output) for seed in table.seeds]) for row in table.rows]


def _outcome(row: Row, runs: Sequence[Run]) -> Outcome:
    states = {run.seed: run.state for run in runs}
    done = [run for run in runs if states[run.seed] == "finished"]
    seconds = {run.seed: _seconds(run) for run in done}
    measured = {seed: value for seed, value in seconds.items() if value is not None}
    return Outcome(row, states, {run.seed: run.metrics() for run in done}, measured, {r.seed: r.images() for r in done})


def _seconds(run: Run) -> float | None:
    records = [one.record for one in (run, run.parent) if one]
    if not all(record.get("measured") for record in records):
        return None
    return sum(record["cpu_seconds"] for record in records)


def write_summary(table: Table, output: Path) -> str:
    """Write ``table.md``, ``results.json`` and ``plot.png`` into ``output`` and return the Markdown."""
    outcomes = collect(table, output)
    text = as_markdown(table, outcomes)
    with atomic_write(output / "table.md", "w") as file:
        file.write(text + "\n")
    with atomic_write(output / "results.json", "w") as file:
        json.dump(as_json(table, outcomes), file, indent=1)
        file.write("\n")
    as_plot(table, outcomes).savefig(output / "plot.png")
    return text


def as_markdown(table: Table, outcomes: Sequence[Outcome]) -> str:
    """A heading, the table, what its figures are, and the runs that are missing."""
    columns = [(test, metric) for test in table.tests for metric in table.metrics]
    reference = next((one for one in outcomes if one.row.name == table.reference), None)
    heads = [metric if len(table.tests) == 1 else f"{test} {metric}" for test, metric in columns]
    heads += [f"{table.metrics[0]} against {table.reference}"] if reference else []
    lines = ["| | " + " | ".join([*heads, "seeds", "CPU s", "images/CPU s"]) + " |"]
    lines.append("| --- |" + " ---: |" * (len(heads) + 3))
    for outcome in outcomes:
        cells = [str(spread([*outcome.values(*column).values()]) or "-") for column in columns]
        cells += [_difference(outcome, reference, *columns[0])] if reference else []
        cells += [_count(outcome), *_costs(outcome)]
        lines.append(f"| {outcome.row.name} | " + " | ".join(cells) + " |")
    return "\n".join([f"## {table.title}", "", *lines, "", _caption(table), *_missing(outcomes)])


def _difference(outcome: Outcome, reference: Outcome, test: str, metric: str) -> str:
    """Mean and deviation of the differences, seed by seed."""
    if outcome is reference:
        return ""
    ours, theirs = outcome.values(test, metric), reference.values(test, metric)
    found = spread([ours[seed] - theirs[seed] for seed in ours if seed in theirs])
    if found is None:
        return "-"
    return f"{found.mean:+.1f}" + ("" if found.std is None else f" ± {found.std:.1f}")


def _count(outcome: Outcome) -> str:
    done, asked = len(outcome.metrics), len(outcome.states)
    return str(done) if done == asked else f"{done} of {asked}"


def _costs(outcome: Outcome) -> tuple[str, str]:
    seconds = spread([*outcome.seconds.values()])
    rates = [outcome.images[seed] / seconds for seed, seconds in outcome.seconds.items() if seconds]
    rate = "" if outcome.row.of or not rates else f"{np.mean(rates):.0f}"
    return f"{seconds.mean:.0f}" if seconds else "-", rate or "-"


def _caption(table: Table) -> str:
    against = f"; differences to '{table.reference}' seed by seed" if table.reference else ""
    return (
        f"Percent, mean ± sample standard deviation over seeds {', '.join(map(str, table.seeds))}{against}. "
        "CPU seconds of the whole process, start and evaluation included; of a row that evaluates the models of "
        f"another one, with their training. Made by `fastreid ablate {table.path}`."
    )


def _missing(outcomes: Sequence[Outcome]) -> list[str]:
    missing = [
        f"- {outcome.row.name}, seed {seed}: {state}"
        for outcome in outcomes
        for seed, state in outcome.states.items()
        if state != "finished"
    ]
    return ["", "Missing:", "", *missing] if missing else []


def as_json(table: Table, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Everything of the table as plain values, each seed's figures among them."""
    return {
        "title": table.title,
        "table": str(table.path),
        "seeds": list(table.seeds),
        "rows": [_row_as_json(table, outcome) for outcome in outcomes],
    }


def _row_as_json(table: Table, outcome: Outcome) -> dict[str, Any]:
    runs = {
        str(seed): {
            "state": state,
            "metrics": outcome.metrics.get(seed, {}),
            "cpu_seconds": outcome.seconds.get(seed),
            "images": outcome.images.get(seed),
        }
        for seed, state in outcome.states.items()
    }
    shown = {
        test: {m: vars(s) for m in table.metrics if (s := spread([*outcome.values(test, m).values()]))}
        for test in table.tests
    }
    row = outcome.row
    own = {key: row.settings[key] for key in row.own}
    return {"name": row.name, "of": row.of.name if row.of else None, "set": own, "metrics": shown, "runs": runs}


def as_plot(table: Table, outcomes: Sequence[Outcome]) -> Scatter:
    """The first metric of the first data set against the cost, a point per row with its deviation."""
    label = {"seconds": "CPU seconds", "images": "training images seen"}[table.cost]
    plot = Scatter(table.title, label, f"{table.metrics[0]}, {table.tests[0]}, percent")
    for outcome in outcomes:
        found, cost = spread([*outcome.values(table.tests[0], table.metrics[0]).values()]), outcome.cost(table.cost)
        if found and cost:
            plot.point(outcome.row.name, cost.mean, found.mean, found.std or 0.0)
    return plot
