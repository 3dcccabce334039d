"""``tools/visualize_result.py`` and ``tools/plot_roc.py`` on drawings that a tiny network ranks."""

import json

import numpy as np
import pytest
from PIL import Image

from fastreid.config import get_cfg
from fastreid.engine.commands import train
from fastreid.engine.visualize import main, plot_roc
from fastreid.evaluation import Protocol
from tests.evaluation.stand_ins import classified_file


@pytest.fixture
def options(tmp_path, monkeypatch):
    """Settings for four identities of three images each; the working folder is empty."""
    rng, lines = np.random.default_rng(0), []
    for pid in range(4):
        base = rng.integers(0, 256, (24, 24))
        for number in range(3):
            noisy = np.clip(base + rng.integers(-90, 90, base.shape), 0, 255).astype("uint8")
            Image.fromarray(noisy).save(tmp_path / f"{pid}_{number}.png")
            lines.append(f"{pid}_{number}.png {pid}")
    (tmp_path / "query.txt").write_text("\n".join(lines[::3]))
    (tmp_path / "gallery.txt").write_text("\n".join(lines[1::3] + lines[2::3]))
    monkeypatch.chdir(tmp_path)
    return [
        "MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "HOG", "INPUT.SIZE_TEST", "[32,32]",
        "DATASETS.TESTS", "FileList", "DATASETS.FILELIST.ROOT", str(tmp_path), "DATASETS.FILELIST.QUERY", "query.txt",
        "DATASETS.FILELIST.GALLERY", "gallery.txt", "DATALOADER.NUM_WORKERS", "0", "TEST.REPORT.ENABLED", "False",
        "TEST.RULE", "all",
    ]  # fmt: skip


def test_pictures_and_mean_precision_are_those_of_the_evaluation(options, tmp_path, capsys):
    assert train(["--eval-only", *options, "OUTPUT_DIR", "evaluated"]) == 0
    metrics = json.loads((tmp_path / "evaluated/results.json").read_text())["FileList"]["stages"][0]["metrics"]
    capsys.readouterr()
    arguments = ["--dataset-name", "FileList", "--num-vis", "2", "--max-rank", "3", "--output", "shown"]
    assert main([*arguments, "--vis-label", "--opts", *options, "OUTPUT_DIR", "out"]) == 0
    shown = capsys.readouterr().out
    assert f"mAP {metrics['mAP']:.2f} % over 4 queries" in shown
    assert "Drew 2 of 4 queries" in shown
    names = sorted(path.name for path in (tmp_path / "shown").iterdir())
    assert [name.split("_")[0] for name in names[:2]] == ["0000", "0001"]
    assert names[2:] == ["pos_neg_dist.png", "roc.png", "roc_info.npz"]
    features = ["--features", "out/features/FileList.npz", "--output", "again", "--num-vis", "2", "--max-rank", "3"]
    assert main([*features, "--vis-label", "--opts", "TEST.RULE", "all"]) == 0
    assert (tmp_path / "again" / names[0]).read_bytes() == (tmp_path / "shown" / names[0]).read_bytes()
    assert plot_roc(["shown", "again/roc_info.npz", "--output", "both", "--names", "first", "second"]) == 0
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == ["pos_neg_dist.png", "roc.png"]
    assert plot_roc(["shown", "--names", "first", "second"]) == 1
    assert "got 2 names for 1 files" in capsys.readouterr().err


def test_another_column_makes_the_matches(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = classified_file(relevance_known=False)
    file.save(tmp_path / "f.npz")
    settings = ["TEST.RULE", "all", "TEST.RELEVANCE", "class"]
    cfg = get_cfg()
    cfg.merge_from_list(settings)
    metrics = Protocol.from_config(cfg).evaluate(file).metrics
    assert main(["--features", "f.npz", "--num-vis", "1", "--output", "shown", "--opts", *settings]) == 0
    shown = capsys.readouterr().out
    assert "rule all, matches by class" in shown
    assert f"mAP {100 * metrics.mAP:.2f} % over {len(metrics.rows)} queries" in shown


@pytest.mark.parametrize("wrong", [["--rank-sort", "up"], ["--label-sort", "up"], ["--max-rank", "0"]])
def test_wrong_options_end_before_the_images_are_read(options, wrong, capsys, tmp_path):
    assert main([*wrong, "--opts", *options]) == 1
    assert capsys.readouterr().err.startswith(f"error: {wrong[0]} must be")
    assert not (tmp_path / "vis_rank_list").exists()
