"""Marks of classes in a picture: a colour and a shape each, so that they are told apart without colours too."""

import math

from fastreid.evaluation.color_groups import OTHER, UNKNOWN
from fastreid.evaluation.plots import COLORS

Point = tuple[float, float]

# two more than the lines of a plot have; each is told apart from its neighbours with any kind of colour vision
HUES = (*COLORS, (98, 60, 160), (128, 78, 32))
GREYS = {OTHER: (150, 150, 150), UNKNOWN: (190, 190, 190)}
GREY_SHAPES = {OTHER: "circle", UNKNOWN: "cross"}
SMALLER = 0.7  # the size of grey marks against that of others
MOST = 32  # classes with a mark of their own: those of the Locarno classification


def _star(corners: int, inner: float, outer: float, turn: float = -math.pi / 2) -> list[Point]:
    angles = [turn + math.pi * number / corners for number in range(2 * corners)]
    radii = [outer, inner] * corners
    return [(r * math.cos(angle), r * math.sin(angle)) for r, angle in zip(radii, angles, strict=True)]


def _regular(corners: int, radius: float, turn: float) -> list[Point]:
    angles = [turn + 2 * math.pi * number / corners for number in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _plus(arm: float, half: float, turn: float) -> list[Point]:
    points = []
    for quarter in range(4):
        cos, sin = math.cos(turn + quarter * math.pi / 2), math.sin(turn + quarter * math.pi / 2)
        points += [(x * cos - y * sin, x * sin + y * cos) for x, y in ((arm, -half), (arm, half), (half, half))]
    return points


# Corners of about equal areas around (0, 0), y downwards. Shapes that are four places apart look most alike, and never
# share a colour (see `mark_of`).
SHAPES = {
    "circle": _regular(28, 1.0, 0),
    "square": _regular(4, 1.25, math.pi / 4),
    "triangle": _regular(3, 1.4, -math.pi / 2),
    "plus": _plus(1.3, 0.36, 0),
    "star": _star(5, 0.62, 1.5),
    "diamond": [(0, -1.45), (1.05, 0), (0, 1.45), (-1.05, 0)],
    "turned triangle": _regular(3, 1.4, math.pi / 2),
    "cross": _plus(1.3, 0.36, math.pi / 4),
}


def mark_of(code: int) -> tuple[tuple[int, int, int], str, float]:
    """Colour, name of the shape and relative size of a class.

    Eight classes in succession differ in both; the classes that share a colour differ in shape.
    """
    if code in GREYS:
        return GREYS[code], GREY_SHAPES[code], SMALLER
    row, column = divmod(code, len(HUES))
    return HUES[column], list(SHAPES)[(column + 3 * row) % len(SHAPES)], 1.0


def outline(shape: str, at: Point, radius: float) -> list[Point]:
    """Corners of a mark in pixels."""
    return [(at[0] + radius * x, at[1] + radius * y) for x, y in SHAPES[shape]]
