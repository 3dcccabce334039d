"""Which parts of two drawings a model takes for the same, as marks on both."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.data.transforms.ink import InkGroups, find_labels
from fastreid.utils.errors import require_whole

if TYPE_CHECKING:
    from fastreid.engine.query_encoder import QueryEncoder

INKED = 0.01  # share of a patch that has to be ink
DARK = 160  # grey values below this are ink
APART = 0.14  # distance of two marks on a drawing, as a share of its diagonal
LEAST = 0.2  # cosine of two patches that are shown
Point = tuple[float, float]


@dataclass(frozen=True, eq=False)
class PatchMatch:
    """Two drawings and the places where they agree.

    Attributes:
        query, figure: what the network sees of each, larger.
        pairs: ((x, y) in the query, (x, y) in the figure, cosine), in pixels of these pictures, best first.
    """

    query: Image.Image
    figure: Image.Image
    pairs: tuple[tuple[Point, Point, float], ...]


def match_patches(
    encoder: "QueryEncoder", query_image: Image.Image, figure_image: Image.Image, count: int = 12
) -> PatchMatch:
    """Find the patches of two images that are nearest to each other by the model's feature map.

    Patches without ink do not count. The mean of the others is subtracted from each: what all patches of a drawing have
    in common (lines on paper, its manner of drawing, the bias of the network) makes most of their length, and hides in
    what they differ. Two patches match where each is the nearest of the other; of matches that lie close to each other
    in one of the images the best one stays.

    Args:
        count: most pairs to return.

    Raises:
        ValueError: the model has no feature map.
    """
    require_whole("count of match_patches", count, 1)
    images = query_image, figure_image
    pictures = [encoder.picture(image) for image in images]
    inks = [ink_of(picture) for picture in pictures]
    (first, places), (second, others) = (_patches(encoder, image, ink) for image, ink in zip(images, inks, strict=True))
    rows, columns, cosines = mutual_nearest(first, second)
    pairs = [
        (_on_ink(inks[0], places[rows[pair]]), _on_ink(inks[1], others[columns[pair]]), float(cosines[pair]))
        for pair in spread_out(places[rows, :2], others[columns, :2], cosines, count)
    ]
    return PatchMatch(*pictures, tuple(pairs))


def ink_of(picture: Image.Image) -> np.ndarray:
    """(H, W) bool: the dark pixels of a drawing without its figure labels."""
    ink = np.asarray(picture.convert("L")) < DARK
    groups = InkGroups.of(ink)
    labels = find_labels(groups)
    return ink & ~groups.pixels_of(labels) if len(labels) < len(groups.boxes) else ink


def _patches(encoder: "QueryEncoder", image: Image.Image, ink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors of unit length, float64 (n, D), of the patches with ink, and their places, float64 (n, 4).

    A place is (x, y) of the middle and (width, height), in shares of those of the picture.
    """
    _, patches = encoder.feature_map(image)
    height, width = patches.shape[:2]
    rows, columns = np.nonzero(inked_patches(ink, (height, width)))
    vectors = patches[rows, columns].astype(np.float64)
    vectors -= vectors.mean(axis=0) if len(vectors) else 0
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    sides = [np.full(len(rows), 1 / parts) for parts in (width, height)]
    return vectors, np.stack([(columns + 0.5) / width, (rows + 0.5) / height, *sides], axis=1)


def _on_ink(ink: np.ndarray, place: np.ndarray) -> Point:
    """The pixel (x, y) with ink that is nearest to the middle of all ink in a patch."""
    x, y, width, height = place * (*ink.shape[::-1], *ink.shape[::-1])
    left, top = max(0, round(x - width / 2)), max(0, round(y - height / 2))
    dark = np.argwhere(ink[top : round(y + height / 2), left : round(x + width / 2)])[:, ::-1] + 0.5
    nearest = dark[np.argmin(np.square(dark - dark.mean(axis=0)).sum(axis=1))]
    return float(left + nearest[0]), float(top + nearest[1])


def inked_patches(ink: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Whether there is ink, (H, W) bool, in each of (h, w) patches, bool (h, w)."""
    sums = np.pad(ink.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = (
        np.linspace(0, side, parts + 1).round().astype(int) for side, parts in zip(ink.shape, shape, strict=True)
    )
    inside = np.diff(np.diff(sums[np.ix_(rows, columns)], axis=0), axis=1)
    return (inside > 0) & (inside >= INKED * np.outer(np.diff(rows), np.diff(columns)))


def mutual_nearest(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of ``first`` (n, D) and of ``second`` (m, D) that are nearest to each other, with their cosines.

    Vectors have unit length; ties are broken by the row. The best pair comes first.
    """
    if not len(first) or not len(second):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    cosines = first @ second.T
    there, back = cosines.argmax(axis=1), cosines.argmax(axis=0)
    rows = np.flatnonzero((back[there] == np.arange(len(first))) & (cosines.max(axis=1) >= LEAST))
    rows = rows[np.argsort(-cosines[rows, there[rows]], kind="stable")]
    return rows, there[rows], cosines[rows, there[rows]]


def spread_out(first: np.ndarray, second: np.ndarray, cosines: np.ndarray, count: int) -> np.ndarray:
    """Choose up to ``count`` pairs of places (n, 2), best first, none near a better one in either image.

    Places are shares of width and height.
    """
    kept: list[int] = []
    for pair in range(len(cosines)):
        near = [np.linalg.norm(places[kept] - places[pair], axis=1) for places in (first, second)]
        if all((distances >= APART * 2**0.5).all() for distances in near):
            kept.append(pair)
        if len(kept) == count:
            break
    return np.array(kept, dtype=np.int64)


PANEL, GAP, MARGIN = 460, 36, 22  # pixels of the picture, which is legible at 800 wide
DISC, FONT, STROKE = 15, 20, 2
FAINT_LINE, WORDS = (214, 214, 214), (90, 90, 90)
# of Paul Tol's and Tableau's palettes, all dark enough for white numbers
COLOURS = (
    (31, 119, 180), (214, 39, 40), (44, 140, 44), (148, 103, 189), (190, 95, 10), (0, 128, 110), (227, 80, 160),
    (120, 80, 70), (110, 115, 20), (60, 60, 60), (51, 34, 136), (136, 34, 85),
)  # fmt: skip


def draw_patch_match(match: PatchMatch) -> Image.Image:
    """Draw the two drawings side by side on white, RGB, with a number and a colour for each pair, 1 the best.

    Thin lines join the places; the numbers stand on them.
    """
    panels = [_fitted(picture) for picture in (match.query, match.figure)]
    height = max(panel.height for panel, _ in panels) + 2 * MARGIN
    card = Image.new("RGB", (2 * PANEL + GAP + 2 * MARGIN, height), "white")
    corners = []
    for left, (panel, factor) in zip((MARGIN, MARGIN + PANEL + GAP), panels, strict=True):
        corner = left + (PANEL - panel.width) // 2, (height - panel.height) // 2
        card.paste(panel, corner)
        corners.append((*corner, factor))
    pen = ImageDraw.Draw(card)
    middle = card.width // 2
    pen.line([middle, MARGIN, middle, height - MARGIN], FAINT_LINE, 1)
    places = [
        [
            (left + factor * point[0], top + factor * point[1])
            for point, (left, top, factor) in zip(pair[:2], corners, strict=True)
        ]
        for pair in match.pairs
    ]
    colours = [COLOURS[number % len(COLOURS)] for number in range(len(places))]
    for ends, colour in zip(places, colours, strict=True):
        pen.line([*ends[0], *ends[1]], _lighter(colour), STROKE)
    font = ImageFont.load_default(FONT)
    for number, (ends, colour) in reversed([*enumerate(zip(places, colours, strict=True), 1)]):
        for x, y in ends:
            pen.ellipse([x - DISC, y - DISC, x + DISC, y + DISC], colour, "white", 2)
            pen.text((x, y), str(number), "white", font, anchor="mm")
    if not places:
        pen.text((middle, height - MARGIN), "no part of one resembles a part of the other", WORDS, font, anchor="ms")
    return card


def _fitted(picture: Image.Image) -> tuple[Image.Image, float]:
    factor = PANEL / max(picture.size)
    size = [max(1, round(factor * side)) for side in picture.size]
    return picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), factor


def _lighter(colour: tuple[int, int, int]) -> tuple[int, ...]:
    """Half way to white, so that the drawing stays the darkest."""
    return tuple((value + 255) // 2 for value in colour)
