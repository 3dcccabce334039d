"""Against fast-reid's recorded outputs: every difference stands in the guide, with its reason.

Skipped where the reference data is absent. Backbones and models, minutes of work, are compared by a fifth and in part.
"""

import json
import os
import re
import subprocess
import sys

import pytest

QUICK = [
    "api", "cfg", "registry", "loss", "layer", "eval", "sampler", "sched", "optim", "data", "ckpt", "engine",
]  # fmt: skip
ROW = re.compile(r"^\| `([a-z]+/.+?)` \| .+ \|$", re.MULTILINE)


def explained(repo):
    """Beginnings of the lines that the guide's table explains."""
    text = (repo / "docs" / "from-fastreid.md").read_text(encoding="utf-8")
    return tuple(ROW.findall(text.partition("## Comparing numbers")[2]))


def compare(repo, testdata, tmp_path, *options):
    """Run the comparison; return the names of the checks that fail and the number of those that agree."""
    script = testdata.parent / "reference" / "parity.py"
    if not script.is_file():
        pytest.skip(f"no reference data at {script.parent}")
    found = tmp_path / "parity.json"
    command = [sys.executable, str(script), "--other", str(repo), "--quiet", "--json", str(found), *options]
    # the number of threads of the recording: gradients of deep networks round otherwise with another
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert found.is_file(), done.stdout + done.stderr
    lines = json.loads(found.read_text())["lines"]
    # --quick leaves most networks out, and counts them as failed
    reached = [line for line in lines if "not reached" not in line[2]]
    failed = {f"{name}  {detail}" for kind, name, detail in reached if kind == "FAIL"}
    return failed, sum(kind == "ok" for kind, *_ in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options, agreeing",
    [(["--only", ",".join(QUICK)], 450), (["--only", "backbone", "--quick"], 14), (["--only", "model", "--quick"], 20)],
    ids=["all but networks", "backbones", "models"],
)
def test_every_difference_is_explained(repo, testdata, tmp_path, options, agreeing):
    failed, ok = compare(repo, testdata, tmp_path, *options)
    reasons = explained(repo)
    assert reasons
    assert {line for line in failed if not line.startswith(reasons)} == set()
    assert ok >= agreeing
