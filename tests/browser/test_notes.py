"""Notes on marked figures: what was typed is kept, however the field is left."""

import time

import pytest

from tests.browser.walk import of_patent

AREA = "dialog[open] [name=note]"


@pytest.fixture
def walk(visit, drawings, clean):
    """The first result of a search, compared; nothing is marked."""
    walk = visit()
    walk.like(of_patent(drawings, 4)[0]["figure_id"])
    walk.page.click(".card .sheet >> nth=0")
    walk.page.wait_for_selector(".pane.result .picture canvas")
    return walk


def kept(walk):
    """{patent: note} as the service has them."""
    return {each["patent"]: each["note"] for found in walk.server.call("GET", "/api/sets") for each in found["items"]}


def wait_for(walk, expected):
    end = time.monotonic() + 10
    while kept(walk) != expected and time.monotonic() < end:
        walk.page.wait_for_timeout(50)
    assert kept(walk) == expected


def closed(walk):
    walk.until(f"!document.querySelector('{AREA}')")


def test_a_note_is_kept_however_its_box_is_closed(walk):
    patent = walk.patents()[0]
    walk.page.keyboard.press("m")
    walk.page.wait_for_selector(".mark-text[aria-pressed=true]")
    ways = {
        "by Escape": lambda: walk.page.keyboard.press("Escape"),
        "by a click outside": lambda: walk.page.mouse.click(640, 60),
        "by Ctrl Enter": lambda: walk.page.keyboard.press("Control+Enter"),
    }
    before = ""
    for text, close in ways.items():
        walk.page.keyboard.press("n")
        walk.page.wait_for_selector(AREA)
        assert walk.page.input_value(AREA) == before
        walk.page.fill(AREA, text)
        close()
        closed(walk)
        wait_for(walk, {patent: text})
        before = text
    walk.page.keyboard.press("n")
    walk.page.fill(AREA, "not this")
    walk.page.click("dialog[open] >> text=Cancel")
    closed(walk)
    wait_for(walk, {patent: before})
    walk.page.keyboard.press("Escape")
    walk.until("!document.querySelector('dialog[open]')")


def test_a_note_marks_the_figure_and_takes_what_is_typed_at_once(walk):
    patent, searches = walk.patents()[0], len(walk.requests)
    walk.page.keyboard.press("n")
    walk.page.keyboard.type("legs like ours")
    assert walk.page.input_value(AREA) == "legs like ours"
    wait_for(walk, {patent: "legs like ours"})  # after a pause, the box still open
    walk.page.wait_for_selector(".mark-text[aria-pressed=true]")
    walk.shot("note")
    walk.page.keyboard.press("Escape")
    closed(walk)
    assert len(walk.requests) == searches
    walk.page.keyboard.press("n")
    assert walk.page.input_value(AREA) == "legs like ours"


def test_a_note_that_the_service_does_not_take_is_not_lost(walk):
    walk.refused = {500}
    patent = walk.patents()[0]
    walk.page.keyboard.press("m")
    walk.page.wait_for_selector(".mark-text[aria-pressed=true]")
    walk.page.route("**/items", lambda route: route.fulfill(status=500, json={"error": {"message": "it broke"}}))
    walk.page.keyboard.press("n")
    walk.page.keyboard.type("a long thought")
    walk.page.keyboard.press("Escape")
    walk.page.wait_for_selector(".compare .toast >> text=A note is not kept yet: “a long thought”. It broke.")
    walk.page.keyboard.press("n")
    assert walk.page.input_value(AREA) == "a long thought"
    walk.page.keyboard.press("Escape")
    walk.page.unroute("**/items")
    walk.page.click(".toast >> text=Try again >> nth=-1")
    wait_for(walk, {patent: "a long thought"})


def test_a_note_survives_a_reload(walk):
    patent = walk.patents()[0]
    walk.page.keyboard.press("n")
    walk.page.wait_for_selector(".mark-text[aria-pressed=true]")
    walk.page.keyboard.type("in the box")
    walk.page.reload()
    wait_for(walk, {patent: "in the box"})
    walk.page.wait_for_selector(".card.marked")
    walk.page.keyboard.press("b")
    walk.page.fill(".set-items textarea", "in the drawer")
    walk.page.reload()
    wait_for(walk, {patent: "in the drawer"})
    walk.page.wait_for_selector(".card.marked")
    walk.page.keyboard.press("b")
    walk.page.focus(".set-items textarea")
    walk.page.keyboard.press("Control+End")
    walk.page.keyboard.type(", a")
    wait_for(walk, {patent: "in the drawer, a"})
    walk.page.keyboard.type("nd on")  # the field was not drawn anew
    assert walk.page.input_value(".set-items textarea") == "in the drawer, and on"
    walk.page.click(".set-items [aria-label^='Take']")
    wait_for(walk, {})
    walk.page.click(".toast >> text=Undo")
    wait_for(walk, {patent: "in the drawer, and on"})
