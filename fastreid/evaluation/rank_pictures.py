"""A query and its ranked list as one picture: frames and marks for right and wrong, rank and distance below."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from fastreid.data.images import BadImage, read_image
from fastreid.evaluation.thumbnails import shrink

SIDE = 168  # longest side of an image, pixels
COLUMNS = 10  # tiles in a line
FRAME, GAP, MARGIN, LINE, BADGE = 4, 12, 18, 17, 26
SMALLEST_WIDTH = 112  # of a tile, so that its caption can be read
# told apart with any kind of colour vision; a tick or a cross says it too
RIGHT, WRONG, QUERY, PLAIN = (0, 132, 92), (213, 74, 0), (40, 40, 40), (190, 190, 190)
INK, FAINT, PAPER = (40, 40, 40), (110, 110, 110), (255, 255, 255)
SIGNS = {  # strokes on a disc of 24 x 24
    "tick": [[(7, 12.5), (10.5, 16), (17, 8.5)]],
    "cross": [[(8, 8), (16, 16)], [(16, 8), (8, 16)]],
    "equal": [[(7.5, 9.5), (16.5, 9.5)], [(7.5, 14.5), (16.5, 14.5)]],
}


@dataclass(frozen=True)
class Tile:
    """One image of the picture.

    Attributes:
        path: of the image; a grey square stands for one that cannot be read.
        lines: caption, first line dark.
        right: whether it is a match; ``None``: unknown, or the query.
    """

    path: str
    lines: tuple[str, ...]
    right: bool | None = None


def draw_ranking(title: str, query: Tile, rows: Sequence[tuple[str, Sequence[Tile]]]) -> Image.Image:
    """Return the picture, RGB: ``title``, the query on the left, beside it each row of tiles under its heading."""
    shown = (query, *(tile for _, tiles in rows for tile in tiles))
    images = {tile.path: small_image(tile.path, SIDE)[0] for tile in shown}
    widest, highest = (max(sides) + 2 * FRAME for sides in zip(*(image.size for image in images.values()), strict=True))
    box = max(SMALLEST_WIDTH, widest), highest
    lines = max(len(tile.lines) for tile in shown)
    step_x, step_y = box[0] + GAP, box[1] + LINE * lines + GAP
    columns = min(COLUMNS, max([1, *(len(tiles) for _, tiles in rows)]))
    heights = [LINE + 6 + step_y * max(1, -(-len(tiles) // COLUMNS)) for _, tiles in rows]
    first = MARGIN + box[0] + 3 * GAP
    width, top = first + columns * step_x - GAP + MARGIN, MARGIN + 30
    picture = Image.new("RGB", (width, top + max(sum(heights), step_y + LINE + 6) + MARGIN - GAP), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), shorten(title, width - 2 * MARGIN, 18), INK, font(18), anchor="lt")
    draw.text((MARGIN, top), "query", FAINT, font(13), anchor="lt")
    _place(picture, query, images[query.path], (MARGIN, top + LINE + 6), box, QUERY)
    for (heading, tiles), height in zip(rows, heights, strict=True):
        draw.text((first, top), heading, FAINT, font(13), anchor="lt")
        for number, tile in enumerate(tiles):
            at = first + number % COLUMNS * step_x, top + LINE + 6 + number // COLUMNS * step_y
            color = PLAIN if tile.right is None else RIGHT if tile.right else WRONG
            _place(picture, tile, images[tile.path], at, box, color)
        top += height
    return picture


def _place(picture: Image.Image, tile: Tile, image: Image.Image, at: tuple, box: tuple, color: tuple) -> None:
    draw = ImageDraw.Draw(picture)
    draw.rectangle([*at, at[0] + box[0] - 1, at[1] + box[1] - 1], PAPER, color, FRAME)
    picture.paste(image, (at[0] + (box[0] - image.width) // 2, at[1] + (box[1] - image.height) // 2))
    if tile.right is not None:
        disc = badge("tick" if tile.right else "cross", RIGHT if tile.right else WRONG)
        picture.paste(disc, (at[0] + box[0] - BADGE + 5, at[1] - 5), disc)
    for number, line in enumerate(tile.lines):
        ink = FAINT if number else INK
        draw.text((at[0], at[1] + box[1] + 3 + LINE * number), shorten(line, box[0], 13), ink, font(13), anchor="lt")


def small_image(path: str, side: int) -> tuple[Image.Image, bool]:
    """Return the image at ``side`` pixels on the longer side, or a grey square, and whether it could be read."""
    try:
        return fit(read_image(path, channels=None), side), True
    except BadImage:
        return grey_square(side), False


def fit(image: Image.Image, side: int) -> Image.Image:
    """Return an image at ``side`` pixels on the longer side."""
    image = shrink(image, side)
    factor = side / max(image.size)
    # icons and 128 x 64 photographs are enlarged, so that all stand at one scale
    return image if factor <= 1 else image.resize([max(1, round(length * factor)) for length in image.size])


def grey_square(side: int) -> Image.Image:
    """What stands for an image that cannot be read."""
    image = Image.new("L", (side, side), 235)
    ImageDraw.Draw(image).text((side // 2, side // 2), "not readable", 90, font(side // 12), anchor="mm")
    return image


@lru_cache
def badge(sign: str, color: tuple[int, int, int], size: int = BADGE) -> Image.Image:
    """A disc with one of ``SIGNS``, RGBA, drawn large and reduced for smooth edges."""
    large, finer = Image.new("RGBA", (4 * size, 4 * size)), 4 * size / 24
    draw = ImageDraw.Draw(large)
    draw.ellipse([finer, finer, 23 * finer, 23 * finer], color, PAPER, round(2 * finer))
    for stroke in SIGNS[sign]:
        draw.line([(x * finer, y * finer) for x, y in stroke], PAPER, round(2.4 * finer), joint="curve")
    return large.resize((size, size), Image.Resampling.LANCZOS)


def shorten(text: str, width: float, size: int, middle: bool = True) -> str:
    """Cut ``text`` in the middle, or at the end, until it is at most ``width`` pixels long in the font of ``size``."""
    if font(size).getlength(text) <= width:
        return text
    kept = len(text) - 1
    while kept > 2 and font(size).getlength(_cut(text, kept, middle)) > width:
        kept -= 1
    return _cut(text, kept, middle)


def _cut(text: str, kept: int, middle: bool) -> str:
    end = kept // 2 if middle else 0
    return text[: kept - end].rstrip() + "..." + text[len(text) - end :]


@lru_cache
def font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)
