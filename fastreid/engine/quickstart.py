"""The demonstration: the commands a user would type, one after the other, and a table of what they gave."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fastreid.utils.command import entry_point

ROOT = Path(__file__).resolve().parents[2]
METRICS = ("mAP", "Rank-1", "Rank-10", "AP@10_min")


@entry_point()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration; returns 1 when a result is not what it should be."""
    parser = argparse.ArgumentParser(
        description="Draw MiniPatent, train on it in two stages, evaluate with post-processing, write result.npy."
    )
    parser.add_argument("--output", default="logs/demo", metavar="DIR", help="results (default: %(default)s)")
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings for every step")
    args = parser.parse_args(argv)
    output = Path(args.output).resolve()
    start = time.perf_counter()
    for title, command, environment in steps(output, args.opts):
        run(title, command, environment)
    rows = collect(output)
    table = as_table(rows)
    (output / "summary.md").write_text(table + "\n", encoding="utf-8")
    print(f"\n{table}\n\nPercent, on the validation designs, which also chose the best model of each stage.")
    print(f"Done in {time.perf_counter() - start:.0f} s.")
    for what, path in (
        ("submission", output / "result.npy"),
        ("pictures and curves, open in a browser", output / "final" / "report.html"),
        ("metrics", output / "final" / "results.json"),
        ("this table", output / "summary.md"),
    ):
        print(f"  {path}  ({what})")
    return judge(rows)


def steps(output: Path, opts: Sequence[str]) -> list[tuple[str, list[str], dict[str, str]]]:
    """Return title, command and added environment of each step."""
    data = Path(os.environ.get("FASTREID_DATASETS") or "datasets").resolve()
    stage1, stage2 = output / "stage1", output / "stage2"
    best1, best2 = (["MODEL.WEIGHTS", str(stage / "model_best.pth")] for stage in (stage1, stage2))

    def tool(script: str, config: str, *settings: str) -> list[str]:
        return [script, "--config-file", f"configs/demo/{config}.yml", *settings]

    def evaluate(name: str, config: str, *settings: str) -> list[str]:
        return tool("tools/train_net.py", config, "--eval-only", *settings, "OUTPUT_DIR", str(output / name), *opts)

    def train(folder: Path, config: str, *settings: str) -> list[str]:
        return tool("tools/train_net.py", config, *settings, "OUTPUT_DIR", str(folder), *opts)

    curves = ["TEST.REPORT.METRICS", str([str(stage1 / "metrics.json"), str(stage2 / "metrics.json")])]
    root = {"FASTREID_DATASETS": str(data)}
    challenge = {"FASTREID_DATASETS": str(data / "minipatent")}
    lists = data / "minipatent" / "codalab_test_set" / "lists"
    result = str(output / "result.npy")
    submit = tool("tools/test.py", "submit", "--eval-only", "--output", result)
    submit += [*best2, "OUTPUT_DIR", str(output / "submit"), *opts]
    check = ["tools/check_submission.py", result]
    check += ["--queries", str(lists / "test_queries.txt"), "--database", str(lists / "test_database.txt")]
    return [
        ("Baseline without training: HOG (draws the data first)", evaluate("hog", "hog"), root),
        ("The network before training", evaluate("untrained", "stage1"), root),
        ("Stage 1", train(stage1, "stage1"), root),
        ("The best model of stage 1", evaluate("best1", "stage1", *best1), root),
        ("Stage 2", train(stage2, "stage2", *best1), root),
        ("The best model of stage 2, with post-processing", evaluate("final", "final", *best2, *curves), root),
        ("Submission", submit, challenge),
        ("Check of the submission", check, challenge),
    ]


def run(title: str, command: list[str], environment: dict[str, str]) -> None:
    """Print a command as a user would type it and run it; a failure ends the demonstration."""
    variables = [f"{name}={value}" for name, value in environment.items() if os.environ.get(name) != value]
    shown = shlex.join(map(_relative, [*variables, sys.executable, *command]))
    print(f"\n=== {title}\n$ {shown}", flush=True)
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env={**os.environ, **environment})
    if done.returncode:
        raise SystemExit(f"error: the step '{title}' failed with status {done.returncode}; its own words are above")


def _relative(word: str) -> str:
    """Paths below the checkout as seen from there."""
    return word.replace(f"{ROOT}/", "")


def collect(output: Path) -> list[tuple[str, dict[str, float]]]:
    """Return name and metrics (percent) of each line of the table."""
    rows = []
    for folder, name in (("hog", "HOG"), ("untrained", "untrained"), ("best1", "stage 1"), ("final", "stage 2")):
        rows.append((name, _stages(output / folder)[0]["metrics"]))
    name = "stage 2"
    for stage in _stages(output / "final")[1:]:
        name += f" {stage['stage']}"
        rows.append((name, stage["metrics"]))
    return rows


def _stages(folder: Path) -> list[dict]:
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return next(iter(results.values()))["stages"]


def as_table(rows: list[tuple[str, dict[str, float]]]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| | " + " | ".join(METRICS) + " |", "| --- |" + " ---: |" * len(METRICS)]
    lines += [f"| {name} | " + " | ".join(f"{metrics[m]:.1f}" for m in METRICS) + " |" for name, metrics in rows]
    return "\n".join(lines)


def judge(rows: list[tuple[str, dict[str, float]]]) -> int:
    """Say whether training and the second stage helped; returns the exit status."""
    score = {name: metrics["mAP"] for name, metrics in rows}
    failed = 0
    for worse, better in (("untrained", "stage 1"), ("stage 1", "stage 2")):
        if score[better] <= score[worse]:
            print(f"NOTE: mAP of {better} ({score[better]:.1f}) is not above that of {worse} ({score[worse]:.1f}).")
            failed = 1
    return failed
