import numpy as np
import pytest

from fastreid.config import get_cfg
from fastreid.retrieval import (
    POSTPROCESSOR_REGISTRY,
    Search,
    alpha_qe,
    dba,
    evaluate_search,
    joint_aqe,
    topk_search,
)
from fastreid.retrieval.distance import block_distances
from fastreid.retrieval.postprocess import ORDER
from fastreid.retrieval.rerank import k_reciprocal
from tests.retrieval import reference

CAUSAL = {"AQE": False, "AlphaQE": True, "DBA": False, "KReciprocal": False}


@pytest.fixture
def search():
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 8))
    columns = reference.ids(rng, 15, 6), reference.ids(rng, 60, 6)
    features = (centres[c["pids"]] + 0.6 * rng.normal(size=(len(c["pids"]), 8)) for c in columns)
    return Search(*features, *columns, rule="camera")


@pytest.mark.parametrize("name", ORDER)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_contract_of_every_post_processor(name, metric, search):
    assert {registered for registered, _ in POSTPROCESSOR_REGISTRY} == set(ORDER)
    processor = POSTPROCESSOR_REGISTRY.build(name, get_cfg())
    assert (processor.name, processor.causal) == (name, CAUSAL[name])
    before = Search(
        search.queries, search.gallery, search.q_columns, search.g_columns, metric, "camera", 1e-6
    )
    copies = before.queries.copy(), before.gallery.copy()
    after = processor.apply(before)
    np.testing.assert_array_equal(before.queries, copies[0])
    np.testing.assert_array_equal(before.gallery, copies[1])
    assert (after.metric, after.rule, after.block_mib) == (metric, before.rule, 1e-6)
    if metric == "cosine":  # these clusters leave room for every method
        assert evaluate_search(after).mAP > evaluate_search(before).mAP
    indices, _ = topk_search(after, 10)
    permitted = reference.camera_mask(before.q_columns, before.g_columns)
    assert np.take_along_axis(permitted, indices, axis=1).all()


@pytest.mark.parametrize("name", ORDER)
def test_defaults_equal_the_config_and_every_key_arrives(name):
    from fastreid.utils.registry import option_names

    cfg = get_cfg()
    node = cfg.get_node(POSTPROCESSOR_REGISTRY.node(name))
    defaults = POSTPROCESSOR_REGISTRY.get(name)()
    keys = {option.rstrip("_").upper(): option for option in option_names(POSTPROCESSOR_REGISTRY.get(name))}
    assert set(keys) == set(node) - {"ENABLED"}
    for key, option in keys.items():
        assert getattr(defaults, option) == node[key]
        change = {bool: True, int: 1}.get(type(node[key]), 0.5)
        node[key] = node[key] + change if change is not True else not node[key]
    built = POSTPROCESSOR_REGISTRY.build(name, cfg)
    assert all(getattr(built, option) == node[key] for key, option in keys.items())


def test_query_expansion_goes_by_the_rule_but_not_by_labels(search):
    processor = POSTPROCESSOR_REGISTRY.get("AlphaQE")(k=4)
    columns = search.q_columns, search.g_columns
    plain = alpha_qe(search.queries, search.gallery, k=4)
    np.testing.assert_array_equal(processor.apply(search).queries, plain)
    other = processor.apply(Search(search.queries, search.gallery, *columns, rule="other_patent")).queries
    np.testing.assert_array_equal(
        other, alpha_qe(search.queries, search.gallery, 4, 3.0, "other_patent", *columns)
    )
    assert not np.array_equal(other, plain)


def dated(rule, **columns):
    rng = np.random.default_rng(2)
    queries, gallery = rng.normal(size=(5, 8)), rng.normal(size=(30, 8))
    q_columns, g_columns = ({name: rng.integers(0, 6, n) for name in columns} for n in (5, 30))
    return Search(queries, gallery, q_columns, g_columns, rule=rule)


@pytest.mark.parametrize("rule", ["all", "granted_before", "other_patent+granted_before"])
def test_prior_art_augmentation_takes_from_earlier_items_alone(rule):
    search = dated(rule, dates=0, pids=0)
    processor = POSTPROCESSOR_REGISTRY.get("DBA")(k=4, prior_art=True)
    assert (processor.causal, POSTPROCESSOR_REGISTRY.get("DBA").causal) == (True, False)
    expected = dba(search.gallery, 4, 3.0, rule="granted_before", columns=search.g_columns)
    after = processor.apply(search)
    np.testing.assert_array_equal(after.gallery, expected)
    np.testing.assert_array_equal(after.queries, search.queries)
    assert not np.allclose(expected, dba(search.gallery, 4))


def test_prior_art_augmentation_needs_dates():
    with pytest.raises(ValueError, match="DBA: prior_art needs column 'dates' of the gallery; given: pids"):
        POSTPROCESSOR_REGISTRY.get("DBA")(prior_art=True).apply(dated("all", pids=0))


@pytest.mark.parametrize("name", ["AlphaQE", "DBA"])
def test_after_expansion_both_metrics_rank_alike(name, search):
    columns = search.q_columns, search.g_columns
    lists = [
        topk_search(
            POSTPROCESSOR_REGISTRY.get(name)().apply(Search(search.queries, search.gallery, *columns, metric)), 60
        )[0]
        for metric in ("cosine", "euclidean")
    ]
    np.testing.assert_array_equal(*lists)


def test_joint_expansion_is_the_one_of_the_core(search):
    after = POSTPROCESSOR_REGISTRY.get("AQE")(qe_time=2, qe_k=4, alpha=2.0).apply(search)
    queries, gallery = joint_aqe(search.queries, search.gallery, k=4, alpha=2.0, times=2)
    np.testing.assert_array_equal(after.queries, queries)
    np.testing.assert_array_equal(after.gallery, gallery)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_reranking_mixes_jaccard_and_distance(search, metric):
    search = Search(search.queries, search.gallery, metric=metric, block_mib=1e-6)
    after = POSTPROCESSOR_REGISTRY.get("KReciprocal")(k1=8, k2=3, lambda_=0.4).apply(search)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (search.queries, search.gallery)]
    features = unit if metric == "cosine" else (search.queries, search.gallery)
    want = 0.6 * k_reciprocal(*features, 8, 3, metric="euclidean")(slice(0, 15))
    want = want + 0.4 * block_distances(search.queries, search.gallery, metric)
    blocks = list(after.blocks())
    assert len(blocks) == 15
    np.testing.assert_allclose(np.concatenate([distances for _, distances in blocks]), want, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("AQE", {"qe_k": 0}, "AQE: qe_k must be at least 1; got 0"),
        ("AQE", {"qe_time": 0}, "AQE: qe_time must be at least 1; got 0"),
        ("AlphaQE", {"alpha": -1}, "AlphaQE: alpha must be at least 0; got -1"),
        ("DBA", {"k": 0}, "DBA: k must be at least 1; got 0"),
        ("KReciprocal", {"k2": 0}, "KReciprocal: k2 must be at least 1; got 0"),
        ("KReciprocal", {"lambda_": 1.5}, "KReciprocal: lambda must be in 0..1; got 1.5"),
    ],
)
def test_wrong_options_are_refused_before_any_feature_is_seen(name, options, message):
    with pytest.raises(ValueError, match=message):
        POSTPROCESSOR_REGISTRY.get(name)(**options)


def test_order_that_would_be_ignored_is_refused(search):
    reranked = POSTPROCESSOR_REGISTRY.get("KReciprocal")().apply(search)
    with pytest.raises(ValueError, match="expansion must run before re-ranking"):
        POSTPROCESSOR_REGISTRY.get("DBA")().apply(reranked)
    with pytest.raises(ValueError, match="re-ranked already"):
        POSTPROCESSOR_REGISTRY.get("KReciprocal")().apply(reranked)
