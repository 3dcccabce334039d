"""What stays of a search when the service has gone away, or has let go of its drawings."""

import pytest

from tests.browser.walk import of_patent


@pytest.fixture
def own(drawings):
    return of_patent(drawings, 4)[0]


def test_an_upload_that_is_gone_is_sent_again(visit, own):
    walk = visit()
    walk.refused = {410, 404}
    walk.upload(own["path"])
    upload = walk.requests[-1]["query"][0]["upload"]
    walk.server.call("DELETE", f"/api/uploads/{upload}")
    with walk.searched() as answer, walk.page.expect_request("**/api/uploads"):
        walk.page.click("[aria-label='Rotate right']")
    assert walk.requests[-1]["query"][0]["upload"] == upload
    assert answer[0]["results"]


def test_an_upload_that_is_gone_for_good_is_told(visit, own):
    walk = visit()
    walk.refused = {410, 404}
    walk.upload(own["path"])
    walk.server.call("DELETE", f"/api/uploads/{walk.requests[-1]['query'][0]['upload']}")
    walk.page.reload()  # the page no longer has the file
    walk.page.wait_for_selector(".problem-box")
    assert "no longer on the server" in walk.text(".problem-box")
    assert "the service was started again, or was given so many drawings since" in walk.text(".problem-box")
    walk.page.click("text=Remove it")
    walk.page.wait_for_selector(".start")


def test_only_the_drawing_that_is_gone_is_removed_or_brought_again(visit, drawings):
    paths = [row["path"] for row in of_patent(drawings, 4)[:2]]
    walk = visit()
    walk.refused = {410, 404}
    walk.upload(*paths)
    one, other = (each["upload"] for each in walk.requests[-1]["query"])
    for act in ("again", "remove"):
        walk.server.call("DELETE", f"/api/uploads/{other}")
        walk.page.reload()
        walk.page.wait_for_selector(".problem-box >> text=Query figure B")
        assert "figure A" not in walk.text(".problem-box")
        walk.shot("one-drawing-gone")
        with walk.searched():
            walk.page.set_input_files("#file", paths[1]) if act == "again" else walk.page.click("text=Remove it")
        assert [each["upload"] for each in walk.requests[-1]["query"]] == ([one, other] if act == "again" else [one])
        assert walk.page.locator(".thumb canvas:not(.lost)").count() == len(walk.requests[-1]["query"])


def test_a_server_that_is_gone_and_comes_back(visit, serve, own):
    server = serve("--no-model")
    walk = visit(server=server)
    walk.refused = {0}
    with walk.searched():
        walk.page.fill("#before", "2018-12-24")
        walk.page.keyboard.press("Tab")
        walk.like(own["figure_id"])
    shown = walk.patents()
    walk.page.click(".card .sheet >> nth=0")  # its drawings were seen: they are at hand later
    walk.page.wait_for_selector(".pane.result .picture canvas")
    walk.page.keyboard.press("Escape")
    number = walk.page.locator("[data-key='view-front'] >> xpath=.. >> .amount")
    assert number.inner_text()
    server.stop()
    walk.page.check("[data-key='view-front']")
    walk.page.wait_for_selector(".banner >> text=What is set now could not be searched for.")
    assert "Below are results of the earlier conditions: 1 drawing; published before 24 December 2018." in walk.text(
        ".banner"
    )
    assert walk.patents() == shown
    assert not walk.page.locator(".problem-box, .condition-chips .chip, .pager:not([hidden]), #save-search").count()
    walk.page.wait_for_selector(".total >> text=not known")
    assert number.text_content() == ""
    walk.shot("no-connection")
    walk.page.keyboard.press("n")  # the next page would be one of other conditions
    for place in (0, 3):
        walk.page.click(f".card .sheet >> nth={place}")
        walk.page.wait_for_selector(".pane.result .picture canvas")
        assert walk.page.locator(".pane.query .picture canvas").count()
        walk.page.keyboard.press("Escape")
    server.start()
    with walk.searched():
        walk.page.click("text=Try again")
    filter = {"before": 20181224, "view": ["front"]}
    assert walk.requests[-1]["filter"] == filter
    left = server.call("POST", "/api/counts", {"filter": filter})
    walk.page.wait_for_selector(f".total >> text={left['designs']} designs, {left['figures']} figures remain")
    assert not walk.page.locator(".banner, #results.outdated").count()
    assert walk.page.locator("#save-search").count()


def test_a_server_that_is_gone_before_there_was_a_list(visit, serve, own):
    server = serve("--no-model")
    walk = visit(server=server)
    walk.refused = {0}
    walk.page.wait_for_selector(".sample img")
    server.stop()
    walk.page.click(".sample >> nth=0")
    walk.page.wait_for_selector(".problem-box >> text=No connection")
    server.start()
    with walk.searched():
        walk.page.click("text=Try again")
