import numpy as np
import pytest

from fastreid.evaluation.columns import DERIVED, with_derived

TAXONOMY = np.array(["0601", "06-01", "601", "LOC (13) Cl. 14-04", "1400", "D14/138", "", "2600"])


def derived(name, query=TAXONOMY, gallery=TAXONOMY, source="taxonomy"):
    sides = with_derived({source: query}, {source: gallery}, [name], "TEST.GROUP_BY")
    return [side[name].tolist() for side in sides]


def test_locarno_levels():
    assert derived("class")[0] == ["06", "06", "06", "14", "14", "", "", "26"]
    assert derived("subclass")[1] == ["06-01", "06-01", "06-01", "14-04", "", "", "", ""]


def test_head_and_tail_are_those_of_the_gallery():
    gallery = np.array(["0601"] * 3 + ["1404"] * 3 + ["2601"] * 2 + ["0701", "0801", ""])
    query = np.array(["0601", "1404", "2601", "0801", "9901", ""])
    assert derived("frequency", query, gallery)[0] == ["head", "head", "tail", "tail", "tail", ""]


def test_years():
    dates = np.array([20180102, 0, 19991231])
    assert derived("year", dates, dates, "dates")[0] == [2018, 0, 1999]


def test_a_column_of_the_data_set_goes_first():
    own = np.array(["head", "tail"])
    query, gallery = with_derived({"frequency": own}, {"frequency": own[:1]}, ["frequency"], "TEST.GROUP_BY")
    assert query["frequency"].tolist() == own.tolist()
    assert gallery["frequency"].tolist() == ["head"]


def test_no_query_and_no_gallery():
    for name, (source, _) in DERIVED.items():
        nothing = np.zeros(0, dtype=np.int64 if source == "dates" else str)
        assert derived(name, nothing, nothing, source) == [[], []]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("view", r"TEST\.GROUP_BY names column 'view', which the data set lacks; it has: pids, dates, year\."),
        ("class", r"names column 'class' \(made from 'taxonomy'\), which the data set lacks"),
        ("pid", "Did you mean 'pids'"),
    ],
)
def test_a_missing_column_is_named(name, message):
    columns = {"pids": np.zeros(1), "dates": np.zeros(1)}
    with pytest.raises(ValueError, match=message):
        with_derived(columns, columns, [name], "TEST.GROUP_BY")
