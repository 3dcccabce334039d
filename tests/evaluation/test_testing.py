import logging

import pytest

from fastreid.config import get_cfg
from fastreid.evaluation import print_csv_format, verify_results
from fastreid.evaluation.testing import flatten_results_dict


def test_flatten():
    assert flatten_results_dict({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a/b": 1, "a/c/d": 2, "e": 3}


def expecting(*rows):
    cfg = get_cfg()
    cfg.TEST.EXPECTED_RESULTS = [list(row) for row in rows]
    return cfg


def test_expected_results_within_tolerance():
    assert verify_results(get_cfg(), {})
    assert verify_results(expecting(("A", "mAP", 50, 1)), {"mAP": 50.9})
    assert verify_results(expecting(("A", "mAP", 50, 1), ("B", "mAP", 1, 0)), {"A": {"mAP": 49.0}, "B": {"mAP": 1.0}})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("A", "mAP", 50, 1), r"A mAP is 51\.100, expected 50 \+- 1"),
        (("A", "Rank-1", 50, 1), "A Rank-1 is nan"),
        (("A", "mAPP", 50, 1), r"A mAPP is not among the results\. Did you mean 'A/mAP'"),
        (("C", "mAP", 50, 1), "C mAP is not among the results"),
    ],
)
def test_unexpected_results(row, message):
    with pytest.raises(ValueError, match=message):
        verify_results(expecting(row), {"A": {"mAP": 51.1, "Rank-1": float("nan")}, "B": {"mAP": 1.0}})


def test_table_names_data_sets_and_metrics(caplog):
    with caplog.at_level(logging.INFO, "fastreid"):
        print_csv_format({"mAP": 12.345, "dataset": "X"})
        print_csv_format({"A": {"mAP": 1.0}, "B": {"mAP": 2.0, "Rank-1": 3.0}})
    first, second = (record.getMessage() for record in caplog.records)
    assert "X" in first
    assert "12.35" in first or "12.34" in first
    assert [word for word in ("A", "B", "mAP", "Rank-1", "3.00") if word not in second] == []
