"""Two processes that share the queries find what one finds, to the last bit."""

import json
import pickle
from dataclasses import fields, is_dataclass

import numpy as np
import pytest

from fastreid.engine import launch
from fastreid.retrieval import evaluate_search
from fastreid.retrieval.graded import GAINS
from tests.distributed import shared_evaluation as shared
from tests.evaluation.stand_ins import classified_file


def same(found, expected) -> None:
    """Two nested values are equal, arrays included."""
    assert type(found) is type(expected)
    if is_dataclass(found):
        for field in fields(found):
            same(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(found, dict):
        assert list(found) == list(expected)
        for name in found:
            same(found[name], expected[name])
    elif isinstance(found, (tuple, list)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(found, np.ndarray):
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
    else:
        assert found == expected or found != found


@pytest.mark.parametrize("num_query", [1, 15])  # of one query nothing is left for the second process
def test_two_processes_find_what_one_finds(quick_launch, tmp_path, num_query):
    file = classified_file(num_query, 70)
    file.save(tmp_path / "f.npz")
    launch(shared.evaluate, 2, args=(str(tmp_path / "f.npz"), str(tmp_path)))
    found = pickle.loads((tmp_path / "found").read_bytes())
    assert list(found) == list(shared.PROTOCOLS)
    for name, protocol in shared.PROTOCOLS.items():
        expected = protocol.evaluate(file)
        assert expected.metrics.num_queries == num_query
        same(found[name], expected)
    by_ranks = evaluate_search(next(iter(shared.PROTOCOLS["cosine"].searches(file)))[1], ties=True, gains=GAINS)
    for name in ("AP", "INP", "hit@1", *shared.METRICS):
        same(found["cosine"].metrics.values(name), by_ranks.values(name))
    with pytest.raises(AssertionError):
        same(found["cosine"], found["euclidean"])


def without_date(path) -> dict:
    results = json.loads(path.read_text())
    return {name: {**entry, "date": None} for name, entry in results.items()}


def test_the_tool_shares_the_queries(quick_launch, tmp_path):
    classified_file(15, 70).save(tmp_path / "f.npz")
    words = ["--features", str(tmp_path / "f.npz"), "TEST.REPORT.ENABLED", "False", "TEST.LEVELS", "('subclass',)"]
    shared.by_the_tool([*words, "OUTPUT_DIR", str(tmp_path / "one")])
    launch(shared.by_the_tool, 2, args=([*words, "OUTPUT_DIR", str(tmp_path / "two")],))
    one, two = (without_date(tmp_path / name / "results.json") for name in ("one", "two"))
    assert one == two
    assert one["f"]["stages"][0]["metrics"]["mAP@subclass"] > 0
