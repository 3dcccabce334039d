"""Grants of the USPTO from miniature files: XML, sheets, where they lie; what is left out; a killed run goes on."""

import functools
import io
import os
import pickle
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from fastreid.data.ingest import grant_files as files_module
from fastreid.data.ingest.grant_files import Bundle, find_weeks
from fastreid.data.ingest.grant_xml import NotADesign, Sheet, captions, figure_numbers, parse_grant, remarks
from fastreid.data.ingest.uspto import Pages, main, read_grant
from tests.data.ingest.collections import (
    HEAD,
    drawing,
    grant_files,
    grant_xml,
    kill_in_the_midst,
    listed,
    metadata,
    report,
    snapshot,
    write_folder,
    write_tar,
    write_zip,
    zipped,
)

NAME = "USD0936123-20211123"
YEARS = ("--train-years", "2021", "--query-year", "2022", "--workers", "0")


def prepare(source, output, *options) -> int:
    return main(["--input", str(source), "--output", str(output), *YEARS, *options])


def skipped(output) -> dict[str, int]:
    return {reason: entry["count"] for reason, entry in report(output)["skipped"].items()}


def pixels(path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))


# ---- XML
def test_what_is_read_of_a_grant():
    grant = parse_grant(grant_xml(title="String <i>light</i>  with &#x201c;glow&#x201d;").encode())
    assert (grant.patent_id, grant.date, grant.kind) == ("USD0936123", "2021-11-23", "S1")
    assert (grant.locarno, grant.edition, grant.uspc) == ("1404", "13", "D14486")  # not those of citations or searches
    assert grant.title == "String light with “glow”"
    assert grant.claim == "The ornamental design for a string light with “glow”, as shown and described."
    assert grant.sheets == (
        Sheet(f"{NAME}-D00000.TIF", 0),
        Sheet(f"{NAME}-D00001.TIF", 1),
        Sheet(f"{NAME}-D00002.TIF", 2, "landscape"),
        Sheet(f"{NAME}-D00003.TIF", 3),
    )
    assert grant.descriptions[1] == "FIG. 2 is a front elevational view thereof;"
    assert grant.figures == 3
    assert captions(grant, grant.sheets[1:]) == {k + 1: grant.descriptions[k] for k in range(3)}
    assert remarks(grant) == "The broken lines of FIG. 1 form no part of the design."


def test_columns_of_the_us_classification_keep_their_spaces():
    assert parse_grant(grant_xml(uspc="D 2  7").encode()).uspc == "D 2  7"


def test_a_grant_with_next_to_nothing():
    xml = f"""{HEAD}<us-patent-grant><us-bibliographic-data-grant><publication-reference><document-id>
    <doc-number>D1</doc-number></document-id></publication-reference></us-bibliographic-data-grant></us-patent-grant>"""
    grant = parse_grant(xml.encode())
    assert (grant.patent_id, grant.date, grant.locarno, grant.uspc, grant.title) == ("USD0000001", "", "", "", "")
    assert (grant.sheets, grant.descriptions, grant.figures) == ((), (), 0)
    assert captions(grant, ()) == {}


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b"", "broken XML: no element found"),
        (grant_xml().encode()[:-40], "broken XML: "),
        (b"<us-patent-grant/>", "no us-patent-grant; the root is us-patent-grant"),
        (b"<us-patent-application><us-bibliographic-data-grant/></us-patent-application>", "no us-patent-grant; the"),
        (
            b'<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><us-patent-grant>&b;</us-patent-grant>',
            "the XML declares an entity 'a'",
        ),
        (
            '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY file SYSTEM "file:///etc/passwd">]><a>&file;</a>'
            .encode("utf-16"),
            "the XML declares an entity 'file'",
        ),
        (b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://example.com/x.dtd"> %p;]><a/>', "the XML declares an entity 'p'"),
    ],
)  # fmt: skip
def test_xml_that_is_refused(xml, message):
    with pytest.raises(ValueError, match=message):
        parse_grant(xml)


def test_the_dtd_that_a_grant_names_is_not_looked_for(tmp_path, monkeypatch):
    (tmp_path / "us-patent-grant-v45-2014-04-03.dtd").write_text('<!ENTITY name "expanded">')
    monkeypatch.chdir(tmp_path)
    assert parse_grant(grant_xml(title="A &name; of the DTD").encode()).title == "A of the DTD"


def test_other_kinds_of_patents_are_no_designs():
    with pytest.raises(NotADesign, match=r"10123456 is no design patent \(utility\)"):
        parse_grant(grant_xml("10123456", prefix="", kind="utility").encode())


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("FIG. 1 is a view;", [1]),
        ("Fig 12 is a view", [12]),
        ("FIGURE 3 shows", [3]),
        ("FIGS. 1-4 are views", [1, 2, 3, 4]),
        ("FIGS. 1 to 3", [1, 2, 3]),
        ("FIGS. 1\u20133, 5 and 7 are", [1, 2, 3, 5, 7]),
        ("FIGS. 1, 2, and 3 are", [1, 2, 3]),
        ("FIG. 2A is a view", [2]),
        ("The FIGURE is a front view of a screen", [1]),
        ("The sole figure shows", [1]),
        ("The figures show a shoe.", []),
        ("The broken lines of FIG. 1", []),
        ("In FIG. 1, the broken lines", []),
        ("FIGS. 1-99999999 are views", list(range(1, 1002))),
        ("", []),
    ],
)
def test_numbers_of_described_figures(text, numbers):
    assert figure_numbers(text) == numbers


@pytest.mark.parametrize(
    ("options", "told_apart"),
    [
        ({"sheets": 3}, True),
        ({"sheets": 1, "descriptions": ["The FIGURE is a front view of a screen."]}, True),
        ({"sheets": 2, "descriptions": ["FIGS. 1 and 2 are views of a lid."]}, True),
        ({"sheets": 2, "descriptions": ["FIG. 2 is a view.", "FIG. 1 is a view."]}, True),
        ({"sheets": 2, "figures": 3}, False),  # two figures on a sheet
        ({"sheets": 2, "descriptions": ["FIG. 1 is a view."]}, False),
        ({"sheets": 2, "descriptions": ["FIG. 1 is a view.", "FIG. 3 is a view."]}, False),
        ({"sheets": 2, "descriptions": ["FIG. 1A is a view.", "FIG. 1B is a view."]}, False),
        ({"sheets": 2, "descriptions": ["FIGS. 1-2 show one.", "FIG. 1 is a view.", "FIG. 2 is a view."]}, False),
        ({"sheets": 2, "descriptions": []}, False),
        ({"sheets": 2, "descriptions": ["1. Belt buckle", "1.1 : Perspective", "1.2 : Front"]}, True),
        ({"sheets": 2, "descriptions": ["1. Belt", "1.1 : Perspective", "1.2 : Front", "2.1 : Back"]}, False),
    ],
)
def test_descriptions_go_to_sheets_only_where_all_numbers_agree(options, told_apart):
    grant = parse_grant(grant_xml(**options).encode())
    found = captions(grant, grant.sheets[1:])
    assert (found is not None) == told_apart
    if told_apart:
        assert all(number in figure_numbers(text) or text.startswith(f"1.{number} ") for number, text in found.items())


def test_a_grant_on_an_international_registration():
    described = [
        "1. Belt buckle",
        *(f"<figref>1.{k + 1} </figref>: {v}" for k, v in enumerate(("Perspective", "Back"))),
    ]
    grant = parse_grant(grant_xml(sheets=2, descriptions=described).encode())
    assert captions(grant, grant.sheets[1:]) == {1: "1.1 : Perspective", 2: "1.2 : Back"}
    assert remarks(grant) == "1. Belt buckle"


# ---- where grants lie
def test_weeks_are_found_in_every_layout(tmp_path):
    files = grant_files()
    write_zip(tmp_path / "I20211123" / "DESIGN" / "USD0936123-20211123.ZIP", files)
    (tmp_path / "I20211123" / "UTIL").mkdir()
    (tmp_path / "I20211123" / "UTIL" / "US11111111-20211123.ZIP").write_bytes(b"not read")
    write_folder(tmp_path / "2021" / "USD0936124-20211123", files)
    write_folder(tmp_path / "2021" / "USD0936200-20211130", files)
    write_folder(tmp_path / "2021" / "USD0936300", files)
    write_tar(tmp_path / "I20220104.tar", {})
    (tmp_path / "weeks").mkdir()
    (tmp_path / "weeks" / "ipg220111.xml").write_text("")
    write_folder(tmp_path / "weeks" / "USD0940000-20220111", {"a.TIF": b""})  # sheets of that week
    weeks = find_weeks(tmp_path)
    assert [(week.name, week.year) for week in weeks] == [
        ("2021-20211123", 2021),
        ("2021-20211130", 2021),
        ("2021-undated", 0),
        ("I20211123-DESIGN", 2021),
        ("I20220104.tar", 2022),
        ("weeks-ipg220111.xml", 2022),
    ]
    assert [bundle.name for week in weeks[:4] for bundle in week.bundles()] == [
        "USD0936124-20211123", "USD0936200-20211130", "USD0936300", "USD0936123-20211123",
    ]  # fmt: skip


def test_of_a_grant_that_is_there_twice_the_folder_counts(tmp_path):
    files = grant_files()
    write_zip(tmp_path / f"{NAME}.zip", {"x.XML": b"broken"})
    (tmp_path / f"{NAME}.XML").write_text("broken")
    assert [b.path.name for b in find_weeks(tmp_path)[0].bundles()] == [f"{NAME}.zip"]
    write_folder(tmp_path / NAME, files)
    [week] = find_weeks(tmp_path)
    assert [bundle.path for bundle in week.bundles()] == [tmp_path / NAME]


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    write_folder(tmp_path / "disk" / "2021" / NAME, grant_files())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "2021").symlink_to(tmp_path / "disk" / "2021")
    (tmp_path / "disk" / "2021" / "again").symlink_to(tmp_path / "in")
    assert [week.name for week in find_weeks(tmp_path / "in")] == ["2021-20211123"]


def test_folders_zip_tar_and_xml_of_a_week_give_the_same(tmp_path):
    grants = {f"USD093612{k}-20211123": grant_files(f"093612{k}", size=20 + k) for k in range(3)}
    for name, files in grants.items():
        write_folder(tmp_path / "folders" / name, files)
        write_zip(tmp_path / "zips" / "I20211123" / "DESIGN" / f"{name}.ZIP", files)
        write_folder(tmp_path / "lower" / name, {file.lower(): data for file, data in files.items()})
        sheets = {file: data for file, data in files.items() if file.endswith(".TIF")}
        write_folder(tmp_path / "week" / name, sheets)
        (tmp_path / "flat").mkdir(exist_ok=True)
        for file, data in files.items():
            (tmp_path / "flat" / file).write_bytes(data)
    inside = {f"I20211123/DESIGN/{name}.ZIP": zipped(name, files) for name, files in grants.items()}
    write_tar(tmp_path / "tar" / "I20211123.tar", {"I20211123/UTIL/US1-20211123.ZIP": b"x" * 999, **inside})
    whole = b"".join(files[f"{name}.XML"] for name, files in grants.items())
    (tmp_path / "week" / "ipg211123.xml").write_bytes(whole)
    results = {}
    for layout in ("folders", "zips", "lower", "week", "flat", "tar"):
        assert prepare(tmp_path / layout, tmp_path / "out" / layout) == 0, layout
        assert skipped(tmp_path / "out" / layout) == {}
        found = snapshot(tmp_path / "out" / layout)
        results[layout] = {name: value for name, value in found.items() if not name.startswith("shards/")}
    assert len([name for name in results["tar"] if name.endswith(".png")]) == 9
    assert all(result == results["folders"] for result in results.values())
    name = next(iter(grants))
    np.testing.assert_array_equal(
        pixels(tmp_path / "out/tar/images/I20211123" / name / f"{name}-D00002.png"),
        np.asarray(drawing(f"{name}-2", 20).convert("L")),
    )


# ---- sheets
def test_sheets_are_png_of_one_bit_smaller_ones_grey_or_copies(tmp_path):
    write_folder(tmp_path / "in" / NAME, grant_files(size=200))
    assert prepare(tmp_path / "in", tmp_path / "png") == 0
    assert prepare(tmp_path / "in", tmp_path / "small", "--size", "50") == 0
    assert prepare(tmp_path / "in", tmp_path / "large", "--size", "500") == 0
    assert prepare(tmp_path / "in", tmp_path / "tiff", "--keep-tiff", "--front-page") == 0
    place = f"images/I20211123/{NAME}/{NAME}-D00001"
    whole, small = Image.open(tmp_path / "png" / f"{place}.png"), Image.open(tmp_path / "small" / f"{place}.png")
    assert (whole.mode, whole.size, small.mode, small.size) == ("1", (200, 200), "L", (50, 50))
    assert abs(np.asarray(small).mean() - pixels(tmp_path / "png" / f"{place}.png").mean()) < 1
    assert snapshot(tmp_path / "png")[f"{place}.png"] == snapshot(tmp_path / "large")[f"{place}.png"]
    assert (tmp_path / "tiff" / f"{place}.TIF").read_bytes() == (
        tmp_path / "in" / NAME / f"{NAME}-D00001.TIF"
    ).read_bytes()
    assert [figure["number"] for figure in metadata(tmp_path / "tiff")[0]["figures"]] == [0, 1, 2, 3]
    assert [figure["number"] for figure in metadata(tmp_path / "png")[0]["figures"]] == [1, 2, 3]
    assert [figure.get("view") for figure in metadata(tmp_path / "tiff")[0]["figures"]] == [
        None, "perspective", "front", "top",
    ]  # fmt: skip


def test_colours_and_greys_stay(tmp_path):
    files = grant_files(sheets=2)
    for k, mode in ((1, "RGB"), (2, "L")):
        stream, rng = io.BytesIO(), np.random.default_rng(k)
        shape = (30, 30, 3) if mode == "RGB" else (30, 30)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(stream, "TIFF")
        files[f"{NAME}-D0000{k}.TIF"] = stream.getvalue()
    write_folder(tmp_path / "in" / NAME, files)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    folder = tmp_path / "out/images/I20211123" / NAME
    assert [Image.open(folder / f"{NAME}-D0000{k}.png").mode for k in (1, 2)] == ["RGB", "L"]


def test_a_line_of_metadata(tmp_path):
    write_folder(tmp_path / "in" / NAME, grant_files(sheets=2))
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    place = f"I20211123/{NAME}/{NAME}"
    assert metadata(tmp_path / "out") == [
        {
            "patent_id": "USD0936123", "date": "2021-11-23", "locarno": "1404", "locarno_edition": "13",
            "uspc": "D14/486", "title": "Shoe", "claim": "The ornamental design for a shoe, as shown and described.",
            "note": "The broken lines of FIG. 1 form no part of the design.",
            "figures": [
                {"file": f"{place}-D00001.png", "number": 1, "view": "perspective", "aspect": "perspective view",
                 "caption": "FIG. 1 is a perspective view of a shoe, showing my new design;"},
                {"file": f"{place}-D00002.png", "number": 2, "view": "front", "aspect": "front elevational view",
                 "caption": "FIG. 2 is a front elevational view thereof.", "orientation": "landscape"},
            ],
        }
    ]  # fmt: skip


def test_descriptions_that_cannot_be_told_apart_stay_with_the_patent(tmp_path):
    write_folder(tmp_path / "in" / NAME, grant_files(sheets=2, figures=5, uspc="GARBAGE"))
    write_folder(tmp_path / "in" / "USD0936124-20211123", grant_files("0936124", descriptions=[]))
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    first, second = metadata(tmp_path / "out")
    assert len(first["descriptions"]) == 3
    assert all(
        set(figure) <= {"file", "number", "orientation"} for line in (first, second) for figure in line["figures"]
    )
    assert "uspc" not in first
    assert "descriptions" not in second
    notes = report(tmp_path / "out")["notes"]
    assert notes["descriptions of the patent alone"] == {
        "count": 1, "examples": [f"USD0936123 ({NAME}): 3 descriptions, 3 sheets, 5 figures"],
    }  # fmt: skip
    assert notes["no description of the drawings"]["count"] == 1
    assert notes["unreadable USPC code"]["examples"] == [f"USD0936123 ({NAME}): GARBAGE"]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_what_is_left_out_is_counted(tmp_path, monkeypatch):
    root = tmp_path / "in"
    broken = grant_files("0000004", sheets=4)
    broken["USD0000004-20211123-D00001.TIF"] = b"no TIFF"
    broken["USD0000004-20211123-D00003.TIF"] = broken["USD0000004-20211123-D00003.TIF"][:100]
    del broken["USD0000004-20211123-D00002.TIF"]
    odd = grant_files("0000005")
    odd["USD0000005-20211123.XML"] = odd["USD0000005-20211123.XML"].replace(
        b'file="USD0000005-20211123-D00002.TIF"', b'file="../../../secret.TIF"'
    ).replace(b'file="USD0000005-20211123-D00003.TIF"', b"")  # fmt: skip
    undated = grant_files("0000007")
    undated["USD0000007-20211123.XML"] = undated["USD0000007-20211123.XML"].replace(b"20211123", b"2021")
    grants = {
        "USD0000001-20211123": {"USD0000001-20211123.XML": b"<us-patent-grant>"},
        "USD0000002-20211123": {"USD0000002-20211123-D00001.TIF": b""},
        "USD0000003-20211123": grant_files("11222333", prefix="", kind="utility"),
        "USD0000004-20211123": broken,
        "USD0000005-20211123": odd,
        "USD0000006-20211123": grant_files("0000006", sheets=0),
        "USD0000007-20211123": undated,
        "USD0000008-20211123": {"a.XML": b'<!DOCTYPE a [<!ENTITY a "ha">]><a>&a;</a>'},
    }
    for name, files in grants.items():
        write_folder(root / name, files)
    (root / "USD0000009-20211123.zip").write_bytes(b"PK no archive")
    monkeypatch.setattr(files_module, "LARGEST", 5000)
    write_zip(root / "USD0000010-20211123.zip", {"USD0000010-20211123.XML": b" " * 5001})
    drawing("secret").save(tmp_path / "secret.TIF")
    assert prepare(root, tmp_path / "out") == 0
    assert skipped(tmp_path / "out") == {
        "bad XML": 2, "no XML": 1, "no design patent": 1, "unreadable image": 2, "no image": 3, "no sheet": 1,
        "unreadable date": 1, "unreadable file": 2,
    }  # fmt: skip
    examples = {reason: entry["examples"] for reason, entry in report(tmp_path / "out")["skipped"].items()}
    assert examples["unreadable image"][0] == (
        "USD0000004 (USD0000004-20211123): USD0000004-20211123-D00001.TIF: cannot identify image file the file"
    )
    assert any("would unpack to 5,001 bytes" in example for example in examples["unreadable file"])
    assert [(line["patent_id"], len(line["figures"])) for line in metadata(tmp_path / "out")] == [
        ("USD0000004", 1), ("USD0000005", 1),
    ]  # fmt: skip
    assert report(tmp_path / "out")["records"] == 7


def test_a_grant_in_two_weeks_is_kept_once(tmp_path):
    write_folder(tmp_path / "in" / "a" / NAME, grant_files())
    write_zip(tmp_path / "in" / "b" / f"{NAME}.zip", grant_files())
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert skipped(tmp_path / "out") == {"duplicate image": 3}
    assert len(metadata(tmp_path / "out")) == 1


# ---- the run
def test_dates_make_the_parts(tmp_path):
    for number, date in (
        ("0000001", "20210105"),
        ("0000002", "20211228"),
        ("0000003", "20220104"),
        ("0000004", "20200107"),
    ):
        write_zip(tmp_path / "in" / f"I{date}" / f"USD{number}-{date}.ZIP", grant_files(number, date))
    assert prepare(tmp_path / "in", tmp_path / "out", "--val-share", "0") == 0
    assert {pid for _, pid in listed(tmp_path / "out", "train")} == {"USD0000001", "USD0000002"}
    assert {pid for _, pid in listed(tmp_path / "out", "query")} == {"USD0000003"}
    assert not (tmp_path / "out" / "shards" / "I20200107.json").exists()  # a year nobody asked for


def test_other_settings_are_refused_and_redone(tmp_path, capsys):
    write_folder(tmp_path / "in" / NAME, grant_files(size=100))
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert prepare(tmp_path / "in", tmp_path / "out", "--size", "50") == 1
    assert "holds 20211123 read with size=None, but size=50 is asked" in capsys.readouterr().err
    assert prepare(tmp_path / "in", tmp_path / "out", "--size", "50", "--redo") == 0
    assert Image.open(next((tmp_path / "out").rglob("*.png"))).size == (50, 50)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "8"), "--size must be at least 16 pixels; got 8"),
        (("--size", "80", "--keep-tiff"), "--size and --keep-tiff exclude each other"),
        (("--input", "/no/such"), "--input: there is no folder '/no/such'"),
        ((), "--input: no design patents in "),
        (("--limit", "0"), "must be at least 1; got 0"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path, capsys, options, message):
    (tmp_path / "in").mkdir()
    try:
        status = prepare(tmp_path / "in", tmp_path / "out", *options)
    except SystemExit as error:  # of argparse
        status = error.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_full_stops_the_run_and_is_no_bad_sheet(tmp_path, capsys, monkeypatch):
    write_folder(tmp_path / "in" / NAME, grant_files())
    (tmp_path / "out").mkdir()
    real = Image.Image.save

    def full(self, file, *args, **kwargs):
        if "images" in str(getattr(file, "name", "")) or isinstance(getattr(file, "name", None), int):
            raise OSError(28, "No space left on device")
        return real(self, file, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", full)
    assert prepare(tmp_path / "in", tmp_path / "out") == 1
    error = capsys.readouterr().err.splitlines()[0]
    assert error.startswith("error: [Errno 28] No space left on device: ")
    assert error.endswith(f"{NAME}-D00001.png'")
    monkeypatch.setattr(Image.Image, "save", real)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert report(tmp_path / "out")["images"] == 3


def test_what_processes_pass_to_each_other_can_be_sent(tmp_path):
    write_zip(tmp_path / f"{NAME}.ZIP", grant_files())
    read = functools.partial(read_grant, root=tmp_path / "images", pages=Pages(size=20))
    send = pickle.loads(pickle.dumps(read)), pickle.loads(pickle.dumps(Bundle(NAME, tmp_path / f"{NAME}.ZIP")))
    reading = pickle.loads(pickle.dumps(send[0](send[1])))
    assert (reading.year, reading.sheets, len(reading.patent["figures"])) == ("2021", 3, 3)


def test_a_killed_process_goes_on_where_it_was(tmp_path):
    root, output, fresh = tmp_path / "in", tmp_path / "out", tmp_path / "fresh" / "out"
    for number, date in (("0000001", "20210105"), ("0000002", "20210112")):
        write_zip(root / f"I{date}" / f"USD{number}-{date}.ZIP", grant_files(number, date))
    last = root / "I20210112" / "USD0000003-20210112.ZIP"
    kill_in_the_midst("prepare_uspto.py", ["--input", root, "--output", output, *YEARS], last)
    assert (output / "shards/I20210105.json").exists()
    assert not (output / "shards/I20210112.json").exists()
    half = next(output.glob("images/I20210112/*")) / ".half.png.x.tmp"
    half.write_bytes(b"half a sheet")  # as a kill within a sheet leaves it
    first = next(output.glob("images/I20210105/*/*.png"))
    before = first.stat()
    write_zip(last, grant_files("0000003", "20210112"))
    assert prepare(root, output) == 0
    assert first.stat().st_mtime_ns == before.st_mtime_ns
    assert prepare(root, fresh) == 0
    assert snapshot(output) == snapshot(fresh)
    assert len(list(output.rglob("*.png"))) == 9


@pytest.mark.parametrize("coded", [True, False])
def test_readable_codes_are_counted(tmp_path, capsys, coded):
    files = grant_files()
    if not coded:
        [name] = [name for name in files if name.upper().endswith(".XML")]
        files[name] = re.sub(rb"(?s)<classification-locarno>.*</classification-locarno>", b"", files[name])
    write_folder(tmp_path / "in" / NAME, files)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f"Locarno codes: {int(coded)} of 1 patents\n" in said
    expected = "expected in the element classification-locarno/main-classification of the XML"
    assert (expected in said) == (not coded)


def test_a_changed_week_is_read_again_alone(tmp_path, capsys):
    for date in ("20210105", "20210112"):
        write_folder(tmp_path / "in" / f"USD0000001-{date}", grant_files("0000001", date))
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    xml = tmp_path / "in" / "USD0000001-20210112" / "USD0000001-20210112.XML"
    xml.write_text(xml.read_text().replace("Shoe", "Boot!"))
    os.utime(xml, ns=(1, 1))
    capsys.readouterr()
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "20210112: 1 patents" in said
    assert "20210105: " not in said
    assert [line["title"] for line in metadata(tmp_path / "out")] == ["Shoe", "Boot!"]
    shutil.rmtree(xml.parent)
    assert prepare(tmp_path / "in", tmp_path / "out") == 0
    assert len(metadata(tmp_path / "out")) == 1
