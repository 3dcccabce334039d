"""A search and its results on one sheet: the query figures above, below them a card for each result."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

from fastreid.engine.search_words import date_words, letter, query_words, searched_words, view_words
from fastreid.evaluation.rank_pictures import FAINT, INK, PAPER, PLAIN, QUERY, fit, font, grey_square, shorten
from fastreid.evaluation.rank_pictures import small_image as image_at
from fastreid.utils.files import atomic_write

if TYPE_CHECKING:
    from fastreid.engine.searcher import Searcher, SearchResponse

ACROSS = 5  # cards
SIDE, SMALL, PADDING = 232, 53, 10  # pixels of a picture on a card, of a thumbnail, around the picture
MARGIN, GAP, LINE = 32, 22, 21
CARD = SIDE + 2 * PADDING  # width
LINES = 4  # of text on a card
WIDTH = 2 * MARGIN + ACROSS * (CARD + GAP) - GAP
THUMBNAILS = (SIDE + 6) // (SMALL + 6)


class Sheet:
    """Draws a contact sheet.

    Args:
        path_of: path of the image of a row, "" for none.

    Attributes:
        missing: rows whose images could not be read, grey squares on the sheet.
    """

    def __init__(self, path_of: Callable[[int], str]):
        self._path_of, self.missing = path_of, set()

    def draw(
        self,
        response: "SearchResponse",
        query: Sequence[tuple[Image.Image | None, str]],
        heading: Sequence[str],
    ) -> Image.Image:
        """Return the sheet, RGB.

        Args:
            query: each query figure as it was searched for (``None``: it cannot be read), and its caption.
            heading: lines above all else, the first one large.
        """
        with_thumbnails = any(self._thumbnails(result) for result in response.results)
        height = CARD + LINES * LINE + 2 * PADDING + (SMALL + LINE if with_thumbnails else 0)
        top = MARGIN + 40 + LINE * (len(heading) - 1) + GAP
        above = -(-len(query) // ACROSS) * (CARD + LINE + GAP)
        down = -(-len(response.results) // ACROSS) * (height + GAP)
        sheet = Image.new("RGB", (WIDTH, top + above + down - GAP + MARGIN), PAPER)
        draw = ImageDraw.Draw(sheet)
        for number, line in enumerate(heading):
            size, at = (15, MARGIN + 40 + LINE * (number - 1)) if number else (26, MARGIN)
            text = shorten(line, WIDTH - 2 * MARGIN, size, False)
            draw.text((MARGIN, at), text, FAINT if number else INK, font(size), anchor="lt")
        for number, (image, caption) in enumerate(query):
            at = _place(number, CARD + LINE + GAP, top)
            draw.rectangle([*at, at[0] + CARD - 1, at[1] + CARD - 1], PAPER, QUERY, 3)
            _paste(sheet, grey_square(SIDE) if image is None else fit(image, SIDE), at, CARD, CARD)
            text = shorten(caption, CARD, 15)
            draw.text((at[0], at[1] + CARD + 5), text, INK, font(15), anchor="lt")
        for number, result in enumerate(response.results):
            self._card(sheet, result, _place(number, height + GAP, top + above), height)
        return sheet

    def _card(self, sheet: Image.Image, result: Mapping[str, Any], at: tuple[int, int], height: int) -> None:
        draw, figure = ImageDraw.Draw(sheet), result["figure"]
        draw.rectangle([*at, at[0] + CARD - 1, at[1] + height - 1], PAPER, PLAIN, 1)
        _paste(sheet, self._image(figure["row"], SIDE), at, CARD, CARD)
        left, right, line = at[0] + PADDING, at[0] + CARD - PADDING, at[1] + CARD
        score = f"{result['score']:.3f}"
        room = right - left - font(17).getlength(score) - 12
        draw.text(
            (left, line), shorten(f"{result['rank']}  {figure['patent']}", room, 17, False), INK, font(17), anchor="lt"
        )
        draw.text((right, line), score, INK, font(17), anchor="rt")
        known = [text for text in (figure["locarno"], date_words(figure["date"]), figure["office"]) if text]
        for number, text in enumerate((figure["title"], self._view(result), "  ".join(known)), start=1):
            ink = INK if number == 1 else FAINT
            text = shorten(text, right - left, 14, False)
            draw.text((left, line + 4 + LINE * number), text, ink, font(14), anchor="lt")
        for number, (row, caption) in enumerate(self._thumbnails(result)):
            place = left + number * (SMALL + 6), line + LINES * LINE + 8
            _paste(sheet, self._image(row, SMALL - 4), place, SMALL, SMALL)
            draw.rectangle([*place, place[0] + SMALL - 1, place[1] + SMALL - 1], None, PLAIN, 1)
            draw.text((place[0] + SMALL // 2, place[1] + SMALL + 3), caption, FAINT, font(12), anchor="mt")

    @staticmethod
    def _view(result: Mapping[str, Any]) -> str:
        """The view shown, and the variant of the query that it matched where that is not the drawing as given."""
        matches = result.get("evidence", [result])
        best = next((match for match in matches if match["figure"]["row"] == result["figure"]["row"]), matches[0])
        return view_words(result["figure"]) + ("" if best["variant"] == "as given" else f" ({best['variant']})")

    @staticmethod
    def _thumbnails(result: Mapping[str, Any]) -> list[tuple[int, str]]:
        """Rows and captions: for several query figures what each matched, then further figures of the design."""
        matches = result.get("evidence", [])
        shown = [(match["figure"]["row"], f"query {query_words(match)}") for match in matches if len(matches) > 1]
        others = [(other["figure"]["row"], f"{other['score']:.2f}") for other in result.get("others", [])]
        return (shown + others)[:THUMBNAILS]

    def _image(self, row: int, side: int) -> Image.Image:
        image, readable = image_at(self._path_of(row), side)
        if not readable:
            self.missing.add(row)
        return image


def _place(number: int, step: int, top: int) -> tuple[int, int]:
    """Left upper corner of a card."""
    return MARGIN + number % ACROSS * (CARD + GAP), top + number // ACROSS * step


def _paste(sheet: Image.Image, image: Image.Image, at: tuple[int, int], width: int, height: int) -> None:
    sheet.paste(image, (at[0] + (width - image.width) // 2, at[1] + (height - image.height) // 2))


def write_sheet(
    path: str | os.PathLike, searcher: "Searcher", response: "SearchResponse", images: Mapping[str, Image.Image]
) -> int:
    """Write the sheet of a search as PNG; return how many images could not be read."""
    request = response.request
    query, unread = [], 0
    for item in request.query:
        name = item.figure or os.path.basename(item.upload)
        parts = [",".join(map(str, item.box))] if item.box else []
        parts += [f"rotated {item.rotate}"] * bool(item.rotate) + ["mirrored"] * item.mirror
        try:
            image = searcher.image_of_item(item, images, response.version)
        except (OSError, ValueError):  # of a figure whose image the index cannot show
            image, unread = None, unread + 1
        query.append((image, f"{letter(len(query))}  {name}{': ' if parts else ''}{', '.join(parts)}"))
    heading = [f"{len(response.results)} results" if len(response.results) != 1 else "1 result"]
    heading[0] += f" for '{request.text}'" if request.text else ""
    tried = ["rotated"] * request.rotations + ["mirrored"] * request.mirror
    heading.append(searched_words(response, searcher.index.info) + f" Also {' and '.join(tried)}." * bool(tried))
    sheet = Sheet(lambda row: _path(searcher, row))
    picture = sheet.draw(response, query, heading)
    with atomic_write(path) as file:
        picture.save(file, "PNG")
    return unread + len(sheet.missing)


def _path(searcher: "Searcher", row: int) -> str:
    try:
        return str(searcher.path_of(row))
    except ValueError:
        return ""
