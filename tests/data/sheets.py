"""Sheets composed of figures of MiniPatent, with the boxes of the figures."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.data.synthetic.generate import IMAGES, Settings, generate
from fastreid.data.transforms.ink import InkGroups, find_labels

PAGE = 1000, 1400  # width and height, pixels
GAP = 0.035  # least distance of two figures with their labels, as a share of the longer side
APART = 0.018  # distance of the parts of an exploded figure
LETTERS = "FIG. {}", "Fig. {}", "FIGURE {}", "FIG.{}"


def draw_figures(folder: Path, designs: int = 33) -> list[np.ndarray]:
    """Figures without labels and dust, each cut to its ink; bool (height, width), True is ink."""
    generate(folder, Settings(num_train=designs, num_val=0, num_test=0), workers=0)
    figures = []
    for path in sorted((folder / IMAGES).rglob("*.png")):
        groups = InkGroups.of(np.asarray(Image.open(path).convert("L")) < 128)
        kept = set(groups) - find_labels(groups)
        largest = max(kept, key=lambda group: groups.sides_of(group)[1])
        left, top, right, bottom = groups.box_of([largest])
        figures.append((groups.ink & groups.pixels_of(kept))[top:bottom, left:right])
    return figures


def compose(
    figures: list[np.ndarray], rng: np.random.Generator, count: int, labels: bool = True, frame: bool = False,
    dust: bool = False, exploded: bool = False,
) -> tuple[Image.Image, list[tuple[int, int, int, int]]]:  # fmt: skip
    """Return a sheet, mode L, and the boxes of its figures in reading order.

    The figures stand in a grid, each somewhere in its cell.
    """
    columns = 1 if count < 3 else 2
    rows = -(-count // columns)
    ink, boxes = np.zeros(PAGE[::-1], bool), []
    border, gap = 60, round(GAP * max(PAGE))
    width, height = (PAGE[0] - 2 * border) // columns, (PAGE[1] - 2 * border) // rows
    for number in range(count):
        row, column = divmod(number, columns)
        space = 70 if labels else 0
        room = width - gap, height - gap - space
        figure = figures[rng.integers(len(figures))]
        figure = _scaled(figure, room, rng.uniform(0.6, 1), apart=round(APART * max(PAGE)) if exploded else 0)
        left = border + column * width + gap // 2 + rng.integers(room[0] - figure.shape[1] + 1)
        top = border + row * height + gap // 2 + rng.integers(room[1] - figure.shape[0] + 1)
        ink[top : top + figure.shape[0], left : left + figure.shape[1]] |= figure
        boxes.append((int(left), int(top), int(left + figure.shape[1]), int(top + figure.shape[0])))
        if labels:
            text = LETTERS[rng.integers(len(LETTERS))].format(number + 1)
            _write(ink, text, boxes[-1], rng)
    if dust:
        for x, y in zip(rng.integers(5, PAGE[0] - 5, 25), rng.integers(5, PAGE[1] - 5, 25), strict=True):
            ink[y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = True
    if frame:
        ink[20:1380, 20:23] = ink[20:1380, 977:980] = ink[20:23, 20:980] = ink[1377:1380, 20:980] = True
    return Image.fromarray(np.where(ink, 0, 255).astype(np.uint8)), boxes


def _scaled(figure: np.ndarray, room: tuple[int, int], share: float, apart: int) -> np.ndarray:
    """Scale to fit a share of the room (width, height); with ``apart`` cut in two across its longer side."""
    height, width = figure.shape
    factor = share * min((room[0] - apart) / width, (room[1] - apart) / height)
    image = Image.fromarray(figure).convert("L").resize(
        (max(1, int(factor * width)), max(1, int(factor * height))), Image.Resampling.BILINEAR
    )  # fmt: skip
    figure = np.asarray(image) >= 96
    figure = figure[np.ix_(*(slice_of(figure.any(axis)) for axis in (1, 0)))]
    if not apart:
        return figure
    upright = figure if figure.shape[0] >= figure.shape[1] else figure.T
    half = len(upright) // 2
    upright = np.concatenate([upright[:half], np.zeros((apart, upright.shape[1]), bool), upright[half:]])
    return upright if figure.shape[0] >= figure.shape[1] else upright.T


def slice_of(inked: np.ndarray) -> np.ndarray:
    """The numbers from the first to the last True."""
    places = np.flatnonzero(inked)
    return np.arange(places[0], places[-1] + 1)


def _write(ink: np.ndarray, text: str, box: tuple[int, int, int, int], rng: np.random.Generator) -> None:
    """Write a label below a figure, with its middle below that of the figure."""
    font = ImageFont.load_default(int(rng.integers(22, 34)))
    image = Image.new("L", (300, 60), 0)
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    letters = np.asarray(image) >= 128
    letters = letters[np.ix_(*(slice_of(letters.any(axis)) for axis in (1, 0)))]
    top = box[3] + int(rng.integers(24, 36))
    left = max(0, (box[0] + box[2] - letters.shape[1]) // 2)
    ink[top : top + letters.shape[0], left : left + letters.shape[1]] |= letters


def overlap(box: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, other)]
    return shared / (sum(areas) - shared)
