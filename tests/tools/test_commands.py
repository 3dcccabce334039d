"""The scripts and the console command as processes."""

import json
import os
import runpy
import subprocess
import sys

import numpy as np
import pytest

from fastreid import __version__
from fastreid.cli import COMMANDS
from fastreid.cli import main as cli
from fastreid.engine import quickstart

SCRIPTS = [
    "train_net.py", "test.py", "check_submission.py", "make_minipatent.py", "quickstart.py", "demo.py", "export.py",
    "ablate.py", "evaluate.py", "render_designs.py", "visualize_result.py", "plot_roc.py", "deploy/onnx_export.py",
    "deploy/onnx_inference.py", "draw_features.py", "encode_text.py", "enrich_text.py",
    "build_index.py", "search.py", "serve.py", "cache_images.py",
]  # fmt: skip


def python(*command, cwd, **environment):
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_loads_neither_torch_nor_images(repo, script):
    """``--help`` answers at once because nothing heavy is imported for it."""
    done = python("-X", "importtime", repo / "tools" / script, "--help", cwd=repo)
    assert done.returncode == 0
    assert "usage:" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & {"torch", "torchvision", "PIL", "scipy", "sklearn", "faiss"}


def test_the_console_command_lists_its_commands(capsys):
    assert cli([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert cli(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_a_misspelt_command_shows_the_nearest(capsys):
    assert cli(["trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_console_command_is_there(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli([command, "--help"])
    assert stop.value.code == 0
    assert f"usage: fastreid {command}" in capsys.readouterr().out


def test_the_package_imports_and_evaluates_without_its_compiled_part(repo, tmp_path):
    """As after an installation without a compiler: the Python reference is used, and said so once."""
    code = (
        "import sys, logging; logging.basicConfig(level=logging.INFO)\n"
        "sys.modules['fastreid.retrieval._kernels'] = None\n"
        "import numpy as np, fastreid.retrieval as r\n"
        "from fastreid.evaluation.rank import evaluate_rank\n"
        "assert not r.HAS_CYTHON\n"
        "d = np.array([[.1, .2, .3]], dtype='float32')\n"
        "cmc, ap, inp = evaluate_rank(d, np.array([1]), np.array([2, 1, 1]), np.array([0]), np.array([1, 1, 1]))\n"
        "print(round(float(np.mean(ap)), 4))\n"
    )
    done = python("-c", code, cwd=repo)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx((1 / 2 + 2 / 3) / 2, abs=1e-4)
    assert "slower" in done.stderr


class Here:
    """``subprocess`` whose ``run`` runs a script in this process, which spares the start of a new one."""

    @staticmethod
    def run(command, cwd, env):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", command[1:])
            for name, value in env.items():
                patch.setenv(name, value)
            runpy.run_path(command[1], run_name="__main__")
        return subprocess.CompletedProcess(command, end.value.code or 0)


@pytest.mark.slow
def test_the_demonstration_runs_from_drawing_to_submission(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quickstart, "subprocess", Here)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "data"))
    settings = {
        "DATASETS.MINIPATENT.NUM_TRAIN": 12,
        "DATASETS.MINIPATENT.NUM_VAL": 4,
        "DATASETS.MINIPATENT.NUM_TEST": 4,
        "DATASETS.MINIPATENT.SIZE": 96,
        "INPUT.SIZE_TRAIN": [32, 32],
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.WARMUP_ITERS": 0,
        "SOLVER.IMS_PER_BATCH": 16,
        "DATALOADER.NUM_WORKERS": 0,
        "MODEL.BACKBONE.WIDTH": 8,
        "MODEL.BACKBONE.FEAT_DIM": 64,
    }
    pairs = [str(item) for pair in settings.items() for item in pair]
    output = tmp_path / "out"
    # 1 says honestly that a second of training did not help
    assert quickstart.main(["--output", str(output), *pairs]) in (0, 1)
    assert "=== Check of the submission" in capsys.readouterr().out
    ranks = np.load(output / "result.npy")
    lists = tmp_path / "data" / "minipatent" / "codalab_test_set" / "lists"
    database = (lists / "test_database.txt").read_text().split()
    assert ranks.dtype == np.int64
    assert ranks.shape == (len((lists / "test_queries.txt").read_text().split()), min(10, len(database)))
    results = json.loads((output / "final" / "results.json").read_text())
    assert [stage["stage"] for stage in results["MiniPatent"]["stages"]] == ["plain", "+AQE", "+RERANK"]
    assert (output / "final" / "report.html").stat().st_size > 10_000
    assert "stage 2 +AQE +RERANK" in (output / "summary.md").read_text()
