"""Two processes train, resume and evaluate as one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastreid.data.feature_file import FeatureFile
from fastreid.engine import commands, default_argument_parser, launch

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]

# statistics over all images, and random erasing and flips that the stream decides
OPTIONS = ["PLUGINS", "('{plugin}',)", "MODEL.BACKBONE.NAME", "TinySyncBackbone", "INPUT.FLIP.ENABLED", "True",
           "DATALOADER.NUM_INSTANCE", "2", "MODEL.HEADS.NORM", "syncBN", "TEST.EVAL_PERIOD", "3",
           "OUTPUT_DIR", "{out}"]  # fmt: skip


@pytest.fixture(scope="module")
def synchronised(tiny_data) -> Path:
    """The tiny backbone with ``syncBN``, under a name of its own: other tests here register the plain one."""
    text = (tiny_data / "tiny_backbone.py").read_text()
    text = text.replace("nn.BatchNorm2d", "SyncBatchNorm").replace("TinyBackbone", "TinySyncBackbone")
    path = tiny_data / "tiny_sync_backbone.py"
    path.write_text("from fastreid.layers import SyncBatchNorm\n" + text)
    return path


def options(tiny_options, plugin, out, *more) -> list[str]:
    return [*tiny_options, *(word.format(plugin=plugin, out=out) for word in OPTIONS), *map(str, more)]


def figures(folder: Path, *names: str) -> list[list[float]]:
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [[row[name] for name in names] for row in rows]


def measured(folder: Path) -> list[dict]:
    return json.loads((folder / "results.json").read_text())["FileList"]["stages"]


def run(repo, command: list[str]) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, cwd=repo, capture_output=True, text=True, timeout=300)


def run_all(*arguments) -> None:
    """One of two processes: what several command lines ask for, one after the other."""
    for each in arguments:
        commands.run_training(each)


@pytest.mark.slow
def test_two_processes_train_resume_and_evaluate_as_one(repo, tiny_options, synchronised, tmp_path, monkeypatch):
    """Two epochs by ``launch``, the third by torchrun; then the features of that model by two processes and by one."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    one, two = tmp_path / "one", tmp_path / "two"

    def arguments(out, *more):
        # a schedule whose first epochs do not depend on the number of epochs
        words = options(tiny_options, synchronised, out, "SOLVER.SCHED", "MultiStepLR", *more)
        return default_argument_parser().parse_args(words)

    def evaluation(out):
        result = arguments(out, "MODEL.WEIGHTS", two / "model_final.pth")
        result.eval_only = True
        return result

    commands.run_training(arguments(one))
    launch(run_all, 2, args=(arguments(two, "SOLVER.MAX_EPOCH", 2), evaluation(tmp_path / "by two")))
    run_all(evaluation(tmp_path / "by one"))
    resumed = run(repo, [*TORCHRUN, str(repo / "tools" / "train_net.py"), "--resume", *arguments(two).opts])
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "Resuming from" in resumed.stdout
    for names, tolerance in ((("loss_cls", "cls_accuracy"), 1e-5), (("loss_triplet",), 2e-3)):
        # float32 rounds the distances of almost equal features, which the order of the batch decides
        np.testing.assert_allclose(figures(two, *names), figures(one, *names), rtol=tolerance)

    by_one, by_two = (FeatureFile.load(tmp_path / f"by {n}" / "features" / "FileList.npz") for n in ("one", "two"))
    assert np.array_equal(by_one.features, by_two.features)
    assert (by_one.paths, by_one.fingerprint) == (by_two.paths, by_two.fingerprint)
    assert measured(tmp_path / "by one") == measured(tmp_path / "by two")


@pytest.mark.slow
def test_torchrun_ends_with_the_first_error(repo, tiny_options, synchronised, tmp_path):
    shared = options(tiny_options, synchronised, tmp_path / "out", "SOLVER.IMS_PER_BATCH", 7)
    done = run(repo, [*TORCHRUN, str(repo / "tools" / "train_net.py"), *shared])
    assert done.returncode != 0
    assert "error: SOLVER.IMS_PER_BATCH must be a multiple of the number of processes; got 7 and 2" in done.stderr
