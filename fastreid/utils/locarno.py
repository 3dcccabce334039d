"""Codes of the Locarno classification of industrial designs, as offices write them, and what follows from them.

The hierarchy has three levels below its root: class (14), subclass (14-04), patent. An unknown code is equal to
nothing, not even to another unknown one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

# Headings of the classes (WIPO, Locarno classification; 32 since the 12th edition of 2019), shortened to a few words.
CLASS_NAMES = {
    1: "Foodstuffs",
    2: "Clothing and haberdashery",
    3: "Travel goods and cases",
    4: "Brushware",
    5: "Textile piecegoods",
    6: "Furnishing",
    7: "Household goods",
    8: "Tools and hardware",
    9: "Packages and containers",
    10: "Clocks and measuring instruments",
    11: "Articles of adornment",
    12: "Means of transport or hoisting",
    13: "Electricity",
    14: "Recording, telecommunication, data processing",
    15: "Machines",
    16: "Photographic and optical apparatus",
    17: "Musical instruments",
    18: "Printing and office machinery",
    19: "Stationery and teaching materials",
    20: "Sales and advertising equipment, signs",
    21: "Games, toys and sports goods",
    22: "Arms, hunting and fishing articles",
    23: "Fluid distribution, sanitary, heating",
    24: "Medical and laboratory equipment",
    25: "Building units",
    26: "Lighting apparatus",
    27: "Tobacco and smokers' supplies",
    28: "Pharmaceutical and cosmetic products",
    29: "Fire and rescue equipment",
    30: "Care and handling of animals",
    31: "Machines for preparing food",
    32: "Graphic symbols and ornamentation",
}
HEAD_SHARE = 0.4  # of the subclasses: Lo et al., arXiv 2404.19360, figure 1
FAR = 2  # distance of codes with nothing in common

_CODE = r"\d{1,2}\s?-\s?\d{1,2}|\d{3,4}"
_TEXT = re.compile(
    rf"\s*(?:LOC\s*\((?P<edition>\d+)\)\s*(?:Cl\.?)?\s*)?(?:(?:{_CODE})\s*[,;]\s*)*(?P<code>{_CODE})\s*", re.IGNORECASE
)
# D, class of two characters, subclass of three, decimals; offices pad with spaces: "D 2853", "D14486", "D14/486"
_USPC = re.compile(r"\s*D\s?(?P<class>\d{1,2})(?:\s*[/-]\s*|(?=[\s\d]))\s*(?P<subclass>\d{1,3})(?P<decimals>\.?\d*)\s*")
_USPC_FIXED = re.compile(r"D(?P<class>[ \d]\d)(?P<subclass>[ \d][ \d]\d)(?P<decimals>\d*)\s*")


@dataclass(frozen=True, slots=True)
class Locarno:
    """A code of the classification; class 0 is an unknown code, subclass 0 an unknown subclass ("1400").

    Attributes:
        edition: of the classification, where the text names it ("LOC (13) Cl. 14-04"), else 0. Codes are compared
            without it: a subclass keeps its number, editions add and move a few.
    """

    class_: int = 0
    subclass: int = 0
    edition: int = 0

    def __bool__(self) -> bool:
        return self.class_ > 0

    @property
    def class_code(self) -> str:
        """The class, "14"; "" when it is unknown."""
        return f"{self.class_:02d}" if self.class_ else ""

    @property
    def subclass_code(self) -> str:
        """Class and subclass, "14-04"; "" when one of them is unknown."""
        return f"{self.class_:02d}-{self.subclass:02d}" if self.class_ and self.subclass else ""

    @property
    def class_name(self) -> str:
        """The heading of the class; "" for an unknown one or one that the classification does not have."""
        return CLASS_NAMES.get(self.class_, "")


UNKNOWN = Locarno()


@lru_cache(maxsize=1 << 16)
def read_locarno(text: str) -> Locarno:
    """Read a code; ``UNKNOWN`` for what is none.

    Read are the bare digits of USPTO data ("1404", "601"), codes with a hyphen ("14-04", "6-1") and the form which WIPO
    recommends ("LOC (13) Cl. 14-04"); of several codes the last one counts. A USPC code such as "D14/138" is not a
    Locarno code (see :func:`read_uspc`).
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return UNKNOWN
    code = match["code"]
    first, second = code.split("-") if "-" in code else (code[:-2], code[-2:])
    return Locarno(int(first), int(second), int(match["edition"] or 0)) if int(first) else UNKNOWN


def parse_locarno(text: str) -> tuple[int, int]:
    """Return (class, subclass) of :func:`read_locarno`, (0, 0) for what is no code."""
    code = read_locarno(text)
    return code.class_, code.subclass


def read_uspc(text: str) -> str:
    """Return a design code of the US classification in one form, "D14/486"; "" for what is none.

    Read are "D14/486", "D14-486", "D 2/853" and the fixed columns of USPTO data, where class and subclass are
    right-justified in two and three characters ("D 2853", "D14486", "D28 47").
    """
    match = _USPC_FIXED.fullmatch(text) or _USPC.fullmatch(text)
    if match is None or not int(match["class"]):
        return ""
    decimals = match["decimals"].lstrip(".")
    return f"D{int(match['class'])}/{int(match['subclass'])}" + (f".{decimals}" if decimals else "")


def tree_distance(first: Locarno, second: Locarno) -> int:
    """Return how many levels up two codes meet: 0 the same subclass, 1 the same class, 2 (``FAR``) only the root.

    A code with an unknown part shares nothing at that level, not even with itself.
    """
    if not first or not second or first.class_ != second.class_:
        return FAR
    return 0 if first.subclass_code and first.subclass == second.subclass else 1


def head_codes(counts: Mapping[str, int], share: float = HEAD_SHARE) -> frozenset[str]:
    """Return the ``share`` of the codes that occur most often, ties in the order of the codes; "" is no code.

    The other ones are the tail (Lo et al., arXiv 2404.19360, section 1: the top 40 % and the bottom 60 % of the
    classes, counted in the training years).
    """
    known = sorted((code for code in counts if code), key=lambda code: (-counts[code], code))
    return frozenset(known[: round(share * len(known))])


def unreadable(codes: Iterable[str | None]) -> Counter[str]:
    """Count the texts that are no Locarno code, "" (and ``None``) for a missing one; for the report of an ingest."""
    return Counter(text for text in (code or "" for code in codes) if not read_locarno(text))
