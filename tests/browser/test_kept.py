"""What is kept on the service: record sets with notes, saved searches, replays, exports."""

import csv
import json
import re
import shutil

import pytest

from tests.browser.walk import of_patent


@pytest.fixture
def walk(visit, drawings, clean):
    walk = visit()
    walk.upload(of_patent(drawings, 4)[0]["path"])
    return walk


def say(walk, text):
    walk.page.wait_for_selector(f".toast >> text={text}")


def save(walk, name, notes=""):
    walk.page.click("#save-search")
    walk.page.fill("dialog[open] [name=name]", name)
    walk.page.fill("dialog[open] [name=notes]", notes)
    walk.page.click("dialog[open] [type=submit]")
    say(walk, "is saved")


def downloaded(walk, act):
    with walk.page.expect_download() as found:
        act()
    assert found.value.failure() is None
    with open(found.value.path(), "rb") as file:
        return found.value.suggested_filename, file.read()


def test_results_are_marked_with_a_note_and_exported(walk):
    shown = walk.patents()
    walk.page.hover(".card >> nth=1")
    walk.page.click(".card >> nth=1 >> .mark-button")
    say(walk, "Marked designs")
    walk.page.click("text=Add a note")
    walk.page.fill("dialog[open] textarea", "The same back, and 5 legs; <b>look</b>")
    walk.page.click("dialog[open] [type=submit]")
    walk.page.focus(".card .sheet >> nth=1")
    walk.page.keyboard.press("ArrowRight")
    walk.page.keyboard.press("m")
    walk.page.wait_for_selector(".badge >> text=2")
    assert walk.page.locator(".card.marked").count() == 2
    sets = walk.server.call("GET", "/api/sets")
    items = walk.server.call("GET", f"/api/sets/{sets[0]['id']}")["items"]
    assert [(each["patent"], each["note"]) for each in items] == [
        (shown[1], "The same back, and 5 legs; <b>look</b>"),
        (shown[2], ""),
    ]

    walk.page.keyboard.press("b")
    walk.page.wait_for_selector(".set-items li")
    assert walk.page.locator(".set-items textarea").first.input_value() == "The same back, and 5 legs; <b>look</b>"
    walk.shot("record-set")
    walk.page.click("dialog[open] summary >> text=Export")
    name, content = downloaded(walk, lambda: walk.page.click("dialog[open] >> text=CSV table"))
    rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    assert name.endswith(".csv")
    assert [row["patent"] for row in rows] == shown[1:3]
    assert "5 legs" in rows[0]["note"]
    walk.page.keyboard.press("Escape")
    walk.page.focus(".card .sheet >> nth=2")
    walk.page.keyboard.press("m")  # once more takes the mark away
    say(walk, "Taken out")
    walk.page.wait_for_selector(".badge >> text=1")
    assert [each["patent"] for each in walk.server.call("GET", f"/api/sets/{sets[0]['id']}")["items"]] == shown[1:2]


def test_sets_are_made_chosen_renamed_and_deleted(walk):
    for name in ("Chairs", "Tables"):
        walk.page.keyboard.press("b")
        walk.page.click("dialog[open] >> text=New set")
        walk.page.fill("dialog[open] [name=name]", name)
        walk.page.keyboard.press("Enter")
        walk.page.wait_for_selector(f".set-list [aria-pressed=true] >> text={name}")
        walk.page.keyboard.press("Escape")
    walk.page.keyboard.press("b")
    walk.page.click(".set-list >> text=Chairs")
    walk.page.keyboard.press("Escape")
    walk.page.focus(".card .sheet >> nth=0")
    walk.page.keyboard.press("m")
    say(walk, "“Chairs”")
    walk.page.reload()  # the chosen set is remembered
    walk.page.wait_for_selector(".card.marked")
    walk.page.keyboard.press("b")
    walk.page.wait_for_selector(".set-items li")
    walk.page.fill(".set-items textarea", "compare the seat")
    walk.page.keyboard.press("Tab")
    walk.page.wait_for_timeout(200)
    walk.page.click("[data-key=rename]")
    walk.page.fill("dialog[open] [name=name]", "Chairs, old")
    walk.page.keyboard.press("Enter")
    walk.page.wait_for_selector(".set-head >> text=Chairs, old")
    sets = {each["name"]: each["id"] for each in walk.server.call("GET", "/api/sets")}
    assert set(sets) == {"Chairs, old", "Tables"}
    kept = walk.server.call("GET", f"/api/sets/{sets['Chairs, old']}")
    assert [each["note"] for each in kept["items"]] == ["compare the seat"]
    walk.page.click(".set-items [aria-label^='Take']")
    walk.page.wait_for_selector("text=This set is empty")
    walk.page.click(".toast >> text=Undo")
    walk.page.wait_for_selector(".set-items li")
    walk.page.click("[data-key=delete]")
    walk.page.click("dialog[open] .danger")
    walk.page.wait_for_selector(".set-head >> text=Tables")
    assert [each["name"] for each in walk.server.call("GET", "/api/sets")] == ["Tables"]


def test_a_search_is_saved_opened_and_replayed(walk, drawings):
    own = of_patent(drawings, 4)[0]
    with walk.searched():
        walk.page.fill("#before", "2018-12-24")
    walk.page.focus(".crop")
    with walk.searched() as answer:
        walk.page.keyboard.press("ArrowRight")
    shown, asked = walk.patents(), walk.requests[-1]
    save(walk, "Chairs for application 17/123", "first look")
    kept = walk.server.call("GET", "/api/searches")
    assert [each["name"] for each in kept] == ["Chairs for application 17/123"]

    walk.page.reload()
    walk.page.goto(walk.server.url + "/#")
    walk.page.keyboard.press("o")
    walk.page.wait_for_selector(".saved-list li")
    assert "first look" in walk.text(".saved-list li")
    walk.shot("saved-searches")
    walk.page.click("dialog[open] >> text=Replay")
    walk.page.wait_for_selector(".banner.good")
    walk.settle()
    assert "gives the same result" in walk.text(".banner")
    assert walk.patents() == shown
    assert walk.page.input_value("#before") == "2018-12-24"
    walk.shot("replay")

    walk.page.keyboard.press("o")
    with walk.searched() as opened:
        walk.page.click("dialog[open] [data-key^=open]")
    assert [each["patent"] for each in opened[0]["results"]] == [each["patent"] for each in answer[0]["results"]]
    assert walk.requests[-1]["filter"] == asked["filter"]
    assert walk.requests[-1]["query"][0]["box"] == [5, 0, 256, 256]
    walk.page.click(".card .sheet >> nth=0")  # the drawing was kept with it
    walk.page.wait_for_selector(".pane.query .picture canvas")
    assert own["patent"] == walk.patents()[0] or own["date"] >= 20181224


def test_differences_of_a_replay_are_told(walk):
    save(walk, "once more")
    found = {
        "same": False,
        "differences": ["rank 1: A instead of B", "rank 2: score 0.5 instead of 0.6"],
        "recorded_version": 1,
    }

    def other(route):
        answer = route.fetch().json()
        route.fulfill(json={**answer, **found})

    walk.page.route("**/replay", other)
    walk.page.keyboard.press("o")
    walk.page.click("dialog[open] >> text=Replay")
    walk.page.wait_for_selector(".banner.bad")
    assert "2 differences" in walk.text(".banner")
    walk.page.click("text=Show the differences")
    assert walk.page.locator(".banner li").all_inner_texts() == found["differences"]
    with walk.searched():
        walk.page.click("text=Leave the replay")
    assert not walk.page.locator(".banner").count()


def test_a_saved_search_is_renamed_and_deleted(walk):
    save(walk, "first")
    walk.page.click("text=Show saved searches")
    walk.page.click("[aria-label='Name and notes']")
    walk.page.fill("dialog[open] [name=name]", "second")
    walk.page.fill("dialog[open] [name=notes]", "two\nlines")
    walk.page.click("dialog[open] [type=submit]")
    walk.page.wait_for_selector(".saved-list >> text=second")
    assert walk.server.call("GET", "/api/searches")[0]["notes"] == "two\nlines"
    walk.page.click("dialog[open] [aria-label=Delete]")
    walk.page.click("dialog[open] .danger")
    walk.page.wait_for_selector("text=No saved searches yet")
    assert walk.server.call("GET", "/api/searches") == []


@pytest.mark.parametrize(("kind", "entry"), [("csv", "CSV table"), ("json", "JSON record"), ("pdf", "PDF report")])
def test_a_search_is_exported(walk, kind, entry):
    shown = walk.patents()
    walk.page.click(".result-tools summary")
    name, content = downloaded(walk, lambda: walk.page.click(f"text={entry}"))
    assert name.endswith(f".{kind}")
    if kind == "csv":
        rows = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
        assert list(dict.fromkeys(row["patent"] for row in rows)) == shown
    elif kind == "json":
        record = json.loads(content)
        assert [each["patent"] for each in record["results"]] == shown
        assert record["request"]["query"][0]["upload"] == walk.requests[-1]["query"][0]["upload"]
    else:
        assert content.startswith(b"%PDF-")
        assert re.search(rb"%%EOF\s*$", content)
        assert len(content) > 5000
    say(walk, "is ready")


def test_an_export_after_saving_is_that_of_the_saved_search(walk):
    save(walk, "Chairs, 17/123", "first look")
    walk.page.click(".result-tools summary")
    name, content = downloaded(walk, lambda: walk.page.click("text=JSON record"))
    record = json.loads(content)
    assert (name, record["name"], record["notes"]) == ("Chairs-17-123.json", "Chairs, 17/123", "first look")
    walk.page.keyboard.press("s")  # it is not saved twice
    say(walk, "saved already")
    walk.page.keyboard.press("o")
    walk.page.wait_for_selector(".saved-list li")
    assert not walk.page.locator("dialog[open] >> text=Save this one").count()
    walk.page.click("dialog[open] [aria-label=Delete]")
    walk.page.click("dialog[open] .danger")
    walk.page.wait_for_selector("dialog[open] >> text=Save this one")


def test_an_export_shows_its_progress_and_is_cancelled(walk):
    """The job is held back: the page must not wait for a real one that is quick."""
    running = {"state": "running", "done": 5, "total": 24, "message": ""}
    walk.page.route(
        "**/api/jobs/*",
        lambda route: route.fulfill(json=running) if route.request.method == "GET" else route.continue_(),
    )
    walk.page.click(".result-tools summary")
    walk.page.click("text=PDF report")
    walk.until("document.querySelector('.toast progress')?.value === 5")
    walk.shot("export")
    with walk.page.expect_request(lambda each: "/api/jobs/" in each.url and each.method == "DELETE"):
        walk.page.click(".toast >> text=Cancel")
    say(walk, "cancelled")


@pytest.fixture
def damaged(walk):
    """Two saved searches and a set, of which one each is damaged on the disk."""
    state = walk.server.log.parent
    save(walk, "whole")
    with walk.searched():  # what is saved is not saved twice
        walk.page.click("[aria-label='Mirror']")
    save(walk, "broken")
    walk.page.focus(".card .sheet >> nth=0")
    walk.page.keyboard.press("m")
    say(walk, "Marked designs")
    kept = {each["name"]: each["id"] for each in walk.server.call("GET", "/api/searches")}
    spoilt = [state / "searches" / kept["broken"] / "record.json", *(state / "sets").glob("*.json")]
    assert len(spoilt) == 2
    for path in spoilt:
        path.write_bytes(path.read_bytes()[:60])
    yield walk
    for path in spoilt:
        shutil.rmtree(path.parent) if path.name == "record.json" else path.unlink()


def test_what_is_damaged_is_told(damaged):
    walk = damaged
    walk.page.reload()
    walk.page.keyboard.press("o")
    walk.page.wait_for_selector(".saved-list >> text=whole")
    assert "1 saved search is damaged and cannot be shown." in walk.text("dialog[open] .notice")
    assert "The server's log names it" in walk.text("dialog[open] .notice")
    assert "“searches”" in walk.text("dialog[open] .notice")
    walk.shot("damaged-searches")
    walk.page.click("dialog[open] [aria-label=Delete]")
    walk.page.click("dialog[open] .danger")
    walk.until("!document.querySelector('dialog[open] .saved-list')")
    assert walk.page.locator("dialog[open] .notice").is_visible()
    assert not walk.page.locator("text=No saved searches yet").count()
    log = walk.server.log.read_text()
    walk.page.keyboard.press("Escape")
    walk.page.keyboard.press("b")
    walk.page.wait_for_selector("dialog[open] .notice >> text=1 record set is damaged and cannot be shown.")
    assert not walk.page.locator("text=Nothing marked yet").count()
    walk.shot("damaged-sets")
    for path in [*(walk.server.log.parent / "sets").glob("*.json")]:
        assert path.stem in log


def test_lists_that_cannot_be_loaded_are_not_called_empty(visit, serve):
    server = serve("--no-model")
    walk = visit(server=server)
    walk.refused = {0}
    walk.page.wait_for_selector(".sample")
    server.stop()
    for key, empty, told in (
        ("o", "No saved searches yet", "The saved searches cannot be loaded."),
        ("b", "Nothing marked yet", "The record sets cannot be loaded."),
    ):
        walk.page.keyboard.press(key)
        walk.page.wait_for_selector(f"dialog[open] .notice >> text={told}")
        assert "does not answer" in walk.text("dialog[open] .notice")
        walk.shot(f"not-loaded-{key}")
        assert not walk.page.locator(f"dialog[open] >> text={empty}").count()
        walk.page.keyboard.press("Escape")
    server.start()
    walk.page.keyboard.press("o")
    walk.page.wait_for_selector("dialog[open] >> text=No saved searches yet")
    assert not walk.page.locator("dialog[open] .notice").count()
