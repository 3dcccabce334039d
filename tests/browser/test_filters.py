"""Conditions on the page: the cut-off date, filters with their counts, what to do when nothing is left, the address."""

import re

import pytest

from tests.browser.walk import of_patent


def amounts(walk, facet):
    """{value: number} as the page shows them for a condition."""
    options = walk.page.locator(f"[data-key^='{facet}-'][type=checkbox]")
    return {
        each.get_attribute("data-key").partition("-")[2]: int(each.locator("xpath=..").locator(".amount").inner_text())
        for each in options.all()
    }


def told(walk, filter, facet, unit="designs"):
    """{value: number} as the service counts them."""
    counted = walk.server.call("POST", "/api/counts", {"filter": filter})
    return {each["value"]: each[unit] for each in counted["facets"][facet]}


def remain(walk, text):
    walk.page.wait_for_selector(f".total >> text={text}")


def as_text(date):
    return f"{date // 10000}-{date // 100 % 100:02}-{date % 100:02}"


def test_the_cut_off_date_leaves_out_its_own_day(walk, drawings):
    own = of_patent(drawings, 4)[0]
    assert walk.patents()[0] == own["patent"]
    with walk.searched() as answer:
        walk.page.fill("#before", as_text(own["date"]))
    assert own["patent"] not in walk.patents()
    assert all(each["figure"]["date"] < own["date"] for each in answer[0]["results"])
    assert "published before" in walk.text(".summary")
    assert "That day itself" in walk.text("#before-means")
    counted = walk.server.call("POST", "/api/counts", {"filter": {"before": own["date"]}})
    assert f"{counted['figures']} figures of {counted['designs']} designs" in walk.text(".summary")
    with walk.searched():  # the drawings were filed a year before
        walk.page.click(".cut-off >> text=Filed")
    assert walk.requests[-1]["filter"] == {"before": own["date"], "date_field": "filed"}
    assert walk.patents()[0] == own["patent"]
    assert "filed before" in walk.text(".summary")
    walk.shot("cut-off")
    with walk.searched():
        walk.page.click("text=No cut-off")
    assert walk.requests[-1]["filter"] == {}


def test_counts_follow_the_conditions(walk):
    assert amounts(walk, "view") == told(walk, {}, "view")
    before = {value: number for value, number in amounts(walk, "locarno").items() if len(value) == 2}
    classes = told(walk, {}, "class")
    assert all(classes[value] == number for value, number in before.items())
    assert len(before) > 3
    first, second = list(before)[:2]
    with walk.searched() as answer:
        walk.page.check(f"[data-key='locarno-{first}']")
    assert {each["figure"]["locarno"][:2] for each in answer[0]["results"]} == {first}
    remain(walk, f"{classes[first]} design")
    assert {value: number for value, number in amounts(walk, "view").items() if number} == told(
        walk, {"locarno": [first]}, "view"
    )
    assert amounts(walk, "locarno")[second] == classes[second]  # other classes can still be had
    with walk.searched() as answer:
        walk.page.check(f"[data-key='locarno-{second}']")
    assert {each["figure"]["locarno"][:2] for each in answer[0]["results"]} == {first, second}
    walk.page.click(f"[data-key='unfold-{first}']")
    subclass = walk.page.locator(f"[data-key^='locarno-{first}-']").first.get_attribute("data-key")[8:]
    with walk.searched():
        walk.page.check(f"[data-key='locarno-{subclass}']")
    assert sorted(walk.requests[-1]["filter"]["locarno"]) == sorted([second, subclass])
    walk.shot("filters")
    with walk.searched():
        walk.page.click(f"[aria-label='Remove the condition class {subclass}']")
    assert walk.requests[-1]["filter"] == {"locarno": [second]}


def test_each_condition_reaches_the_search(walk, drawings):
    year = int(re.search(r"year-(\d+)", walk.page.locator(".years button").last.get_attribute("data-key"))[1])
    steps = [
        (lambda: walk.page.check("[data-key='view-front']"), {"view": ["front"]}),
        (lambda: walk.page.click(".years button >> nth=-1"), {"since": year * 10000 + 101}),
        (lambda: walk.page.fill("#title-words", "chair"), {"title": "chair"}),
    ]
    wanted = {}
    for act, condition in steps:
        with walk.searched():
            act()
        wanted |= condition
        assert walk.requests[-1]["filter"] == wanted
    with walk.searched():
        walk.page.click(".filters >> text=Clear")
    assert walk.requests[-1]["filter"] == {}
    for group, name, value in (("Office", "office", "EM"), ("Applicant", "applicant", "Alder & Sons")):
        walk.page.click(f"summary >> text={group}")
        with walk.searched() as answer:
            walk.page.check(f"[data-key='{name}-{value}']")
        assert {each["figure"][name] for each in answer[0]["results"]} == {value}
    own = walk.patents()[0]
    walk.page.click("text=Leave out patents")
    walk.page.fill("[data-key='exclude']", own)
    with walk.searched():
        walk.page.press("[data-key='exclude']", "Enter")
    assert own not in walk.patents()
    assert walk.requests[-1]["filter"]["not_patents"] == [own]


def test_patents_to_leave_out_are_known_as_people_write_them(walk):
    own, other = walk.patents()[:2]
    assert own.startswith("USD0")
    written = f"US D{int(own[3:]):,} S"
    walk.page.click("text=Leave out patents")
    walk.page.fill("[data-key='exclude']", f"{written}, {other}; USD0999999")
    with walk.searched():
        walk.page.press("[data-key='exclude']", "Enter")
    assert walk.requests[-1]["filter"]["not_patents"] == [written, other, "USD0999999"]
    assert not {own, other} & set(walk.patents())
    assert walk.text(".banner") == "The index has no patent USD0999999: that condition changes nothing."


def order(walk, facet):
    boxes = walk.page.locator(f"[data-key^='{facet}-'][type=checkbox]")
    return boxes.evaluate_all("(all) => all.map((each) => each.dataset.key)")


def test_values_stay_in_their_places_until_their_group_is_opened_again(walk):
    views, classes = order(walk, "view"), order(walk, "locarno")
    for key in (classes[-1], views[-1], views[1]):
        with walk.searched():
            walk.page.check(f"[data-key='{key}']")
        walk.until("!document.querySelector('.counting')")
        assert (order(walk, "view"), order(walk, "locarno")) == (views, classes)
    shown = amounts(walk, "view")
    ranked = [f"view-{value}" for value in sorted(shown, key=lambda value: (-shown[value], value))]
    assert ranked != views
    for _ in range(2):
        walk.page.click("[data-key='group-view']")
        walk.page.wait_for_timeout(100)
    assert order(walk, "view") == ranked


def test_the_start_says_with_how_much_a_drawing_is_compared(visit, server):
    filter = {"before": 20181224, "view": ["front"]}
    walk = visit(fragment="#before=20181224&view=front")
    left = server.call("POST", "/api/counts", {"filter": filter})
    text = f"the {left['figures']} figures of {left['designs']} designs that the conditions above leave of 181."
    walk.page.wait_for_selector(f".start .lead >> text={text}")
    assert walk.page.locator(".condition-chips .chip").all_inner_texts() == [
        "published before 24 December 2018",
        "front view",
    ]
    walk.shot("start-with-conditions")
    for _ in range(2):
        walk.page.click(".condition-chips .chip >> nth=0")
    walk.page.wait_for_selector(".start .lead >> text=with 181 figures of 36 designs.")


def test_nothing_left_says_which_condition_to_take_away(walk):
    with walk.searched():
        walk.page.check("[data-key='view-front']")
    with walk.searched():
        walk.page.fill("#title-words", "zebra")
    assert "No design meets all conditions" in walk.text(".message")
    walk.page.wait_for_selector(".relax-button")
    designs = walk.server.call("POST", "/api/counts", {"filter": {"view": ["front"]}})["designs"]
    assert walk.text(".relax-button").split("\n") == ["without “title: zebra”", f"{designs} designs"]
    remain(walk, "0 designs")
    walk.shot("nothing-left")
    with walk.searched():
        walk.page.click(".relax-button >> nth=0")
    assert walk.requests[-1]["filter"] == {"view": ["front"]}
    assert walk.patents()
    assert walk.page.input_value("#title-words") == ""


def test_the_address_holds_the_search_but_no_upload(walk, drawings):
    with walk.searched():
        walk.page.check("[data-key='view-front']")
    with walk.searched():
        walk.page.fill("#before", "2018-12-24")
    assert "before=20181224" in walk.page.url
    assert "view=front" in walk.page.url
    upload = walk.requests[-1]["query"][0]["upload"]
    assert upload not in walk.page.url
    with walk.searched():
        walk.page.go_back()
    assert walk.page.input_value("#before") == ""
    assert walk.requests[-1]["filter"] == {"view": ["front"]}
    with walk.searched():
        walk.page.go_forward()
    assert walk.page.input_value("#before") == "2018-12-24"
    with walk.searched():  # the tab remembers its upload
        walk.page.reload()
    assert walk.requests[-1]["query"][0]["upload"] == upload
    assert walk.requests[-1]["filter"]["before"] == 20181224


def test_an_address_is_opened_elsewhere(visit, drawings):
    figure = of_patent(drawings, 4)[1]
    fragment = f"#like={figure['patent']}|{figure['figure_id']}|10,20,200,210|90|0&before=20190101&group=figure"
    walk = visit(fragment=fragment)
    walk.page.wait_for_selector(".card")
    walk.settle()
    assert walk.requests[-1]["query"] == [
        {"figure": figure["figure_id"], "box": [10, 20, 200, 210], "rotate": 90, "mirror": False}
    ]
    assert walk.requests[-1]["filter"] == {"before": 20190101}
    assert walk.requests[-1]["group"] == "figure"
    assert walk.page.input_value("#before") == "2019-01-01"


def test_pages_and_groups(walk):
    first = walk.patents()
    assert len(first) == 24
    assert "1 – 24 of 36" in walk.text(".pager")
    with walk.searched():
        walk.page.click("text=Next")
    assert "25 – 36 of 36" in walk.text(".pager")
    assert not set(first) & set(walk.patents())
    assert walk.text(".card .rank") == "25"
    assert "page=2" in walk.page.url
    with walk.searched():
        walk.page.keyboard.press("p")
    assert walk.patents() == first
    with walk.searched() as answer:
        walk.page.click(".result-tools >> text=Figures")
    assert answer[0]["group"] == "figure"
    assert answer[0]["total"] == 181
    assert amounts(walk, "view") == told(walk, {}, "view", "figures")


def test_the_place_among_results_is_kept(walk):
    walk.page.evaluate("document.querySelector('#results').scrollTop = 900")
    with walk.searched():
        walk.page.keyboard.press("n")
    assert walk.page.evaluate("document.querySelector('#results').scrollTop") == 0
    with walk.searched():
        walk.page.go_back()
    assert walk.page.evaluate("document.querySelector('#results').scrollTop") == pytest.approx(900, abs=2)


@pytest.mark.parametrize(
    ("given", "date"),
    [("20181124", 20181124), ("2018-11-24", 20181124), ("20181399", 0), ("2018-02-31", 0), ("00181106", 0)],
)
def test_a_date_in_the_address_is_read_or_refused_by_panel_and_search_alike(visit, drawings, given, date):
    walk = visit(fragment=f"#before={given}")
    walk.page.wait_for_selector(".sample img")
    walk.upload(of_patent(drawings, 4)[0]["path"])
    assert walk.requests[-1]["filter"] == ({"before": date} if date else {})
    assert walk.page.input_value("#before") == ("2018-11-24" if date else "")
    assert ("before=20181124" in walk.page.url) if date else ("before" not in walk.page.url)
    told = walk.page.locator(".toast", has_text=f"“before={given}”: the condition is not set")
    assert told.count() == (0 if date else 1)


def test_a_date_that_no_figure_has_cannot_be_chosen(visit):
    walk = visit()
    filed = ".cut-off >> text=Filed"
    assert walk.page.is_enabled(filed)

    def without(route):
        answer = route.fetch().json()
        answer["index"]["dates"]["filed"] = [0, 0]
        route.fulfill(json=answer)

    walk.page.route("**/api/status", without)
    walk.page.reload()
    walk.page.wait_for_selector(".sample img")
    assert walk.page.is_disabled(filed)
    assert walk.page.get_attribute(filed, "title") == "This index has no filing dates."
    assert "This index has no filing dates." in walk.text("#before-means")
    assert walk.page.is_enabled(".cut-off >> text=Published")
    walk.shot("no-filing-dates")
