"""From where a figure is seen, read from the words of its description.

The wording follows the Manual of Patent Examining Procedure, section 1503.02, and captions of the years 2007 to 2021.
"""

import re

SIDES = {
    "front": "front", "frontal": "front",
    "rear": "rear", "back": "rear", "backside": "rear",
    "left": "left", "leftside": "left", "lefthand": "left",
    "right": "right", "rightside": "right", "righthand": "right",
    "top": "top", "topside": "top",
    "bottom": "bottom", "underside": "bottom", "underneath": "bottom",
}  # fmt: skip
OBLIQUE = {"perspective", "isometric", "oblique", "axonometric", "dimetric", "trimetric", "quarter"}
SECTION = {"section", "sectional", "sectioned"}

# "FIG. 2 is a front elevational view thereof;": from the article to the first of "view", "of", "thereof", ";" or "."
_ASPECT = re.compile(
    r"\b(?:is|are|shows?|illustrates?|depicts?)\s+(?:(?:an?|the|another)\s+)?"
    r"(?P<aspect>[^;.]*?(?:\bviews?\b(?:\s+perspective\s+view)?|(?=\s*(?:\bof\b|\bthereof\b|[;.]|$))))",
    re.IGNORECASE,
)
_LABEL = re.compile(r"\d+\.\d+\s*:\s*(?P<aspect>[^;.]*)")  # "1.2 : Front"


def view_of(aspect: str) -> str:
    """Return "front", "rear", "left", "right", "top", "bottom" or "perspective" for a viewpoint in words.

    Several sides together are a perspective. Of other views "section" and "side" (of an unnamed side) are told apart;
    "" for words that name none.

    >>> view_of("right side elevational view"), view_of("top, front and left side view"), view_of("plan view")
    ('right', 'perspective', 'top')
    """
    words = set(re.findall(r"[a-z]+", aspect.lower()))
    if words & OBLIQUE:
        return "perspective"
    if words & SECTION:
        return "section"
    sides = {SIDES[word] for word in words & SIDES.keys()}
    if sides:
        return sides.pop() if len(sides) == 1 else "perspective"
    return "top" if "plan" in words else "side" if "side" in words else ""


def aspect_of(caption: str) -> str:
    """Return the viewpoint that a description names, in its words; "" for none.

    >>> aspect_of("FIG. 1 is a front, top and left side perspective view of a chair, showing my new design;")
    'front, top and left side perspective view'
    """
    match = _LABEL.match(caption) or _ASPECT.search(caption)
    aspect = match["aspect"].strip() if match else ""
    return aspect if view_of(aspect) or re.search(r"\bviews?$", aspect, re.IGNORECASE) else ""
