"""Articles, plurals and head words of titles."""

import pytest

from fastreid.utils.english import head_word, in_sentence, plural, singular, with_article


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Chair", "a chair"),
        ("Electric kettle", "an electric kettle"),
        ("Eyeglasses", "eyeglasses"),
        ("Cutlery", "cutlery"),
        ("Cookware", "cookware"),
        ("Wrist watch with straps", "a wrist watch with straps"),
        ("Glass", "a glass"),
        ("Unicycle", "a unicycle"),
        ("Umbrella", "an umbrella"),
        ("Utensil handle", "a utensil handle"),
        ("Hourglass", "an hourglass"),
        ("LED lamp", "an LED lamp"),
        ("USB plug", "a USB plug"),
        ("T-shirt", "a T-shirt"),
        ("LED", "an LED"),
        ("OFFICE CHAIR", "an office chair"),
        ("Bus", "a bus"),
        ("Set of knives", "a set of knives"),
        ("Icon for a portion of a display screen", "an icon for a portion of a display screen"),
        ("Hooks for a wall", "hooks for a wall"),
    ],
)
def test_articles(title, expected):
    assert with_article(title) == expected


@pytest.mark.parametrize(
    ("title", "expected"),
    [("LED lamp", "lamp"), ("Container with lid", "container"), ("Set of knives", "set"), ("T-shirt", "T-shirt"),
     ("Pair of eyeglasses", "pair"), ("", "")],
)  # fmt: skip
def test_the_word_that_a_name_turns_on(title, expected):
    assert head_word(title) == expected


def test_titles_within_a_sentence():
    titles = ["A frame", "CHAIR", "USB hub", "TV", "A"]
    assert [in_sentence(title) for title in titles] == ["a frame", "chair", "USB hub", "TV", "a"]


@pytest.mark.parametrize(
    ("one", "many"),
    [("lamp", "lamps"), ("box", "boxes"), ("battery", "batteries"), ("toy", "toys"), ("brush", "brushes"),
     ("watch", "watches"), ("glass", "glasses"), ("light fixture", "light fixtures"), ("bus", "buses"),
     ("piece of furniture", "pieces of furniture"), ("case", "cases"), ("vase", "vases"), ("hinge", "hinges")],
)  # fmt: skip
def test_plurals_and_back(one, many):
    assert plural(one) == many
    assert plural(many) == many
    assert one == "bus" or singular(many) == one
    assert singular(one) == one


def test_what_has_no_singular_stays():
    assert plural("footwear") == "footwear"
    assert plural("pliers") == "pliers"
