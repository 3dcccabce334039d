import pytest

from fastreid.utils.locarno import parse_locarno


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


@pytest.mark.parametrize(
    "text", ["", " ", "14", "0001", "00-04", "14041", "D14/138", "D 2853", "D14 138", "LOC (13) Cl.", "x", "None"]
)
def test_what_is_no_code(text):
    assert parse_locarno(text) == (0, 0)
