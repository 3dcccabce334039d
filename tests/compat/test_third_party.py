"""A project written for fast-reid runs as it is: its script as a process, its variants in one more process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .conftest import PROJECT

# what its other trainers and models do, in one process
VARIANTS = """
import sys
import train_net
from fastreid.engine import default_argument_parser

def run(*flags):
    parser = default_argument_parser()
    parser.add_argument("--commit", action="store_true")
    parser.add_argument("--two-optimizers", action="store_true")
    base = ["--config-file", "configs/shapes.yml", *flags]
    return train_net.launch(train_net.main, 1, args=(parser.parse_args(base),))

out = sys.argv[1]
weights = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", f"{out}/a/model_final.pth"]
results = run("--eval-only", *weights, "OUTPUT_DIR", f"{out}/eval")
print("Evaluated:", float(results["mAP"]))
run("--resume", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", f"{out}/a", "SOLVER.MAX_EPOCH", "3")
run("--eval-only", "--commit", *weights, "OUTPUT_DIR", f"{out}/commit")
two = ["--two-optimizers", "MODEL.DEVICE", "cpu", "OUTPUT_DIR", f"{out}/b"]
two += ["MODEL.META_ARCHITECTURE", "FeatureBaseline", "MODEL.HEADS.NAME", "BareHead"]
two += ["MODEL.LOSSES.NAME", "('CrossEntropyLoss',)"]
run(*two)
run("--resume", *two, "SOLVER.MAX_EPOCH", "3")
own = ["MODEL.META_ARCHITECTURE", "OwnLossBaseline", "OUTPUT_DIR", f"{out}/c"]
run(*own, "MODEL.DEVICE", "cpu", "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_ITERS", "0")

import plain_train_net

plain = ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", f"{out}/d", "DATASETS.NAMES", "('ShapesRetrieval',)"]
plain += ["DATASETS.TESTS", "('ShapesRetrieval',)"]
for flags in ([], ["--resume"]):
    epochs = ["SOLVER.MAX_EPOCH", "3"] if flags else []
    args = default_argument_parser().parse_args(["--config-file", "configs/shapes.yml", *flags, *plain, *epochs])
    results = plain_train_net.main(args)
print("Plain:", float(results["Recall@1"]))
"""


def execute(shapes_root: Path, *command: str) -> str:
    paths = {"FASTREID_DATASETS": str(shapes_root), "PYTHONPATH": str(PROJECT.parents[2])}
    environment = {**os.environ, **paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(shapes_root, tmp_path_factory) -> tuple[Path, str]:
    """Folder of the outputs, and what the script printed on training."""
    out = tmp_path_factory.mktemp("out")
    script = ["train_net.py", "--config-file", "configs/shapes.yml"]
    return out, execute(shapes_root, *script, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", f"{out}/a")


@pytest.fixture(scope="module")
def variants(trained, shapes_root) -> tuple[Path, str]:
    return trained[0], execute(shapes_root, "-c", VARIANTS, str(trained[0]))


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_trains_with_its_own_parts(trained):
    out, printed = trained
    written = rows(out / "a" / "metrics.json")
    assert [row["iteration"] for row in written] == [2, 5]
    assert {"loss_cls", "loss_triplet", "loss_spread", "cls_accuracy", "Recall@1", "mAP", "lr"} <= set(written[0])
    assert "weight_norm" in written[0], "its hook came before the writers"
    total = sum(written[1][name] for name in ("loss_cls", "loss_triplet", "loss_spread"))
    assert written[1]["total_loss"] == pytest.approx(total, rel=0.05)
    assert json.loads((out / "a" / "idx2class.json").read_text())["0"] == "shapes_0"
    assert "Prepare training set" in printed


def test_its_evaluation_hook_sees_function_period_and_checkpointer(variants):
    report = rows(variants[0] / "a" / "report.jsonl")
    assert [row["epoch"] for row in report] == [0, 1, 2], "the third epoch is that of the resumed training"
    assert {row["period"] for row in report} == {1}
    assert "Recall@2" in report[0]
    assert torch.load(variants[0] / "a_report" / "checkpoint.pth", weights_only=True)["epoch"] == 2
    assert (variants[0] / "a" / "last_checkpoint").read_text() == "model_final.pth"


def test_evaluating_alone_gives_the_figures_of_the_training(variants):
    out, printed = variants
    last = rows(out / "a" / "metrics.json")[1]
    assert f"Evaluated: {last['mAP']}" in printed.splitlines()


def test_an_evaluator_with_its_own_predictions_commits(variants):
    nearest = json.loads((variants[0] / "commit" / "submit.json").read_text())
    assert len(nearest) == 6
    assert all(len(items) == 3 for items in nearest.values())
    first = [items[0] // 3 for items in nearest.values()]
    assert first == list(range(6)), "each identity has three gallery images, which resemble its query"


def test_a_trainer_with_two_optimizers_and_its_own_checkpoints_resumes(variants):
    folder = variants[0] / "b"
    names = {path.name for path in folder.iterdir()}
    assert {"centres_0000_rank_00.pth", "centres_00.pth", "last_centres", "model_final.pth"} <= names
    log = (folder / "log.txt").read_text()
    assert "Resuming from " + str(folder / "model_final.pth") in log
    assert "Resuming from " + str(folder / "centres_00.pth") in log
    assert log.count("first step done") == 1, "its step knows the iteration"
    losses = [row["loss_cls"] for row in rows(folder / "metrics.json")]
    assert len(losses) == 3
    assert losses[2] < losses[0]


def test_a_model_that_writes_out_its_losses_reads_their_options(variants):
    written = rows(variants[0] / "c" / "metrics.json")[-1]
    assert {"loss_cls", "loss_triplet", "cls_accuracy"} <= set(written)


def test_a_loop_of_its_own_trains_resumes_and_evaluates_queries_among_themselves(variants):
    out, printed = variants
    written = rows(out / "d" / "metrics.json")
    assert [row["iteration"] for row in written] == [2, 5, 8], "the third epoch is that of the resumed training"
    assert {"total_loss", "loss_cls", "loss_triplet", "loss_spread", "Recall@2", "lr"} <= set(written[0])
    assert written[0]["lr"] == pytest.approx(0.003), "warmed up in two steps"
    assert written[2]["total_loss"] < written[0]["total_loss"]
    assert f"Plain: {written[2]['Recall@1']}" in printed.splitlines()
    assert written[2]["Recall@1"] == 100
    assert {"model_0000.pth", "model_best.pth", "model_final.pth"} <= {path.name for path in (out / "d").iterdir()}
