"""The benchmark of training steps and extraction, on a tiny network."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from benchmarks import network_speed

TINY = (
    "MODEL.BACKBONE.DEPTH", "10x", "MODEL.BACKBONE.WIDTH", 8, "MODEL.BACKBONE.FEAT_DIM", 64,
    "MODEL.BACKBONE.WITH_IBN", True,
)  # fmt: skip


@pytest.fixture
def args(monkeypatch):
    monkeypatch.setitem(network_speed.MODELS, "R18", TINY)
    monkeypatch.delitem(network_speed.EXTRACTION, "OpenVINO")  # seconds of conversion
    given = ["--models", "R18", "--side", "32", "--batch", "4", "--rounds", "2", "--workers", "0"]
    return network_speed.parser().parse_args(given)


@pytest.fixture
def batches():
    images = network_speed.Images(32, 8)
    rows = [[images[row] for row in range(start, start + 4)] for start in (0, 4)]
    return [torch.utils.data.default_collate(row) for row in rows]


def test_all_ways_of_extraction_give_the_features_of_the_plain_loop(args, batches):
    plain, *others = network_speed.extraction_ways(args, "R18")
    expected = plain.step(batches[0])
    assert len(others) >= 4
    for way in others:
        torch.testing.assert_close(way.step(batches[0]), expected, rtol=1e-2 if way.half else 1e-4, atol=1e-4)


def test_all_ways_of_training_have_the_losses_of_the_plain_loop(args, batches):
    plain, *others = network_speed.training_ways(args, "R18")
    expected = [plain.step(batch) for batch in (*batches, *batches)]
    assert len(others) >= 3
    assert len(set(expected)) == 4
    for way in others:
        found = [way.step(batch) for batch in (*batches, *batches)]
        assert found[:2] == pytest.approx(expected[:2], rel=3e-2 if way.half else 1e-3), way.name
        assert found == pytest.approx(expected, rel=1e-1), way.name


def test_the_command_prints_a_row_for_each_way(args, capsys):
    options = ["--models", "R18", "--side", "32", "--batch", "2", "--rounds", "1", "--workers", "0"]
    assert not network_speed.main(options)
    text = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "| R18" in line]
    assert [row[1] for row in rows].count("plain loop") == 2
    assert len(rows) >= 9
    assert all(row[3] == "1.00x" for row in rows if row[1] == "plain loop")
    assert all(float(row[2]) > 0 and row[5].endswith("%") and row[6].endswith("of 1") for row in rows)
