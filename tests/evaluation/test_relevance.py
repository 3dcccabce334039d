"""Matches by another column than the identity: through the protocol, against loops."""

import re

import numpy as np
import pytest
from PIL import Image

from fastreid.config import get_cfg
from fastreid.evaluation import Protocol, ReidEvaluator, evaluate
from fastreid.evaluation.results import as_json, headline
from fastreid.evaluation.visualizer import Visualizer
from fastreid.retrieval import evaluate_search
from tests.evaluation.stand_ins import classified_file, feature_file, naive_lists, naive_values

METRICS = ("hit@5", "recall@10", "MRR@10")


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TESTS", ("A",), "TEST.REPORT.ENABLED", False, *options])
    return cfg


def protocol(*options):
    return Protocol.from_config(config(*options))


@pytest.mark.parametrize("relevance", ["pids", "subclass", "class"])
@pytest.mark.parametrize("rule", ["all", "camera", "granted_before", "granted_before+other_patent"])
def test_metrics_equal_loops(rule, relevance):
    for seed in range(3):
        file = classified_file(seed=seed)
        judge = protocol("TEST.RULE", rule, "TEST.RELEVANCE", relevance, "TEST.METRICS", METRICS)
        expected = [naive_values(ranked) for ranked in naive_lists(file, rule, relevance)]
        kept = [row for row, values in enumerate(expected) if values]
        if not kept:
            with pytest.raises(ValueError, match="has a match"):
                judge.evaluate(file)
            continue
        stage = judge.evaluate(file).stages[0]
        assert stage.metrics.rows.tolist() == kept
        assert stage.metrics.dropped == len(expected) - len(kept)
        for name in METRICS:
            assert stage.extra[name] == pytest.approx(np.mean([expected[row][name] for row in kept]))
        assert 100 * stage.metrics.ap == pytest.approx([expected[row]["AP"] for row in kept])


def test_by_class_the_own_patent_counts_unless_the_rule_removes_it():
    """Its figures have the query's date, so "granted before" removes them."""
    columns = {"pids": [7, 7, 8], "camids": [1, -1, -1], "dates": [20200107, 20200107, 20190101]}
    columns["taxonomy"] = ["1404", "14-04", "1404"]
    file = feature_file(features=np.eye(3), num_query=1, columns=columns, paths=["q", "a", "b"])
    counts = {
        rule: protocol("TEST.RULE", rule, "TEST.RELEVANCE", "class").evaluate(file).metrics.counts.tolist()
        for rule in ("all", "granted_before", "other_patent")
    }
    assert counts == {"all": [2], "granted_before": [1], "other_patent": [1]}


def test_levels_add_a_mean_average_precision_each():
    file = classified_file()
    options = ["TEST.RULE", "all", "TEST.LEVELS", ("subclass", "class", "pids", "class"), "TEST.METRICS", ("hit@5",)]
    evaluation = protocol(*options).evaluate(file)
    stage = evaluation.stages[0]
    assert list(stage.extra) == ["mAP@subclass", "mAP@class", "mAP@pids", "hit@5"]
    dropped = {}
    for level in ("subclass", "class", "pids"):
        values = [naive_values(ranked) for ranked in naive_lists(file, "all", level)]
        assert stage.extra[f"mAP@{level}"] == pytest.approx(np.mean([found["AP"] for found in values if found]))
        dropped[f"dropped queries@{level}"] = sum(found is None for found in values)
    counts = as_json(evaluation, file)["counts"]
    assert {name: counts[name] for name in dropped} == dropped
    assert counts["dropped queries"] == dropped["dropped queries@pids"] != dropped["dropped queries@class"]
    assert headline(evaluation)["mAP@class"] == stage.extra["mAP@class"]
    assert evaluation.settings["levels"] == ["subclass", "class", "pids"]


def test_each_stage_has_its_levels_and_a_level_that_is_the_relevance_takes_no_pass(monkeypatch):
    asked = []

    def counted(search, *args, **options):
        asked.append(options["relevance"])
        return evaluate_search(search, *args, **options)

    monkeypatch.setattr("fastreid.evaluation.protocol.evaluate_search", counted)
    options = ["TEST.RULE", "all", "TEST.RELEVANCE", "class", "TEST.LEVELS", ("class", "subclass")]
    first, last = protocol(*options, "TEST.QE.ENABLED", True).evaluate(classified_file()).stages
    assert asked == ["class", "subclass", "subclass"]  # the first stage by class, then a level of each
    assert first.extra["mAP@class"] == pytest.approx(100 * first.metrics.mAP)
    assert first.extra["mAP@subclass"] != last.extra["mAP@subclass"]


def test_roc_takes_the_pairs_of_the_column():
    features, codes = np.eye(2)[[0, 1, 0, 1, 0, 1]], ["0601", "1404", "0601", "1404", "06-01", "14-04"]
    columns = {"pids": np.arange(6), "camids": [1, 1, -1, -1, -1, -1], "taxonomy": codes}
    file = feature_file(features=features, num_query=2, columns=columns, paths=["x"] * 6)
    roc = protocol("TEST.ROC.ENABLED", True, "TEST.RELEVANCE", "subclass").evaluate(file).roc
    assert roc == {"TPR@FPR=1e-04": 100.0, "TPR@FPR=1e-03": 100.0, "TPR@FPR=1e-02": 100.0}


def test_what_cannot_be_judged_so_is_said():
    file = feature_file()
    with pytest.raises(ValueError, match=r"TEST\.RELEVANCE names column 'subclass' \(made from 'taxonomy'\), which"):
        protocol("TEST.RELEVANCE", "subclass").evaluate(file)
    with pytest.raises(ValueError, match=r"TEST\.LEVELS names column 'clas', .* Did you mean"):
        protocol("TEST.LEVELS", ("clas",)).evaluate(classified_file())
    for key in ("RELEVANCE", "LEVELS"):
        with pytest.raises(ValueError, match=rf"TEST\.{key} cannot be 'year': images of one date are no match"):
            protocol(f"TEST.{key}", "year" if key == "RELEVANCE" else ("class", "year"))
    with pytest.raises(ValueError, match=r"TEST\.SINGLE_SHOT draws one image per identity.* got 'class'"):
        protocol("TEST.SINGLE_SHOT", 3, "TEST.RELEVANCE", "class")
    with pytest.raises(ValueError, match=r"TEST\.METRICS: unknown metric 'mAP@class'.* TEST\.LEVELS adds a mAP@class"):
        protocol("TEST.METRICS", ("mAP@class",))
    unknown = classified_file()
    unknown.columns["taxonomy"][:14] = ""
    with pytest.raises(ValueError, match=r"TEST\.LEVELS: none of the 14 queries has a match: none of them has a known"):
        protocol("TEST.LEVELS", ("class",)).evaluate(unknown)


def test_columns_are_checked_before_the_first_image():
    for options in (["TEST.RELEVANCE", "subclass"], ["TEST.LEVELS", ("subclass",)]):
        judge = protocol(*options)
        judge.check_columns(["pids", "camids", "taxonomy"])
        with pytest.raises(ValueError, match=rf"{options[0]} names column 'subclass'"):
            judge.check_columns(["pids", "camids"])
    with pytest.raises(ValueError, match="cannot be 'dates'"):
        ReidEvaluator(config("TEST.RELEVANCE", "dates"), 2)


def test_classes_are_enough_where_identities_are_unknown():
    """As the test set of a challenge, if metadata say the classes."""
    file = classified_file(relevance_known=False)
    options = ["TEST.RULE", "all", "TEST.RELEVANCE", "class"]
    found = protocol(*options).evaluate(file)
    assert found.metrics.mAP == protocol(*options).evaluate(classified_file()).metrics.mAP
    assert not protocol("TEST.RULE", "all").evaluate(file).labelled
    with pytest.raises(ValueError, match=r"TEST\.LEVELS names 'pids', but this data set has no true identities"):
        protocol(*options, "TEST.LEVELS", ("pids",)).evaluate(file)
    with pytest.raises(ValueError, match=r"TEST\.GAINS names 'pids'"):
        protocol(*options, "TEST.METRICS", ("nDCG@5",)).check_columns(["pids", "camids", "taxonomy"], False)


def test_the_result_says_what_a_match_is(tmp_path):
    entry = as_json(evaluate(config("TEST.RELEVANCE", "subclass"), classified_file(), "A", tmp_path), classified_file())
    assert entry["settings"]["relevance"] == "subclass"
    assert evaluate(config(), feature_file(), "A", tmp_path).settings["relevance"] == "pids"


def test_groups_are_averages_over_the_queries_with_a_match_by_the_column():
    file = classified_file()
    judge = protocol("TEST.RULE", "all", "TEST.RELEVANCE", "class", "TEST.GROUP_BY", ("class",))
    (stage,) = judge.evaluate(file).stages
    values = [naive_values(ranked) for ranked in naive_lists(file, "all", "class")]
    codes = np.array(["06", "06", "14", "14", "", "26", ""])[file.query.columns["pids"] % 7]
    for code in ("06", "14", "26"):
        of_code = [found["AP"] for found, own in zip(values, codes, strict=True) if own == code and found]
        assert stage.groups["class"]["values"][code] == {
            "queries": len(of_code), "mAP": pytest.approx(np.mean(of_code)),
            "Rank-1": stage.groups["class"]["values"][code]["Rank-1"],
        }  # fmt: skip
    assert "" not in stage.groups["class"]["values"], "a query of unknown class has no match"


@pytest.mark.parametrize("relevance", ["subclass", "class"])
def test_frames_of_the_report_are_by_the_column(tmp_path, relevance):
    file = classified_file()
    options = ["TEST.RULE", "all", "TEST.RELEVANCE", relevance, "TEST.REPORT.ENABLED", True]
    evaluation = evaluate(config(*options), file, "A", tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"same Locarno {relevance}" in page
    lists, shown = dict(enumerate(naive_lists(file, "all", relevance))), 0
    for case in page.split("<article")[1:]:
        query = int(re.search(r"<b>Query (\d+)</b>", case)[1]) - 1
        verdicts = re.findall(r'class="shot (right|wrong)', case)
        assert verdicts == ["right" if same else "wrong" for _, same in lists[query][:10]]
        shown += len(verdicts)
    assert shown >= 10 * min(8, len(evaluation.metrics.rows))


def test_pictures_are_by_the_column(tmp_path, monkeypatch):
    file, drawn = classified_file(), []

    def draw(title, query, rows):
        drawn.append([tile.right for tile in rows[0][1]])
        return Image.new("L", (4, 4))

    monkeypatch.setattr("fastreid.evaluation.visualizer.draw_ranking", draw)
    judge = protocol("TEST.RULE", "all", "TEST.RELEVANCE", "class")
    (_, search), lists = next(judge.searches(file)), naive_lists(file, "all", "class")
    visualizer = Visualizer(file.paths)
    visualizer.use_search(search, True, judge.relevance)
    expected = [found["AP"] if found else np.nan for found in map(naive_values, lists)]
    np.testing.assert_allclose(100 * visualizer.all_ap, expected)
    visualizer.save_rank_result(range(file.num_query), tmp_path, 5)
    assert drawn == [[same for _, same in ranked[:5]] for ranked in lists]
    for query, ranked in enumerate(lists):
        same, order = visualizer.get_matched_result(query)
        assert list(zip(order.tolist(), same.astype(bool).tolist(), strict=True)) == ranked
    fpr, _, positives, negatives = visualizer.vis_roc_curve(tmp_path)
    known = [ranked for ranked, values in zip(lists, expected, strict=True) if np.isfinite(values)]
    assert len(positives) == sum(same for ranked in known for _, same in ranked)
    assert len(positives) + len(negatives) == 60 * len(known)
    assert fpr[-1] == 1
