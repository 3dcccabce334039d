"""Dates that are typed key by key: what is half typed or no date never counts, and is never written over."""

import pytest

PACES = [30, 800]  # milliseconds for a key: a typist, and somebody who looks at each one
WAYS = {  # what is typed over 6 May 2019: the part where it begins, the keys, what is searched for then
    "whole date": ("Month", "11072018", 20181107),
    "year only": ("Year", "2018", 20180506),
    "month only": ("Month", "12", 20191206),
    "day only": ("Day", "31", 20190531),
}


class Field:
    """A field for a date, used with the keyboard."""

    def __init__(self, walk, name="before"):
        self.walk, self.page, self.name = walk, walk.page, name
        self.session = self.page.context.new_cdp_session(self.page)

    def parts(self):
        """{"Month": 5, "Day": 6, "Year": 2019} in the order that they are shown; 0 for an empty one."""
        tree = self.session.send("Accessibility.getFullAXTree")["nodes"]
        nodes = {node["nodeId"]: node for node in tree}
        wanted = self.session.send("Runtime.evaluate", {"expression": f"document.getElementById('{self.name}')"})
        there = self.session.send("DOM.describeNode", {"objectId": wanted["result"]["objectId"]})["node"]
        found, left = {}, [next(node for node in tree if node.get("backendDOMNodeId") == there["backendNodeId"])]
        while left:
            node = left.pop()
            if node["role"]["value"] == "spinbutton":
                found[node["name"]["value"].split()[-1]] = int(node.get("value", {}).get("value") or 0)
            left.extend(nodes[each] for each in reversed(node["childIds"]) if each in nodes)
        return found

    def go(self, part="Month"):
        """Put the keyboard on a part."""
        self.page.evaluate("document.activeElement.blur()")
        self.page.focus(f"#{self.name}")
        for _ in range(list(self.parts()).index(part)):
            self.page.keyboard.press("ArrowRight")

    def set(self, year, month, day):
        with self.walk.searched():
            self.page.fill(f"#{self.name}", f"{year}-{month:02}-{day:02}")
        assert self.parts() == {"Year": year, "Month": month, "Day": day}

    def condition(self):
        """The condition of the last search, once nothing more is on its way."""
        self.page.wait_for_timeout(900)
        self.walk.settle()
        return self.walk.requests[-1]["filter"].get(self.name, 0)

    def problem(self):
        return self.page.locator(f"#{self.name}-problem").inner_text()


@pytest.mark.parametrize(("name", "paces"), [("before", PACES), ("since", [250])])
def test_a_date_is_typed_over_another(walk, name, paces):
    field = Field(walk, name)
    order = list(field.parts())
    for way, (start, keys, wanted) in WAYS.items():
        for pace in paces:
            field.set(2019, 5, 6)
            asked = len(walk.requests)
            if way == "whole date":
                start, keys = order[0], "".join({"Month": "11", "Day": "07", "Year": "2018"}[part] for part in order)
            field.go(start)
            walk.page.keyboard.type(keys, delay=pace)
            assert field.condition() == wanted, (way, pace)
            assert field.parts() == {"Year": wanted // 10000, "Month": wanted // 100 % 100, "Day": wanted % 100}
            assert field.problem() == ""
            conditions = [each["filter"].get(name, 0) for each in walk.requests[asked:]]
            assert all(each >= 17000101 for each in conditions), (way, pace, conditions)  # never without it meanwhile


def test_a_day_that_month_does_not_have_on_the_way_to_another_date(walk):
    field = Field(walk)
    field.set(2019, 5, 31)
    field.go("Month")
    walk.page.keyboard.type("04", delay=250)  # 31 April
    assert field.condition() == 20190531
    assert field.parts() == {"Year": 2019, "Month": 4, "Day": 31}
    assert field.problem().startswith("This is not a date. The cut-off is still 31 May 2019.")
    walk.shot("date-impossible")
    field.go("Day")
    walk.page.keyboard.type("30", delay=250)
    assert field.condition() == 20190430
    assert field.problem() == ""


def test_a_part_that_is_taken_out_changes_nothing_until_it_is_typed_again(walk):
    field = Field(walk)
    field.set(2019, 5, 6)
    field.go("Month")
    walk.page.keyboard.press("Backspace")
    assert field.condition() == 20190506
    assert field.parts() == {"Year": 2019, "Month": 0, "Day": 6}
    assert "The cut-off is still 6 May 2019." in field.problem()
    walk.page.keyboard.type("12", delay=250)
    assert field.condition() == 20191206
    assert field.problem() == ""


def test_no_date_is_told_after_the_field_is_left_too_and_can_be_taken_back(walk):
    field = Field(walk)
    field.set(2019, 5, 6)
    field.go("Year")
    walk.page.keyboard.type("18", delay=30)
    walk.page.click(".drawings h2")
    assert field.condition() == 20190506
    assert field.parts()["Year"] == 18
    assert field.problem().startswith("The year must be 1700 or later. The cut-off is still 6 May 2019.")
    assert "Only designs published before 6 May 2019." in walk.text("#before-means")
    assert walk.page.get_attribute("#before", "aria-invalid") == "true"
    walk.shot("date-year-18")
    walk.page.click("text=Back to 6 May 2019")
    assert field.parts() == {"Year": 2019, "Month": 5, "Day": 6}
    assert field.problem() == ""
    assert field.condition() == 20190506


def test_no_date_where_no_cut_off_was(walk):
    field = Field(walk)
    typed = {"Month": "02", "Day": "31", "Year": "2018"}
    field.go(next(iter(field.parts())))
    walk.page.keyboard.type("".join(typed[part] for part in field.parts()), delay=60)
    walk.page.wait_for_selector("#before-problem >> text=This is not a date. No cut-off is in force.")
    assert walk.page.get_by_role("status").filter(has_text="not a date").count() == 1
    assert field.condition() == 0
    assert field.parts() == {"Month": 2, "Day": 31, "Year": 2018}
    walk.page.click("text=Empty the field")
    assert set(field.parts().values()) == {0}
    assert field.problem() == ""


def test_a_field_that_is_emptied_on_purpose_takes_the_condition_away(walk):
    field = Field(walk)
    field.set(2019, 5, 6)
    field.go(next(iter(field.parts())))
    for _ in range(3):
        walk.page.keyboard.press("Backspace")
        walk.page.keyboard.press("ArrowRight")
    assert field.condition() == 20190506  # somebody may be about to type another
    assert set(field.parts().values()) == {0}
    with walk.searched():
        walk.page.click(".drawings h2")
    assert field.condition() == 0
    assert field.problem() == ""
    field.set(2019, 5, 6)
    with walk.searched():
        walk.page.click("text=No cut-off")
    assert set(field.parts().values()) == {0}
    assert field.condition() == 0


def test_going_back_in_the_history_is_one_step_for_a_date_however_it_was_typed(walk):
    field = Field(walk)
    field.set(2019, 5, 6)
    field.go("Year")
    walk.page.keyboard.type("2018", delay=30)
    assert field.condition() == 20180506
    field.go("Month")
    walk.page.keyboard.type("12", delay=800)  # January on the way, and long enough to count
    assert field.condition() == 20181206
    for wanted in (20180506, 20190506):
        with walk.searched():
            walk.page.go_back()
        assert field.condition() == wanted
        assert walk.page.input_value("#before").replace("-", "") == str(wanted)
