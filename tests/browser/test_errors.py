"""What the page says, and does, when something is wrong."""

import io
import re

import pytest
from PIL import Image

from tests.browser.walk import of_patent, png

DROP_OF_SIZE = """(size) => {
  const carried = new DataTransfer();
  carried.items.add(new File([new Uint8Array(size)], "big.png", {type: "image/png"}));
  document.body.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true, cancelable: true}));
}"""


@pytest.fixture
def own(drawings):
    return of_patent(drawings, 4)[0]


def test_a_file_that_is_no_image_is_refused_and_the_rest_goes_on(visit, own):
    walk = visit()
    walk.refused = {415}
    walk.page.set_input_files("#file", [{"name": "notes.png", "mimeType": "image/png", "buffer": b"some text"}])
    walk.page.wait_for_selector(".notice >> text=Not an image")
    assert "notes.png" in walk.text(".notice")
    assert "TIFF" in walk.text(".notice")
    walk.shot("no-image")
    answer = walk.upload(own["path"])
    assert answer["results"][0]["patent"] == own["patent"]
    assert not walk.page.locator(".notice").is_visible()


def file(name, content):
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def test_each_file_that_cannot_be_used_is_named_where_it_is_seen(visit, own):
    walk = visit()
    walk.refused = {415}
    walk.upload(own["path"])  # a drawing fills the panel
    walk.page.set_input_files(
        "#file",
        [file("notes.txt", b"some text"), file("broken.png", png(own["path"])[:300]), file("a.pdf", b"%PDF-1.4")],
    )
    walk.page.wait_for_selector(".notice >> text=a.pdf")
    refused = walk.page.locator(".notice p").all_inner_texts()
    assert [name in text for name, text in zip(("notes.txt", "broken.png", "a.pdf"), refused, strict=True)] == [
        True
    ] * 3
    assert refused[0].count("PNG") == 1  # the types are listed once
    assert "pdftoppm -r 200 -png file.pdf page" in refused[2]
    _, top, _, height = walk.place(".notice")
    assert top >= 52
    assert top + height <= 800 - 30
    walk.shot("files-refused")
    walk.like(own["figure_id"])
    assert not walk.page.locator(".notice").is_visible()


def test_more_pixels_than_can_be_read_are_told_with_one_limit(visit):
    walk = visit()
    walk.refused = {413}
    content = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(content, "PNG")
    walk.page.set_input_files("#file", [file("huge.png", content.getvalue())])
    walk.page.wait_for_selector(".notice >> text=huge.png")
    told = walk.text(".notice p")
    assert "more pixels than the 64,000,000 that are allowed" in told
    assert len(re.findall(r"\d[\d,]*", told)) == 1
    assert "bomb" not in told


def test_drawings_of_the_next_case_are_not_mixed_in_unseen(visit, drawings, own):
    walk = visit()
    other = of_patent(drawings, 7)[0]
    walk.send("drop", "chair.png", "image/png", png(own["path"]))
    walk.page.wait_for_selector(".card .score")
    assert not walk.page.locator(".toast").count()  # there was none
    with walk.searched():
        walk.send("drop", "next.png", "image/png", png(other["path"]))
    walk.page.wait_for_selector(".toast >> text=Added to the drawing already there.")
    assert len(walk.requests[-1]["query"]) == 2
    walk.shot("added")
    with walk.searched() as answer:
        walk.page.click(".toast >> text=Start anew with these")
    assert len(walk.requests[-1]["query"]) == 1
    assert answer[0]["results"][0]["patent"] == other["patent"]
    assert walk.page.locator(".thumb canvas").count() == 1
    with walk.searched():
        walk.page.set_input_files("#file", [row["path"] for row in drawings[:7]])
        walk.page.wait_for_selector(".toast >> text=Added to")
    walk.send("drop", "chair.png", "image/png", png(own["path"]))  # the query is full
    with walk.searched() as answer:
        walk.page.click(".notice >> text=Start anew with these")
    assert len(walk.requests[-1]["query"]) == 1
    assert answer[0]["results"][0]["patent"] == own["patent"]


def test_what_is_too_large_is_refused(visit):
    walk = visit()
    walk.refused = {413}
    content = io.BytesIO()
    Image.new("1", (9000, 9000)).save(content, "PNG")  # a small file of 81 megapixels
    walk.page.set_input_files("#file", [{"name": "bomb.png", "mimeType": "image/png", "buffer": content.getvalue()}])
    walk.page.wait_for_selector(".notice >> text=Too large")
    assert "bomb.png" in walk.text(".notice")
    walk.page.click(".notice >> text=Dismiss")
    limit = walk.server.call("GET", "/api/status")["limits"]["upload_bytes"]
    walk.page.route("**/api/uploads", lambda route: pytest.fail("a file beyond the limit was sent"))
    walk.page.evaluate(DROP_OF_SIZE, limit + 1)
    walk.page.wait_for_selector(".notice >> text=big.png")
    assert "at most" in walk.text(".notice")


def test_a_busy_service_is_asked_again(visit, own):
    walk = visit()
    walk.refused = {503}
    times = []

    def busy(route):
        times.append(1)
        if len(times) > 1:
            return route.continue_()
        return route.fulfill(status=503, json={"error": {"code": "busy", "message": "the server is busy"}})

    walk.page.route("**/api/search", busy)
    walk.page.set_input_files("#file", own["path"])
    walk.page.wait_for_selector(".summary >> text=busy")
    walk.page.wait_for_selector(".card .score")
    assert len(times) == 2
    assert walk.patents()[0] == own["patent"]


def test_a_failure_says_so_and_is_tried_again(visit, own):
    walk = visit()
    walk.refused = {500}
    answer = {"error": {"code": "internal", "message": "something went wrong in the service"}}
    walk.page.route("**/api/search", lambda route: route.fulfill(status=500, json=answer), times=1)
    walk.page.set_input_files("#file", own["path"])
    walk.page.wait_for_selector(".problem-box")
    assert "Something went wrong in the service." in walk.text(".problem-box")
    with walk.searched():
        walk.page.click("text=Try again")
    assert walk.patents()[0] == own["patent"]


def test_a_service_that_wants_a_token(visit, serve, own):
    server = serve("--no-model", environment={"FASTREID_TOKEN": "correct horse battery"})
    walk = visit(server=server)
    walk.refused = {401}
    walk.page.wait_for_selector("#token")
    walk.page.fill("#token", "wrong")
    walk.page.keyboard.press("Enter")
    walk.until("document.querySelector('dialog .problem').textContent !== ''")
    walk.shot("sign-in")
    walk.page.fill("#token", "correct horse battery")
    walk.page.keyboard.press("Enter")
    walk.page.wait_for_selector(".sample")
    assert walk.like(own["figure_id"])["results"]
    assert "no model" in walk.text(".status")


def test_titles_are_text_never_markup(visit, own):
    walk = visit()
    title = "<img src=x onerror='document.title=1'><b>Chair</b>"

    def hostile(route):
        answer = route.fetch().json()
        for each in answer["results"]:
            for figure in [each["figure"], *(other["figure"] for other in each["evidence"])]:
                figure["title"] = figure["caption"] = title
        route.fulfill(json=answer)

    walk.page.route("**/api/search", hostile)
    walk.page.set_input_files("#file", own["path"])
    walk.page.wait_for_selector(".card h3")
    assert walk.text(".card h3") == title
    walk.page.click(".card .sheet >> nth=0")
    walk.page.wait_for_selector(".pane.result .picture canvas")
    assert walk.text(".compare h2") == title
    assert walk.page.title() == "Design search"


def test_a_blank_drawing_is_told(visit):
    walk = visit()
    walk.refused = {400, 422}
    walk.page.set_input_files(
        "#file", [{"name": "blank.png", "mimeType": "image/png", "buffer": png(Image.new("L", (200, 200), 255))}]
    )
    walk.page.wait_for_selector(".problem-box")
    assert "Query figure A is blank" in walk.text(".problem-box")
    assert not walk.page.locator(".problem-box >> text=Try again").count()
    walk.page.click("text=Remove it")
    walk.page.wait_for_selector(".start")
