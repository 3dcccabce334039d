"""Maps of embeddings as an image for a paper: one panel per model, one legend."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.evaluation.color_groups import Groups
from fastreid.evaluation.markers import mark_of, outline
from fastreid.evaluation.plots import GRID, INK, PAPER
from fastreid.evaluation.rank_pictures import FAINT, shorten

SHARPER, FINER = 2, 2  # final pixels per unit of the layout, and drawn pixels per final one
PANEL, LEGEND, GAP, MARGIN = 640, 375, 26, 18  # units of the layout
TITLE, LINE, ROW = 30, 19, 20.5
NAME = 24  # from the left of the legend to a name
INSET = 16  # between the frame of a panel and its outermost point
FLATTEST = 0.6  # height of a panel by its width


@dataclass(frozen=True, eq=False)
class Panel:
    """One model's map: points float64 (n, 2) in the order of the groups' codes, and lines of text below."""

    name: str
    points: np.ndarray
    notes: tuple[str, ...] = ()


def draw_map(
    panels: Sequence[Panel], groups: Groups, heading: str = "", caption: str = "", seed: int = 0
) -> Image.Image:
    """Return the picture, RGB: panels side by side, the legend at their right, ``caption`` below.

    Args:
        heading: of the legend.
        seed: of the order in which points are drawn, the same for all panels; grey ones lie below all others.
    """
    legend = groups.legend()
    column = legend_width(legend)
    right = MARGIN + len(panels) * (PANEL + GAP)
    width = right + column + MARGIN
    lines = wrapped(caption, width - 2 * MARGIN, 13)
    size = PANEL, max(panel_height(panels), ROW * (len(legend) + 1))
    below = MARGIN + TITLE + size[1] + 8
    notes = max(len(panel.notes) for panel in panels)
    height = below + LINE * (notes + len(lines)) + (8 if lines else 0) + MARGIN - 6
    image = Image.new("RGB", (_px(width), _px(height)), PAPER)
    draw = ImageDraw.Draw(image)
    for number, panel in enumerate(panels):
        left = MARGIN + number * (PANEL + GAP)
        _text(draw, (left, MARGIN), shorten(panel.name, PANEL, 17), 17, INK)
        _draw_panel(draw, panel, groups, (left, MARGIN + TITLE), size, seed)
        for row, note in enumerate(panel.notes):
            _text(draw, (left, below + LINE * row), shorten(note, PANEL, 13), 13, INK)
    _draw_legend(draw, legend, heading, (right, MARGIN + TITLE), column)
    for row, line in enumerate(lines):
        _text(draw, (MARGIN, below + 8 + LINE * (notes + row)), line, 13, FAINT)
    return image.reduce(FINER)


def panel_height(panels: Sequence[Panel]) -> float:
    """Height that shows the tallest of the maps at the full width, between ``FLATTEST`` and a square."""
    extents = [np.ptp(panel.points, axis=0) for panel in panels]
    tallest = max(min(1.0, high / wide) if wide else 1.0 for wide, high in extents)
    return max(FLATTEST * PANEL, 2 * INSET + tallest * (PANEL - 2 * INSET))


def _draw_panel(draw: ImageDraw.ImageDraw, panel: Panel, groups: Groups, at: tuple, size: tuple, seed: int) -> None:
    draw.rectangle([_px(at[0]), _px(at[1]), _px(at[0] + size[0]), _px(at[1] + size[1])], PAPER, GRID, _px(1))
    places = placed(panel.points, size, INSET) + at
    radius = mark_radius(len(places))
    order = np.random.default_rng(seed).permutation(len(places))
    for row in order[np.argsort(groups.codes[order] >= 0, kind="stable")].tolist():
        _draw_mark(draw, int(groups.codes[row]), tuple(places[row]), radius)


def placed(points: np.ndarray, size: tuple[float, float], inset: float) -> np.ndarray:
    """Points (n, 2) within ``size``, ``inset`` or more from its edges, at one scale in both directions; y downwards."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array(size, dtype=np.float64)
    extent = high - low
    scale = min((room - 2 * inset)[axis] / extent[axis] for axis in (0, 1) if extent[axis]) if extent.any() else 1.0
    return room / 2 + (points - (low + high) / 2) * scale * (1, -1)


def mark_radius(count: int) -> float:
    """Of ``count`` marks that cover a fifteenth of a square panel, within limits."""
    return float(np.clip(PANEL * np.sqrt(1 / 15 / np.pi / max(1, count)), 3.2, 6.5))


def _draw_mark(draw: ImageDraw.ImageDraw, code: int, at: tuple, radius: float) -> None:
    color, shape, size = mark_of(code)
    corners = outline(shape, (SHARPER * FINER * at[0], SHARPER * FINER * at[1]), SHARPER * FINER * radius * size)
    draw.polygon(corners, color)
    draw.line([*corners, *corners[:2]], PAPER, _px(0.7), joint="curve")  # overlapping marks stay apart


def legend_width(legend: Sequence[tuple[int, str, int]]) -> float:
    """Width of the marks, the longest name and the counts, at most ``LEGEND``."""
    length = ImageFont.load_default(13).getlength
    return min(LEGEND, max(120, max(NAME + length(name) + 14 + length(f"{count:,}") for _, name, count in legend)))


def _draw_legend(draw: ImageDraw.ImageDraw, legend: Sequence, heading: str, at: tuple, width: float) -> None:
    _text(draw, at, heading, 13, FAINT)
    for row, (code, name, count) in enumerate(legend, start=1):
        middle = at[1] + 6 + ROW * row
        _draw_mark(draw, code, (at[0] + 8, middle), 6)
        room = width - NAME - 12 - ImageFont.load_default(13).getlength(f"{count:,}")
        _text(draw, (at[0] + NAME, middle), shorten(name, room, 13, False), 13, INK, "lm")
        _text(draw, (at[0] + width, middle), f"{count:,}", 13, FAINT, "rm")


def _text(draw: ImageDraw.ImageDraw, at: tuple, text: str, size: int, ink: tuple, anchor: str = "lt") -> None:
    draw.text((_px(at[0]), _px(at[1])), text, ink, ImageFont.load_default(_px(size)), anchor=anchor)


def _px(units: float) -> int:
    """Pixels of the large drawing."""
    return round(SHARPER * FINER * units)


def wrapped(text: str, width: float, size: int) -> list[str]:
    """Break ``text`` at spaces into lines of at most ``width`` pixels in the font of ``size``."""
    font, lines = ImageFont.load_default(size), []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
