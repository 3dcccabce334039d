"""The tables of configs/ablation can be run, and every setting in them has an effect."""

import re

import pytest

from fastreid.engine.ablation.table import read_table, without_effect
from tests.conftest import ROOT

TABLES = sorted((ROOT / "configs" / "ablation").glob("*.yaml"))


def test_there_are_tables():
    assert {table.stem for table in TABLES} >= {"loss", "input", "resolution", "finetune"}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_can_be_run_and_each_of_its_settings_has_an_effect(path):
    table = read_table(path)
    assert without_effect(table) == []
    assert len(table.seeds) >= 3
    assert table.reference in [row.name for row in table.rows]


def test_the_documented_table_can_be_read(tmp_path, monkeypatch):
    (block,) = re.findall(r"^```yml\n(.*?)^```", (ROOT / "docs" / "ablation.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "table.yaml").write_text(block)
    monkeypatch.chdir(ROOT)
    table = read_table(tmp_path / "table.yaml")
    assert [row.name for row in table.rows] == ["softmax", "arcface", "arcface +re-ranking"]
    assert without_effect(table) == []
