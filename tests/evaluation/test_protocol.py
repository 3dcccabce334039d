import numpy as np
import pytest

from fastreid.config import CfgNode as CN
from fastreid.config import get_cfg
from fastreid.evaluation import Protocol, ReidEvaluator
from fastreid.retrieval import POSTPROCESSOR_REGISTRY, RULE_REGISTRY, evaluate, topk_search
from tests.evaluation.stand_ins import feature_file


def protocol(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return Protocol.from_config(cfg)


def on(*names):
    return [item for name in names for item in (f"TEST.{name}.ENABLED", True)]


def test_plain_stage_equals_the_core():
    file = feature_file()
    (stage,) = protocol("TEST.METRIC", "euclidean").evaluate(file).stages
    q, g = file.query, file.gallery
    expected = evaluate(q.features, g.features, q.columns, g.columns, "euclidean", "camera").table()
    assert stage.name == "plain"
    assert stage.metrics.table() == expected
    assert stage.metrics.dropped == 2


def test_stages_are_cumulative_and_in_order():
    file = feature_file()
    everything = protocol(*on("RERANK", "DBA", "AQE", "QE")).evaluate(file)
    assert [stage.name for stage in everything.stages] == ["plain", "+AQE", "+QE", "+DBA", "+RERANK"]
    assert len({stage.metrics.mAP for stage in everything.stages}) > 2
    up_to_dba = protocol(*on("AQE", "QE", "DBA")).evaluate(file)
    assert everything.stages[3].metrics.table() == up_to_dba.metrics.table()
    assert list(everything.settings["post-processing"]) == ["AQE", "QE", "DBA", "RERANK"]
    assert everything.settings["post-processing"]["RERANK"] == {"K1": 20, "K2": 6, "LAMBDA": 0.3}


def test_ranking_is_that_of_the_last_stage():
    file = feature_file()
    judge = protocol(*on("AQE"), "TEST.AQE.QE_K", 3, "TEST.REPORT.TOPK", 4)
    evaluation = judge.evaluate(file)
    *_, (_, search) = judge.searches(file)
    indices, distances = topk_search(search, 10)
    assert np.array_equal(evaluation.indices, indices)
    assert np.array_equal(evaluation.distances, distances)
    first = file.gallery.columns["pids"][indices[:, 0]] == file.query.columns["pids"]
    assert 100 * first[evaluation.metrics.rows].mean() == pytest.approx(evaluation.metrics.table()["Rank-1"])


def test_without_labels_there_is_a_ranking_and_no_metric():
    evaluation = protocol(*on("RERANK"), "TEST.ROC.ENABLED", True).evaluate(feature_file(relevance_known=False))
    assert not evaluation.labelled
    assert [stage.metrics for stage in evaluation.stages] == [None, None]
    assert evaluation.indices.shape == (12, 10)
    assert evaluation.roc == {}


def test_gallery_smaller_than_the_list():
    evaluation = protocol().evaluate(feature_file(num_gallery=4))
    assert evaluation.indices.shape == (12, 4)
    assert np.array_equal(np.sort(evaluation.indices, axis=1), np.tile(np.arange(4), (12, 1)))


def test_rule_decides_what_is_ranked():
    file = feature_file()
    indices = protocol("TEST.RULE", "granted_before").evaluate(file).indices
    dates, row = file.columns["dates"], int(np.argmin(file.query.columns["dates"]))
    for query, items in enumerate(indices):
        assert all(dates[12 + item] < dates[query] for item in items if item >= 0)
    assert (indices[row] < 0).any()


@pytest.mark.parametrize("name", ["AQE", "DBA", "RERANK"])
def test_noncausal_postprocessing_is_refused_for_prior_art_unless_asked_for(name):
    options = [*on(name), "TEST.RULE", "other_patent+granted_before"]
    with pytest.raises(ValueError, match=rf"TEST\.{name} looks at .* TEST\.ALLOW_NONCAUSAL True"):
        protocol(*options)
    stages = protocol("TEST.ALLOW_NONCAUSAL", True, *options).searches(feature_file())
    assert [stage for stage, _ in stages] == ["plain", f"+{name} (non-causal)"]


def test_causal_expansion_is_accepted_for_prior_art():
    assert protocol(*on("QE"), "TEST.RULE", "granted_before").postprocessors[0][0] == "QE"
    causal = protocol(*on("DBA"), "TEST.DBA.PRIOR_ART", True, "TEST.RULE", "granted_before")
    assert [stage for stage, _ in causal.searches(feature_file())] == ["plain", "+DBA"]
    assert causal.settings["post-processing"]["DBA"]["PRIOR_ART"] is True


def test_any_rule_that_hides_later_items_refuses_what_is_not_causal(monkeypatch):
    for table in ("_objects", "_nodes"):
        monkeypatch.setattr(RULE_REGISTRY, table, dict(getattr(RULE_REGISTRY, table)))

    @RULE_REGISTRY.register(name="filed_first")
    class FiledFirst:
        needs, before = ("filed",), "filed"

        def permits(self, query, item):
            return (item["filed"] > 0) & (item["filed"] < query["filed"])

    with pytest.raises(ValueError, match=r"TEST\.AQE looks at gallery items that rule 'all\+filed_first' hides"):
        protocol(*on("AQE"), "TEST.RULE", "all+filed_first")


def test_a_post_processor_from_outside_comes_last_and_counts_as_non_causal(monkeypatch):
    for table in ("_objects", "_nodes"):
        monkeypatch.setattr(POSTPROCESSOR_REGISTRY, table, dict(getattr(POSTPROCESSOR_REGISTRY, table)))

    @POSTPROCESSOR_REGISTRY.register(node="TEST.ABS")
    class Absolute:
        def apply(self, search):
            return search.with_features(abs(search.queries), abs(search.gallery))

    cfg = get_cfg()
    cfg.TEST.ABS = CN({"ENABLED": True})
    cfg.TEST.AQE.ENABLED = True
    assert [stage.name for stage in Protocol.from_config(cfg).evaluate(feature_file()).stages[1:]] == ["+AQE", "+ABS"]
    cfg.TEST.AQE.ENABLED, cfg.TEST.RULE = False, "granted_before"
    with pytest.raises(ValueError, match=r"TEST\.ABS looks at"):
        Protocol.from_config(cfg)
    POSTPROCESSOR_REGISTRY.register(Absolute, name="NoSwitch")
    with pytest.raises(ValueError, match="'NoSwitch' of the POSTPROCESSOR registry needs a config node with ENABLED"):
        Protocol.from_config(cfg)


def test_components_without_their_method_are_refused_before_the_first_image(monkeypatch):
    for registry in (POSTPROCESSOR_REGISTRY, RULE_REGISTRY):
        for table in ("_objects", "_nodes"):
            monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    cfg = get_cfg()

    @RULE_REGISTRY.register()
    class Shy:
        needs = ("pids",)

    cfg.TEST.RULE = "all+Shy"
    with pytest.raises(TypeError, match=r"Shy lacks 'permits', which a candidate rule \(TEST\.RULE\) must have"):
        ReidEvaluator(cfg, 2)
    Shy.permits, needs = None, Shy.needs
    del Shy.needs
    with pytest.raises(TypeError, match="Shy lacks 'needs'"):
        Protocol.from_config(cfg)
    Shy.needs = needs
    assert ReidEvaluator(cfg, 2)

    @POSTPROCESSOR_REGISTRY.register(node="TEST.IDLE")
    class Idle:
        causal = True

    cfg.TEST.IDLE = CN({"ENABLED": False})
    assert ReidEvaluator(cfg, 2), "what is off is not asked for"
    cfg.TEST.IDLE.ENABLED = True
    with pytest.raises(TypeError, match=r"Idle lacks 'apply', which a post-processor \(TEST\.IDLE\) must have"):
        ReidEvaluator(cfg, 2)


def test_wrong_names_are_refused_at_the_start():
    with pytest.raises(ValueError, match=r"TEST\.METRIC must be one of 'cosine', 'euclidean'; got 'cosin'.*'cosine'"):
        protocol("TEST.METRIC", "cosin")
    with pytest.raises(KeyError, match="Did you mean 'camera'"):
        protocol("TEST.RULE", "camra")


def test_roc_has_genuine_pairs_as_positives():
    pids = [0, 1] + [0, 1] * 200
    features = np.eye(2)[pids]  # perfectly separated
    file = feature_file(
        features=features, num_query=2, columns={"pids": pids, "camids": [1] * 2 + [-1] * 400}, paths=["x"] * 402
    )
    roc = protocol("TEST.ROC.ENABLED", True).evaluate(file).roc
    assert roc == {"TPR@FPR=1e-04": 100.0, "TPR@FPR=1e-03": 100.0, "TPR@FPR=1e-02": 100.0}


def classified(**changes):
    """As `feature_file`, with a Locarno code for every image; identity 2 has none."""
    file = feature_file(**changes)
    codes = np.array(["0601", "0602", "", "1404", "1404", "2601"])
    return feature_file(**changes, columns={**file.columns, "taxonomy": codes[file.columns["pids"]]})


def test_metrics_by_name_and_by_group():
    file, names = classified(), ("recall@5", "AP_pessimistic", "nDCG@10", "AP@max_bin_count")
    (stage,) = protocol("TEST.METRICS", names, "TEST.GROUP_BY", ("class", "camids")).evaluate(file).stages
    q, g = file.query, file.gallery
    metrics = evaluate(q.features, g.features, q.columns, g.columns, ties=True, gains={"pids": 3})
    assert list(stage.extra) == list(names)
    for name in ("recall@5", "AP_pessimistic", "AP@max_bin_count"):
        assert stage.extra[name] == pytest.approx(100 * metrics.mean(name))
    assert stage.extra["nDCG@10"] != pytest.approx(100 * metrics.mean("nDCG@10")), "classes count, too"
    classes = np.array(["06", "06", "", "14", "14", "26"])[q.columns["pids"]]
    by_class = metrics.by("recall@5", classes)
    groups = stage.groups["class"]
    assert {value: group["queries"] for value, group in groups["values"].items()} == {"06": 4, "": 2, "14": 4}
    for value, (mean, _) in by_class.items():
        assert groups["values"][value]["recall@5"] == pytest.approx(100 * mean)
    assert groups["macro"]["mAP"] == pytest.approx(100 * metrics.macro("AP", classes))
    assert groups["macro"].keys() == {"mAP", "Rank-1", *names}
    assert list(stage.groups["camids"]["values"]) == ["1"]


def test_the_opposite_view_is_hidden_and_views_are_a_group():
    views = np.random.default_rng(2).choice(["front", "rear", "left", "right", "perspective"], 52)
    views[:2], views[12:] = ["front", "rear"], np.where(np.arange(40) % 9 == 0, "front", views[12:])
    file = feature_file(columns={**feature_file().columns, "views": views})
    options = ["TEST.RULE", "camera+no_opposite_view", "TEST.GROUP_BY", ("views",)]
    (stage,) = protocol(*options).evaluate(file).stages
    (whole,) = protocol().evaluate(file).stages
    opposite, precisions = {"front": "rear", "rear": "front", "left": "right", "right": "left"}, {}
    scores = file.query.features @ file.gallery.features.T / np.linalg.norm(file.gallery.features, axis=1)
    for row, (pid, view) in enumerate(zip(file.query.columns["pids"], file.query.columns["views"], strict=True)):
        same = file.gallery.columns["pids"] == pid
        left = ~(same & (file.gallery.columns["views"] == opposite.get(view)))
        right = same[left][np.argsort(-scores[row, left], kind="stable")]
        if right.any():
            ranks = np.flatnonzero(right) + 1
            precisions.setdefault(str(view), []).append(100 * np.mean(np.arange(1, len(ranks) + 1) / ranks))
    every = [value for values in precisions.values() for value in values]
    assert 100 * stage.metrics.mAP == pytest.approx(np.mean(every)) != pytest.approx(100 * whole.metrics.mAP)
    found = {view: (group["queries"], group["mAP"]) for view, group in stage.groups["views"]["values"].items()}
    assert found == {view: (len(values), pytest.approx(np.mean(values))) for view, values in precisions.items()}


def test_gains_of_ndcg_are_configurable_and_named_in_the_result():
    options = ["TEST.METRICS", ("nDCG@10",), "TEST.GAINS", [["pids", 3.0]]]
    evaluation = protocol(*options).evaluate(feature_file())
    q, g = feature_file().query, feature_file().gallery
    metrics = evaluate(q.features, g.features, q.columns, g.columns, gains={"pids": 3})
    assert evaluation.stages[0].extra["nDCG@10"] == pytest.approx(100 * metrics.mean("nDCG@10"))
    assert evaluation.settings["gains"] == {"pids": 3.0}
    assert "gains" not in protocol().settings


def test_wrong_metrics_are_refused_at_the_start_and_missing_columns_named():
    with pytest.raises(ValueError, match=r"TEST\.METRICS: unknown metric 'recal@5'.*Did you mean 'recall@5'"):
        protocol("TEST.METRICS", ("recal@5",))
    with pytest.raises(ValueError, match=r"TEST\.METRICS: nDCG@500 is not available; nDCG@k goes up to k = 100"):
        protocol("TEST.METRICS", ("nDCG@500",))
    with pytest.raises(ValueError, match=r"TEST\.GROUP_BY names column 'class' \(made from 'taxonomy'\)"):
        protocol("TEST.GROUP_BY", ("class",)).evaluate(feature_file())
    with pytest.raises(ValueError, match=r"TEST\.GAINS names column 'subclass'"):
        protocol("TEST.METRICS", ("nDCG@5",)).evaluate(feature_file())
    assert protocol("TEST.METRICS", ("nDCG@5",)).evaluate(feature_file(relevance_known=False)).metrics is None
