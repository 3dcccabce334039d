"""The benchmark of loaders, on small pages."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import torch
from benchmarks import images

from fastreid.data.images import read_image


def test_a_table_for_each_kind_of_page(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(images, "PAGES", {"png": (150, 200), "tiff": (250, 330)})
    monkeypatch.setattr(images, "SIZE", 32)
    monkeypatch.setattr(images, "CACHED_IMAGES", 16)
    assert not images.main(["--images", "8", "--rounds", "1", "--output", str(tmp_path / "out.md")])
    text = (tmp_path / "out.md").read_text()
    assert re.findall(r"### (.*): \d+ KiB a file, 1 KiB in the cache", text) == [
        "PNG, grey 150 x 200", "TIFF, 1 bit Group 4, 250 x 330",
    ]  # fmt: skip
    ratios = [float(ratio) for ratio in re.findall(r"([\d.e+]+)x \|", text)]
    assert len(ratios) == 10
    assert ratios[0] == ratios[5] == 1
    assert all(ratio > 0 for ratio in ratios)


def test_both_kinds_of_page_show_a_drawing(tmp_path):
    for kind in ("png", "tiff"):
        (path,) = images.write_images(tmp_path / kind, kind, 1)
        page = read_image(path, channels=1)
        assert page.size == images.PAGES[kind]
        assert 0.02 < sum(page.histogram()[:128]) / (page.width * page.height) < 0.5


def test_images_must_fill_batches(capsys):
    assert images.main(["--images", "9"]) == 1
    assert "--images must be a multiple of 8, the batch; got 9" in capsys.readouterr().err
