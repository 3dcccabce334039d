"""Rules, and what `Candidates` makes of them, against a loop over pairs."""

from itertools import pairwise, product

import numpy as np
import pytest

from fastreid.retrieval import candidates, evaluate, topk
from fastreid.retrieval.candidates import RULE_REGISTRY, Candidates, EqualRows, EveryRule, at_query_time, get_rule
from fastreid.retrieval.search import Search

QUERIES = {
    "pids": np.array([1, 2]),
    "camids": np.array([0, 1]),
    "dates": np.array([20180109, 0]),
    "taxonomy": np.array(["14-04", ""]),
    "views": np.array(["front", ""]),
}
GALLERY = {
    "pids": np.array([1, 1, 2, 3]),
    "camids": np.array([0, 1, 1, 0]),
    "dates": np.array([20180102, 20180109, 20180116, 0]),
    "taxonomy": np.array(["1404", "LOC (13) Cl. 14-02", "", "1400"]),
    "views": np.array(["front", "rear", "", "rear"]),
}
MASKS = {
    "all": [[1, 1, 1, 1], [1, 1, 1, 1]],
    "camera": [[0, 1, 1, 1], [1, 1, 0, 1]],
    "other_patent": [[0, 0, 1, 1], [1, 1, 0, 1]],
    # strictly before: neither the same day, nor an item or a query without a date
    "granted_before": [[1, 0, 0, 0], [0, 0, 0, 0]],
    # the own patent's alone, and an unknown view has no opposite
    "no_opposite_view": [[1, 0, 1, 1], [1, 1, 1, 1]],
    # an unknown code equals nothing, not even another unknown one
    "same_class": [[1, 1, 0, 1], [0, 0, 0, 0]],
    "same_subclass": [[1, 0, 0, 0], [0, 0, 0, 0]],
    "camera+other_patent": [[0, 0, 1, 1], [1, 1, 0, 1]],
    "other_patent + granted_before": [[0, 0, 0, 0], [0, 0, 0, 0]],
}
LOCARNO = {"1404": "14 04", "14-04": "14 04", "LOC (13) Cl. 14-02": "14 02", "601": "06 01", "6-1": "06 01"}
OPPOSITES = [{"front", "rear"}, {"left", "right"}, {"top", "bottom"}]
VIEWS = ["front", "rear", "left", "right", "top", "bottom", "perspective", ""]
CODES = [*LOCARNO, "1400", "", "D14/138"]
REGISTERED = [name for name, component in RULE_REGISTRY if component.__module__.startswith("fastreid.")]


class Named:
    """A rule from attributes, as a user would write it as a class."""

    def __init__(self, permits, *needs, **declared):
        self.permits, self.needs = permits, needs
        self.__dict__.update(declared)


OWN = {
    "other_view": Named(lambda q, i: q["angle"] != i["angle"], "angle", within="angle"),
    "only_view_1": Named(lambda q, i: i["angle"] == 1, "angle"),  # looks at the item alone
    "filed_before": Named(lambda q, i: (i["filed"] > 0) & (i["filed"] < q["filed"]), "filed", before="filed"),
    "other_parity": Named(
        lambda q, i: q["odd"] != i["odd"], "angle", within="odd", read=lambda columns: {"odd": columns["angle"] % 2}
    ),
}
_RNG = np.random.default_rng(0)
COMPOSED = [tuple(_RNG.permutation([*REGISTERED, *OWN])[: _RNG.integers(2, 5)].tolist()) for _ in range(60)]


def locarno(text):
    """(class, subclass) or None, by looking it up."""
    return LOCARNO[text].split() if text in LOCARNO else ["14", None] if text == "1400" else [None, None]


def allowed(name, q, g):
    """One pair, by plain comparisons."""
    (q_class, q_sub), (g_class, g_sub) = locarno(q["taxonomy"]), locarno(g["taxonomy"])
    return {
        "all": True,
        "camera": not (q["pids"] == g["pids"] and q["camids"] == g["camids"]),
        "other_patent": q["pids"] != g["pids"],
        "granted_before": 0 < g["dates"] < q["dates"],
        "same_class": q_class is not None and q_class == g_class,
        "same_subclass": q_sub is not None and (q_class, q_sub) == (g_class, g_sub),
        "no_opposite_view": not (q["pids"] == g["pids"] and {q["views"], g["views"]} in OPPOSITES),
        "other_view": q["angle"] != g["angle"],
        "only_view_1": g["angle"] == 1,
        "filed_before": 0 < g["filed"] < q["filed"],
        "other_parity": q["angle"] % 2 != g["angle"] % 2,
    }[name]


def loop(names, q, g, num_queries, num_gallery):
    mask = np.ones((num_queries, num_gallery), dtype=bool)
    for i, j in product(range(num_queries), range(num_gallery)):
        pair = [{name: column[row] for name, column in columns.items()} for columns, row in ((q, i), (g, j))]
        mask[i, j] = all(allowed(name, *pair) for name in names)
    return mask


def random_columns(rng, count, text=False):
    pids = rng.integers(0, 4, count)
    return {
        "pids": np.char.add("D0", pids.astype(str)) if text else pids,
        "camids": rng.integers(0, 2, count),
        "dates": rng.integers(0, 5, count),
        "filed": rng.integers(-1, 4, count),
        "angle": rng.integers(0, 4, count),
        "taxonomy": rng.choice(CODES, count),
        "views": rng.choice(VIEWS, count),
    }


def together(found, rows, num_queries, num_gallery):
    """What order and limits, the excluded lists and the mask permit together, by their definition."""
    mask = found.mask(rows, slice(0, num_gallery))
    numbers = np.arange(num_queries)[rows]
    result = np.ones((len(numbers), num_gallery), dtype=bool) if mask is None else mask.copy()
    starts, items = found.excluded(rows)
    assert (starts.dtype, items.dtype, len(starts)) == (np.int64, np.int64, len(numbers) + 1)
    for i, query in enumerate(numbers):
        own = items[starts[i] : starts[i + 1]]
        assert (np.diff(own) > 0).all()
        result[i, own] = False
        if found.order is not None:
            result[i, found.order[found.limits[query] :]] = False
    return result


def joined(names):
    return EveryRule([OWN[name] if name in OWN else get_rule(name) for name in names])


@pytest.mark.parametrize("name", MASKS)
def test_masks_by_hand(name):
    mask = Candidates(name, QUERIES, GALLERY, 2, 4).permitted(slice(0, 2))
    if name == "all":
        assert mask is None
    else:
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, np.array(MASKS[name], dtype=bool))


def test_every_registered_rule_is_covered():
    assert set(REGISTERED) <= set(MASKS)


@pytest.mark.parametrize("always_listed", [-1, 1 << 16])
@pytest.mark.parametrize("names", [(name,) for name in [*REGISTERED, *OWN]] + COMPOSED)
def test_all_forms_equal_a_loop_over_pairs(monkeypatch, names, always_listed):
    monkeypatch.setattr(candidates, "ALWAYS_LISTED", always_listed)
    rng = np.random.default_rng([len(name) for name in names])
    for text in (False, True):
        num_queries, num_gallery = (int(count) for count in rng.integers(1, [9, 30]))
        q, g = random_columns(rng, num_queries, text), random_columns(rng, num_gallery, text)
        found = Candidates(joined(names), q, g, num_queries, num_gallery)
        want = loop(names, q, g, num_queries, num_gallery)
        rows = rng.integers(0, num_queries, 5)
        for some in (slice(0, num_queries), slice(1, 3), rows, slice(2, 2)):
            whole = found.permitted(some)
            np.testing.assert_array_equal(want[some] if whole is None else whole, want[some])
            np.testing.assert_array_equal(together(found, some, num_queries, num_gallery), want[some])
        pairs = rows, rng.integers(0, num_gallery, 5)
        np.testing.assert_array_equal(found.permits_pairs(*pairs), want[pairs])
        items, mask = rng.integers(0, num_gallery, 7), found.mask(slice(0, num_queries), slice(None))
        if mask is not None:
            np.testing.assert_array_equal(found.mask(rows, items), mask[rows][:, items])


@pytest.mark.parametrize("counts", [(0, 4), (3, 0), (0, 0)])
@pytest.mark.parametrize("names", [(name,) for name in [*REGISTERED, *OWN]] + [("camera", "other_view", "same_class")])
def test_nobody_asks_or_nothing_is_there(names, counts):
    rng = np.random.default_rng(0)
    typed = [random_columns(rng, count) for count in counts]
    untyped = [columns if len(columns["pids"]) else {name: [] for name in columns} for columns in typed]
    for columns in (typed, untyped):
        found = Candidates(joined(names), *columns, *counts)
        assert together(found, slice(0, counts[0]), *counts).shape == counts
        assert found.permits_pairs(np.zeros(0, int), np.zeros(0, int)).shape == (0,)


def test_structure_that_a_scan_relies_on():
    dates = np.array([3, 0, 1, 3, -1, 1])
    found = Candidates("granted_before", {"dates": [2, 3, 0, 9]}, {"dates": dates}, 4, 6)
    assert found.order.tolist() == [2, 5, 0, 3, 1, 4]  # by (date, row), the unknown ones last
    assert found.limits.tolist() == [2, 2, 0, 4]
    assert (found.order.dtype, found.limits.dtype) == (np.int64, np.int64)
    assert found.mask(slice(0, 4), slice(0, 6)) is None
    assert found.excluded(slice(0, 4))[0].tolist() == [0] * 5
    lists = Candidates("camera+other_patent", QUERIES, GALLERY, 2, 4)
    assert (lists.order, lists.limits, lists.mask(slice(0, 2), slice(0, 4))) == (None, None, None)
    assert [part.tolist() for part in lists.excluded(np.array([1, 0]))] == [[0, 1, 3], [2, 0, 1]]


def test_long_lists_become_a_mask(monkeypatch):
    monkeypatch.setattr(candidates, "ALWAYS_LISTED", 0)
    q, g = {"pids": np.zeros(64, int)}, {"pids": np.arange(64)}
    assert Candidates("other_patent", q, g, 64, 64).mask(slice(0, 1), slice(0, 1)) is None  # 1/64 of the pairs
    g["pids"][1] = 0
    found = Candidates("other_patent", q, g, 64, 64)
    np.testing.assert_array_equal(found.mask(slice(0, 2), slice(0, 3)), [[False, False, True]] * 2)
    assert len(found.excluded(slice(0, 64))[1]) == 0


def test_an_undated_nan_is_unknown():
    found = Candidates("granted_before", {"dates": [np.nan, 5.0]}, {"dates": [np.nan, 1.0]}, 2, 2)
    np.testing.assert_array_equal(together(found, slice(0, 2), 2, 2), [[False, False], [False, True]])


@pytest.mark.parametrize("name", REGISTERED)
def test_a_rule_reads_only_what_it_needs_and_misses_it_by_name(name):
    rule = get_rule(name)
    features = np.zeros((2, 3)), np.zeros((4, 3))
    only = [{column: columns[column] for column in rule.needs} for columns in (QUERIES, GALLERY)]
    Candidates(name, *only, 2, 4).permitted(slice(0, 2))
    for column in rule.needs:
        lacking = {other: values for other, values in only[1].items() if other != column}
        with pytest.raises(ValueError, match=rf"rule {name} needs column \['{column}'\] of the gallery"):
            Search(*features, only[0], lacking, rule=name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("camera", "all"),
        ("granted_before", "granted_before"),
        ("camera+granted_before", "granted_before"),
        ("no_opposite_view+granted_before", "granted_before"),
        ("granted_before+camera+other_patent", "granted_before+other_patent"),
    ],
)
def test_what_is_known_at_query_time_leaves_the_labels_out(name, known):
    rules = at_query_time(get_rule(name)), known
    masks = [Candidates(rule, QUERIES, GALLERY, 2, 4).permitted(slice(0, 2)) for rule in rules]
    np.testing.assert_array_equal(*masks)


def test_unknown_rule_has_a_near_miss():
    with pytest.raises(KeyError, match="Did you mean 'granted_before'"):
        get_rule("granted_befor")


def test_none_is_all_and_a_rule_object_is_itself():
    assert type(get_rule(None)) is type(get_rule("all"))
    rule = get_rule("camera")
    assert get_rule(rule) is rule
    inner = EveryRule([rule, get_rule("other_patent")])
    assert EveryRule([inner, get_rule("same_class")]).needs == ("pids", "camids", "taxonomy")


def test_column_of_wrong_length_is_named():
    with pytest.raises(ValueError, match="column 'pids' of the queries has 2 rows; expected 3"):
        Search(np.zeros((3, 2)), np.zeros((4, 2)), QUERIES, GALLERY)


def test_a_mask_is_never_a_column_itself():
    found = Candidates(Named(lambda q, i: i["good"], "good"), {"good": [True]}, {"good": [True, False]}, 1, 2)
    found.mask(slice(0, 1), slice(0, 2))[:] = False  # a caller may work in it
    np.testing.assert_array_equal(found.permitted(slice(0, 1)), [[True, False]])


class TestWrongRules:
    def refused(self, rule, error, message, q=QUERIES, g=GALLERY):
        with pytest.raises(error, match=message):
            Candidates(rule, q, g, 2, 4).permitted(slice(0, 2))

    @pytest.mark.parametrize(
        ("permits", "got"),
        [
            (lambda q, i: (q["pids"] != i["pids"]).astype(float), r"float64 of shape \(2, 4\)"),
            (lambda q, i: i["pids"][0] > 1, r"bool of shape \(4,\)"),
            (lambda q, i: (q["pids"] != i["pids"]).T, r"bool of shape \(4, 2\)"),
            (lambda q, i: True, r"bool of shape \(\)"),
        ],
    )
    def test_answer(self, permits, got):
        message = rf"permits\(\) of rule Named must return a bool array that broadcasts to \(2, 4\).*got {got}"
        self.refused(Named(permits, "pids"), TypeError, message)

    def test_the_method_of_former_rules(self):
        class Old:
            needs = ("pids",)

            def permitted(self, queries, gallery):
                return queries["pids"][:, None] != gallery["pids"]

        self.refused(Old(), TypeError, r"Old\.permitted\(queries, gallery\) must become permits\(query, item\)")

    def test_members_and_undeclared_columns(self):
        self.refused(object(), TypeError, "object lacks 'needs', which a candidate rule")
        rule = Named(lambda q, i: q["camids"] != i["camids"], "pids")
        self.refused(rule, ValueError, "Named reads column 'camids', which it does not name in `needs`")

    def test_a_false_word_about_itself(self):
        camera = Named(lambda q, i: q["camids"] != i["camids"], "pids", "camids", within="pids")
        message = "declares within = 'pids', but permits.. says otherwise for query row 0 and gallery row 3"
        self.refused(camera, ValueError, message)
        same_day = Named(lambda q, i: (i["dates"] > 0) & (i["dates"] <= q["dates"]), "dates", before="dates")
        self.refused(same_day, ValueError, "declares before = 'dates', .* query row 0 and gallery row 1")

    def test_what_read_must_give(self):
        rule = Named(lambda q, i: q["pids"] != i["pids"], "pids", within="pids", read=lambda c: {"p": c["pids"]})
        self.refused(rule, ValueError, r"Named has no column 'pids' after read\(\)")
        rule = Named(lambda q, i: q["pids"] != i["pids"], "pids", read=lambda c: {"pids": c["pids"][1:]})
        self.refused(rule, ValueError, r"Named has columns of another length after read\(\)")

    def test_columns_of_the_wrong_kind(self):
        text = {"dates": np.array(["20180102"] * 4)}
        message = "GrantedBefore needs numbers such as 20180109 .* queries have int64, the gallery <U8"
        self.refused("granted_before", TypeError, message, g=text)
        text = {"pids": GALLERY["pids"].astype(str)}
        self.refused("other_patent", TypeError, "queries are int64 and those of the gallery <U", g=text)


@pytest.mark.parametrize("kind", [int, float, str, object])
@pytest.mark.parametrize("seed", range(5))
def test_equal_rows_against_loops(seed, kind):
    rng = np.random.default_rng(seed)
    q, g = (rng.integers(0, 6, count).astype(kind) for count in rng.integers(0, [12, 25]))
    if kind is float:
        q[::3], g[::4] = np.nan, np.nan
    equal = EqualRows(q, g)
    for rows in (slice(0, len(q)), slice(1, 4), np.arange(len(q))[::-2], slice(0, 0)):
        want = [[j for j in range(len(g)) if g[j] == value] for value in q[rows]]
        starts, items = equal(rows)
        assert [items[a:b].tolist() for a, b in pairwise(starts)] == want
        assert (starts.dtype, items.dtype, equal.counts.dtype) == (np.int64,) * 3
        assert equal.counts[rows].tolist() == [len(items) for items in want]


def test_equal_rows_refuse_types_that_lose_digits():
    with pytest.raises(TypeError, match="queries are int64 and those of the gallery uint64; a column must have one"):
        EqualRows(np.array([2**60]), np.array([2**60 + 1], dtype=np.uint64))


def signs(rng, count):
    """Features of four signs: their cosines are exact in float32, and many are tied."""
    return rng.choice([-1, 1], (count, 4)).astype(np.float32)


JOINED = [("other_patent", "granted_before"), ("camera", "same_class")]


@pytest.mark.parametrize("k", [3, 40])
@pytest.mark.parametrize("names", [(name,) for name in REGISTERED] + JOINED)
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_search_under_a_rule_equals_a_search_of_an_index_of_the_permitted_items(names, metric, k):
    rng = np.random.default_rng(len(names[0]))
    q, g, columns = signs(rng, 12), signs(rng, 40), (random_columns(rng, 12), random_columns(rng, 40))
    indices, distances = topk(q, g, k, metric, "+".join(names), *columns)
    for i, left in enumerate(loop(names, *columns, 12, 40)):
        items = np.flatnonzero(left)
        nearest, values = topk(q[i : i + 1], g[items], k, metric)
        np.testing.assert_array_equal(indices[i, : nearest.shape[1]], items[nearest[0]])
        np.testing.assert_array_equal(distances[i, : nearest.shape[1]], values[0])
        assert (indices[i, nearest.shape[1] :] == -1).all()


@pytest.mark.parametrize("names", [(name,) for name in REGISTERED if name != "other_patent"] + JOINED[1:])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_evaluation_under_a_rule_equals_one_on_the_permitted_items(names, metric):
    rng = np.random.default_rng(len(names[0]))
    q, g, columns = signs(rng, 12), signs(rng, 60), (random_columns(rng, 12), random_columns(rng, 60))
    found = evaluate(q, g, *columns, metric, "+".join(names))
    ranks = []
    for i, left in enumerate(loop(names, *columns, 12, 60)):
        items, ids = np.flatnonzero(left), columns[0]["pids"][i : i + 1]
        reduced = {"pids": columns[1]["pids"][items]}
        if ids in reduced["pids"]:
            ranks.append(evaluate(q[i : i + 1], g[items], {"pids": ids}, reduced, metric, "all").ranks)
    np.testing.assert_array_equal(found.ranks, np.concatenate(ranks))
    assert len(ranks) == np.count_nonzero(found.counts) > 0
