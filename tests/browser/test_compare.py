"""Comparing on the page: two sheets that move together, all views of a design, parts that match, marks."""

import pytest

from tests.browser.walk import of_patent, png

TRANSFORMS = "() => [...document.querySelectorAll('.viewport .picture')].map((each) => each.style.transform)"


@pytest.fixture
def walk(visit, drawings):
    """The first result of a search by two figures, compared."""
    walk = visit()
    walk.upload(*[row["path"] for row in of_patent(drawings, 4)[:2]])
    walk.page.click(".card .sheet >> nth=0")
    walk.page.wait_for_selector(".pane.result .picture canvas")
    return walk


def pressed(walk, group):
    return walk.page.locator(f".strip[aria-label='{group}'] [aria-pressed=true]").get_attribute("data-key")


def test_zoom_and_pan_are_those_of_both_sheets(walk):
    assert walk.page.evaluate(TRANSFORMS) == ["", ""]
    left, top, width, height = walk.place(".pane.query .viewport")
    walk.page.mouse.move(left + width / 4, top + height / 4)
    walk.page.mouse.wheel(0, -400)
    walk.until(f"({TRANSFORMS})()[0] !== ''")
    one, other = walk.page.evaluate(TRANSFORMS)
    assert one == other
    assert "scale(2.4" in one
    walk.drag((left + 200, top + 200), (left + 150, top + 170))
    moved, other = walk.page.evaluate(TRANSFORMS)
    assert moved == other != one
    walk.shot("compare-zoomed")
    walk.page.keyboard.press("+")
    assert "scale(3.6" in walk.page.evaluate(TRANSFORMS)[1]
    walk.page.keyboard.press("Shift+ArrowRight")
    walk.page.keyboard.press("0")
    assert walk.page.evaluate(TRANSFORMS) == ["", ""]
    walk.page.dblclick(".pane.result .viewport")
    assert "scale(3)" in walk.page.evaluate(TRANSFORMS)[0]


def test_views_of_the_design_and_figures_of_the_query(walk, drawings):
    rows = of_patent(drawings, 4)
    views = walk.page.locator(".strip[aria-label='Views of this design'] button")
    walk.page.wait_for_function(
        f"document.querySelectorAll(\".strip[aria-label='Views of this design'] button\").length === {len(rows)}"
    )
    assert sorted(name.get_attribute("aria-label").split(",")[0] for name in views.all()) == sorted(
        f"Figure {row['figure']}" for row in rows
    )
    assert {"A", "B"} <= set("".join(walk.page.locator(".pane.result .letter").all_inner_texts()))
    assert pressed(walk, "Views of this design") == "view-0"
    walk.page.keyboard.press("ArrowDown")
    assert pressed(walk, "Views of this design") == "view-1"
    views.nth(0).click()
    assert pressed(walk, "Views of this design") == "view-0"
    before = pressed(walk, "Query figures")
    walk.page.keyboard.press("q")
    assert pressed(walk, "Query figures") != before
    assert rows[0]["title"] in walk.text(".compare h2")
    assert f"{rows[0]['patent'][:2]} {rows[0]['patent'][2:]}" in walk.text(".title-block")


def test_arrows_go_through_the_results_and_escape_back_to_them(walk):
    shown = walk.patents()
    walk.page.keyboard.press("ArrowRight")
    walk.page.keyboard.press("ArrowRight")
    assert "3 of 36" in walk.text(".compare .place")
    assert walk.text(".title-block dd").replace(" ", "") == shown[2]
    walk.page.keyboard.press("ArrowLeft")
    assert "2 of 36" in walk.text(".compare .place")
    walk.page.keyboard.press("Escape")
    walk.until("document.activeElement.closest('.card')?.dataset.place === '1'")


def test_the_next_page_is_reached_from_the_last_result(walk):
    walk.page.keyboard.press("Escape")
    walk.page.click(".card >> nth=23 >> .sheet")
    with walk.searched():
        walk.page.keyboard.press("ArrowRight")
    walk.page.wait_for_selector(".place >> text=25 of 36")
    with walk.searched():
        walk.page.keyboard.press("ArrowLeft")
    walk.page.wait_for_selector(".place >> text=24 of 36")


def test_matching_parts_are_shown_as_a_picture(walk):
    walk.shot("compare")
    with walk.page.expect_response("**/api/explain") as found:
        walk.page.click("text=Matching parts")
    asked = found.value.request.post_data_json
    assert found.value.headers["content-type"] == "image/png"
    assert asked["variant"] == "as given"
    walk.page.wait_for_selector(".pane.match img")
    assert walk.page.evaluate("document.querySelector('.pane.match img').naturalWidth") >= 400
    assert "1 is the best match" in walk.text(".pane.match .hint")
    assert "Parts of query figure" in walk.page.locator(".pane.match img").get_attribute("alt")
    walk.shot("compare-match")
    with walk.page.expect_response("**/api/explain") as found:
        walk.page.keyboard.press("ArrowRight")
    assert found.value.request.post_data_json["row"] != asked["row"]
    walk.page.keyboard.press("x")
    walk.page.wait_for_selector(".pane.result")


def test_a_crop_is_what_is_compared(visit, drawings):
    figures = of_patent(drawings, 5)[:2]
    walk = visit()
    walk.upload(("page.png", png(*[each["path"] for each in figures], gap=160)))
    walk.page.click(".card .sheet >> nth=0")
    canvas = walk.page.locator(".pane.query .picture canvas")
    canvas.wait_for()
    # as large as the figure with a little margin, not as the page of two
    left, top, right, bottom = walk.requests[-1]["query"][0]["box"]
    margin = 0.08 * max(right - left, bottom - top)
    wanted = [right - left + margin, bottom - top + margin]
    assert canvas.evaluate("(each) => [each.width, each.height]") == pytest.approx(wanted, abs=4)


def test_more_like_this_from_the_comparison(walk):
    figure = walk.requests[-1]
    with walk.searched():
        walk.page.keyboard.press("l")
    assert "figure" in walk.requests[-1]["query"][0]
    assert walk.requests[-1] != figure
    assert not walk.page.locator("dialog[open]").count()


@pytest.mark.parametrize("phone", [False, True], ids=["desk", "phone"])
def test_back_closes_the_comparison_and_not_the_search_beneath(visit, drawings, phone):
    walk = visit(width=390, height=844, touch=True) if phone else visit()
    walk.upload(of_patent(drawings, 4)[0]["path"])
    with walk.searched():  # a step of the search that Back must not take
        walk.page.fill("#before", "2019-12-24")
    shown, asked = walk.patents(), len(walk.requests)
    for close in ("back", "Escape", "back"):
        walk.page.click(".card .sheet >> nth=1")
        walk.page.wait_for_selector("dialog.compare[open]")
        walk.page.go_back() if close == "back" else walk.page.keyboard.press(close)
        walk.until("!document.querySelector('dialog[open]') && !history.state.over")
        walk.until("document.activeElement.closest('.card')?.dataset.place === '1'")
    walk.page.wait_for_timeout(300)
    assert len(walk.requests) == asked
    assert walk.patents() == shown
    assert walk.page.input_value("#before") == "2019-12-24"
    with walk.searched():  # the next one does, with no entry left over in between
        walk.page.go_back()
    assert walk.requests[-1]["filter"] == {}


def test_back_after_pages_were_turned_while_comparing(walk):
    walk.page.keyboard.press("Escape")
    walk.page.click(".card >> nth=23 >> .sheet")
    with walk.searched():
        walk.page.keyboard.press("ArrowRight")
    walk.page.wait_for_selector(".place >> text=25 of 36")
    second, asked = walk.patents(), len(walk.requests)
    walk.page.go_back()
    walk.until("!document.querySelector('dialog[open]')")
    walk.page.wait_for_timeout(300)
    assert walk.patents() == second
    assert len(walk.requests) == asked
    with walk.searched():
        walk.page.go_back()
    assert "1 – 24 of 36" in walk.text(".pager")


def test_back_from_more_like_this_is_the_search_that_was_compared(walk):
    shown = walk.patents()
    with walk.searched():
        walk.page.keyboard.press("l")
    with walk.searched():
        walk.page.go_back()
    assert walk.patents() == shown
    assert not walk.page.locator("dialog[open]").count()


def similarity(walk):
    return walk.page.locator(".title-block div", has_text="Similarity").locator("dd").inner_text()


def test_the_number_of_the_card_and_that_of_the_figure_are_told_apart(walk, drawings):
    place = 3  # a figure that both parts of the query match best
    result = walk.answers[-1].json()["results"][place]
    card = walk.page.locator(f".card[data-place='{place}'] .score").text_content()
    walk.page.keyboard.press("Escape")
    walk.page.click(f".card .sheet >> nth={place}")
    walk.page.wait_for_selector(".pane.result .picture canvas")
    first = next(each for each in result["evidence"] if each["figure"]["row"] == result["figure"]["row"])
    assert card == f"{result['score']:.3f}"
    assert similarity(walk) == (
        f"query {'AB'[first['query']]} with this figure {first['score']:.3f} · design {card}, the mean over the query"
    )
    walk.shot("compare-similarity")
    both = {each["query"]: each for each in result["evidence"] if each["figure"]["row"] == result["figure"]["row"]}
    assert set(both) == {0, 1}  # the figure is the best one for each part
    walk.page.keyboard.press("q")
    assert similarity(walk).startswith(f"query B with this figure {both[1]['score']:.3f} · design {card}")


def test_one_query_figure_has_one_number(visit, drawings):
    walk = visit()
    answer = walk.upload(of_patent(drawings, 4)[0]["path"])
    walk.page.click(".card .sheet >> nth=2")
    walk.page.wait_for_selector(".pane.result .picture canvas")
    card = walk.page.locator(".card[data-place='2'] .score").text_content()
    assert similarity(walk) == card == f"{answer['results'][2]['score']:.3f}"
    walk.page.keyboard.press("ArrowDown")  # another view of it
    assert similarity(walk).endswith(f"design {card}")
