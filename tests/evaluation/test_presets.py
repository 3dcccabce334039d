"""Protocols by name: their settings, and the table of Lo et al. against loops."""

import json
import logging

import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.data.feature_file import FeatureFile
from fastreid.evaluation import PROTOCOL_REGISTRY, Protocol, evaluate
from fastreid.evaluation.lo_table import lo_table
from fastreid.evaluation.presets import differences, settings_of
from fastreid.evaluation.results import check_settings
from tests.evaluation.stand_ins import class_of, classified_file, feature_file, naive_lists, naive_values, subclass_of


def config(name, *options):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TESTS", ("A",), "TEST.REPORT.ENABLED", False, *settings_of(name), *options])
    return cfg


def dated_file(seed=0, **changes):
    """A classified file with the head and tail of a training set: 06-01 and 14-04 are head."""
    file = classified_file(30, 120, seed=seed)
    codes = np.array([subclass_of(text) for text in file.columns["taxonomy"]])
    counted = np.where(codes == "", "", np.where(np.isin(codes, ["06-01", "14-04"]), "head", "tail"))
    return FeatureFile(**{**vars(file), "columns": {**file.columns, "frequency": counted}, **changes})


@pytest.mark.parametrize("name", PROTOCOL_REGISTRY.names())
def test_each_protocol_is_settings_that_a_config_takes(name):
    cfg = config(name)
    assert check_settings(cfg).rule == PROTOCOL_REGISTRY.get(name).settings["TEST.RULE"]
    assert cfg.TEST.PROTOCOL == name
    assert differences(cfg) == {}
    assert evaluate(cfg, dated_file(), "A", None).settings["protocol"] == name


def test_an_unknown_protocol_shows_the_nearest():
    with pytest.raises(KeyError, match=r"No object named 'lo2023' .*--protocol.*Did you mean 'lo2024'"):
        settings_of("lo2023")
    cfg = get_cfg()
    cfg.TEST.PROTOCOL = "lo"
    with pytest.raises(KeyError, match="Registered: kavimandan2025, lo2024, same-patent"):
        check_settings(cfg)


def test_what_differs_from_the_protocol_is_named(tmp_path, caplog):
    as_list = list(PROTOCOL_REGISTRY.get("lo2024").settings["TEST.METRICS"])
    cfg = config("lo2024", "TEST.RULE", "all", "TEST.METRICS", as_list)
    with caplog.at_level(logging.WARNING, "fastreid"):
        evaluation = evaluate(cfg, dated_file(), "A", tmp_path)
    assert "Not quite TEST.PROTOCOL lo2024: TEST.RULE all" in caplog.text
    assert evaluation.settings["other than in the protocol"] == {"TEST.RULE": "all"}
    assert json.loads((tmp_path / "protocol_lo2024.json").read_text())["A"]["settings"]["rule"] == "all"


def test_the_same_values_in_other_brackets_are_no_difference():
    gains = [("pids", 3), ("subclass", 2), ("class", 1.0)]
    assert differences(config("kavimandan2025", "TEST.GAINS", gains, "TEST.LEVELS", ["subclass", "class"])) == {}
    assert differences(config("kavimandan2025", "TEST.GAINS", gains[:2])) == {"TEST.GAINS": gains[:2]}


def test_levels_and_graded_gain_of_the_hierarchy():
    extra = evaluate(config("kavimandan2025"), dated_file(), "A", None).stages[0].extra
    assert list(extra) == ["mAP@subclass", "mAP@class", "nDCG@10", "nDCG@100"]


def test_a_protocol_of_the_users_own(monkeypatch):
    for table in ("_objects", "_nodes"):
        monkeypatch.setattr(PROTOCOL_REGISTRY, table, dict(getattr(PROTOCOL_REGISTRY, table)))

    @PROTOCOL_REGISTRY.register(name="mine")
    class Mine:
        settings = {"TEST.RULE": "other_patent", "TEST.RELEVANCE": "class"}

    evaluation = evaluate(config("mine"), dated_file(), "A", None)
    assert (evaluation.settings["rule"], evaluation.table) == ("other_patent", None)


def test_the_table_has_its_metrics_whatever_is_asked_for():
    expected = evaluate(config("lo2024"), dated_file(), "A", None)
    found = evaluate(config("lo2024", "TEST.METRICS", ("hit@3",)), dated_file(), "A", None)
    assert found.table.blocks == expected.table.blocks
    assert list(found.stages[0].extra) == ["hit@3"]


# ------------------------------------------------------------------------------------------------ the table of lo2024

GROUPS = ("head", "tail", "all")
READINGS = ("hit", "recall", "capped_recall", "precision")


def naive_table(file, rule, relevance="subclass"):
    """{(average, reading, group): (mAP, R@5, R@10, M@10)}, and queries and classes of each group, by loops."""
    label_of = {"subclass": subclass_of, "class": class_of}[relevance]
    members = {"head": [], "tail": [], "all": []}
    for query, ranked in enumerate(naive_lists(file, rule, relevance)):
        values = naive_values(ranked)
        if values:
            label = label_of(file.columns["taxonomy"][query])
            for group in ("all", file.columns["frequency"][query]):
                members.setdefault(group, []).append((label, values))
    table = {}
    for group in GROUPS:
        by_class = {}
        for label, values in members[group]:
            by_class.setdefault(label, []).append(values)
        for reading in READINGS:
            names = ("AP", f"{reading}@5", f"{reading}@10", "MRR@10")
            micro = [np.mean([values[name] for _, values in members[group]]) for name in names]
            macro = [np.mean([np.mean([v[name] for v in found]) for found in by_class.values()]) for name in names]
            table["micro", reading, group], table["macro", reading, group] = micro, macro
    return table, {name: (len(members[name]), len({label for label, _ in members[name]})) for name in GROUPS}


def read(block):
    found = {
        (row["average"], row["R@K"], group): [row[group][name] for name in ("mAP", "R@5", "R@10", "M@10")]
        for row in block["rows"]
        for group in GROUPS
    }
    return found, {group: (block["queries"][group], block["classes"][group]) for group in GROUPS}


@pytest.mark.parametrize("relevance", ["subclass", "class"])
def test_the_table_equals_loops_with_the_date_filter_and_in_the_control(relevance):
    file = dated_file()
    evaluation = evaluate(config("lo2024", "TEST.RELEVANCE", relevance), file, "A", None)
    blocks = evaluation.table.as_json()["blocks"]
    assert [block["candidates"] for block in blocks] == [
        "rule granted_before",
        "control, rule other_patent: without the date filter, the query's own patent left out as under it",
    ]
    for block, rule in zip(blocks, ("granted_before", "other_patent"), strict=True):
        (found, counts), (expected, expected_counts) = read(block), naive_table(file, rule, relevance)
        assert counts == expected_counts
        for key, values in expected.items():
            assert found[key] == pytest.approx(values), (rule, key)
    assert found["micro", "hit", "all"] != pytest.approx(found["macro", "hit", "all"])


def test_the_rest_of_the_rule_stays_without_the_date_filter():
    file = dated_file()
    key = "micro", "hit", "all"
    for rule, rest in (
        ("other_patent + granted_before", "other_patent"),
        ("camera+granted_before", "camera+other_patent"),
    ):
        evaluation = evaluate(config("lo2024", "TEST.RULE", rule), file, "A", None)
        block = evaluation.table.as_json()["blocks"][1]
        assert block["candidates"].startswith(f"control, rule {rest}: ")
        assert read(block)[0][key] == pytest.approx(naive_table(file, rest)[0][key])


def test_where_patents_are_not_known_the_control_says_that_their_figures_count():
    file = dated_file(relevance_known=False)
    block = evaluate(config("lo2024"), file, "A", None).table.as_json()["blocks"][1]
    assert block["candidates"] == "control, rule all: without the date filter, the query's own patent counted"
    key = "macro", "hit", "all"
    assert read(block)[0][key] == pytest.approx(naive_table(file, "all")[0][key])
    by_patent = evaluate(config("lo2024", "TEST.RELEVANCE", "pids"), dated_file(), "A", None).table.blocks[1]
    assert by_patent.candidates == block["candidates"]


def test_where_only_the_own_patent_matches_there_is_no_control(caplog):
    file = dated_file()
    file.columns["pids"][:] = np.unique(file.columns["taxonomy"], return_inverse=True)[1]
    with caplog.at_level(logging.WARNING, "fastreid"):
        assert len(evaluate(config("lo2024"), file, "A", None).table.blocks) == 1
    assert "No control without the date filter: " in caplog.text


def test_what_was_dropped_and_hidden_is_counted():
    file = dated_file()
    counts = evaluate(config("lo2024"), file, "A", None).table.counts
    dates, codes = file.query.columns["dates"], [subclass_of(text) for text in file.query.columns["taxonomy"]]
    lists = naive_lists(file, "granted_before", "subclass")
    kept = [any(same for _, same in ranked) for ranked in lists]
    unknown = [code == "" for code in codes]
    undated = [day == 0 and not code for day, code in zip(dates, unknown, strict=True)]
    seen = {row for ranked in lists for row, _ in ranked}
    assert list(counts.values()) == [
        30, sum(kept), sum(unknown), sum(undated), 30 - sum(kept) - sum(unknown) - sum(undated),
        120, 30 * 120, 30 * 120 - sum(map(len, lists)), 120 - len(seen),
    ]  # fmt: skip
    assert min(sum(undated), sum(unknown), 120 - len(seen)) > 0
    assert list(counts)[2:5] == [
        "queries dropped, subclass unknown", "queries dropped, date unknown",
        "queries dropped, no permitted item of their subclass",
    ]  # fmt: skip


def test_nothing_hidden_means_one_block():
    file = dated_file()
    file.columns["dates"][:30], file.columns["dates"][30:] = 20200201, 20190101
    table = evaluate(config("lo2024"), file, "A", None).table
    assert len(table.blocks) == 1
    assert table.counts["pairs hidden by the date filter"] == 0
    assert "control" not in table.text()


def test_the_text_has_the_layout_of_the_paper():
    table = evaluate(config("lo2024"), dated_file(), "A", None).table
    lines = table.text().splitlines()
    assert max(map(len, lines)) <= 120
    start, block = lines.index("rule granted_before"), table.blocks[0]
    classes = block.classes
    assert lines[start + 1] == (
        f"{block.queries['all']} of 30 queries count, in {classes['all']} classes (head {classes['head']}, tail "
        f"{classes['tail']})"
    )
    assert lines[start + 2].split() == ["head", "|", "tail", "|", "all"]
    assert lines[start + 3].split() == ["mAP", "R@5", "R@10", "M@10", "|"] * 2 + ["mAP", "R@5", "R@10", "M@10"]
    assert lines[start + 4].startswith("macro: mean over classes")
    for number, shown in ((0, ("mAP", "R@5", "R@10", "M@10")), (2, ("R@5", "R@10"))):
        row = block.rows[number]
        cells = [f"{row[group][name]:.1f}" for group in GROUPS for name in shown]
        assert lines[start + 5 + number].replace("|", " ").split() == ["R@K", "=", f"{row['R@K']}@K", *cells]
    under = [lines[start + 7].index(f"{block.rows[2]['all'][name]:.1f}".rjust(7), 87) for name in ("R@5", "R@10")]
    assert under == [lines[start + 3].index(f"{name:>7}", 87) for name in ("R@5", "R@10")]
    assert lines[start + 9] == "micro: mean over queries"
    assert lines[start + 14].replace("|", " ").split() == ["queries", *map(str, block.queries.values())]
    assert lines[-1].startswith("The paper's R@K is not reproducible as printed: docs/evaluation.md")


def test_a_group_without_queries_is_left_blank():
    file = dated_file()
    file.columns["frequency"][:] = np.where(file.columns["frequency"] == "", "", "head")
    table = evaluate(config("lo2024"), file, "A", None).table
    assert {row["tail"] for row in table.blocks[0].rows} == {None}
    assert table.blocks[0].queries["tail"] == table.blocks[0].classes["tail"] == 0
    assert "-" in table.text()
    json.dumps(table.as_json())


def test_it_is_that_of_the_last_stage():
    cfg = config("lo2024", "TEST.QE.ENABLED", True)
    evaluation = evaluate(cfg, dated_file(), "A", None)
    figures = next(row for row in evaluation.table.blocks[0].rows if row["average"] == "micro")["all"]
    assert figures["mAP"] == pytest.approx(100 * evaluation.stages[1].metrics.mAP)
    assert figures["mAP"] != pytest.approx(100 * evaluation.stages[0].metrics.mAP)
    assert evaluation.table.made["stage"] == "+QE"


def test_head_and_tail_are_asked_for_where_the_file_has_none():
    file = classified_file()
    with pytest.raises(ValueError, match=r"TEST\.GROUP_BY needs head and tail as the training set has them"):
        evaluate(config("lo2024"), file, "A", None)
    with pytest.raises(ValueError, match=r"TEST\.PROTOCOL needs head and tail as the training set has them"):
        evaluate(config("lo2024", "TEST.GROUP_BY", ()), file, "A", None)
    cfg = config("lo2024", "TEST.FREQUENCY", "gallery")
    assert evaluate(cfg, file, "A", None).table.made["frequency"] == "gallery"


def test_by_patent_the_classes_are_subclasses():
    file = dated_file()
    cfg = config("lo2024", "TEST.RELEVANCE", "pids", "TEST.RULE", "all")
    evaluation = evaluate(cfg, file, "A", None)
    assert evaluation.table.made["classes"] == "subclass"
    codes = np.array([subclass_of(text) for text in file.query.columns["taxonomy"]])[evaluation.metrics.rows]
    expected = np.mean([evaluation.metrics.ap[codes == code].mean() for code in set(codes) - {""}])
    macro = next(row for row in evaluation.table.blocks[0].rows if row["average"] == "macro")
    assert macro["all"]["mAP"] == pytest.approx(100 * expected)


def test_results_and_a_file_of_its_own_hold_the_table(tmp_path, caplog):
    file = dated_file()
    with caplog.at_level(logging.INFO, "fastreid"):
        evaluation = evaluate(config("lo2024"), file, "A", tmp_path)
        assert caplog.messages[0].endswith("queries have no permitted match and do not count"), "above all figures"
        evaluate(config("lo2024"), dated_file(seed=1), "B", tmp_path)
    table = json.loads(json.dumps(evaluation.table.as_json()))
    assert json.loads((tmp_path / "results.json").read_text())["A"]["protocol"] == table
    own = json.loads((tmp_path / "protocol_lo2024.json").read_text())
    assert {name: own["A"][name] for name in table} == table
    assert list(own) == ["A", "B"]
    assert evaluation.table.text() in caplog.text


def test_without_labels_there_is_no_table(tmp_path):
    cfg = config("same-patent")
    assert evaluate(cfg, feature_file(relevance_known=False), "A", tmp_path).table is None
    judge = Protocol.from_config(config("lo2024"))
    assert lo_table(judge, dated_file(), judge.evaluate(dated_file())).counts["queries"] == 30
