"""Prior art from end to end: nothing from the query's day or later changes its list and its metrics.

Feature files go through the command ``fastreid evaluate``. Every item that was not granted before the query, and every
other query, is replaced in all its columns, some are taken away, others are added; the query's line must stay the same
to the last digit, and so must the table where it is the only query.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastreid.data.feature_file import FeatureFile
from fastreid.engine.evaluate import main

CODES = np.array(["0601", "06-02", "1404", "1400", "", "9901"])
CHAINS = {
    "plain": [],
    "expanded": ["TEST.QE.ENABLED", "True", "TEST.DBA.ENABLED", "True", "TEST.DBA.PRIOR_ART", "True"],
}
SETTINGS = [
    "TEST.LEVELS", "('class', 'pids')", "TEST.METRICS", "('nDCG@10', 'hit@5', 'recall@10', 'AP_pessimistic', 'MRR@10')",
    "TEST.REPORT.ENABLED", "False", "TEST.REPORT.TOPK", "100", "TEST.FREQUENCY", "train",
]  # fmt: skip
FIRST_DAY, DAYS, WIDTH = 20200101, 8, 6


def rows_of(rng, count, near=None):
    """Features (n, WIDTH) and columns of images; some features equal those of ``near`` or are zero or very long."""
    features = rng.normal(size=(count, WIDTH)) + rng.normal(size=WIDTH)
    if near is not None:
        copied = rng.random(count) < 0.5
        features[copied] = near[rng.integers(0, len(near), copied.sum())]
        features[rng.random(count) < 0.1] = 0
        features *= 10.0 ** rng.choice([-2, 0, 0, 4], (count, 1))
    columns = {
        "pids": rng.integers(0, 5, count),
        "camids": rng.integers(0, 3, count),
        "dates": np.where(rng.random(count) < 0.1, 0, FIRST_DAY + rng.integers(0, DAYS, count)),
        "taxonomy": rng.choice(CODES, count),
        "frequency": rng.choice(["head", "tail", ""], count),
    }
    return features, columns, [f"{rng.integers(10**9)}.png" for _ in range(count)]


def joined(queries, gallery):
    columns = {name: np.concatenate([queries[1][name], gallery[1][name]]) for name in queries[1]}
    features = np.concatenate([queries[0], gallery[0]])
    return FeatureFile(features, len(queries[0]), columns, [*queries[2], *gallery[2]], {"dataset": "Toy"})


def chosen(rows, at):
    return rows[0][at], {name: column[at] for name, column in rows[1].items()}, [rows[2][row] for row in at]


def given(rng, num_query=5):
    queries, gallery = rows_of(rng, num_query), rows_of(rng, 50)
    query = int(rng.integers(num_query))
    queries[1]["dates"][query] = FIRST_DAY + DAYS // 2
    queries[1]["taxonomy"][query] = "0601"
    gallery[0][rng.integers(0, 50, 8)] = gallery[0][rng.integers(0, 50, 8)]  # ties
    return queries, gallery, query


def another_future(rng, queries, gallery, query):
    """The two sides with other items of the query's day and later in other places, and other other queries."""
    day = queries[1]["dates"][query]
    earlier = np.flatnonzero((gallery[1]["dates"] > 0) & (gallery[1]["dates"] < day))
    count = int(rng.integers(0, 60))
    near = np.concatenate([queries[0][[query]], gallery[0]])
    fresh = rows_of(rng, count, near)
    fresh[1]["dates"] = np.where(rng.random(count) < 0.2, 0, day + rng.integers(0, 3, count))
    both = (
        np.concatenate([gallery[0][earlier], fresh[0]]),
        {name: np.concatenate([column[earlier], fresh[1][name]]) for name, column in gallery[1].items()},
        [*(gallery[2][row] for row in earlier), *fresh[2]],
    )
    places = np.empty(len(earlier) + count, dtype=np.int64)  # the earlier ones keep their order, for ties
    at = np.sort(rng.permutation(len(places))[: len(earlier)])
    places[at] = np.arange(len(earlier))
    places[np.setdiff1d(np.arange(len(places)), at)] = len(earlier) + np.arange(count)
    others = rows_of(rng, len(queries[0]), near)
    for side, own in zip((others[0], *others[1].values()), (queries[0], *queries[1].values()), strict=True):
        side[query] = own[query]
    others[2][query] = queries[2][query]
    return others, chosen(both, places)


def judged(folder, queries, gallery, query, options):
    """The query's line, and the table and averages where it is the only query; through the command."""
    joined(queries, gallery).save(folder / "f.npz")
    command = ["--features", str(folder / "f.npz"), "--protocol", "lo2024", "--output", str(folder), "--per-query"]
    assert main([*command, str(folder / "q.jsonl"), *SETTINGS, *options]) == 0
    line = json.loads((folder / "q.jsonl").read_text().splitlines()[query])
    if len(queries[0]) > 1:
        return line
    entry = json.loads((folder / "results.json").read_text())["Toy"]
    return line, entry["stages"], entry["protocol"]["blocks"][0], entry["counts"]["dropped queries"]


def pair(folder, seed, options, num_query):
    rng = np.random.default_rng(seed)
    queries, gallery, query = given(rng, num_query)
    before = judged(folder, queries, gallery, query, options)
    after = judged(folder, *another_future(rng, queries, gallery, query), query, options)
    return before, after


@pytest.mark.parametrize("num_query", [1, 5])
@pytest.mark.parametrize("chain", CHAINS)
def test_another_future_changes_no_digit(tmp_path, chain, num_query):
    for seed in range(4):
        before, after = pair(tmp_path, seed, CHAINS[chain], num_query)
        line = before[0] if num_query == 1 else before
        assert line["matches"] > 0
        assert {"AP", "mAP@class", "mAP@pids", "nDCG@10"} <= line["metrics"].keys()
        assert len(line["items"]) > 10
        assert before == after


def test_the_test_can_fail(tmp_path):
    """Without the date filter the same changes are seen."""
    for seed in range(2):
        before, after = pair(tmp_path, seed, ["TEST.RULE", "all"], 5)
        assert before["items"] != after["items"]
        assert before["metrics"] != after["metrics"]


def test_the_same_day_and_unknown_dates_are_never_listed(tmp_path):
    queries, gallery, query = given(np.random.default_rng(7), 1)
    gallery[1]["dates"][:] = np.tile([FIRST_DAY + DAYS // 2, 0, FIRST_DAY, FIRST_DAY + DAYS], 13)[:50]
    line = judged(tmp_path, queries, gallery, query, [])[0]
    dates = dict(zip(gallery[2], gallery[1]["dates"].tolist(), strict=True))
    assert [dates[item["path"]] for item in line["items"]] == [FIRST_DAY] * 12


def test_as_a_process(tmp_path, repo):
    rng = np.random.default_rng(3)
    queries, gallery, query = given(rng)
    lines = []
    for number, sides in enumerate([(queries, gallery), another_future(rng, queries, gallery, query)]):
        joined(*sides).save(tmp_path / "f.npz")
        command = [sys.executable, str(repo / "tools" / "evaluate.py"), "--features", "f.npz", "--protocol", "lo2024"]
        done = subprocess.run(
            [*command, "--output", f"out{number}", "--per-query", f"{number}.jsonl", "TEST.REPORT.ENABLED", "False"],
            cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines.append((tmp_path / f"{number}.jsonl").read_text().splitlines()[query])
    assert lines[0] == lines[1]
