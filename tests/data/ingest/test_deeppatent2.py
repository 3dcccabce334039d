"""DeepPatent2 from miniature files: fields, layouts, skips, splits; a run that ends at any moment goes on."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fastreid.config import get_cfg
from fastreid.data.datasets import build_dataset
from fastreid.data.ingest import dataset as joining
from fastreid.data.ingest import shards as sharding
from fastreid.data.ingest.deeppatent2 import find_files, main, read_year
from fastreid.data.ingest.shards import ShardWriter
from tests.data.ingest.collections import (
    drawing,
    kill_in_the_midst,
    listed,
    metadata,
    record,
    report,
    snapshot,
    write_deeppatent2,
    write_images,
    write_records,
    year_of_records,
)

PATENTS = {2016: 3, 2017: 4, 2018: 2, 2019: 3, 2020: 5}


def prepare(source, output, *options) -> int:
    return main(["--input", str(source), "--output", str(output), "--val-share", "0.4", *options])


def one_year(root: Path, records: list, form="lines", images=None) -> Path:
    """A folder of the year 2019 with these records and images of those that are objects."""
    write_records(root / "2019" / "design2019.json", records, form)
    named = [entry for entry in (records if images is None else images) if isinstance(entry, dict)]
    write_images(
        root / "2019" / "Segmentednew", [entry for entry in named if isinstance(entry.get("subfigure_file"), str)]
    )
    return root


ONE = ("--train-years", "2019", "--query-year", "2020")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_deeppatent2(tmp_path_factory.mktemp("dp2"), PATENTS)


@pytest.fixture(scope="module")
def prepared(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared") / "out"
    assert prepare(source, output) == 0
    return output


def test_a_record_with_all_fields(tmp_path):
    one_year(tmp_path / "in", [record()])
    assert prepare(tmp_path / "in", tmp_path / "out", *ONE) == 0
    assert metadata(tmp_path / "out") == [
        {
            "patent_id": "USD0836880",
            "date": "2019-01-01",
            "locarno": "3099",
            "uspc": "D30/160",
            "title": "Pet treat",
            "figures": [
                {
                    "file": "2019/Segmentednew/USD0836880-20190101-D00001_1.png",
                    "number": 1,
                    "view": "perspective",
                    "caption": "FIG. 1 is a front, top, and left side perspective view of a pet treat;",
                    "object": "Pet treat",
                    "aspect": "front, top, and left side perspective view",
                    "page": "USD0836880-20190101-D00001.png",
                    "box": [614, 91, 969, 2740],
                    "label_box": [0.1192, 0.25, 0.0439, 0.0503],
                }
            ],
        }
    ]


def test_every_field_but_patent_and_file_may_be_missing_or_odd(tmp_path):
    """What is odd is left out of the line, and the record is kept."""
    free = set(record()) - {"patentID", "subfigure_file"}
    odd = (None, "", "  ", [], {}, True, float("nan"), {"a": [1]}, ["x"])
    records = [record(figure=1, **dict.fromkeys(free))]
    for number, (field, value) in enumerate(((f, v) for f in sorted(free) for v in odd[1:]), start=2):
        records.append(record(figure=number, **{field: value}))
    one_year(tmp_path / "in", records)
    assert prepare(tmp_path / "in", tmp_path / "out", *ONE) == 0
    lines = metadata(tmp_path / "out")
    figures = [figure for line in lines for figure in line["figures"]]
    assert len(figures) == len(records)
    assert figures[0] == {"file": "2019/Segmentednew/USD0836880-20190101-D00001_1.png"}
    assert report(tmp_path / "out")["skipped"] == {}
    assert {(line["patent_id"], line["date"]) for line in lines} == {("USD0836880", "2019-01-01")}
    full = {"file", "number", "view", "caption", "object", "aspect", "page", "box", "label_box"}
    lost = Counter(name for figure in figures[1:] for name in full - set(figure))
    assert lost == {"number": 8, "caption": 8, "object": 8, "aspect": 8, "page": 8, "box": 32, "label_box": 32}


def test_a_missing_aspect_is_read_from_the_caption(tmp_path):
    caption = "FIG. 2 is a front elevational view thereof;"
    one_year(
        tmp_path / "in", [record(aspect=None, caption=caption), record(figure=2, aspect="right view", caption=caption)]
    )
    assert prepare(tmp_path / "in", tmp_path / "out", *ONE) == 0
    first, second = metadata(tmp_path / "out")[0]["figures"]
    assert (first["view"], first.get("aspect")) == ("front", None)
    assert second["view"] == "right"


def test_consecutive_records_of_a_patent_share_a_line_and_the_first_value_counts(tmp_path):
    a, b = "USD0000001", "USD0000002"
    records = [
        record(a, figure=1, object_title="", classification_locarno=None),
        record(a, figure=2, object_title="Chair", classification_locarno="0601"),
        record(b, figure=1),
        record(a, figure=3, object_title="Stool", classification_locarno=602),
        record(a, date="2019-02-05", figure=4),
    ]
    one_year(tmp_path / "in", records)
    assert prepare(tmp_path / "in", tmp_path / "out", *ONE) == 0
    lines = metadata(tmp_path / "out")
    assert [(line["patent_id"], len(line["figures"]), line["title"], line["locarno"]) for line in lines] == [
        (a, 2, "Chair", "0601"),
        (b, 1, "Pet treat", "3099"),
        (a, 1, "Stool", "602"),
        (a, 1, "Pet treat", "3099"),
    ]
    assert report(tmp_path / "out")["patents"] == 2
    assert report(tmp_path / "out")["images"] == 5


def test_what_is_left_out_is_counted_with_examples(tmp_path):
    kept = record("USD0000001")
    missing = record("USD0000009")
    records = [
        kept,
        '{"patentID": ',
        "[1, 2]",
        record(patentID=None),
        record(patentID="D-2"),
        record(patentID="USD0999998-2019", patentdate="sometime"),
        record("USD0000002", patentdate="2019-02-30", patentID="USD0000002"),
        record("USD0000003", patentdate="soon"),  # the number of the patent names the day
        record("USD0000004", subfigure_file=None),
        record("USD0000004", subfigure_file=["x.png"]),
        missing,
        record("USD0000005", subfigure_file="../../secret.png"),
        kept,
        kept | {"subfigure_file": f"./{kept['subfigure_file']}"},
        record("USD0000006", date="2015-06-02"),
        record("USD0000007", classification_locarno="D30-1", classification_national="banana"),
        record("USD0000008", classification_locarno=None),
    ]
    one_year(tmp_path / "in", records, images=[entry for entry in records if entry is not missing])
    drawing("secret").save(tmp_path / "secret.png")
    assert prepare(tmp_path / "in", tmp_path / "out", *ONE) == 0
    said = report(tmp_path / "out")
    counts = {reason: entry["count"] for reason, entry in said["skipped"].items()}
    assert counts == {
        "damaged JSON": 2,
        "no patentID": 1,
        "unreadable patentID": 2,
        "unreadable date": 1,
        "no subfigure_file": 2,
        "no image on disk": 2,
        "duplicate image": 2,
        "other year": 1,
    }
    examples = {reason: entry["examples"][0] for reason, entry in said["skipped"].items()}
    assert examples["damaged JSON"].startswith("2019/design2019.json, line 2: Expecting value")
    assert examples["no image on disk"] == "2019/design2019.json, line 11: USD0000009-20190101-D00001_1.png"
    assert examples["other year"] == "USD0000006 of 2015-06-02"
    assert examples["duplicate image"] == "2019/Segmentednew/USD0000001-20190101-D00001_1.png"
    assert said["notes"]["unreadable USPC code"] == {"count": 1, "examples": ["2019/design2019.json, line 16: banana"]}
    assert said["locarno"]["unreadable"] == {"patents": 2, "codes": {"D30-1": 1, "": 1}}
    assert [line["patent_id"][-1] for line in metadata(tmp_path / "out")] == ["1", "3", "7", "8"]
    assert said["locarno"]["patents"] == 2
    assert said["records"] == 17 == sum(counts.values()) + said["images"]
    assert said["years"] == {
        "2015": {"records": 1, "patents": 0, "images": 0},
        "2019": {"records": 16, "patents": 4, "images": 4},
    }


@pytest.mark.parametrize("form", ["list", "lines"])
def test_both_forms_of_json_and_all_layouts_give_the_same(tmp_path, form):
    records = year_of_records(2019, 3)
    found = []
    for name, json_at, images_at, options in (
        ("folders", "2019/design2019.json", "2019/Segmentednew", ()),
        ("other name", "2019/design2019.json", "2019/segmented", ()),
        ("flat", "design2019.json", "2019/Segmented", ()),
        ("all flat", "design2019.json", "Segmented", ()),
        ("no year in the file", "2019/design.json", "2019/Segmented", ()),
        ("template", "2019/design2019.json", "pictures/2019/{patent}", ("--images", "pictures/{year}/{patent}/{file}")),
        ("folders of patents", "2019/design2019.json", "2019/Segmented/{patent}", ()),
        ("braces", "2019/design2019.json", "2019/Segmented{x}", ()),
    ):
        root = tmp_path / name
        write_records(root / json_at, records, form)
        for entry in records:
            write_images(root / images_at.replace("{patent}", entry["patentID"]), [entry])
        assert prepare(root, tmp_path / f"{name} out", *ONE, *options) == 0
        lines = metadata(tmp_path / f"{name} out")
        for line in lines:
            for figure in line["figures"]:
                assert (root / figure["file"]).is_file()
                figure["file"] = Path(figure["file"]).name
        found.append(lines)
    assert len(found[0]) == 3
    assert all(lines == found[0] for lines in found)


def test_the_later_name_of_the_folder_of_images_is_preferred(tmp_path):
    one_year(tmp_path, [record()])
    write_images(tmp_path / "2019" / "Segmented", [record(), record(figure=2)])
    [file] = find_files(tmp_path)
    assert file.find_image("p", record()["subfigure_file"]).startswith("2019/Segmentednew/")
    assert file.find_image("p", record(figure=2)["subfigure_file"]).startswith("2019/Segmented/")
    assert file.find_image("p", "no.png") == ""


def test_lists_hold_the_years_and_patents_they_should(prepared):
    lines = {line["patent_id"]: line for line in metadata(prepared)}
    assert len(lines) == sum(PATENTS.values())
    rows = {name: listed(prepared, name) for name in ("train", "val", "val_query", "val_gallery", "query", "gallery")}
    for name, pairs in rows.items():
        assert report(prepared)["lists"][name] == {"images": len(pairs), "patents": len({pid for _, pid in pairs})}
        for path, pid in pairs:
            assert path in {figure["file"] for figure in lines[pid]["figures"]}
        assert len({path for path, _ in pairs}) == len(pairs)
    years = {name: {lines[pid]["date"][:4] for _, pid in pairs} for name, pairs in rows.items()}
    assert years["query"] == {"2020"}
    assert years["gallery"] == {"2016", "2017", "2018", "2019"}
    assert sorted(rows["gallery"]) == sorted(rows["train"] + rows["val"])
    assert not {pid for _, pid in rows["train"]} & {pid for _, pid in rows["val"]}
    assert sorted(rows["val"]) == sorted(rows["val_query"] + rows["val_gallery"])
    assert 0 < len({pid for _, pid in rows["val"]}) < 12
    assert set(Counter(pid for _, pid in rows["val_query"]).values()) == {2}
    classes = report(prepared)["locarno"]
    assert sum(classes["head"].values()) + sum(classes["tail"].values()) == len(rows["train"])
    assert len(classes["head"]) == 1
    assert max(classes["tail"].values()) <= min(classes["head"].values())
    assert set(classes["head"]) | set(classes["tail"]) == {"06-01", "14-04", "06-03"}


def test_the_configs_give_the_data_set(prepared):
    for config, queries in (("dataset.yml", "val_query"), ("test.yml", "query")):
        cfg = get_cfg()
        cfg.merge_from_file(prepared / config)
        data = build_dataset(cfg, "FileList")
        rows = listed(prepared, "train")
        assert [record.path for record in data.train] == [
            os.path.join(cfg.DATASETS.FILELIST.ROOT, path) for path, _ in rows
        ]
        assert [str(record.pid) for record in data.query] == [pid for _, pid in listed(prepared, queries)]
        for item in (*data.train, *data.query, *data.gallery):
            assert Path(item.path).is_file()
            assert 20160000 < item.date < 20210000
            assert item.taxonomy in ("0601", "14-04", "LOC (11) Cl. 06-03")
            assert item.view in ("front", "perspective")
            assert item.text.startswith("Pet treat. FIG. ")
    assert (cfg.TEST.RULE, cfg.TEST.RELEVANCE) == ("granted_before", "subclass")


def test_a_second_run_reads_nothing_and_writes_nothing(source, prepared, capsys, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*") if path.name != ".lock"}
    monkeypatch.setattr("fastreid.data.ingest.deeppatent2.read_year", None)
    monkeypatch.setattr(joining, "_Joined", None)
    assert prepare(source, prepared) == 0
    assert "(unchanged)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in prepared.rglob("*") if path.name != ".lock"} == before


def test_other_years_seeds_and_shares_join_the_same_shards_anew(source, prepared, tmp_path, capsys):
    output = tmp_path / "out"
    shutil.copytree(prepared, output)
    assert prepare(source, output, "--train-years", "2016,2018", "--gallery-years", "2016-2020", "--seed", "3") == 0
    assert "design2016: " not in capsys.readouterr().out
    assert {line["date"][:4] for line in metadata(output)} == {"2016", "2017", "2018", "2019", "2020"}
    assert len(listed(output, "gallery")) == 4 * sum(PATENTS.values())
    fresh = tmp_path / "fresh" / "out"
    assert prepare(source, fresh, "--train-years", "2016,2018", "--gallery-years", "2016-2020", "--seed", "3") == 0
    assert snapshot(fresh) == snapshot(output)
    (output / "val.txt").unlink()
    assert prepare(source, output, "--train-years", "2016,2018", "--gallery-years", "2016-2020", "--seed", "3") == 0
    assert snapshot(fresh) == snapshot(output)


def test_a_changed_file_and_new_images_are_read_again_alone(tmp_path, capsys):
    root, output = write_deeppatent2(tmp_path / "in", {2019: 2, 2020: 2}), tmp_path / "out"
    later = record("USD0999999", "2019-03-05")
    assert prepare(root, output, *ONE) == 0
    write_records(root / "2019/design2019.json", [*year_of_records(2019, 2), later])
    capsys.readouterr()
    assert prepare(root, output, *ONE) == 0
    said = capsys.readouterr().out
    assert "2019-design2019: 2 patents, 8 images; left out: 1 no image on disk" in said
    assert "2020-design2020: " not in said
    write_images(root / "2019/Segmentednew", [later])
    assert prepare(root, output, *ONE) == 0
    assert "2019-design2019: 3 patents, 9 images\n" in capsys.readouterr().out
    assert len(metadata(output)) == 5


def test_other_settings_are_refused_or_read_again_by_name(tmp_path, capsys):
    root, output = write_deeppatent2(tmp_path / "in", {2019: 3, 2020: 3}), tmp_path / "out"
    assert prepare(root, output, *ONE, "--limit", "2") == 0
    assert report(output)["patents"] == 4
    capsys.readouterr()
    assert prepare(root, output, *ONE) == 1
    assert (
        "holds 2019-design2019 read with limit=2, but limit=None is asked. Choose another --output, or read everything "
        "again with --redo\n"
    ) in capsys.readouterr().err
    assert prepare(root, output, *ONE, "--redo", "2019-design2019") == 1
    assert "holds 2020-design2020 read with limit=2" in capsys.readouterr().err
    assert prepare(root, output, *ONE, "--redo", "2021-design2021") == 1
    assert (
        "--redo must be one of '2019-design2019', '2020-design2020'; got '2021-design2021'" in capsys.readouterr().err
    )
    assert prepare(root, output, *ONE, "--redo") == 0
    assert report(output)["patents"] == 6
    capsys.readouterr()
    assert prepare(root, output, *ONE, "--redo", "2020-design2020") == 0
    said = capsys.readouterr().out
    assert "2020-design2020: 3 patents" in said
    assert "2019-design2019: " not in said


def test_what_changed_in_secret_is_seen_by_redo(tmp_path):
    root, output = one_year(tmp_path / "in", [record()]), tmp_path / "out"
    path = root / "2019/design2019.json"
    assert prepare(root, output, *ONE) == 0
    before = path.stat()
    path.write_text(path.read_text().replace('"object_title": "Pet treat"', '"object_title": "Pet troat"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert prepare(root, output, *ONE) == 0
    assert metadata(output)[0]["title"] == "Pet treat"
    assert prepare(root, output, *ONE, "--redo", "2019-design2019") == 0
    assert metadata(output)[0]["title"] == "Pet troat"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda root: shutil.rmtree(root), (), "--input: there is no folder "),
        (lambda root: shutil.rmtree(root / "2019"), (), "--input: no file design*.json in "),
        (lambda root: shutil.rmtree(root / "2019/Segmentednew"), (), "no folder Segmented... of its images beside it"),
        (None, ("--train-years", "2010", "--query-year", "2011"), "--input has nothing of 2010, 2011; there is 2019"),
        (None, ("--train-years", "19"), "Years are written 2020, 2016-2019 or 2010,2016-2019; got '19'"),
        (None, ("--query-year", "2019"), "--query-year and --train-years share 2019"),
        (None, ("--images", "{year}/x.png"), "--images must contain {file}; got '{year}/x.png'"),
        (None, ("--images", "{yaer}/{file}"), "--images takes {year}, {patent}, {file} alone; got '{yaer}/{file}'"),
        (None, ("--images", "{/{file}"), "--images takes {year}, {patent}, {file} alone; got "),
        (
            lambda root: (root / "2019/design2019.json").write_text("id,patentID\n1,USD1\n"), (),
            "2019/design2019.json, line 1: Expecting value: line 1 column 1 (char 0): the file holds neither a list",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_one_clear_line(tmp_path, capsys, change, options, message):
    root = one_year(tmp_path / "in", [record()])
    if change:
        change(root)
    assert prepare(root, tmp_path / "out", *ONE, *options) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert len(lines) == 2  # the second says how to see the traceback


def test_an_output_that_cannot_be_written_and_a_full_disk(tmp_path, capsys, monkeypatch):
    root = one_year(tmp_path / "in", [record()])
    (tmp_path / "file").write_text("")
    assert prepare(root, tmp_path / "file", *ONE) == 1
    assert "--output cannot be written" in capsys.readouterr().err

    def full(self, patent):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ShardWriter, "write", full)
    assert prepare(root, tmp_path / "out", *ONE) == 1
    error = capsys.readouterr().err.splitlines()[0]
    assert error == f"error: [Errno 28] No space left on device: '{tmp_path}/out/shards/2019-design2019.jsonl'"
    assert list((tmp_path / "out" / "shards").iterdir()) == []


def test_years_that_are_missing_are_said(tmp_path, capsys):
    assert prepare(one_year(tmp_path / "in", [record()]), tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert said.startswith("--input has nothing of 2016, 2017, 2018, 2020\n")


def test_without_validation_patents_it_is_said(tmp_path, capsys):
    assert prepare(one_year(tmp_path / "in", [record()]), tmp_path / "out", *ONE, "--val-share", "0") == 0
    assert "No patent for validation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (["", "D14/138", None], "0 of 3"),
        (["0601", "", "banana"], "1 of 3"),
        (["0601", "", "14-04", None], "2 of 4"),
    ],
)
def test_patents_with_a_readable_code_are_counted_and_few_are_a_warning(tmp_path, capsys, codes, said):
    records = [
        record(f"USD000000{number}", figure=figure, classification_locarno=code)
        for figure in (1, 2)  # a patent has two lines of metadata and counts once
        for number, code in enumerate(codes)
    ]
    one_year(tmp_path / "in", records)
    for _ in range(2):
        assert prepare(tmp_path / "in", tmp_path / "out", *ONE) == 0
        lines = capsys.readouterr().out.splitlines()
        place = lines.index(f"Locarno codes: {said} patents")
        warnings = [line for line in lines if "have a readable Locarno code" in line]
        expected = {"0": "no", "1": "few"}.get(said[0])
        assert len(warnings) == bool(expected)
        if expected:
            assert lines[place + 1] == warnings[0]
            assert warnings[0].startswith(f"Warning: {expected} patents have")
            assert "expected in the field classification_locarno of the records: " in warnings[0]


def test_a_report_of_an_earlier_form_is_written_anew(source, prepared, tmp_path, capsys, monkeypatch):
    output = tmp_path / "out"
    shutil.copytree(prepared, output)
    with monkeypatch.context() as earlier:
        earlier.setattr(joining, "FORMAT", "dataset 1")
        assert prepare(source, output) == 0
    capsys.readouterr()
    assert prepare(source, output) == 0
    assert "(unchanged)" not in capsys.readouterr().out
    assert snapshot(output) == snapshot(prepared)


def test_shards_hold_what_was_counted(tmp_path):
    root = one_year(tmp_path, [record(), record(figure=2), "{"])
    with open(tmp_path / "lines", "w+") as file:
        writer = ShardWriter(file)
        read_year(find_files(root)[0], writer)
        file.seek(0)
        [line] = map(json.loads, file)
    assert writer.summary() == {
        "records": {"2019": 3}, "patents": 1, "images": 2, "notes": {}, "sha256": writer.summary()["sha256"],
        "skipped": writer.skipped.as_dict(),
    }  # fmt: skip
    assert [figure["number"] for figure in line["figures"]] == [1, 2]


def test_a_run_that_ends_at_any_rename_goes_on_to_the_same_result(source, prepared, tmp_path, monkeypatch):
    """Every file is put in place by one rename; the run is ended before each of them in turn."""
    wanted, real, ends = snapshot(prepared), os.replace, 0
    for last in range(100):
        output = tmp_path / str(last)
        left = [last]

        def replace(start, end, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            real(start, end)

        monkeypatch.setattr(os, "replace", replace)
        status = prepare(source, output)
        monkeypatch.setattr(os, "replace", real)
        if status == 0:
            break
        assert status == 130
        assert "report.json" not in os.listdir(output)
        if last % 4 == 0:  # as a kill leaves it
            (output / "shards").mkdir(exist_ok=True)
            (output / "shards" / ".2016-design2016.jsonl.x.tmp").write_text("{")
        assert prepare(source, output) == 0
        assert snapshot(output) == wanted
        ends += 1
    assert ends == 2 * len(PATENTS) + len(joining.FILES) + 1


def test_a_killed_process_goes_on_where_it_was(source, tmp_path):
    root, output = tmp_path / "in", tmp_path / "out"
    shutil.copytree(source, root)
    path = root / "2017/design2017.json"
    content = path.read_text()
    path.unlink()
    arguments = ["--input", root, "--output", output, "--val-share", "0.4"]
    kill_in_the_midst("prepare_deeppatent2.py", arguments, path, content[:2000])
    assert {file.suffix for file in (output / "shards").iterdir()} == {".jsonl", ".json", ".tmp"}
    first = output / "shards/2016-design2016.jsonl"
    before = first.stat()
    path.write_text(content)
    assert prepare(root, output) == 0
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert prepare(root, tmp_path / "fresh" / "out") == 0
    assert snapshot(output) == snapshot(tmp_path / "fresh" / "out")
    assert not list(output.rglob("*.tmp"))


def test_a_damaged_summary_of_a_shard_is_as_none(source, prepared, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(prepared, output)
    (output / "shards/2018-design2018.json").write_text('{"state": "')
    (output / "report.json").write_text("")
    assert prepare(source, output) == 0
    assert snapshot(output) == snapshot(prepared)


def test_the_state_of_files_follows_names_sizes_and_times(tmp_path):
    path = tmp_path / "a"
    path.write_text("12")
    os.utime(path, ns=(1, 1))
    first = sharding.state_of([path])
    assert sharding.state_of([path]) == first
    os.utime(path, ns=(1, 2))
    assert sharding.state_of([path]) != first
    path.write_text("123")
    os.utime(path, ns=(1, 1))
    assert sharding.state_of([path]) != first
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy2(path, tmp_path / "elsewhere" / "a")
    assert sharding.state_of([moved]) == sharding.state_of([path])
    assert sharding.state_of([path, moved]) != sharding.state_of([path])
