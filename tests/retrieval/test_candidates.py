import numpy as np
import pytest

from fastreid.retrieval.candidates import RULE_REGISTRY, at_query_time, get_rule
from fastreid.retrieval.search import Search

QUERIES = {"pids": np.array([1, 2]), "camids": np.array([0, 1]), "dates": np.array([20180109, 0])}
GALLERY = {
    "pids": np.array([1, 1, 2, 3]),
    "camids": np.array([0, 1, 1, 0]),
    "dates": np.array([20180102, 20180109, 20180116, 0]),
}
MASKS = {
    "all": [[1, 1, 1, 1], [1, 1, 1, 1]],
    "camera": [[0, 1, 1, 1], [1, 1, 0, 1]],
    "other_patent": [[0, 0, 1, 1], [1, 1, 0, 1]],
    # strictly before: neither the same day, nor an item or a query without a date
    "granted_before": [[1, 0, 0, 0], [0, 0, 0, 0]],
    "camera+other_patent": [[0, 0, 1, 1], [1, 1, 0, 1]],
    "other_patent + granted_before": [[0, 0, 0, 0], [0, 0, 0, 0]],
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_by_hand(name):
    mask = get_rule(name).permitted(QUERIES, GALLERY)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, np.array(MASKS[name], dtype=bool))


@pytest.mark.parametrize("name", [name for name, _ in RULE_REGISTRY])
def test_every_registered_rule_is_covered_and_independent_of_the_block(name):
    assert name in MASKS
    rule, whole = get_rule(name), get_rule(name).permitted(QUERIES, GALLERY)
    for i in range(2):
        block = {column: values[i : i + 1] for column, values in QUERIES.items()}
        np.testing.assert_array_equal(rule.permitted(block, GALLERY), whole[i : i + 1])


@pytest.mark.parametrize("name", [name for name, _ in RULE_REGISTRY])
def test_a_rule_reads_only_what_it_needs_and_misses_it_by_name(name):
    rule = get_rule(name)
    features = np.zeros((2, 3)), np.zeros((4, 3))
    only = [{column: columns[column] for column in rule.needs} for columns in (QUERIES, GALLERY)]
    Search(*features, *only, rule=name).permitted(slice(0, 2))
    for column in rule.needs:
        lacking = {other: values for other, values in only[1].items() if other != column}
        with pytest.raises(
            ValueError, match=rf"{type(rule).__name__} needs column \['{column}'\] of the gallery"
        ):
            Search(*features, only[0], lacking, rule=name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("camera", "all"),
        ("granted_before", "granted_before"),
        ("camera+granted_before", "granted_before"),
        ("granted_before+camera+other_patent", "granted_before+other_patent"),
    ],
)
def test_what_is_known_at_query_time_leaves_the_labels_out(name, known):
    mask = at_query_time(get_rule(name)).permitted(QUERIES, GALLERY)
    np.testing.assert_array_equal(mask, get_rule(known).permitted(QUERIES, GALLERY))


def test_unknown_rule_has_a_near_miss():
    with pytest.raises(KeyError, match="Did you mean 'granted_before'"):
        get_rule("granted_befor")


def test_none_is_all_and_a_rule_object_is_itself():
    assert type(get_rule(None)) is type(get_rule("all"))
    rule = get_rule("camera")
    assert get_rule(rule) is rule


def test_column_of_wrong_length_is_named():
    with pytest.raises(ValueError, match="column 'pids' of the queries has 2 rows; expected 3"):
        Search(np.zeros((3, 2)), np.zeros((4, 2)), QUERIES, GALLERY)
