"""The command ``fastreid ablate``: run a table of settings x seeds, and collect what came out."""

import argparse
import logging
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from fastreid.utils.command import at_least_one, entry_point

logger = logging.getLogger(__name__)

EXAMPLES = """
examples:
  run a table, two trainings at a time:   %(prog)s configs/ablation/loss.yaml --jobs 2
  two of its rows:                        %(prog)s TABLE --only softmax arcface
  the results so far, without running:    %(prog)s TABLE --collect
  what would be run:                      %(prog)s TABLE --dry-run
  a shorter trial of all rows:            %(prog)s TABLE --output logs/trial --set SOLVER.MAX_EPOCH 1
The same command goes on where it was stopped. OUTPUT/table.md, results.json and plot.png grow with every run.
"""


@entry_point("Interrupted. The same command goes on where it stopped.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run or collect a table; returns 1 when a run is missing that was to be there."""
    args = _parser().parse_args(argv)
    from fastreid.engine.ablation.summary import write_summary
    from fastreid.engine.ablation.table import read_table, without_effect
    from fastreid.utils.logger import setup_logger

    setup_logger()
    table = read_table(args.table, args.settings)
    output = Path(args.output or Path("logs", "ablation", table.path.stem))
    units = plan(table, output, args.only)
    for line in without_effect(table):
        logger.warning("a setting without effect in row %s", line)
    failed = [] if args.collect else run(units, args, lambda: write_summary(table, output))
    if not args.dry_run:
        print(f"\n{write_summary(table, output)}\n\n{output / 'table.md'}, results.json and plot.png hold this.")
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a table of settings x seeds; mean and spread as Markdown, JSON and a plot.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", metavar="TABLE", help="YAML file: rows, seeds, what to show (docs/ablation.md)")
    parser.add_argument("--output", metavar="DIR", help="folder of all runs (default: logs/ablation/<table>)")
    parser.add_argument("--jobs", type=at_least_one, default=1, metavar="N", help="runs side by side, one thread each")
    parser.add_argument("--only", nargs="+", metavar="ROW", help="run these rows, and the rows they are of")
    parser.add_argument("--overwrite", action="store_true", help="run anew what was run with other settings")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="print the commands and stop")
    how.add_argument("--collect", action="store_true", help="run nothing, show what is there")
    parser.add_argument(
        "--set", dest="settings", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE",
        help="settings for every row, after all options",
    )  # fmt: skip
    return parser


def plan(table, output: Path, only: Sequence[str] | None = None) -> list[list]:
    """Return the units of work: for each row that trains and each seed its run, then those that evaluate its model."""
    from fastreid.engine.ablation.runs import Run

    rows = table.select(only)
    return [
        [Run(row, seed, output) for row in (trained, *(row for row in rows if row.of is trained))]
        for trained in rows
        if trained.of is None
        for seed in table.seeds
    ]


def run(units: list[list], args: argparse.Namespace, written: Callable[[], object]) -> list:
    """Run what is not finished, or print it with ``--dry-run``; return the runs that failed.

    Args:
        written: called after each of them, to bring the table up to date.

    Raises:
        ValueError: folders hold runs with other settings, and ``--overwrite`` is not given.
    """
    from fastreid.engine.ablation.processes import environment, run_units

    _refuse_changed(units, args.overwrite)
    waiting = [unit for unit in units if not all(one.finished for one in unit)]
    runs = [one for unit in waiting for one in unit if not one.finished]
    if args.dry_run:
        for one in runs:
            print(f"# {one}: {one.state}\n{shlex.join(one.command())}")
        return []
    logger.info("%d of %d runs to do", len(runs), sum(map(len, units)))
    failed, done = [], []

    def report(one, problem: str) -> None:
        done.extend([one] if one in runs else [])
        failed.extend([one] if problem else [])
        if problem:
            logger.error("%s %s", one, problem)
        elif one in runs:
            shown = ", ".join(f"{name} mAP {found.get('mAP', 0):.1f}" for name, found in one.metrics().items())
            logger.info("%d of %d: %s: %s", len(done), len(runs), one, shown)
        written()

    run_units(waiting, args.jobs, report, environment(args.jobs))
    return failed


def _refuse_changed(units: list[list], overwrite: bool) -> None:
    changed = [one for unit in units for one in unit if one.has_to_lose]
    if changed and not overwrite:
        said = "\n".join(f"  {one}: {'; '.join(one.changes)}" for one in changed)
        remedy = "--overwrite runs them anew, and what is in their folders goes; --output takes another folder"
        raise ValueError(f"These were run with other settings:\n{said}\n{remedy}")
