import json
import logging

import pytest

from fastreid.config import get_cfg
from fastreid.evaluation import evaluate
from fastreid.evaluation.results import features_path, headline, metric_table, read_results
from tests.evaluation.stand_ins import feature_file


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TESTS", ("A",), "TEST.REPORT.ENABLED", False, *options])
    return cfg


def test_results_file_holds_the_numbers_of_every_stage(tmp_path):
    file = feature_file(fingerprint={"weights": "ab"})
    evaluation = evaluate(config("TEST.AQE.ENABLED", True), file, "A", tmp_path)
    entry = read_results(tmp_path / "results.json")["A"]
    assert [stage["stage"] for stage in entry["stages"]] == ["plain", "+AQE"]
    for stored, stage in zip(entry["stages"], evaluation.stages, strict=True):
        table = stage.metrics.table()
        assert stored["metrics"] == {name: table[name] for name in stored["metrics"]}
        assert {"Rank-1", "mAP", "mINP", "metric", "AP@10_min", "AP@10_R"} <= stored["metrics"].keys()
    assert entry["counts"] == {"queries": 12, "gallery": 40, "dropped queries": 2}
    assert entry["features"] == {"weights": "ab"}
    assert entry["settings"] == evaluation.settings
    assert entry["labelled"]


def test_further_metrics_and_groups_are_in_the_results_the_table_and_the_headline(tmp_path):
    options = ["TEST.METRICS", ("recall@5", "hit@1"), "TEST.GROUP_BY", ("year",)]
    evaluation = evaluate(config(*options), feature_file(), "A", tmp_path)
    (stage,) = read_results(tmp_path / "results.json")["A"]["stages"]
    recall = 100 * evaluation.metrics.mean("recall@5")
    assert stage["metrics"]["recall@5"] == recall
    assert stage["metrics"]["hit@1"] == pytest.approx(stage["metrics"]["Rank-1"])
    assert stage["groups"]["year"]["values"]["2018"]["queries"] == 10
    assert stage["groups"]["year"]["macro"]["recall@5"] == pytest.approx(recall)
    assert f"{recall:.2f}" in metric_table(evaluation)
    assert list(headline(evaluation))[-2:] == ["recall@5", "hit@1"]


def test_other_data_sets_stay_and_the_same_one_is_replaced(tmp_path):
    evaluate(config(), feature_file(), "A", tmp_path)
    evaluate(config(), feature_file(seed=1), "B", tmp_path)
    before = read_results(tmp_path / "results.json")
    evaluate(config(), feature_file(seed=2), "B", tmp_path)
    after = read_results(tmp_path / "results.json")
    assert after["A"] == before["A"]
    assert after["B"]["stages"] != before["B"]["stages"]


def test_broken_results_file_is_replaced_and_said_so(tmp_path, caplog):
    (tmp_path / "results.json").write_text('{"A": ')
    with caplog.at_level(logging.WARNING, "fastreid"):
        evaluate(config(), feature_file(), "A", tmp_path)
    assert "is not valid JSON" in caplog.text
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["A"]


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluate(config(), feature_file(), "A", None)
    assert list(tmp_path.iterdir()) == []


def test_dropped_queries_are_reported(caplog):
    with caplog.at_level(logging.INFO, "fastreid"):
        evaluation = evaluate(config(), feature_file(), "A", None)
    assert "2 of 12 queries have no permitted match" in caplog.text
    assert "A: 12 queries against 40 gallery images" in caplog.text
    assert f"{evaluation.metrics.table()['mAP']:.2f}" in metric_table(evaluation)


def test_unlabelled_entry_has_no_metrics(tmp_path):
    evaluation = evaluate(config(), feature_file(relevance_known=False), "A", tmp_path)
    entry = read_results(tmp_path / "results.json")["A"]
    assert entry["stages"] == [{"stage": "plain", "metrics": {}}]
    assert not entry["labelled"]
    assert headline(evaluation) == {}
    assert "no labels" in metric_table(evaluation)


@pytest.mark.parametrize(("name", "file"), [("A", "A.npz"), ("my set/é", "my_set_é.npz"), ("", "dataset.npz")])
def test_feature_files_have_safe_names(tmp_path, name, file):
    assert features_path(tmp_path, name) == tmp_path / "features" / file
