"""What a design patent says about its drawings: descriptions of the figures, the claim, the note on broken lines.

The wording follows the Manual of Patent Examining Procedure, sections 1503.01 and 1503.02.
"""

from collections.abc import Sequence

from fastreid.data.synthetic.projection import Camera
from fastreid.utils.english import in_sentence, with_article

AXIS_NAMES = {
    "front": "front elevational",
    "rear": "rear elevational",
    "left": "left side elevational",
    "right": "right side elevational",
    "top": "top plan",
    "bottom": "bottom plan",
}
PHRASES = (", showing my new design", ", showing our new design", ", in accordance with the claimed design", "")
NOTES = (
    "The broken lines depict portions of the {} that form no part of the claimed design.",
    "The broken lines in the drawings illustrate unclaimed subject matter and form no part of the claimed design.",
)
MIRRORS = {"left": "right", "right": "left"}


def view_name(camera: Camera) -> str:
    """Return for instance "front elevational" or "front, top and right side perspective"."""
    if camera.view in AXIS_NAMES:
        return AXIS_NAMES[camera.view]
    azimuth = (camera.azimuth + 180) % 360 - 180
    sides = ["front" if abs(azimuth) <= 90 else "rear", "top" if camera.elevation >= 0 else "bottom"]
    if not abs(azimuth) < 5 and not abs(azimuth) > 175:
        sides.append("right side" if azimuth > 0 else "left side")
    return f"{', '.join(sides[:-1])} and {sides[-1]} perspective"


def captions(cameras: Sequence[Camera], title: str, phrase: str = "", mirrored: bool = False) -> list[str]:
    """Describe the figures 1, 2, ... of a patent.

    Args:
        phrase: what follows the title in the first description, one of ``PHRASES``.
        mirrored: left and right side are mirror images: where only one of them is drawn, the other is spoken for.
    """
    views, lines = {camera.view for camera in cameras}, []
    for number, camera in enumerate(cameras, start=1):
        of = f"of {with_article(title)}{phrase}" if number == 1 else "thereof"
        other = MIRRORS.get(camera.view)
        mirror = f", the {other} side being a mirror image" if mirrored and other and other not in views else ""
        end = "." if number == len(cameras) else ";"
        lines.append(f"FIG. {number} is a {view_name(camera)} view {of}{mirror}{end}")
    return lines


def claim(title: str) -> str:
    return f"The ornamental design for {with_article(title)}, as shown and described."


def broken_line_note(title: str, note: str) -> str:
    """Fill in one of ``NOTES``."""
    return note.format(in_sentence(title))


def classification(locarno: str, day: int) -> str:
    """Return "LOC (11) Cl. 06-01" for "0601": as printed; the edition is that of ``day`` (yyyymmdd, from 2017)."""
    edition = 11 + max(0, (day // 10000 - 2017) // 2)
    return f"LOC ({edition}) Cl. {locarno[:2]}-{locarno[2:]}"
