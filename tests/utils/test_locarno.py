from collections import Counter

import pytest

from fastreid.utils.locarno import (
    CLASS_NAMES,
    FAR,
    UNKNOWN,
    Locarno,
    head_codes,
    parse_locarno,
    read_locarno,
    read_uspc,
    tree_distance,
    unreadable,
)

NO_CODES = ["", " ", "14", "0001", "00-04", "14041", "D14/138", "D 2853", "D14 138", "LOC (13) Cl.", "x", "None"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1404", (14, 4)),
        ("0601", (6, 1)),
        ("601", (6, 1)),
        ("14-04", (14, 4)),
        ("6-1", (6, 1)),
        (" 06 - 01 ", (6, 1)),
        ("LOC (13) Cl. 14-04", (14, 4)),
        ("LOC(8) CL 06-01", (6, 1)),
        ("loc (13) cl. 14-04, 06-01", (6, 1)),
        ("14-04; 14-02", (14, 2)),
        ("1400", (14, 0)),
    ],
)
def test_written_forms(text, code):
    assert parse_locarno(text) == code


@pytest.mark.parametrize("text", NO_CODES)
def test_what_is_no_code(text):
    assert parse_locarno(text) == (0, 0)
    assert not read_locarno(text)
    assert read_locarno(text).class_code == read_locarno(text).subclass_code == read_locarno(text).class_name == ""


def test_levels_and_edition_of_a_code():
    code = read_locarno("LOC (13) Cl. 6-1")
    assert (code.class_code, code.subclass_code, code.edition, code.class_name) == ("06", "06-01", 13, "Furnishing")
    assert read_locarno("0601").edition == 0
    assert (read_locarno("1400").class_code, read_locarno("1400").subclass_code) == ("14", "")
    assert (read_locarno("9901").class_code, read_locarno("9901").class_name) == ("99", "")


def test_the_classes_have_names():
    assert list(CLASS_NAMES) == list(range(1, 33))
    assert len(set(CLASS_NAMES.values())) == 32


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("D14/486", "D14/486"),
        ("D14486", "D14/486"),
        ("D 2853", "D2/853"),
        ("D 2728", "D2/728"),
        ("D28 47", "D28/47"),
        ("D 5 32", "D5/32"),
        ("D12 91", "D12/91"),
        ("D13133", "D13/133"),
        ("D 8403", "D8/403"),
        ("D 2/853", "D2/853"),
        ("D23-238", "D23/238"),
        ("D 7502 1", ""),
        ("D 75021", "D7/502.1"),
        ("D14/486.5", "D14/486.5"),
        ("1404", ""),
        ("14-04", ""),
        ("D", ""),
        ("D00/12", ""),
        ("", ""),
    ],
)
def test_codes_of_the_us_classification_are_kept_apart(text, code):
    assert read_uspc(text) == code
    if code:
        assert not read_locarno(text)


def test_distance_in_the_tree():
    chair, sofa, phone = (read_locarno(text) for text in ("06-01", "06-02", "14-03"))
    assert tree_distance(chair, read_locarno("LOC (13) Cl. 6-1")) == 0
    assert tree_distance(chair, sofa) == tree_distance(sofa, chair) == 1
    assert tree_distance(chair, phone) == FAR == 2


def test_what_is_unknown_is_near_to_nothing_not_even_to_itself():
    known, half = read_locarno("06-01"), read_locarno("0600")
    assert tree_distance(UNKNOWN, UNKNOWN) == tree_distance(UNKNOWN, known) == FAR
    assert tree_distance(half, half) == tree_distance(half, known) == 1
    assert tree_distance(Locarno(0, 4), Locarno(0, 4)) == FAR


def test_head_and_tail():
    counts = Counter({"a": 9, "b": 5, "c": 5, "d": 1, "e": 1, "": 100})
    assert head_codes(counts) == {"a", "b"}
    assert head_codes(counts, share=0.6) == {"a", "b", "c"}
    assert head_codes(counts, share=0) == head_codes({"": 3}) == head_codes({}) == frozenset()
    assert len(head_codes({f"{n:03}": n for n in range(407)})) == 163  # as in the paper


def test_the_report_of_unreadable_codes():
    assert unreadable(["0601", "D14/486", "", None, "D14/486", "x"]) == {"D14/486": 2, "": 2, "x": 1}
