"""The query on the page: uploads, crops, pages of several figures, variants, known designs."""

import io

import pytest
from PIL import Image

from tests.browser.walk import of_patent, png


@pytest.fixture
def chair(drawings):
    """Figures of one patent."""
    return of_patent(drawings, 4)


def test_start_says_what_to_do_and_offers_figures_of_the_index(visit):
    walk = visit()
    walk.page.wait_for_selector(".sample img")
    assert "Drop a drawing here" in walk.text(".start")
    assert "36 designs" in walk.text(".start")
    assert walk.text(".status").startswith("181 figures of 36 designs")
    assert "exact search" in walk.text(".status")
    walk.shot("start")
    with walk.searched():
        walk.page.click(".sample >> nth=0")
    assert "more like this" not in walk.text(".summary")
    assert walk.page.locator(".card").count() > 5


def test_a_chosen_file_finds_its_own_design_first(visit, chair):
    walk = visit()
    answer = walk.upload(chair[0]["path"])
    assert walk.patents() == [each["patent"] for each in answer["results"]]
    assert walk.patents()[0] == chair[0]["patent"]
    assert walk.text(".card .score") == "1.000"
    assert "Searched 181 figures of 36 designs, exactly" in walk.text(".summary")
    first = answer["results"][0]["figure"]
    name = walk.page.locator(".card .sheet").first.get_attribute("aria-label")
    patent = f"{first['patent'][:2]} {first['patent'][2:]}"
    assert f"Figure {first['figure']}, {first['view']} view, {patent}, {first['title']}" in name
    walk.shot("results")


def test_a_drawing_can_be_dropped_and_pasted(visit, chair):
    walk = visit()
    content = png(chair[0]["path"])
    walk.send("dragenter", "chair.png", "image/png", content)
    assert walk.page.locator(".drop-veil").is_visible()
    walk.shot("drop")
    with walk.searched() as dropped:
        walk.send("drop", "chair.png", "image/png", content)
    assert not walk.page.locator(".drop-veil").is_visible()
    assert dropped[0]["results"][0]["patent"] == chair[0]["patent"]
    with walk.searched() as pasted:
        walk.send("paste", "image.png", "image/png", png(chair[1]["path"]))
    assert walk.page.locator(".thumb canvas").count() == 2
    assert [each["query"] for each in pasted[0]["results"][0]["evidence"]] == [0, 1]
    walk.send("paste", content=b"some words")
    assert "No image there" in walk.text(".notice")
    assert walk.page.locator(".thumb canvas").count() == 2


def test_a_crop_box_by_mouse_changes_what_is_found(visit, drawings):
    one, other = of_patent(drawings, 2)[0], of_patent(drawings, 7)[0]
    walk = visit()
    # nearer to each other than figures of a page are
    content = png(Image.open(one["path"]).convert("L").crop((30, 30, 226, 226)), Image.open(other["path"]), gap=4)
    walk.upload(("two.png", content))
    if walk.page.locator(".picker").is_visible():
        with walk.searched():
            walk.page.click("text=Whole page")
    left, top, width, height = walk.place(".stage-sheet canvas")
    with walk.searched() as answer:
        walk.drag((left + width * 0.52, top + 3), (left + width - 3, top + height - 3))
    box, size = walk.requests[-1]["query"][0]["box"], Image.open(io.BytesIO(content)).size
    assert box == pytest.approx([0.52 * size[0], 0, size[0], size[1]], abs=0.03 * size[0])
    assert answer[0]["results"][0]["patent"] == other["patent"]
    walk.shot("crop")

    handle = walk.place(".handle.w")
    with walk.searched():  # to the left, over all of the image
        walk.drag((handle[0] + 10, handle[1] + 10), (left - 40, handle[1] + 10))
    assert walk.requests[-1]["query"][0]["box"][0] == 0
    with walk.searched():
        walk.page.click("text=Whole image")
    assert walk.requests[-1]["query"][0]["box"] is None


def test_a_crop_box_by_keyboard(visit, chair):
    walk = visit()
    walk.upload(chair[0]["path"])
    walk.page.focus(".crop")
    with walk.searched():
        walk.page.keyboard.press("ArrowRight")  # a box around everything shrinks
    assert walk.requests[-1]["query"][0]["box"] == [5, 0, 256, 256]
    with walk.searched():
        walk.page.keyboard.press("Shift+ArrowUp")
    assert walk.requests[-1]["query"][0]["box"] == [5, 0, 256, 251]
    with walk.searched():
        walk.page.keyboard.press("ArrowLeft")
    assert walk.requests[-1]["query"][0]["box"] == [0, 0, 251, 251]
    assert "0, 0 to 251, 251" in walk.page.locator(".crop").get_attribute("aria-label")
    with walk.searched():
        walk.page.keyboard.press("Delete")
    assert walk.requests[-1]["query"][0]["box"] is None


def test_a_crop_follows_the_drawing_when_it_is_turned_and_mirrored(visit, chair):
    walk = visit()
    walk.upload(chair[0]["path"])
    walk.page.focus(".crop")
    with walk.searched():
        walk.page.keyboard.press("ArrowRight")  # 5 pixels off the left side
    with walk.searched():
        walk.page.click("[aria-label='Rotate right']")
    assert walk.requests[-1]["query"][0] | {"upload": 0} == {
        "upload": 0,
        "box": [5, 0, 256, 256],
        "rotate": 90,
        "mirror": False,
    }
    assert "0, 5 to 256, 256" in walk.page.locator(".crop").get_attribute("aria-label")
    with walk.searched():
        walk.page.click("[aria-label='Mirror']")
    assert walk.requests[-1]["query"][0]["mirror"] is True
    walk.page.focus(".crop")
    with walk.searched():
        walk.page.keyboard.press("ArrowUp")  # what is up as it is seen is left in the image
    assert walk.requests[-1]["query"][0]["box"] == [0, 0, 251, 256]


def test_figures_of_a_page_are_chosen(visit, drawings):
    figures = of_patent(drawings, 5)[:2] + of_patent(drawings, 9)[:2]
    walk = visit()
    answer = walk.upload(("page.png", png(*[each["path"] for each in figures], gap=160, columns=2)))
    assert len(walk.requests[-1]["query"]) == 4
    assert "4 figures on this page" in walk.text(".picker")
    assert [each["query"] for each in answer["results"][0]["evidence"]] == [0, 1, 2, 3]
    walk.shot("page-of-figures")
    for place in (2, 3):  # those of the other patent
        with walk.searched() as answer:
            walk.page.click(f".picker [data-key='region-{place}']")
    assert len(walk.requests[-1]["query"]) == 2
    assert figures[0]["patent"] in [each["patent"] for each in answer[0]["results"][:6]]
    assert walk.text(".card .matched") in ("A", "B", "AB")
    with walk.searched():
        walk.page.click("text=Whole page")
    assert [each["box"] for each in walk.requests[-1]["query"]] == [None]


def test_a_turned_drawing_is_found_by_its_variants(visit, chair):
    walk = visit()
    turned = Image.open(chair[0]["path"]).convert("L").transpose(Image.Transpose.ROTATE_90)
    walk.upload(("turned.png", png(turned, gap=0)))
    assert walk.requests[-1]["variants"] == {"rotations": False, "mirror": False}
    with walk.searched() as answer:
        walk.page.check("text=rotated")
    assert walk.requests[-1]["variants"] == {"rotations": True, "mirror": False}
    assert answer[0]["results"][0]["patent"] == chair[0]["patent"]
    assert walk.text(".card .matched") == "rotated 90"
    with walk.searched():
        walk.page.check("text=mirrored")
    assert walk.requests[-1]["variants"] == {"rotations": True, "mirror": True}


def test_a_design_of_the_index_is_a_query(visit, chair):
    walk = visit()
    patent = chair[0]["patent"]
    walk.page.fill("#known", f"{patent[:2]} {patent[2:].lower()}")
    walk.page.press("#known", "Enter")
    walk.page.wait_for_selector(".known .pick")
    assert walk.page.locator(".known .pick").count() == len(chair)
    with walk.searched():
        walk.page.click(".known .pick >> nth=1")
    assert walk.requests[-1]["query"] == [{"figure": chair[1]["figure_id"], "box": None, "rotate": 0, "mirror": False}]
    assert patent not in walk.patents()  # its own patent is no answer
    walk.refused = {404}
    walk.page.fill("#known", "USD9999999")
    walk.page.press("#known", "Enter")
    walk.page.wait_for_selector(".known .problem")
    assert "No design or figure “USD9999999”" in walk.text(".known .problem")


def test_more_like_a_result_and_back(visit, chair):
    walk = visit()
    answer = walk.upload(chair[0]["path"])
    walk.page.hover(".card >> nth=2")
    with walk.searched():
        walk.page.click(".card >> nth=2 >> .like-button")
    assert walk.requests[-1]["query"][0]["figure"] == answer["results"][2]["figure"]["figure_id"]
    assert "like=" in walk.page.url
    with walk.searched():
        walk.page.go_back()
    assert "upload" in walk.requests[-1]["query"][0]
    assert walk.patents()[0] == chair[0]["patent"]


def test_eight_figures_are_all(visit, drawings):
    walk = visit()
    walk.upload(*[row["path"] for row in drawings[:7]])
    with walk.searched():
        walk.page.set_input_files("#file", [row["path"] for row in drawings[7:9]])
    walk.page.wait_for_selector(".notice >> text=The query is full")
    assert walk.page.locator(".thumb canvas").count() == 8
    assert not walk.page.locator(".thumb.add").is_visible()
    with walk.searched():
        walk.page.click("[aria-label='Remove query figure C']")
    assert len(walk.requests[-1]["query"]) == 7
    walk.page.click("text=Remove all")
    walk.page.wait_for_selector(".start")
