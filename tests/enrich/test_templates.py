"""Texts from templates, and the names that they use."""

import itertools
import re
import string
from collections import Counter

import pytest

from fastreid.data.synthetic.families import FAMILIES
from fastreid.enrich import MetadataCaptioner, Rejected, Source, TemplateRewriter, sources
from fastreid.enrich.synonyms import _KINDS, _TABLE, class_article, synonyms
from fastreid.enrich.templates import LONGEST, MEDIA, PAPER, TEMPLATES
from fastreid.utils.english import with_article
from fastreid.utils.locarno import CLASS_NAMES

CHAIR = Source(
    "a.png", object="chair", view="front view", caption="a front view of a chair", code="06-01", heading="Furnishing"
)
DETAILS = "a front view of a chair"


def rewrite(source, details="", variants=20):
    return TemplateRewriter().rewrite(source, details, variants)


def minipatents():
    """A figure of each family and view, as MiniPatent's metadata have them."""
    captions = ("FIG. 1 is a front elevational view of {};", "FIG. 2 is a bottom plan view thereof;", "")
    for family, caption in itertools.product(FAMILIES.values(), captions):
        figure = {"file": "a", "view": "top", "caption": caption.format(with_article(family.title))}
        yield from sources([{"locarno": family.locarno, "title": family.title, "figures": [figure]}])


def test_the_sentence_of_the_paper_is_one_of_the_first_texts():
    texts = rewrite(CHAIR, DETAILS)
    paper = [text for text in texts[:5] if text.startswith("This is a photo of")]
    assert len(paper) == 1
    assert paper[0] == (
        "This is a photo of a chair, classified as Furnishing, This image features a front view of a chair, and a "
        f"chair can also be referred to as {re.search('referred to as (.*)[.]', paper[0])[1]}."
    )
    assert paper[0].rpartition(" as a ")[2].rstrip(".") in synonyms("chair")
    assert re.sub(
        r"\{a_(.*?)\}", r"{\1}", PAPER
    ) == (  # the template as printed, but for names of fields and the full stop
        "This is a photo of {object}, classified as {heading}, This image features {details}, and {object} can also be "
        "referred to as {synonym}."
    )


def test_texts_are_distinct_repeatable_and_a_beginning_of_more_texts():
    for source in [CHAIR, *minipatents()]:
        texts = rewrite(source, *MetadataCaptioner().describe([source]))
        assert len({text.casefold() for text in texts}) == 20
        assert rewrite(source, *MetadataCaptioner().describe([source]), variants=7) == texts[:7]
    moved = Source(**{**{name: getattr(CHAIR, name) for name in CHAIR.__slots__}, "file": "b.png"})
    assert rewrite(moved, DETAILS) == rewrite(CHAIR, DETAILS)


def test_different_figures_get_their_templates_in_different_orders():
    firsts = {
        rewrite(Source("a", object="chair", view=view))[0] for view in ("front view", "top view", "left side view", "x")
    }
    assert len(firsts) > 1


def test_the_texts_are_clean_english():
    """No field left open, one full stop at the end, no doubled words, articles that fit."""
    for source in minipatents():
        for text in rewrite(source, *MetadataCaptioner().describe([source])):
            assert text[0].isupper(), text
            assert text.endswith("."), text
            assert not re.search(r"[{}]|\s\s|\s[,.;:]|[,;:.][,;:.]|\.\.", text), text
            assert not re.search(r"\b(\w+) \1\b", text, re.IGNORECASE), text
            assert not re.search(r"\ba [aeio]|\ban [^aehioulxfmnrs]|\ban? (?:the|an?)\b", text, re.IGNORECASE), text
            assert not re.search(r"\ba (?:headphones|eyeglasses|cutlery|cookware)\b", text), text


def test_every_template_is_used_and_no_field_is_unknown():
    known = {
        "medium", "a_object", "A_object", "heading", "class_", "code", "view", "a_view", "A_view", "details",
        "Sentences", "a_synonym", "A_synonym",
    }  # fmt: skip
    for template in TEMPLATES:
        assert {name for _, name, _, _ in string.Formatter().parse(template) if name} <= known
    everything = "\n".join(rewrite(CHAIR, DETAILS, 500) + rewrite(CHAIR, "The chair is round. It has four legs.", 500))
    for template in TEMPLATES:
        pattern = re.sub(r"\\\{\w+\\\}", "[^\n]+", re.escape(template))
        assert re.search(rf"^{pattern}$", everything, re.MULTILINE), template
    assert len(set(TEMPLATES)) == len(TEMPLATES)


@pytest.mark.parametrize(
    "source",
    [Source("a", object="gizmo"), Source("a", code="06-01", heading="Furnishing"), Source("a", object="chair")],
)
def test_little_is_known(source):
    texts = rewrite(source)
    assert len(set(texts)) == len(texts) == 20
    name = source.object or "furnishing article"
    assert all(name in text.lower() for text in texts if "seat" not in text)
    assert not any("Locarno" in text or "view" in text for text in texts) or source.code


def test_object_names_come_before_class_names_and_synonyms_before_the_class():
    assert not any("furnishing article" in text for text in rewrite(CHAIR, DETAILS, 100))
    gizmo = Source("a", object="gizmo", code="06-01", heading="Furnishing")
    assert any("furnishing article" in text for text in rewrite(gizmo, "", 100))


def test_without_object_class_and_details_there_is_nothing_to_write():
    with pytest.raises(Rejected, match="neither the object nor its class is known"):
        rewrite(Source("a"))
    assert rewrite(Source("a"), "a round thing with two handles")[0].count("round thing") == 1


def test_fewer_texts_where_so_many_cannot_be_made():
    texts = rewrite(Source("a"), "a round thing", 50)
    assert 0 < len(texts) < 50
    assert len(set(texts)) == len(texts)


def test_whole_sentences_of_a_captioner_stand_beside_the_others():
    texts = rewrite(CHAIR, "the seat is round. It has four legs.", 100)
    assert any("The seat is round. It has four legs." in text for text in texts)
    assert not any("features the seat" in text or "shows the seat" in text for text in texts)
    assert any(
        "image features a chair with a round seat," in text for text in rewrite(CHAIR, "A chair with a round seat.")
    )


@pytest.mark.parametrize("details", ["The seat is round. " * 30, "The seat is round and " * 30, "The" + "x" * 400])
def test_long_captions_are_cut_at_a_sentence_or_a_word(details):
    text = max(rewrite(CHAIR, details, 100), key=len)
    assert len(text) < LONGEST + 150
    assert not re.search(r"\band\.|\bThe\.|roun\.", text)


def test_the_table_of_names():
    rows = [line.split(": ") for line in _TABLE.strip().splitlines()]
    assert all(len(row) == 2 and all(row) for row in rows)
    names = [name for row in rows for name in row[0].split(", ")]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(names) >= _KINDS
    for same, broader in rows:
        assert not set(same.split(", ")) & set(broader.split(", ")), same
    assert all(synonyms(family.title) for family in FAMILIES.values())
    assert all(class_article(f"{number:02d}-01") for number in CLASS_NAMES)
    assert class_article("") == class_article("99") == ""


def test_names_of_kinds_and_plurals():
    assert synonyms("Lamp")[:2] == ("luminaire", "light fixture")
    assert synonyms("LED lamp") == ("lamp", "lighting device", "light")
    assert synonyms("office chairs")[:2] == ("chairs", "seats")
    assert synonyms("CHAIRS")[0] == "seats"
    assert synonyms("wrench")[0] == "spanner"
    assert synonyms("spanner")[0] == "wrench"
    for unknown in ("pillow case", "coffee pot", "satellite dish", "gizmo", ""):
        assert synonyms(unknown) == ()


def test_the_recipe_changes_with_whatever_decides_the_texts(monkeypatch):
    before = TemplateRewriter().recipe(5)
    assert before == TemplateRewriter().recipe(5) != TemplateRewriter().recipe(6)
    with monkeypatch.context() as patch:
        patch.setattr("fastreid.enrich.synonyms._TABLE", "chair: seat\n")
        assert TemplateRewriter().recipe(5) != before
    assert set(MEDIA) <= set(TemplateRewriter().recipe(5)["media"])
