"""What is wrong with an answer of a language model."""

import json
import re
import unicodedata
from collections.abc import Sequence

from fastreid.enrich.prompts import LONGEST, REPAIR, SHORTEST, SYSTEM, TASK
from fastreid.enrich.source import Source
from fastreid.enrich.synonyms import synonyms
from fastreid.utils.english import head_word, plural, singular

_WORDS = {
    "a", "an", "the", "of", "in", "on", "is", "with", "as", "and", "for", "this", "that", "it", "from", "by", "to",
    "or", "at", "its", "drawing", "view", "shows",
}  # fmt: skip
_REFUSAL = re.compile(
    r"\b(?:as an ai\b|i(?:['’]| a)m (?:sorry|unable)|i (?:cannot|can['’]t|can not|am not able)|language model)",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)
_COPIED = 8  # words in a row that a text may not share with the instruction


def read_texts(answer: str) -> list[str]:
    """Return the texts of an answer, with single spaces; thoughts and code fences around the list are passed over.

    Raises:
        ValueError: it is no JSON list of strings; the message goes back to the model.
    """
    answer = _THOUGHTS.sub("", answer).strip()
    fenced = _FENCE.fullmatch(answer)
    try:
        texts = json.loads(fenced[1] if fenced else answer)
    except (ValueError, RecursionError):
        raise ValueError("it is not valid JSON") from None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("it is not a JSON list of strings")
    return [" ".join(text.split()) for text in texts]


def check_texts(texts: Sequence[str], source: Source, variants: int) -> None:
    """Refuse texts that are not what was asked for.

    Checked are their number and that no two are the same; of each its length, its characters, that it is English, no
    refusal, no copy of the instruction, and that it names the object or a synonym of it.

    Raises:
        ValueError: the first thing that is wrong; the message goes back to the model.
    """
    if len(texts) != variants:
        raise ValueError(f"it has {len(texts)} texts instead of {variants}")
    first: dict[str, int] = {}
    for number, text in enumerate(texts, start=1):
        wrong = _wrong_with(text, source)
        if wrong:
            raise ValueError(f"text {number} {wrong}")
        same = first.setdefault(" ".join(re.findall(r"\w+", text.casefold())), number)
        if same != number:
            raise ValueError(f"texts {same} and {number} are the same")


def _wrong_with(text: str, source: Source) -> str:
    """Return in words what is wrong with a text, "" for nothing."""
    if not text:
        return "is empty"
    if not SHORTEST <= len(text) <= LONGEST:
        return f"has {len(text)} characters instead of {SHORTEST} to {LONGEST}"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Co", "Cn", "Cs") or letter == "\ufffd" for letter in text):
        return "has control characters or broken ones"
    if not _is_english(text):
        return "is not plain English"
    if _REFUSAL.search(text):
        return "is a refusal"
    if re.search(r"[{}]|\bobject name\b", text, re.IGNORECASE) or _copies(text):
        return "repeats the instruction"
    if source.object and not _names(text, source.object):
        return f'does not name the article "{source.object}"'
    return ""


def _is_english(text: str) -> bool:
    """Mostly Latin letters in words, and some of the frequent words of English once a text is long enough for them."""
    letters = [letter for letter in text if letter.isalpha()]
    plain = sum(letter.isascii() for letter in letters)
    if plain < 0.9 * len(letters) or plain < 0.6 * len(text):
        return False
    words = re.findall(r"[a-z]+", text.lower())
    return len(words) >= 3 and (len(words) < 6 or sum(word in _WORDS for word in words) >= len(words) / 12)


def _copies(text: str) -> bool:
    """Whether the text has a run of words of the instruction, the paper's pattern apart."""
    words = re.findall(r"\w+", text.lower())
    instruction = " ".join(re.findall(r"\w+", f"{SYSTEM} {TASK} {REPAIR}".lower()))
    runs = (" ".join(words[start : start + _COPIED]) for start in range(len(words) - _COPIED + 1))
    return any(f" {run} " in f" {instruction} " for run in runs)


def _names(text: str, name: str) -> bool:
    """Whether the text has the name, the word that it turns on, or a synonym, in the singular or plural."""
    for word in (name, head_word(name), *synonyms(name)):
        for form in {word, singular(word), plural(word)}:
            if form and re.search(rf"\b{re.escape(form)}\b", text, re.IGNORECASE):
                return True
    return False
