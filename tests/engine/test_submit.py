import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.engine.submit import submit
from fastreid.evaluation.submission import check_submission
from fastreid.modeling import build_model

SMALL = [
    "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.DEPTH", "18x", "MODEL.BACKBONE.FEAT_DIM", 512, "DATALOADER.NUM_WORKERS", 0,
    "INPUT.SIZE_TEST", [32, 32], "DATASETS.TESTS", ("PatentTest",),
]  # fmt: skip


def draw(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("1", (60, 50), 1)
    points = np.random.default_rng(seed).integers(2, 48, (6, 2))
    ImageDraw.Draw(image).line([tuple(point) for point in points.tolist()], 0, width=2)
    image.save(path)


@pytest.fixture
def codalab(tmp_path, monkeypatch):
    """Three queries and seven database images in DIRA's layout; query i is a copy of database line 2 i."""
    root = tmp_path / "datasets" / "codalab_test_set"
    lists = {"test_queries.txt": [f"queries/{i}.png" for i in range(3)]}
    lists["test_database.txt"] = [f"database/{i}.png" for i in range(7)]
    for i in range(7):
        draw(root / f"database/{i}.png", i)
    for i in range(3):
        draw(root / f"queries/{i}.png", 2 * i)
    for name, lines in lists.items():
        (root / "lists").mkdir(exist_ok=True)
        (root / "lists" / name).write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "datasets"))
    return root / "lists"


def config(tmp_path, *options):
    cfg = get_cfg()
    cfg.merge_from_list([*SMALL, "OUTPUT_DIR", str(tmp_path / "out"), *options])
    return cfg


def test_submission_of_unlabelled_lists(tmp_path, codalab, caplog):
    cfg = config(tmp_path, "TEST.AQE.ENABLED", True, "TEST.AQE.QE_K", 2)
    torch.manual_seed(0)
    model = build_model(cfg)
    with caplog.at_level(logging.INFO, "fastreid"):
        ranks = submit(cfg, model, tmp_path / "result.npy")
    assert ranks[:, 0].tolist() == [0, 2, 4]
    assert (ranks.dtype, ranks.shape) == (np.int64, (3, 7))
    assert np.array_equal(np.load(tmp_path / "result.npy"), ranks)
    assert check_submission(tmp_path / "result.zip", codalab / "test_queries.txt", codalab / "test_database.txt") == []
    assert "the first 7 of 7 database images for each of 3 queries" in caplog.text
    assert not FeatureFile.load(tmp_path / "out/features/PatentTest.npz").relevance_known
    assert (tmp_path / "out/report.html").exists()
    assert json.loads((tmp_path / "out/results.json").read_text())["PatentTest"]["labelled"] is False


def test_labelled_lists_also_report_metrics(tmp_path, codalab):
    for part, count in (("queries", 3), ("database", 7)):
        lines = [f"{part}/{i}.png {2 * i if part == 'queries' else i}" for i in range(count)]
        (codalab.parent / f"{part}.txt").write_text("\n".join(lines))
    cfg = config(tmp_path, "DATASETS.TESTS", ("FileList",), "DATASETS.FILELIST.ROOT", str(codalab.parent))
    cfg.DATASETS.FILELIST.QUERY, cfg.DATASETS.FILELIST.GALLERY = ("queries.txt",), ("database.txt",)
    submit(cfg, build_model(cfg), tmp_path / "result.npy")
    assert (tmp_path / "out/results.json").exists()
    assert (tmp_path / "out/report.html").exists()


def test_script_writes_to_the_current_folder(tmp_path, codalab, repo):
    cfg = config(tmp_path)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "model.pth")
    (tmp_path / "test.yml").write_text(cfg.dump())
    script = [sys.executable, str(repo / "tools/test.py"), "--config-file", "test.yml", "--eval-only"]
    ran = subprocess.run(
        [*script, "MODEL.WEIGHTS", "model.pth"], capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ)
    )
    assert ran.returncode == 0, ran.stderr
    assert check_submission(tmp_path / "result.npy", codalab / "test_queries.txt", codalab / "test_database.txt") == []
    assert str(tmp_path / "result.npy") in ran.stdout + ran.stderr


def test_help_needs_no_torch(repo):
    code = (
        "import sys; from fastreid.engine.submit import main\n"
        "try: main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repo)
    assert ran.returncode == 0, ran.stderr
    assert "--output FILE" in ran.stdout
