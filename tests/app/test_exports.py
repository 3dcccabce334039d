"""Exports: CSV that no spreadsheet runs, JSON, reports that can be read; jobs that are watched and cancelled."""

import csv
import io
import json
import shutil
import subprocess
import threading

import pytest
from PIL import Image

from fastreid.app import jobs as jobs_module
from fastreid.app import report_page
from fastreid.app.exports import as_csv, file_name, harmless
from fastreid.app.jobs import Jobs, Result
from fastreid.app.problems import Problem
from fastreid.index import Figures, open_index
from tests.app.conftest import error

LIKE = {"figure": "D3-rear"}
STRANGE = '=HYPERLINK("http://x") 椅子 стул كرسي <b>&amp; 🪑 \u0000\u202e' + "W" * 400


@pytest.fixture
def strange(make, own_folder):
    """A client of an index with a patent whose texts are as bad as can be."""
    with open_index(str(own_folder / "index"), write=True) as index:
        row = {
            "figure_id": "+bad", "patent": "-1+1", "title": STRANGE, "applicant": "@SUM(A1)", "view": "front",
            "office": "JP", "date": 20190203, "path": "D3-rear.png",
        }  # fmt: skip
        index.add(Figures.of([row]), index.vectors(index.rows_of(["D3-rear"])))
    return make(root=own_folder)


def read(answer):
    assert answer.content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline="")))


def text_of(answer):
    if not shutil.which("pdftotext"):
        pytest.skip("pdftotext is not installed")
    done = subprocess.run(["pdftotext", "-", "-"], input=answer.content, capture_output=True, check=True)
    assert not done.stderr
    return " ".join(done.stdout.decode().split())


# -- tables ----------------------------------------------------------------------------------------------------------


def test_a_search_as_a_table(client):
    name = client.save(LIKE, {"figure": "D1-top"}, name="My search: é/1", limit=3)
    answer = client.export(search=name, format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="My-search-1.csv"'
    rows = read(answer)
    results = client.get(f"/api/searches/{name}").json()["results"]
    assert [(int(row["rank"]), row["patent"], float(row["score"])) for row in rows] == [
        (result["rank"], result["patent"], pytest.approx(result["score"], abs=1e-6)) for result in results
    ]
    assert rows[0]["date"] == f"{rows[0]['date'][:4]}-01-01"
    assert rows[0]["filed"] == ""
    (searched,) = {row["searched"] for row in rows}
    assert searched == (
        "No cut-off date; Left out: the patents of the query figures; Results by: design; "
        "Several query figures: the mean over them"
    )
    assert {row["results"] for row in rows} == {f"1 to 3 of {client.service.index.info.designs - 2} designs"}
    assert {int(row["index version"]) for row in rows} == {client.get("/api/status").json()["index"]["version"]}
    first = results[0]["evidence"][1]
    assert f"B: {first['figure']['figure_id']} ({first['score']:.4f})" in rows[0]["evidence"]


def test_a_recent_search_need_not_be_saved(client):
    found = client.search(LIKE, limit=2, group="figure", filter={"before": 20990101})
    rows = read(client.export(search=found["search"], format="csv"))
    assert [row["figure_id"] for row in rows] == [result["figure"]["figure_id"] for result in found["results"]]
    cut_off = "Cut-off date: published strictly before 2099-01-01"
    assert {row["searched"].partition("; ")[0] for row in rows} == {cut_off}
    error(client.post("/api/exports", json={"search": "0" * 32, "format": "csv"}), 404, "not_found")


def test_a_table_tells_all_conditions_and_which_results_it_holds(client):
    many = [f"USD{number:07d}" for number in range(1000, 1150)]
    filter = {
        "before": 20160101, "since": 20100101, "date_field": "date", "locarno": ["06", "14-04"], "office": ["US", "EM"],
        "view": ["front", "rear"], "patents": [], "not_patents": ["D0", *many], "title": "thing",
    }  # fmt: skip
    found = client.search(text="D5", filter=filter, offset=1, limit=2, variants={"mirror": True})
    rows = read(client.export(search=found["search"], format="csv"))
    (searched,) = {row["searched"] for row in rows}
    for words in (
        "Cut-off date: published strictly before 2016-01-01", "; Published since: 2010-01-01", "; Class: 06 or 14-04",
        "; Office: US or EM", "; View: front or rear", "; Not patent: D0, USD0001000, ", " or 52 more",
        "; Title with: 'thing'", "; Variants: mirror", "; Results by: design",
    ):  # fmt: skip
        assert words in searched, words
    assert {row["results"] for row in rows} == {f"2 to 3 of {found['total']} designs"}
    assert rows[0]["evidence"].startswith("words: D")
    by_applicant = client.search(LIKE, filter={"applicant": ["", "ACME"]}, exclude_own=False, group="figure", limit=1)
    (row,) = read(client.export(search=by_applicant["search"], format="csv"))
    assert row["searched"] == "No cut-off date; Applicant: unknown or ACME; Results by: figure"
    assert row["results"] == "1 to 1 of 24 figures"
    assert row["evidence"].startswith("A: D3-rear")


def test_no_cell_is_a_formula(strange):
    row = read(strange.export(search=strange.search(LIKE, limit=1)["search"], format="csv"))[0]
    assert (row["patent"], row["figure_id"], row["applicant"]) == ("'-1+1", "'+bad", "'@SUM(A1)")
    assert row["title"].startswith("'=HYPERLINK")
    assert row["date"] == "2019-02-03"
    assert float(row["score"]) == pytest.approx(1)


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r=1"])
def test_what_a_spreadsheet_might_run(text):
    assert harmless(text) == "'" + text
    assert harmless("a" + text) == "a" + text


def test_tables_with_line_breaks_quotes_and_nothing():
    rows = list(csv.DictReader(io.StringIO(as_csv([{"a": 'x"\n;,y', "date": 0}]).decode("utf-8-sig"), newline="")))
    assert rows == [{"a": 'x"\n;,y', "date": ""}]
    assert as_csv([]) == b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("name", "made"),
    [("a b", "a-b.pdf"), ("../../etc", "etc.pdf"), ('x"; y\r\nSet-Cookie: a', "x-y-Set-Cookie-a.pdf"),
     ("椅子", "export.pdf"), ("", "export.pdf"), ("a" * 300, "a" * 80 + ".pdf")],
)  # fmt: skip
def test_names_of_files(name, made):
    assert file_name(name, "pdf") == made


def test_a_set_as_a_table_and_as_json(strange):
    name = strange.post("/api/sets", json={"name": "Set"}).json()["id"]
    strange.put(f"/api/sets/{name}/items", json={"figure_id": "+bad", "note": "=1+1"})
    strange.put(f"/api/sets/{name}/items", json={"figure_id": "D1-top"})
    with open_index(str(strange.service.index.info.image_root).replace("images", "index"), write=True) as index:
        index.delete(patents=["D1"])
    strange.get("/api/status")
    rows = read(strange.export(set=name, format="csv"))
    assert [(row["figure_id"], row["note"], row["in the index"], row["view"]) for row in rows] == [
        ("'+bad", "'=1+1", "yes", "front"), ("D1-top", "", "no", ""),
    ]  # fmt: skip
    assert {row["index version"] for row in rows} == {str(strange.service.index.info.version)}
    answer = strange.export(set=name, format="json")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.content) == strange.get(f"/api/sets/{name}").json()
    assert strange.export(set=name, format="pdf").content.startswith(b"%PDF")


def test_a_search_as_json_is_its_record(client):
    name = client.save(LIKE)
    exported = json.loads(client.export(search=name, format="json").content)
    assert {"id": name, **exported} == client.get(f"/api/searches/{name}").json()


# -- reports ---------------------------------------------------------------------------------------------------------


def test_a_report_tells_everything(client, drawing):
    key = client.upload(drawing, "sketch.png")
    name = client.save(
        {"upload": key, "box": [2, 2, 90, 60]}, LIKE, name="Chair", notes="Compare <the> legs.", text="D5",
        filter={"before": 20160101, "locarno": ["06", "14-04"], "title": "thing"}, limit=4,
    )  # fmt: skip
    record = client.get(f"/api/searches/{name}").json()
    answer = client.export(search=name, format="pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-disposition"] == 'attachment; filename="Chair.pdf"'
    text = text_of(answer)
    for words in (
        "Chair", "Compare <the> legs.", "strictly before 2016-01-01", "A: sketch.png", "B: D3-rear",
        "cut [2, 2, 90, 60]", "Text: D5", "06 or 14-04", "thing", "the mean over them", "exactly",
        record["index"]["uid"], "version 2", key, "SHA-256 00ff", "INPUT.SIZE 16", "page 1",
        f"Results: 1 to 4 of {record['total']} designs", "24 figures",
    ):  # fmt: skip
        assert words in text, words
    for result in record["results"]:
        assert f"{result['rank']}. {result['patent']}" in text
        assert f"{result['score']:.4f}" in text
        for match in result["evidence"]:
            assert f"{match['score']:.4f}" in text
    for words in ("Query figure A: nearest", "Query figure B: nearest", "Words: nearest"):
        assert words in text


def test_a_report_is_the_same_each_time(client):
    name = client.save(LIKE)
    assert client.export(search=name, format="pdf").content == client.export(search=name, format="pdf").content


def test_a_report_of_long_and_strange_texts(strange):
    many = [f"USD{number:07d}" for number in range(1000)]
    name = strange.save(LIKE, name=STRANGE[:150], notes="long word " * 1900, filter={"not_patents": many}, limit=9)
    text = text_of(strange.export(search=name, format="pdf"))
    assert "стул" in text
    assert many[0] in text
    assert many[-1] in text
    assert text.count("long word") > 1500
    made = strange.post("/api/sets", json={"name": "\x00\n"}).json()["id"]
    strange.patch(f"/api/sets/{made}", json={"notes": "line\n" * 3000})
    for note in ("x" * 20_000, "\n" * 5000):
        strange.put(f"/api/sets/{made}/items", json={"figure_id": "+bad", "note": note})
        assert "line" in text_of(strange.export(set=made, format="pdf"))


@pytest.mark.parametrize("fonts", ["none", "one"])
def test_letters_that_no_font_has_are_seen(strange, monkeypatch, fonts):
    for cached in (report_page.font_files, report_page.fonts, report_page.further_fonts):
        cached.cache_clear()
    if fonts == "none":
        monkeypatch.setattr(report_page, "FONT_FOLDERS", ())
    name = strange.save(LIKE, limit=1, name="\u10fff0 \ue000")
    text = text_of(strange.export(search=name, format="pdf"))
    assert "empty boxes" in text
    if fonts == "one" and report_page.fonts()[0] == "DejaVuSans":
        assert report_page.NO_LETTER in text
        assert report_page.has("DejaVuSans", "é")
        assert not report_page.has("DejaVuSans", "\ue0ff")
    for cached in (report_page.font_files, report_page.fonts, report_page.further_fonts):
        cached.cache_clear()


def test_a_report_without_images_and_without_results(make, own_folder):
    client = make(root=own_folder)
    name = client.save(LIKE, limit=2)
    empty = client.save(LIKE, filter={"before": 19990101})
    shutil.rmtree(own_folder / "images")
    assert "no image" in text_of(client.export(search=name, format="pdf"))
    assert "Results: none of 0 designs" in text_of(client.export(search=empty, format="pdf"))
    [row] = read(client.export(search=empty, format="csv"))
    assert (row["rank"], row["patent"], row["results"]) == ("", "", "none of 0 designs")
    assert row["searched"].startswith("Cut-off date: published strictly before 1999-01-01")


def test_a_report_of_figures_and_of_variants(client, drawing):
    key = client.upload(drawing.transpose(Image.Transpose.ROTATE_180))
    by_figure = client.save({"figure": "D3-rear", "rotate": 90, "mirror": True}, group="figure", limit=3, offset=2)
    text = text_of(client.export(search=by_figure, format="pdf"))
    assert "Results: 3 to 5 of 21 figures" in text
    assert "rotated 90, mirrored" in text
    assert "No cut-off date" in text
    turned = client.save({"upload": key}, variants={"rotations": True}, limit=1)
    assert "rotated 180: nearest" in text_of(client.export(search=turned, format="pdf"))


@pytest.mark.parametrize("given", ["a" * 5000, "ab " * 2000, "a\n" * 500, "", "a\n\n\nb", "x" * report_page.PIECE])
def test_pieces_lose_nothing(given):
    parts = report_page.pieces(given)
    assert "".join(parts).replace("\n", "") == given.replace("\n", "")
    assert all(len(part) <= report_page.PIECE and part.count("\n") < 20 for part in parts)


# -- jobs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs():
    jobs = Jobs()
    yield jobs
    jobs.close()


def wait(job, states=("done", "failed", "cancelled")):
    for _ in range(2000):
        if job.state in states:
            return job.state
        threading.Event().wait(0.005)
    raise AssertionError(job)


def test_a_job_tells_how_far_it_is_and_can_be_cancelled(jobs):
    go, reached = threading.Event(), threading.Event()

    def work(progress):
        progress(1, 3)
        reached.set()
        go.wait(10)
        progress(2, 3)
        return Result(b"", "a", "b")

    job, waiting = jobs.start(work), jobs.start(work)
    reached.wait(10)
    assert job.described() == {"job": job.key, "state": "running", "done": 1, "total": 3, "message": ""}
    assert jobs.cancel(waiting.key).state == "cancelled"
    assert jobs.cancel(job.key).state == "running"  # it ends at its next step
    go.set()
    assert wait(job) == "cancelled"
    assert (job.result, waiting.result) == (None, None)


def test_a_job_that_is_cancelled_at_the_last_moment(jobs):
    def work(progress):
        jobs.cancel(job.key)
        return Result(b"", "a", "b")

    started = threading.Event()
    job = jobs.start(lambda progress: started.wait(10) and work(progress))
    started.set()
    wait(job)
    jobs._pool.submit(int).result()
    assert (job.state, job.result) == ("cancelled", None)


@pytest.mark.parametrize(
    ("raised", "message"),
    [(RuntimeError("inner"), "the export failed; the log says why"), (ValueError("a box is wrong"), "a box is wrong")],
)
def test_a_job_that_fails(jobs, raised, message):
    def work(_):
        raise raised

    job = jobs.start(work)
    assert (wait(job), job.message) == ("failed", message)
    assert wait(jobs.start(lambda _: Result(b"1", "a", "b"))) == "done"


def test_too_many_jobs_and_old_ones(jobs, monkeypatch):
    go = threading.Event()

    def work(_):
        go.wait(10)
        return Result(b"1", "a", "b")

    waiting = [jobs.start(work) for _ in range(jobs_module.MOST_UNFINISHED)]
    with pytest.raises(Problem) as raised:
        jobs.start(work)
    assert (raised.value.status, raised.value.headers()) == (503, {"Retry-After": "5"})
    go.set()
    for job in waiting:
        wait(job)
    monkeypatch.setattr(jobs_module, "MOST", 12)
    for number in range(8):
        wait(jobs.start(work))
        assert len(jobs._jobs) == min(12, 9 + number)
    assert waiting[0].key not in jobs._jobs
    assert jobs.get(waiting[-1].key)


def test_jobs_over_http(client, monkeypatch):
    for body in ({"format": "csv"}, {"search": "a", "set": "b", "format": "csv"}, {"set": "a", "format": "doc"}):
        error(client.post("/api/exports", json=body), 422, "invalid")
    error(client.post("/api/exports", json={"set": "0" * 16, "format": "csv"}), 404, "not_found")
    for call in (client.get, client.delete):
        error(call("/api/jobs/nothing"), 404, "not_found")
    error(client.get("/api/jobs/nothing/result"), 404, "not_found")
    go = threading.Event()
    monkeypatch.setattr("fastreid.app.service.export_set", lambda *_: go.wait(10))
    name = client.post("/api/sets", json={"name": "a"}).json()["id"]
    job = client.post("/api/exports", json={"set": name, "format": "csv"}).json()["job"]
    assert "running" in error(client.get(f"/api/jobs/{job}/result"), 409, "not_done")
    client.delete(f"/api/jobs/{job}")
    go.set()
    for _ in range(500):
        if client.get(f"/api/jobs/{job}").json()["state"] != "running":
            break
        threading.Event().wait(0.01)
    assert client.get(f"/api/jobs/{job}").json()["state"] == "cancelled"
    assert "cancelled" in error(client.get(f"/api/jobs/{job}/result"), 409, "not_done")
