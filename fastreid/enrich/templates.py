"""Texts from templates, without a model: the sentence of Lo et al. and others around the same facts."""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from functools import cache
from string import Formatter

from fastreid.enrich.components import REWRITER_REGISTRY, Rejected, Rewriter
from fastreid.enrich.source import Source, digest
from fastreid.enrich.synonyms import class_article, names, synonyms
from fastreid.utils.english import with_article

# Lo et al., arXiv 2404.19360, section 3.3; their comma splice is kept, the articles are ours
PAPER = (
    "This is a photo of {a_object}, classified as {heading}, This image features {details}, and {a_object} can also be "
    "referred to as {a_synonym}."
)
MEDIA = ("line drawing", "patent drawing", "design drawing", "patent figure")
# Ours. A sentence is used where all its fields are known. Each says something, in other words, that PAPER says too.
TEMPLATES = (
    PAPER,
    "This is a {medium} of {a_object}, classified as {heading}. The image features {details}, and {a_object} can also "
    "be referred to as {a_synonym}.",
    "This {medium} shows {details}. The article is classified in Locarno class {code}, {class_}.",
    "{A_view} of {a_object}, also known as {a_synonym}.",
    "{A_view} of {a_object}, taken from a design patent.",
    "{A_object}, also called {a_synonym}, in {a_view}.",
    "{A_synonym}, here called {a_object}, in {a_view}.",
    "{A_view} of {a_synonym} in Locarno class {code}, {class_}.",
    "Ornamental design for {a_object}: {details}.",
    "Ornamental design for {a_object}, or {a_synonym}, drawn in {a_view}.",
    "The {medium} shows {details}; {a_object} may also be called {a_synonym}.",
    "A {medium} of {a_object}, that is, {a_synonym}, classified under {class_} (Locarno {code}).",
    "A {medium} of {a_object} in Locarno class {code}, {class_}.",
    "A {medium} with {a_view} of {a_object}, or {a_synonym}.",
    "A {medium} showing {details}.",
    "A {medium} of {a_object}, sometimes referred to as {a_synonym}.",
    "A {medium} of {a_object}.",
    "A figure of a design patent for {a_object}.",
    "This figure of a design patent presents {details}.",
    "The design patent is for {a_object}, and this figure is {a_view}.",
    "The article drawn here is {a_object}, which may be described as {a_synonym}.",
    "An ornamental design for {a_object}, classified as {heading}.",
    "{A_object} as drawn in a design patent.",
    "{A_synonym} drawn for a design patent, in {a_view}.",
    "Design patent drawing: {a_object}, {view}.",
    "Figure of an ornamental design for {a_object}.",
    "Drawing of the appearance of {a_object}.",
    "The claimed ornamental design is for {a_object}.",
    "In this {medium}, {a_object} can be seen.",
    "{A_object}, presented as a {medium}.",
    "The subject of this {medium} is {a_object}.",
    "{A_object} in a {medium}.",
    # for details in whole sentences, as a vision model writes them
    "A {medium} of {a_object}. {Sentences}",
    "{A_view} of {a_object}. {Sentences}",
    "{Sentences} The article is {a_object}, also referred to as {a_synonym}.",
    "This is a {medium} of {a_object}, classified as {heading}. {Sentences} The article may also be called "
    "{a_synonym}.",
    "{Sentences} This is {a_object} in {a_view}.",
)
LONGEST = 320  # characters of details in whole sentences; the rest of what a captioner says is left out
_SYNONYM = ("a_synonym", "A_synonym")
_FINITE = re.compile(
    r"\b(?:is|are|has|have|was|were|features?|shows?|depicts?|includes?|consists?|contains?|appears?|seems?)\b"
)


@REWRITER_REGISTRY.register(node="ENRICH.REWRITER")
class TemplateRewriter(Rewriter):
    """Fills templates with what is known; the same source and details always give the same texts.

    Which templates come first, and with which synonym and word for the drawing, follows from the hash of the source.
    The first n texts of a figure do not depend on how many are asked for.
    """

    model = "templates of fastreid"

    def recipe(self, variants: int) -> dict:
        return {"version": 1, "templates": TEMPLATES, "media": MEDIA, "names": digest(names()), "variants": variants}

    def rewrite(self, source: Source, details: str, variants: int) -> list[str]:
        texts = list(itertools.islice(_texts(source, details), variants))
        if not texts:
            raise Rejected("neither the object nor its class is known, and there are no details")
        return texts


def _texts(source: Source, details: str) -> Iterator[str]:
    """Yield distinct texts: a round of all usable templates, then rounds with other synonyms and media."""
    facts, others, sha256 = _facts(source, details), _other_names(source), source.sha256
    known = {*facts, "medium", *(_SYNONYM if others else ())}
    templates = [template for template in TEMPLATES if _fields(template) <= known]
    templates.sort(key=lambda template: hashlib.sha256((sha256 + template).encode()).digest())
    seed = int(sha256[:12], 16)
    if PAPER in templates:  # among the first ones, so that few variants have it too
        templates.insert(seed % 5, templates.pop(templates.index(PAPER)))
    seen = set()
    for turn, (place, template) in itertools.product(range(len(MEDIA) * max(1, len(others))), enumerate(templates)):
        number = seed + turn + place
        chosen = {"medium": MEDIA[number % len(MEDIA)]}
        if others:
            name = with_article(others[(number + turn // len(MEDIA)) % len(others)])
            chosen.update(a_synonym=name, A_synonym=_capital(name))
        text = template.format(**facts, **chosen)
        if text not in seen:
            seen.add(text)
            yield text


@cache
def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def _other_names(source: Source) -> tuple[str, ...]:
    """Synonyms of the object; where none is known, the noun for an article of its class."""
    kind = class_article(source.code)
    return synonyms(source.object) or ((kind,) if kind and source.object else ())


def _facts(source: Source, details: str) -> dict[str, str]:
    """Return the fields of templates that are known, all of them not empty."""
    name = source.object or class_article(source.code)
    facts: Mapping[str, str] = {
        "a_object": with_article(name) if name else "",
        "heading": source.heading,
        "class_": source.heading[:1].lower() + source.heading[1:],
        "code": source.code,
        "view": source.view,
        "a_view": with_article(source.view) if source.view else "",
        **_split(details),
    }
    capitals = {f"A_{key[2:]}": _capital(value) for key, value in facts.items() if key.startswith("a_")}
    return {key: value for key, value in {**facts, **capitals}.items() if value}


def _split(details: str) -> dict[str, str]:
    """A phrase goes into a sentence ("a front view of a chair"), whole sentences stand beside one."""
    details = details.strip().rstrip(".")
    if not details:
        return {}
    if re.match(r"(?:an?|the|two|three|several)\s", details, re.IGNORECASE) and not _FINITE.search(details):
        return {"details": details[0].lower() + details[1:]}
    return {"Sentences": _capital(_shortened(details)) + "."}


def _shortened(text: str) -> str:
    """Return the first sentences of a text, as many as ``LONGEST`` holds, at least one, that cut at a word."""
    if len(text) <= LONGEST:
        return text
    whole = text[:LONGEST].rpartition(". ")[0]
    return whole or text[:LONGEST].rpartition(" ")[0].rstrip(" ,;:")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
