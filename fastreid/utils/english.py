"""Nouns of patent titles in English sentences: articles, plurals, the word that a name turns on."""

import re

UNCOUNTED = (
    "apparel", "bedding", "clothing", "cutlery", "equipment", "furniture", "jewelry", "jewellery", "lighting",
    "luggage", "packaging",
)  # fmt: skip
UNCOUNTED_ENDS = ("ware", "wear")  # cookware, footwear
SINGULAR_ENDS = ("ss", "us", "is", "lens", "canvas", "atlas")
_TURNS = re.compile(r",? (?:with|of|for|in|on|having) ")  # the noun of a name stands before these words


def in_sentence(title: str) -> str:
    """Return the title as it stands within a sentence: "chair" for "Chair" and "CHAIR", but "LED lamp", "T-shirt"."""
    if _is_abbreviation(title):
        return title
    return title.lower() if title.isupper() else title[:1].lower() + title[1:]


def with_article(title: str) -> str:
    """Return "a chair", "an LED lamp", "a set of knives"; plurals and uncounted nouns stay alone: "eyeglasses"."""
    noun = in_sentence(title)
    if is_plural(title) or _is_uncounted(title):
        return noun
    first = noun.split()[0]
    if _is_abbreviation(title):
        vowel = first[0] in "AEFHILMNORSX"  # spoken letter by letter
    else:
        vowel = first.startswith((*"aeiou", "hour")) and not first.startswith(("eu", "one", "uni", "use", "ute", "uti"))
    return f"{'an' if vowel else 'a'} {noun}"


def head_word(title: str) -> str:
    """Return the word that a name turns on: "lamp" for "LED lamp", "container" for "Container with lid"."""
    return (in_sentence(_TURNS.split(title)[0]).split() or [""])[-1]


def is_plural(title: str) -> bool:
    """Whether the name stands in the plural: "eyeglasses", "pliers", but not "glass" or "lens"."""
    word = head_word(title)
    return word.endswith("s") and not word.endswith(SINGULAR_ENDS)


def plural(noun: str) -> str:
    """Return "lamps", "boxes", "light fixtures", "pieces of furniture"; what has no singular stays as it is."""
    head = _TURNS.split(noun)[0]
    if is_plural(noun) or _is_uncounted(noun):
        return noun
    if head.endswith("y") and head[-2:-1] not in "aeiou":
        ending = head[:-1] + "ies"
    else:
        ending = head + ("es" if head.endswith(("s", "x", "z", "ch", "sh")) else "s")
    return ending + noun[len(head) :]


def singular(noun: str) -> str:
    """Return a plural's singular as :func:`plural` makes it, anything else as it is."""
    if not is_plural(noun):
        return noun
    head = _TURNS.split(noun)[0]
    for ending, instead in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", "")):
        if head.endswith(ending):
            return head[: -len(ending)] + instead + noun[len(head) :]
    return noun


def _is_uncounted(title: str) -> bool:
    word = head_word(title)
    return word in UNCOUNTED or word.endswith(UNCOUNTED_ENDS)


def _is_abbreviation(title: str) -> bool:
    """Whether the first word is one: "LED lamp", "T-shirt", "LED"; longer titles in capitals throughout are none."""
    if title.isupper() and (len(title) > 4 or " " in title):
        return False
    return len(title) > 1 and title[:2].isupper() and title[1] != " "
