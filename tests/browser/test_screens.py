"""The page on a phone, in the dark, with the keyboard alone, and how well its text can be read."""

from pathlib import Path

import pytest

from tests.browser.walk import Walk, of_patent

CHECKS = Path(__file__).with_name("checks.js").read_text(encoding="utf-8").strip().rstrip(";")
FAINT, NAMELESS, WIDER = (f"() => {CHECKS}.{name}()" for name in ("faint", "nameless", "wider"))


@pytest.fixture
def own(drawings):
    return of_patent(drawings, 4)[0]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_can_be_read_and_everything_has_a_name(visit, own, dark):
    walk = visit(dark=dark)
    walk.page.wait_for_selector(".sample img")
    shade = "dark" if dark else "light"
    for state in ("start", "results", "nothing", "compare", "sets", "help"):
        if state == "results":
            walk.upload(own["path"])
        elif state == "nothing":
            with walk.searched():
                walk.page.fill("#title-words", "zebra")
        elif state == "compare":
            with walk.searched():
                walk.page.fill("#title-words", "")
            walk.page.click(".card .sheet >> nth=1")
            walk.page.wait_for_selector(".pane.result .picture canvas")
        elif state in ("sets", "help"):
            walk.page.keyboard.press("Escape")
            walk.page.keyboard.press("b" if state == "sets" else "?")
        walk.page.wait_for_timeout(350)
        assert walk.page.evaluate(FAINT) == [], state
        assert walk.page.evaluate(NAMELESS) == [], state
        walk.shot(f"{shade}-{state}")


def test_the_switch_of_appearance_is_remembered(visit):
    walk = visit()
    colour = "getComputedStyle(document.body).backgroundColor"
    light = walk.page.evaluate(colour)
    walk.page.click("[aria-label='Light or dark']")
    dark = walk.page.evaluate(colour)
    assert light != dark
    walk.page.reload()
    assert walk.page.evaluate(colour) == dark


def test_a_search_with_the_keyboard_alone(visit, own, clean):
    walk = visit()
    walk.page.wait_for_selector(".sample")
    walk.page.keyboard.press("/")
    walk.page.keyboard.type(own["patent"])
    walk.page.keyboard.press("Enter")
    walk.until("document.activeElement.className === 'pick'")
    with walk.searched():
        walk.page.keyboard.press("Enter")
    walk.page.keyboard.press("r")
    assert walk.page.evaluate("document.activeElement.closest('.card').dataset.place") == "0"
    columns = walk.page.evaluate(
        "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
    )
    walk.page.keyboard.press("ArrowDown")
    walk.page.keyboard.press("ArrowRight")
    assert walk.page.evaluate("document.activeElement.closest('.card').dataset.place") == str(columns + 1)
    walk.page.keyboard.press("m")
    walk.page.wait_for_selector(".badge >> text=1")
    walk.page.keyboard.press("Enter")
    walk.page.wait_for_selector("dialog.compare[open]")
    walk.page.keyboard.press("ArrowLeft")
    assert f"{columns + 1} of 35" in walk.text(".compare .place")
    walk.page.keyboard.press("Escape")
    walk.page.keyboard.press("d")
    walk.page.keyboard.type("01012019")
    walk.page.keyboard.press("Tab")
    walk.page.wait_for_selector(".condition-chips .chip")
    walk.page.keyboard.press("Escape")  # out of the field
    walk.page.keyboard.press("?")
    assert "Keyboard" in walk.text("dialog[open] h2")
    walk.page.keyboard.press("Escape")
    walk.settle()
    walk.page.keyboard.press("s")
    walk.page.keyboard.type("by keyboard")
    walk.page.keyboard.press("Enter")
    walk.page.wait_for_selector(".toast >> text=is saved")
    assert [each["name"] for each in walk.server.call("GET", "/api/searches")] == ["by keyboard"]


def test_focus_is_seen_and_goes_in_order(visit):
    walk = visit()
    walk.page.wait_for_selector(".sample")
    walk.page.evaluate("document.activeElement.blur()")
    walk.page.keyboard.press("Tab")
    assert walk.text(":focus") == "Skip to the results"
    names = []
    for _ in range(12):
        walk.page.keyboard.press("Tab")
        names.append(
            walk.page.evaluate(
                "document.activeElement.id || document.activeElement.textContent || document.activeElement.ariaLabel"
            )
        )
        outlined = walk.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        assert outlined or names[-1] == "before"  # the parts of a date show where they are themselves
    assert names.index("before") < names.index("drop-zone") < names.index("known")


def swipe(walk, selector, distance):
    """A finger that wipes over an element, to the right for a positive distance."""
    left, top, width, height = walk.place(selector)
    session = walk.page.context.new_cdp_session(walk.page)
    x, y = left + width / 2 - distance / 2, top + height / 2
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in (1, 2, 3, 4, 5, 5):  # it rests at the end: no fling, which the next tap would only stop
        walk.page.wait_for_timeout(30 if step < 5 else 60)
        place = {"x": x + distance * step / 5, "y": y}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [place]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


def test_a_phone(visit, own, clean):
    walk = visit(width=390, height=844, touch=True)
    walk.page.wait_for_selector(".sample img")
    assert walk.page.evaluate(WIDER) == 0
    walk.shot("phone-start")
    assert walk.text(".start .lead").startswith("A drawing is compared with 181 figures")
    walk.upload(own["path"])
    assert walk.page.evaluate(WIDER) == 0
    walk.shot("phone-query")

    left, top, width, height = walk.place(".stage-sheet")
    assert top + height < 844
    swipe(walk, ".handle.se", 0)  # a touch that moves nothing changes nothing
    session = walk.page.context.new_cdp_session(walk.page)
    corner = (left + width - 8, top + height - 8)
    middle = (left + width / 2, top + height / 2)
    moves = [
        ("touchStart", [corner]),
        ("touchMove", [(corner[0] - 40, corner[1] - 40)]),
        *[("touchMove", [middle])] * 2,
    ]
    for kind, points in moves:
        places = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
        walk.page.wait_for_timeout(60)
    with walk.searched():
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    box = walk.requests[-1]["query"][0]["box"]
    assert box[:2] == [0, 0]
    assert box[2:] == pytest.approx([128 + 8, 128 + 8], abs=12)

    walk.page.evaluate("document.querySelector('.fold').scrollIntoView({block: 'center'})")
    assert not walk.page.locator(".filters").is_visible()
    walk.page.tap(".fold")
    walk.page.locator("[data-key='view-front']").scroll_into_view_if_needed()
    with walk.searched():
        walk.page.locator("[data-key='view-front']").evaluate("(each) => each.click()")
    walk.shot("phone-filters")
    walk.page.tap(".fold")
    walk.page.evaluate("scrollTo(0, 0)")
    walk.page.wait_for_selector(".jump:not(.up)")
    walk.page.tap(".jump")
    walk.until("document.querySelector('.jump').classList.contains('up')")
    walk.page.wait_for_timeout(500)
    assert walk.page.evaluate(WIDER) == 0
    walk.shot("phone-results")
    walk.page.tap(".card >> nth=0 >> .mark-button")
    walk.page.wait_for_selector(".card.marked")
    assert walk.page.get_by_role("button", name="Record sets, 1 marked", exact=True).is_visible()
    walk.page.tap(".card .sheet >> nth=0")
    walk.page.wait_for_selector(".pane.result .picture canvas")
    assert walk.page.evaluate(WIDER) == 0
    walk.shot("phone-compare")
    swipe(walk, ".pane.result .viewport", -160)
    walk.page.wait_for_selector(".place >> text=2 of")
    swipe(walk, ".pane.result .viewport", 160)
    walk.page.wait_for_selector(".place >> text=1 of")
    walk.page.tap("[aria-label='Close (Esc)'] >> visible=true")
    walk.until("!document.querySelector('dialog[open]')")


def test_nothing_is_wider_than_the_window(visit, own):
    walk = visit()
    walk.like(own["figure_id"])
    for compared in (False, True):
        if compared:
            walk.page.click(".card .sheet >> nth=0")
            walk.page.wait_for_selector(".pane.result .picture canvas")
        for width in (390, 600, 860, 1000, 1280, 1800):
            walk.page.set_viewport_size({"width": width, "height": 800})
            assert walk.page.evaluate(WIDER) <= 0, width
            assert walk.page.evaluate("document.querySelector('.compare').scrollWidth - innerWidth") <= 0, width


def test_scroll_bars_that_take_room_cover_nothing(launch, server, own):
    other = launch(ignore_default_args=["--hide-scrollbars"])
    try:
        walk = Walk(other.new_page(viewport={"width": 390, "height": 844}), server, "scroll bars")
        walk.page.goto(server.url)
        walk.like(own["figure_id"])
        room = walk.page.evaluate("document.documentElement.clientWidth")
        assert room < 390
        for open_it, panel in (("[title='Record sets']", ".drawer[open]"), (".card .sheet", ".compare[open]")):
            walk.page.click(open_it)
            walk.page.wait_for_selector(panel)
            walk.page.wait_for_timeout(300)
            left, _, width, _ = walk.place(panel)
            assert (left, width) == (0, room)
            walk.shot(f"scroll-bars{panel.partition('[')[0]}")
            walk.page.keyboard.press("Escape")
            walk.until("!document.querySelector('dialog[open]')")
    finally:
        other.close()


def test_reduced_motion(visit, own):
    walk = visit(reduced_motion="reduce")
    walk.like(own["figure_id"])
    assert walk.page.evaluate("getComputedStyle(document.querySelector('.card')).animationDuration") == "0.001s"
