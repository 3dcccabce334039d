"""What an index is told about figures."""

import json

import pytest

from fastreid.engine.figure_metadata import OFFICES, FigureMetadata, office_of


@pytest.mark.parametrize(
    ("patent", "office"),
    [
        ("USD0510000", "US"), ("D510000", "US"), ("D0810412", "US"), ("USD0810412-20180220", "US"),
        ("USRE38000", "US"), ("EM008012345-0001", "EM"), ("WO2019123456", "WO"), ("JPD1234567", "JP"),
        ("JP1234567", "JP"), ("KR3009876540000", "KR"), ("CN301234567", "CN"), ("GB6012345", "GB"), ("DE40201", "DE"),
        ("FR20181234", "FR"), ("CA181234", "CA"), ("AU201812345", "AU"),
        ("", ""), ("12345", ""), ("chair", ""), ("D51", ""), ("XX123456", ""), ("DESK", ""), ("DE", ""), ("us123", ""),
        ("CARD7", ""), ("USB3", ""), ("DRAWING510000", ""),
    ],
)  # fmt: skip
def test_office_of_a_number(patent, office):
    assert office_of(patent) == office


def test_offices_are_two_capital_letters():
    assert all(len(office) == 2 and office.isupper() and office.isalpha() for office in OFFICES)


@pytest.fixture
def metadata(tmp_path):
    patents = [
        {"patent_id": "USD0510000", "date": "2018-11-06", "filed": 20170301, "locarno": "0601", "title": "Chair",
         "applicant": "ACME", "figures": [
             {"file": "I/USD0510000/1.png", "number": 1, "view": "front", "caption": "FIG. 1 is a chair."},
             {"file": "I/USD0510000/2.png"}]},
        {"patent_id": "7001", "office": "KR", "taxonomy": "D14/486", "locarno": "0601", "figures": [{"file": "a.png"}]},
        {"figures": [{"file": "EM0080/b.png", "number": 0}]},
    ]  # fmt: skip
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, patents)))
    return FigureMetadata([path])


def test_columns_are_found_by_the_end_of_the_path(metadata):
    assert len(metadata) == 4
    assert metadata.of("/data/I/USD0510000/1.png") == {
        "patent": "USD0510000", "title": "Chair", "office": "US", "applicant": "ACME", "locarno": "0601",
        "date": 20181106, "filed": 20170301, "figure": "1", "view": "front", "caption": "FIG. 1 is a chair.",
    }  # fmt: skip
    second = metadata.of("I/USD0510000/2.png", "identity of a list")
    assert (second["patent"], second["figure"], second["view"], second["caption"]) == ("USD0510000", "", "", "")


def test_a_line_may_name_its_office_and_another_classification(metadata):
    found = metadata.of("x/a.png")
    assert (found["office"], found["locarno"], found["date"]) == ("KR", "D14/486", 0)


def test_a_patent_without_a_number_is_named_by_list_or_folder(metadata):
    assert metadata.of("x/EM0080/b.png")["patent"] == "EM0080"
    assert metadata.of("x/EM0080/b.png")["figure"] == "0"
    assert metadata.of("x/EM0080/b.png", "17")["patent"] == "17"
    assert metadata.of("x/EM0080/b.png")["office"] == "EM"


def test_what_metadata_do_not_know_has_patent_and_office_only():
    empty = FigureMetadata()
    assert empty.of("/data/USD0600000/3.png") == {"patent": "USD0600000", "office": "US"}
    assert empty.of("/data/USD0600000/3.png", "chairs") == {"patent": "chairs", "office": ""}
    assert empty.of("3.png") == {"patent": "3", "office": ""}


def test_a_date_in_the_file_name_counts_where_metadata_tell_none(tmp_path):
    path = "I20180220/USD0810412-20180220/USD0810412-20180220-D00005.png"
    assert FigureMetadata().of(path) == {"patent": "USD0810412-20180220", "office": "US", "date": 20180220}
    assert FigureMetadata().of(path.replace("0220-D", "1345-D")).get("date") is None
    told = tmp_path / "metadata.jsonl"
    told.write_text(json.dumps({"patent_id": "X", "date": "2018-02-21", "figures": [{"file": path}]}))
    assert FigureMetadata([told]).of(path)["date"] == 20180221


@pytest.mark.parametrize("name", ["date", "filed"])
@pytest.mark.parametrize("date", ["2018-02-30", "2018-13-10-16", "yesterday"])
def test_a_date_that_is_none_is_told_with_file_and_patent(tmp_path, name, date):
    path = tmp_path / "metadata.jsonl"
    path.write_text(json.dumps({"patent_id": "USD1", name: date, "figures": [{"file": "a.png"}]}))
    with pytest.raises(ValueError, match=f"metadata.jsonl: {name} of patent 'USD1' is no date: '{date}'"):
        FigureMetadata([path])
