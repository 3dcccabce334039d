"""Codes of the Locarno classification of industrial designs, as offices write them."""

import re

_CODE = r"\d{1,2}\s?-\s?\d{1,2}|\d{3,4}"
_TEXT = re.compile(rf"\s*(?:LOC\s*\(\d+\)\s*(?:Cl\.?)?\s*)?(?:(?:{_CODE})\s*[,;]\s*)*({_CODE})\s*", re.IGNORECASE)


def parse_locarno(text: str) -> tuple[int, int]:
    """Return (class, subclass) of a code, or (0, 0) for what is none.

    Read are the bare digits of USPTO data ("1404", "601"), codes with a hyphen ("14-04", "6-1") and the form which WIPO
    recommends ("LOC (13) Cl. 14-04"); of several codes the last one counts. The subclass of "1400" is 0, unknown. A
    USPC code such as "D14/138" is not a Locarno code.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return 0, 0
    code = match[1]
    first, second = code.split("-") if "-" in code else (code[:-2], code[-2:])
    return (int(first), int(second)) if int(first) else (0, 0)
