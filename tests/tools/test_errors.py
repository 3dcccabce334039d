"""What a user sees of a mistake, and where the commands start."""

import os
import runpy
import subprocess
import sys

import pytest

from fastreid.cli import main as cli


def python(*command, cwd, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, env=environment
    )


@pytest.mark.parametrize("script", ["train_net.py", "test.py"])
def test_a_script_ends_with_one_line_and_status_1(repo, monkeypatch, capsys, script):
    monkeypatch.setattr(sys, "argv", [script, "--config-file", "gone.yml"])
    monkeypatch.delenv("FASTREID_TRACEBACK", raising=False)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(repo / "tools" / script), run_name="__main__")
    assert end.value.code == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: Config file not found: 'gone.yml'\n")
    assert "Traceback" not in shown


def test_the_module_is_the_console_command(repo, tmp_path):
    done = python("-m", "fastreid", "train", "SOLVER.BASE", "1", cwd=tmp_path, PYTHONPATH=str(repo))
    assert done.returncode == 1
    assert done.stderr.startswith("error: Unknown config keys in the command line:\n  SOLVER.BASE")


def test_each_command_shows_its_own_examples(capsys):
    shown = {}
    for name in ("train", "test"):
        with pytest.raises(SystemExit):
            cli([name, "--help"])
        shown[name] = capsys.readouterr().out
    assert "fastreid train --config-file FILE --resume" in shown["train"]
    assert "stage1.yml" not in shown["test"]
    assert "fastreid test --config-file FILE --output" in shown["test"]
