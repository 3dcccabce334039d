"""Queries and what one or two models find for them, as an image for a paper (Lo et al., arXiv 2404.19360, figure 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from fastreid.evaluation.rank_pictures import FAINT, INK, PAPER, badge, font, shorten, small_image

TILE, FRAME, BADGE, GAP, MARGIN = 228, 6, 46, 20, 34  # pixels
LISTS = 60  # between the query and the first list, and between two lists
TITLE, SIZE, SMALL, LINE = 36, 26, 19, 28
RED = (205, 32, 32)
GREY = (165, 165, 165)
# kind of a tile: colour of its frame, sign on it, whether the frame is double
LOOKS = {
    "query": (GREY, "", False),
    "match": ((0, 0, 0), "tick", False),
    "patent": ((0, 0, 0), "equal", True),
    "mismatch": (RED, "cross", False),
    "unknown": (GREY, "", False),
}


@dataclass(frozen=True)
class Cell:
    """An image with lines of text below it; ``kind`` is one of ``LOOKS``, ``mark`` a word on it ("head", "tail")."""

    path: str
    lines: tuple[str, ...]
    kind: str
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """A query, and for each model a note and the images found."""

    query: Cell
    found: Sequence[tuple[str, Sequence[Cell]]]

    @property
    def cells(self) -> list[Cell]:
        return [self.query, *(cell for _, cells in self.found for cell in cells)]


def draw_grid(
    lines: Sequence[Line], names: Sequence[str], title: str, words: dict[str, str], width: int
) -> tuple[Image.Image, set[str]]:
    """Return the picture, RGB, and the paths of the images that could not be read (grey squares).

    Args:
        names: of the models.
        words: what the kinds of tiles mean, for the key; only those that occur are named.
        width: tiles per list.
    """
    rows = max(len(cell.lines) for line in lines for cell in line.cells)
    step_y = LINE + TILE + 8 + LINE * rows + GAP
    lefts = [MARGIN + TILE + LISTS + number * (width * (TILE + GAP) - GAP + LISTS) for number in range(len(names))]
    right, top = lefts[-1] + width * (TILE + GAP) - GAP + MARGIN, MARGIN + TITLE + 3 * LINE
    picture = Image.new("RGB", (right, top + len(lines) * step_y + LINE + MARGIN), PAPER)
    draw, missing = ImageDraw.Draw(picture), set()
    draw.text((MARGIN, MARGIN), shorten(title, right - 2 * MARGIN, SIZE), FAINT, font(SIZE), anchor="lt")
    for left, name in zip((MARGIN, *lefts), ("query", *names), strict=True):
        room = TILE if left == MARGIN else width * (TILE + GAP) - GAP
        draw.text((left, top - LINE), shorten(name, room, TITLE), INK, font(TITLE), anchor="ls")
    for number, line in enumerate(lines):
        y = top + number * step_y
        _draw_cell(picture, line.query, (MARGIN, y + LINE), missing)
        for left, (note, cells) in zip(lefts, line.found, strict=True):
            draw.text((left, y), note, FAINT, font(SMALL), anchor="lt")
            for place, cell in enumerate(cells):
                _draw_cell(picture, cell, (left + place * (TILE + GAP), y + LINE), missing)
    shown = {cell.kind for line in lines for cell in line.cells}
    _draw_key(picture, {kind: word for kind, word in words.items() if kind in shown}, top + len(lines) * step_y)
    for left in lefts:
        draw.line([left - LISTS // 2, top, left - LISTS // 2, top + len(lines) * step_y - GAP], (225, 225, 225), 2)
    return picture, missing


def _draw_cell(picture: Image.Image, cell: Cell, at: tuple[int, int], missing: set[str]) -> None:
    image, readable = small_image(cell.path, TILE - 4 * FRAME)
    if not readable:
        missing.add(cell.path)
    picture.paste(image, (at[0] + (TILE - image.width) // 2, at[1] + (TILE - image.height) // 2))
    _draw_frame(picture, cell.kind, at, TILE, BADGE)
    draw = ImageDraw.Draw(picture)
    if cell.mark:
        _draw_mark(draw, cell.mark, at)
    for number, text in enumerate(cell.lines):
        size, ink = (SMALL, FAINT) if number else (SIZE, INK)
        draw.text(
            (at[0], at[1] + TILE + 8 + LINE * number), shorten(text, TILE, size, False), ink, font(size), anchor="lt"
        )


def _draw_frame(picture: Image.Image, kind: str, at: tuple[int, int], side: int, size: int) -> None:
    color, sign, double = LOOKS[kind]
    draw = ImageDraw.Draw(picture)
    for inset, width in ((0, FRAME // 3), (FRAME, FRAME // 3)) if double else ((0, FRAME),):
        first, last = inset, side - 1 - inset
        draw.rectangle([at[0] + first, at[1] + first, at[0] + last, at[1] + last], None, color, width)
    if sign:
        disc = badge(sign, color, size)
        picture.paste(disc, (at[0] + side - size + size // 4, at[1] - size // 4), disc)


def _draw_mark(draw: ImageDraw.ImageDraw, text: str, at: tuple[int, int]) -> None:
    """A word in the upper left corner: head white on dark, tail dark on white."""
    width = font(SMALL).getlength(text) + 16
    box = [at[0], at[1], at[0] + width, at[1] + LINE]
    head = text == "head"
    draw.rectangle(box, INK if head else PAPER, INK, 2)
    middle = (at[0] + width / 2, at[1] + LINE / 2)
    draw.text(middle, text, PAPER if head else INK, font(SMALL), anchor="mm")


def _draw_key(picture: Image.Image, words: dict[str, str], top: int) -> None:
    draw, left = ImageDraw.Draw(picture), MARGIN
    for kind, word in words.items():
        _draw_frame(picture, kind, (left, top), LINE, 0 if not LOOKS[kind][1] else LINE - 4)
        draw.text((left + LINE + 14, top + LINE // 2), word, INK, font(SMALL), anchor="lm")
        left += LINE + 14 + round(font(SMALL).getlength(word)) + 50
