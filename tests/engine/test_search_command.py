"""tools/search.py on an index of histograms of gradients."""

import json
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from search_cases import draw, make_index

from fastreid.config import get_cfg
from fastreid.engine import search_options, search_words
from fastreid.engine.contact_sheet import Sheet
from fastreid.engine.query_encoder import QueryEncoder
from fastreid.engine.query_image import prepare
from fastreid.engine.search import find_images, main
from fastreid.engine.search_record import digest_of, save_record
from fastreid.engine.search_request import QUERY_FIGURES, QueryItem, SearchRequest
from fastreid.engine.searcher import Searcher
from fastreid.index import Filter, open_index
from fastreid.index.base import Count
from fastreid.index.filters import FACETS
from fastreid.utils.files import sha256_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory, repo):
    """A folder with an index of eight designs by HOG, their images, and query images."""
    folder = tmp_path_factory.mktemp("search")
    cfg = get_cfg()
    cfg.merge_from_file(str(repo / "configs" / "baselines" / "hog.yml"))
    make_index(folder, QueryEncoder(cfg), config=cfg.dump()).close()
    draw(3, "rear").save(folder / "drawing.png")
    draw(3, "top").save(folder / "second.png")
    sheet = Image.new("L", (500, 300), 255)
    sheet.paste(draw(1, "front").resize((192, 128)), (10, 90))
    sheet.paste(draw(5, "front").resize((192, 128)), (300, 90))
    sheet.save(folder / "sheet.png")
    return folder


@pytest.fixture
def search(folder, capsys):
    """Run the command; return its status and what it printed, or with ``--json -`` the object."""

    def run(*options, index="index"):
        status = main(["--index", str(folder / index), *map(str, options)])
        shown = capsys.readouterr()
        assert status == (1 if "error: " in shown.err else status)
        return status, json.loads(shown.out) if "-" in options else shown.out + shown.err

    return run


def patents(answer):
    return [result["patent"] for result in answer["results"]]


def test_the_table_shows_what_was_found_and_how_much_was_searched(search, folder):
    status, shown = search("--query", folder / "drawing.png", "-k", 2)
    assert status == 0
    lines = shown.splitlines()
    assert re.split(r"  +", lines[0].strip()) == ["rank", "patent", "score", "best view", "matched", "title", "date"]
    assert re.split(r"  +", lines[2].strip()) == [
        "1", "D3", "1.0000", "rear, fig. 2", "as given", "Thing number 3", "2013-01-01",
    ]  # fmt: skip
    assert len(lines) == 6
    assert lines[5] == "Searched 24 figures of 8 designs (version 2), exactly."
    assert max(map(len, lines)) <= 100


def test_conditions_are_told_with_the_counts(search, folder):
    _, shown = search("--query", folder / "drawing.png", "--before", "2016-01-01", "--locarno", "14", "06-01")
    assert shown.endswith(
        "Searched 18 figures of 6 designs (version 2), exactly: published before 2016-01-01, class 14 or 06-01.\n"
    )


def test_options_become_the_request(search, folder):
    _, answer = search("--query", folder / "drawing.png", "--json", "-", "--since", "20120101", "--offset", 2, "-k", 3)
    assert answer["searched"] == {"figures": 18, "designs": 6}
    assert [result["rank"] for result in answer["results"]] == [3, 4, 5]
    _, answer = search("--like", "D3-rear", "--json", "-", "--view", "rear", "--patent", "D3", "D4", "D5")
    assert sorted(patents(answer)) == ["D4", "D5"]
    _, answer = search("--like", "D3-rear", "--json", "-", "--keep-own", "--not-patent", "D4", "--office", "US")
    assert sorted(patents(answer)) == ["D0", "D1", "D2", "D3", "D5", "D6", "D7"]
    _, answer = search("--like", "D3-rear", "--json", "-", "--title", "thing 5", "--by", "figure")
    assert [result["figure"]["figure_id"][:2] for result in answer["results"]] == ["D5"] * 3
    _, answer = search("--query", folder / "drawing.png", "--json", "-", "--as-of", 1)
    assert (answer["results"], answer["version"]) == ([], 1)
    _, answer = search("--like", "D3-rear", "D4-top", "--json", "-", "--keep-own", "--fusion", "max", "-k", 2)
    assert [result["score"] for result in answer["results"]] == [pytest.approx(1)] * 2
    _, answer = search("--like", "D3-rear", "--json", "-", "--date-field", "filed", "--since", "2010-01-01")
    assert answer["results"] == []


def test_a_patent_stands_for_its_figures(search, folder, tmp_path):
    assert search_options.MOST == QUERY_FIGURES
    for name in ("D3", "d 3", "US D0,003"):
        _, answer = search("--like", name, "--json", "-", "--keep-own", "--record", tmp_path / "record.json")
        asked = json.loads((tmp_path / "record.json").read_text())["request"]["query"]
        assert [item["figure"] for item in asked] == ["D3-front", "D3-rear", "D3-top"]
        assert (patents(answer)[0], answer["results"][0]["score"]) == ("D3", pytest.approx(1))
    _, answer = search("--like", "D3", "D4-top", "--json", "-")
    assert not {"D3", "D4"} & set(patents(answer))
    assert len(answer["results"][0]["evidence"]) == 4
    status, shown = search("--query", folder / "drawing.png", "--like", "D1", "D2", "D3", "-k", 1)
    assert (status, "D3 has 3 figures: the first is searched for" in shown) == (0, True)
    status, shown = search("--like", "D1", "D2", "D3", "-k", 1)
    assert (status, "D3 has 3 figures: the first 2 are searched for" in shown) == (0, True)


def test_several_images_are_one_query(search, folder):
    _, shown = search("--query", folder / "drawing.png", folder / "second.png", "-k", 1)
    assert "A: rear, B: top" in shown
    _, answer = search("--query", folder / "drawing.png", folder / "second.png", "-k", 1, "--json", "-")
    assert answer["results"][0]["score"] == pytest.approx(1)


def test_crop_split_and_variants(search, folder):
    page = folder / "sheet.png"
    boxes = [("--crop", "10,90,202,218"), ("--split", 1)], [("--crop", "300,90,492,218"), ("--split", 2)]
    for options, patent in zip(boxes, ("D1", "D5"), strict=True):
        for option in options:
            assert patents(search("--query", page, *option, "--json", "-")[1])[0] == patent
    _, answer = search("--query", page, "--split", "all", "--json", "-")
    assert [match["query"] for match in answer["results"][0]["evidence"]] == [0, 1]
    assert set(patents(answer)[:2]) == {"D1", "D5"}
    _, answer = search("--query", page, page, "--crop", "10,90,202,218", "--crop", "300,90,492,218", "--json", "-")
    assert set(patents(answer)[:2]) == {"D1", "D5"}
    _, answer = search("--query", page, page, "--crop", "10,90,202,218", "--json", "-")
    assert [match["score"] for match in answer["results"][0]["evidence"]] == [answer["results"][0]["score"]] * 2
    prepare(draw(6, "top"), rotate=90, mirror=False).save(folder / "turned.png")
    _, shown = search("--query", folder / "turned.png", "--rotations", "--mirror", "-k", 1)
    assert re.search(r"D6 +1\.0000 +top, fig\. 3 +rotated 270", shown)


def test_the_sheet_shows_query_and_results(search, folder, tmp_path):
    status, shown = search("--query", folder / "drawing.png", "--sheet", tmp_path / "new" / "sheet.png", "-k", 6)
    assert (status, "could not be read" in shown) == (0, False)
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        one_line = sheet.size
        ink = sum(sheet.convert("L").histogram()[:128])
    assert ink > 2000
    search("--query", folder / "drawing.png", folder / "sheet.png", "--sheet", tmp_path / "b.png", "-k", 5)
    with Image.open(tmp_path / "b.png") as sheet:
        assert sheet.width == one_line[0]
        assert sheet.height < one_line[1]  # five cards are one line, six are two


def test_images_that_are_gone_are_grey_and_counted(folder, capsys, tmp_path):
    shutil.copytree(folder / "images", tmp_path / "images")
    (tmp_path / "images" / "D3-top.png").unlink()
    (tmp_path / "images" / "D3-front.png").write_text("no image")
    options = [
        "--index",
        str(folder / "index"),
        "--images",
        str(tmp_path / "images"),
        "--sheet",
        str(tmp_path / "s.png"),
    ]
    assert main([*options, "--like", "D3-rear", "--keep-own", "-k", "1"]) == 0
    assert "2 images of the sheet could not be read" in capsys.readouterr().err
    assert main([*options, "--like", "D3-top", "-k", "1"]) == 0
    assert "1 image of the sheet could not be read: grey" in capsys.readouterr().err


def test_a_record_is_replayed(search, folder, tmp_path):
    query, moved = tmp_path / "query.png", tmp_path / "moved" / "renamed.png"
    draw(3, "rear").save(query)
    options = [
        "--query",
        query,
        "--like",
        "D4-top",
        "--crop",
        "0,0,90,60",
        "--mirror",
        "--before",
        "2017-01-01",
        "-k",
        4,
    ]
    _, first = search(*options, "--record", tmp_path / "record.json", "--json", "-")
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["results"] == first["results"]
    assert record["images"] == [
        {"upload": str(query), "sha256": sha256_of(query), "name": "query.png", "width": 96, "height": 64}
    ]  # fmt: skip
    status, shown = search("--replay", tmp_path / "record.json")
    assert (status, shown.splitlines()[-1]) == (0, "The same 4 results as recorded.")
    moved.parent.mkdir()
    query.rename(moved)
    status, shown = search("--replay", tmp_path / "record.json")
    assert (status, f"query.png (SHA-256 {sha256_of(moved)}) is not at {query}: give it by --query" in shown) == (
        1,
        True,
    )
    status, again = search("--replay", tmp_path / "record.json", "--query", moved, "--json", "-")
    assert (status, again["results"]) == (0, first["results"])
    # and again, from what a replay recorded
    search("--replay", tmp_path / "record.json", "--query", moved, "--record", tmp_path / "second.json")
    assert json.loads((tmp_path / "second.json").read_text())["request"] == record["request"]


def test_a_replay_with_other_results_says_so_and_fails(search, folder, tmp_path):
    search("--like", "D3-rear", "-k", 3, "--record", tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text())
    record["results"][0]["score"] += 0.01
    patent = record["results"][0]["patent"]
    (tmp_path / "record.json").write_text(json.dumps(record))
    status, shown = search("--replay", tmp_path / "record.json")
    assert status == 1
    assert "is not the record of a search: it was changed after it was written: its checksum is wrong" in shown
    save_record(tmp_path / "record.json", record | {"sha256": digest_of(record)})
    status, shown = search("--replay", tmp_path / "record.json")
    assert status == 1
    assert re.search(rf"^Different: {patent} scored 0.\d+ and scores 0.\d+\.$", shown, re.MULTILINE)
    record["index"]["uid"] = "00"
    save_record(tmp_path / "record.json", record | {"sha256": digest_of(record)})
    _, shown = search("--replay", tmp_path / "record.json")
    assert "Note: this is another index than the one of the record; its version 2 was searched." in shown


def test_recorded_images_are_known_by_their_content(tmp_path):
    for design in range(3):
        draw(design, "front").save(tmp_path / f"{design}.png")
    first, second, third = (str(tmp_path / f"{design}.png") for design in range(3))
    recorded = [{"upload": "/gone/0.png", "sha256": sha256_of(first), "name": "0.png"}]
    assert find_images(recorded, [first]) == {"/gone/0.png": first}
    assert find_images([{**recorded[0], "upload": first}], []) == {first: first}
    both = [*recorded, {"upload": second, "sha256": sha256_of(second), "name": "1.png"}]
    assert find_images(both, [first]) == {"/gone/0.png": first, second: second}
    with pytest.raises(FileNotFoundError, match=f"0.png .SHA-256 {sha256_of(first)}. is not at /gone/0.png"):
        find_images(recorded, [])
    with pytest.raises(ValueError, match=f"2.png is none of the 2 query images .* SHA-256 is {sha256_of(third)}"):
        find_images(both, [first, third])
    changed = [{"upload": second, "sha256": sha256_of(first), "name": "1.png"}]
    for given in ([], [second]):
        with pytest.raises(ValueError, match=f"1.png is not .* is {sha256_of(second)}, not {sha256_of(first)}"):
            find_images(changed, given)


def test_where_nothing_is_permitted_the_conditions_are_counted(search):
    status, shown = search("--like", "D3-rear", "--before", "2011-01-01", "--locarno", "14", "--office", "US")
    assert status == 0
    assert shown.splitlines() == [
        "Nothing to search: of 24 figures of 8 designs in the index, none fulfils all conditions.",
        "  without 'published before 2011-01-01': 9 figures of 3 designs",
        "  without 'class 14': 3 figures of 1 design",
        "  without 'office US': 0 figures of 0 designs",
        "  without 'not the query's own patent': 0 figures of 0 designs",
    ]
    many = {name: {} for name in FACETS} | {"applicant": {f"Applicant {n}": Count(1, 1) for n in range(9)}}
    told = search_words.unknown_words(Filter(applicant=("applicant 3", "Applicant 4"), office=("US",)), many)
    assert told == [
        "the index has no office 'US'.",
        "the index has no applicant 'applicant 3'. Did you mean 'Applicant 3'?",
    ]
    _, shown = search("--like", "D3-rear", "--offset", 50)
    assert "No results beyond the first 7." in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "error: nothing to search for: give --query IMAGE, --like FIGURE_ID or --text WORDS"),
        (["--like", "D33"], "error: --like: the index has no figure and no patent 'D33'"),
        (["--like", "D3-rear", "--by", "desing"], "group of a search must be one of 'design', 'figure'; got 'desing'"),
        (["--like", "D3-rear", "--as-of", "1"], "no figure and no patent 'D3-rear' in version 1"),
        (["--like", "D3-rear", "--as-of", "7"], "error: "),
        (["--like", "D3-rear", "--crop", "1,2,3,4"], "error: --crop needs an image, --query"),
        (["--like", "D3-rear", "--split", "1"], "error: --split needs an image, --query"),
        (["--like", "D3-rear", "--locarno", "99"], "error: the index has no class '99'. It has 06, 14."),
        (
            ["--like", "D3-rear", "--locarno", "06", "14-03"],
            "error: the index has no class '14-03'. It has 06-01, 14-04.",
        ),
        (
            ["--like", "D3-rear", "--view", "front", "persp"],
            "error: the index has no view 'persp'. It has front, rear, top",
        ),
        (["--like", "D3-rear", "--office", "EM"], "error: the index has no office 'EM'. It has US."),
        (["--like", "D3-rear", "--applicant", "nobody"], "error: the index has no applicant 'nobody'."),
        (["--like", "D3-rear", "--applicant", "", "--before", "2011-01-01"], "Searched 3 figures of 1 design "),
        (["--like", "D3-rear", "--patent", "D99"], "Nothing to search"),
        (["--text", "a", "--as-of", "1", "--view", "front"], "error: "),
        (["--text", "a chair"], "error: "),
        (["--query", "drawing.png", "--crop", "0,0,97,64"], "within the image of 96 x 64 pixels; got [0, 0, 97, 64]"),
        (["--query", "drawing.png", "--crop", "0,0,9,9", "--split", "1"], "error: --crop and --split both say"),
        (["--query", "drawing.png", "--crop", "0,0,9,9", "--crop", "0,0,9,9"], "once for each of 1 images; got 2"),
        (["--query", "drawing.png", "--split", "first"], "the number of a figure, from 1, or 'all'; got 'first'"),
        (["--query", "sheet.png", "--split", "3"], "sheet.png has 2 figures: 1 at "),
        (["--query", "none.png"], "No such file or directory"),
        (["--query", "text.png"], "error: this is no image of an allowed type"),
        (["--replay", "record.json", "--before", "2018-01-01"], "--before has no effect with --replay"),
        (["--replay", "record.json", "--not-patent", "D1"], "--not-patent has no effect with --replay"),
        (["--replay", "text.png"], "text.png is not the record of a search"),
        (["--like", "D3-rear", "--sheet", "text.png/sheet.png"], "--sheet cannot be written"),
        (["--like", "D3-rear", "--record", "text.png/record"], "--record cannot be written"),
        (["--query", "drawing.png", "--opts", "INPUT.SIZE_TEST", "[64, 64]"], "did not make the vectors of the index"),
        (["--query", "drawing.png", "--opts", "INPUT.SIZE_TST", "[64, 64]"], "SIZE_TEST"),
    ],
)
def test_mistakes_are_told_in_one_line(search, folder, monkeypatch, options, message):
    monkeypatch.chdir(folder)
    (folder / "text.png").write_text("no image")
    status, shown = search(*options)
    assert message in shown
    assert (status == 1) == ("error: " in shown)
    assert "Traceback (most" not in shown


def test_wrong_words_on_the_command_line(folder, capsys):
    for options, message in (
        (["--before", "2018"], "argument --before: '2018' is no date; give one such as 2018-11-06"),
        (["--before", "2018-13-01"], "argument --before: '2018-13-01' is no date; give one such as 2018-11-06"),
        (["--since", "20180231"], "argument --since: '20180231' is no date"),
        (["--since", "00000000"], "argument --since: '00000000' is no date"),
        (["--crop", "1,2,3"], "argument --crop: must be left,top,right,bottom in pixels; got '1,2,3'"),
        (["-k", "0"], "must be at least 1; got 0"),
    ):
        with pytest.raises(SystemExit):
            main(["--index", str(folder / "index"), "--like", "D3-rear", *options])
        assert message in capsys.readouterr().err


def test_there_is_no_index(tmp_path, search):
    assert "error: No index at" in search("--like", "D3-rear", index="none")[1]


def test_the_model_can_be_named_by_its_config(search, folder, repo, tmp_path):
    config = repo / "configs" / "baselines" / "hog.yml"
    _, answer = search("--query", folder / "drawing.png", "--json", "-", "--config-file", config)
    assert patents(answer)[0] == "D3"
    (tmp_path / "other.yml").write_text(f"_BASE_: {config}\nMODEL:\n  HOG:\n    CELLS: 8\n")
    status, shown = search("--query", folder / "drawing.png", "--config-file", tmp_path / "other.yml")
    assert (status, "did not make the vectors of the index" in shown) == (1, True)
    assert "Name the model that made them, by --config-file and MODEL.WEIGHTS, or make the index again" in shown


def test_an_index_that_is_older_than_a_setting_is_searched(folder, repo, tmp_path, capsys):
    cfg = get_cfg()
    cfg.merge_from_file(str(repo / "configs" / "baselines" / "hog.yml"))
    encoder = QueryEncoder(cfg)
    del encoder.identity["settings"]["MODEL.BACKBONE.SIE_COE"]
    make_index(tmp_path, encoder, config=cfg.dump()).close()
    assert main(["--index", str(tmp_path / "index"), "--query", str(folder / "drawing.png"), "-k", "1"]) == 0
    assert "D3" in capsys.readouterr().out


def test_the_script(repo, folder):
    command = [sys.executable, str(repo / "tools" / "search.py"), "--index", str(folder / "index")]
    done = subprocess.run([*command, "--like", "D3-rear", "-k", "1"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "Searched 21 figures of 7 designs" in done.stdout, done.stderr) == (0, True, "")
    done = subprocess.run([*command, "--like", "D33"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: --like: the index has no figure and no patent 'D33'\n")


def test_known_figures_are_searched_for_without_loading_a_model(folder):
    code = (
        "import sys; from fastreid.engine.search import main; "
        f"assert main(['--index', {str(folder / 'index')!r}, '--like', 'D3-rear']) == 0; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).returncode == 0


# ------------------------------------------------------------------------------------------------------------ words


def test_an_approximate_search_is_told_with_its_measured_recall(folder):
    from dataclasses import replace

    with open_index(str(folder / "index")) as index:
        response = Searcher(index).search(SearchRequest((QueryItem(figure="D3-rear"),), limit=2))
        info = replace(index.info, recall={"k": 10, "queries": 200, "all": 0.9971, "1%": 1.0})
    assert "(version 2), exactly." in search_words.searched_words(response, info)  # few rows are searched exactly
    response = replace(response, exact=False)
    assert search_words.searched_words(response, info) == (
        "Searched 21 figures of 7 designs (version 2), approximately (recall@10 0.997 measured)."
    )
    assert search_words.searched_words(response, replace(info, recall={})).endswith("(version 2), approximately.")


def test_parts_of_a_query_have_the_letters_of_the_page(search, folder, tmp_path, monkeypatch):
    _, shown = search("--query", folder / "drawing.png", folder / "second.png", "--by", "figure", "-k", 2)
    assert "query B, as given" in shown
    assert [search_words.letter(place) for place in range(QUERY_FIGURES)] == list("ABCDEFGH")
    assert search_words.query_words({"query": 1, "variant": "text"}) == "words"
    captions, draw_sheet = [], Sheet.draw

    def drawn(self, response, query, heading):
        captions.extend(caption for _, caption in query)
        captions.extend(caption for _, caption in self._thumbnails(response.results[0])[:2])
        return draw_sheet(self, response, query, heading)

    monkeypatch.setattr(Sheet, "draw", drawn)
    search("--query", folder / "drawing.png", "--like", "D4-top", "--sheet", tmp_path / "sheet.png", "-k", 1)
    assert captions == ["A  drawing.png", "B  D4-top", "query A", "query B"]


def test_conditions_in_words():
    filter = Filter(
        before=20180131, since=20100101, date_field="filed", locarno=("06", "14-04"), office=("US",), view=("front",),
        applicant=("A", "B", "C", "D", "E"), patents=("P1",), not_patents=("P2",), title="folding chair",
    )  # fmt: skip
    assert list(search_words.condition_words(filter).values()) == [
        "filed before 2018-01-31", "filed since 2010-01-01", "class 06 or 14-04", "office US", "view front",
        "applicant A, B, C or 2 more", "patent P1", "not patent P2", "title with 'folding chair'",
    ]  # fmt: skip
    assert search_words.nothing_words(Filter(), {}, Count(0, 0)) == "Nothing to search: the index is empty."


def test_long_titles_are_cut_and_empty_columns_left_out():
    figure = {
        "row": 1, "figure_id": "F-1", "patent": "P1", "figure": "", "view": "", "title": "A chair that folds " * 10,
        "date": 0,
    }  # fmt: skip
    matches = [{"query": place, "variant": "mirrored, rotated 90", "figure": figure} for place in range(4)]
    results = [{"rank": 1, "score": 0.5, "figure": figure, "evidence": matches}]
    response = type("Response", (), {"results": results, "request": SearchRequest(tuple([QueryItem("a")] * 4))})
    lines = search_words.table_of(response).splitlines()
    assert max(map(len, lines)) == 100
    assert "date" not in lines[0]
    assert " F-1 " in lines[2]
    assert lines[2].count("...") == 2
