"""What is wrong with answers of a language model."""

import json

import pytest

from fastreid.enrich import Source, TemplateRewriter
from fastreid.enrich.prompts import LONGEST, SHORTEST, SYSTEM, TASK, prompt
from fastreid.enrich.validation import check_texts, read_texts

LAMP = Source("a.png", object="LED lamp", view="front view", code="26-05", heading="Lighting apparatus")
GOOD = "A line drawing of an LED lamp in a front view."


def test_a_list_is_read_with_or_without_its_wrapping():
    texts = ["A  lamp\nin a view.", "b"]
    for answer in (
        json.dumps(texts), f"```json\n{json.dumps(texts)}\n```", f"```\n{json.dumps(texts)}```",
        f"<think>\nten [1] texts\n</think>\n\n{json.dumps(texts)}", f"  {json.dumps(texts)}\n",
    ):  # fmt: skip
        assert read_texts(answer) == ["A lamp in a view.", "b"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "not valid JSON"),
        ("Here are the texts: [\"a\"]", "not valid JSON"),
        ('["a", "b"', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"texts": ["a"]}', "not a JSON list of strings"),
        ('["a", 3]', "not a JSON list of strings"),
        ('"a"', "not a JSON list of strings"),
        ("null", "not a JSON list of strings"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_strings(answer, reason):
    with pytest.raises(ValueError, match=reason):
        read_texts(answer)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "text 2 is empty"),
        ("An LED lamp.", "has 12 characters instead of 20 to 400"),
        ("The lamp, as it is.", "has 19 characters"),
        ("A line drawing of the lamp" + " in a view" * 37 + ", 12.", "has 401 characters"),
        (GOOD * 20, f"has {20 * len(GOOD)} characters"),
        ("A line drawing of an LED lamp\x07 in a view.", "control characters"),
        ("A line drawing of an LED lamp\u200b in a view.", "control characters"),
        ("A line drawing of an LED l\ufffdmp, a lamp.", "control characters"),
        ("Eine Strichzeichnung einer LED-Lampe und einer Lamp von vorne", "not plain English"),
        ("\u0420\u0438\u0441\u0443\u043d\u043e\u043a LED lamp \u0432 \u0432\u0438\u0434\u0435", "not plain English"),
        ("LED lamp 1234567890 1234567890 1234567890", "not plain English"),
        ("lamplamplamplamplamplamplamplamp", "not plain English"),
        ("I'm sorry, but I cannot describe this lamp.", "is a refusal"),
        ("I\u2019m sorry, but there is no lamp in the picture.", "is a refusal"),
        ("As an AI I know that this is a lamp of the kind.", "is a refusal"),
        ("This is a photo of a lamp, classified as {Class}.", "repeats the instruction"),
        ("This is a photo of Object Name, a kind of lamp.", "repeats the instruction"),
        ("The lamp: each text is one or two plain English sentences of it.", "repeats the instruction"),
        ("A line drawing of a gadget in a front view.", 'does not name the article "LED lamp"'),
        ("A line drawing of a clamp in a front view.", 'does not name the article "LED lamp"'),
        (GOOD, "texts 1 and 2 are the same"),
        (GOOD.upper().replace(" IN ", ", in "), "texts 1 and 2 are the same"),
    ],
)  # fmt: skip
def test_texts_that_are_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        check_texts([GOOD, text], LAMP, 2)


@pytest.mark.parametrize(
    "text",
    [
        "Several LED lamps drawn from the front.",
        "This lamp is drawn as an outline.",
        "A lighting device, drawn from the front.",
        "Design patent drawing: LED lamp, front view, Locarno class 26-05.",
        "Le dessin of the lamp, as a caf\u00e9 has it on a table.",
        "A line drawing of the lamp" + " in a view" * 37 + ", 1.",
        "The lamp, as it is a.",
    ],
)
def test_texts_that_pass(text):
    assert SHORTEST <= len(text) <= LONGEST
    check_texts([GOOD, text], LAMP, 2)


def test_the_number_of_texts_counts():
    for number in (1, 3):
        with pytest.raises(ValueError, match=f"it has 2 texts instead of {number}"):
            check_texts([GOOD, "This lamp is drawn as an outline."], LAMP, number)


def test_a_figure_of_which_no_object_is_known_needs_no_name():
    check_texts(["A line drawing of a thing in a front view."], Source("a.png"), 1)


def test_our_own_templates_pass():
    for source, details in (
        (LAMP, "a front view of an LED lamp"),
        (Source("a", object="eyeglasses", view="top view"), ""),
    ):
        texts = [text for text in TemplateRewriter().rewrite(source, details, 60) if len(text) >= SHORTEST]
        for text in texts:
            check_texts([text], source, 1)


def test_the_question_holds_what_is_known_and_nothing_else():
    asked = prompt(LAMP, "a round lamp", 20, "Use British spelling.")
    facts = json.loads(asked.rpartition("Facts:\n")[2])
    assert facts == {
        "object": "LED lamp", "other names": ["lamp", "lighting device", "light"],
        "Locarno class": "26-05 Lighting apparatus", "view": "front view", "details": "a round lamp",
    }  # fmt: skip
    assert "exactly 20 strings" in asked
    assert 'names the article ("LED lamp")' in asked
    assert "\n\nUse British spelling.\n\n" in asked
    assert "{Object Name}, classified as {Class}" in asked
    assert json.loads(prompt(Source("a"), "", 2).rpartition("Facts:\n")[2]) == {}
    assert SYSTEM not in asked
    assert "{variants}" in TASK
