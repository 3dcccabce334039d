"""Line plots and histograms as images, with Pillow alone: ROC curves and distributions of distances."""

import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.evaluation.charts import nice_ticks
from fastreid.utils.files import atomic_write

WIDTH, HEIGHT = 760, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 46, 58
FINER = 2  # drawn this much larger, then reduced: smooth lines
# colours that are told apart with any kind of colour vision (Okabe and Ito, 2008); lines differ by their dashes too
COLORS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
DASHES = ((), (14, 7), (4, 5), (18, 6, 4, 6))  # pixels on and off
INK, GRID, PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)


class Plot:
    """A plot to add lines to and to save; ``savefig`` has the name that matplotlib's figures give it.

    Args:
        log_x: logarithmic x axis; points at 0 and below are left out.
        y_range: of the axis; default: from 0 to a little above the largest value.
    """

    def __init__(self, title: str, x_label: str, y_label: str, log_x: bool = False, y_range: tuple | None = None):
        self.title, self.x_label, self.y_label, self.log_x, self.y_range = title, x_label, y_label, log_x, y_range
        self.lines: list[tuple[str, np.ndarray, np.ndarray, bool]] = []

    def line(self, name: str, xs: Sequence[float], ys: Sequence[float], filled: bool = False) -> "Plot":
        """Add a line, with the area below it where ``filled``; points that are not finite are left out."""
        xs, ys = np.asarray(xs, dtype=np.float64), np.asarray(ys, dtype=np.float64)
        shown = np.isfinite(xs) & np.isfinite(ys) & ((xs > 0) if self.log_x else True)
        self.lines.append((name, xs[shown], ys[shown], filled))
        return self

    def histogram(self, name: str, values: Sequence[float], edges: np.ndarray) -> "Plot":
        """Add the density of ``values`` between ``edges`` as steps."""
        density = np.histogram(values, edges)[0] / (max(1, len(values)) * np.diff(edges))
        return self.line(name, np.repeat(edges, 2), np.concatenate([[0], np.repeat(density, 2), [0]]), filled=True)

    def render(self) -> Image.Image:
        """Return the picture, RGB."""
        image = Image.new("RGB", (FINER * WIDTH, FINER * HEIGHT), PAPER)
        frame = self._frame()
        self._axes(ImageDraw.Draw(image), frame)
        for number in range(len(self.lines)):
            self._draw(image, frame, number)
        self._legend(ImageDraw.Draw(image, "RGBA"))
        return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)

    def _draw(self, image: Image.Image, frame: "Frame", number: int) -> None:
        _, xs, ys, filled = self.lines[number]
        points = [(frame.x(x), frame.y(y)) for x, y in zip(xs.tolist(), ys.tolist(), strict=True)]
        if filled and len(points) > 1:
            ImageDraw.Draw(image, "RGBA").polygon(points, fill=(*_color(number), 60))
        _stroke(ImageDraw.Draw(image), points, _color(number), DASHES[number % len(DASHES)])

    def savefig(self, path: str | os.PathLike) -> None:
        """Write the picture; the ending of ``path`` says in which format."""
        suffix = Path(path).suffix.lower()
        Image.init()
        if suffix not in Image.EXTENSION:
            raise ValueError(f"a plot is saved as .png or another kind of image; got {path}")
        with atomic_write(path) as file:
            self.render().save(file, Image.EXTENSION[suffix])

    def _frame(self) -> "Frame":
        xs = np.concatenate([line[1] for line in self.lines]) if self.lines else np.zeros(0)
        ys = np.concatenate([line[2] for line in self.lines]) if self.lines else np.zeros(0)
        low, high = (float(xs.min()), float(xs.max())) if len(xs) else (0.1, 1.0)
        y_range = self.y_range or (0.0, 1.06 * float(ys.max(initial=0)) or 1.0)
        return Frame(low, high if high > low else low + 1, *y_range, self.log_x)

    def _axes(self, draw: ImageDraw.ImageDraw, frame: "Frame") -> None:
        left, right = FINER * LEFT, FINER * (WIDTH - RIGHT)
        top, bottom = FINER * TOP, FINER * (HEIGHT - BOTTOM)
        for tick in nice_ticks(frame.low_y, frame.high_y):
            draw.line([(left, frame.y(tick)), (right, frame.y(tick))], GRID, FINER)
            draw.text((left - 8 * FINER, frame.y(tick)), f"{tick:g}", INK, font(13), anchor="rm")
        for tick in _decades(frame) if self.log_x else nice_ticks(frame.low_x, frame.high_x, 8):
            draw.line([(frame.x(tick), top), (frame.x(tick), bottom)], GRID, FINER)
            draw.text((frame.x(tick), bottom + 7 * FINER), f"{tick:g}", INK, font(13), anchor="mt")
        draw.line([(left, top), (left, bottom), (right, bottom)], INK, FINER)
        draw.text((left, FINER * 16), self.title, INK, font(17), anchor="lt")
        draw.text((right, FINER * (HEIGHT - 12)), self.x_label, INK, font(14), anchor="rb")
        draw.text((right, FINER * 20), self.y_label, INK, font(14), anchor="rt")

    def _legend(self, draw: ImageDraw.ImageDraw) -> None:
        """Names in the corner with the fewest points: top left, top right or the one below it."""
        widest = max((draw.textlength(name, font(14)) for name, *_ in self.lines), default=0) + FINER * 58
        height, frame = FINER * (22 * len(self.lines) + 10), self._frame()
        inside = FINER * 10
        left, right = FINER * LEFT + inside, FINER * (WIDTH - RIGHT) - inside - widest
        top, bottom = FINER * TOP + inside, FINER * (HEIGHT - BOTTOM) - inside - height
        corners = [(right, top), (left, top), (right, bottom), (left, bottom)]
        points = [(frame.x(x), frame.y(y)) for _, xs, ys, _ in self.lines for x, y in zip(xs, ys, strict=True)]
        near = FINER * 30  # a line may cross a corner without a point in it
        x, y = min(corners, key=lambda at: sum(-near < px - at[0] < widest + near and -near < py - at[1] < height + near
                                               for px, py in points))  # fmt: skip
        draw.rectangle([x, y, x + widest, y + height], fill=(*PAPER, 220), outline=(*GRID, 255))
        for number, (name, *_) in enumerate(self.lines):
            middle = y + FINER * (16 + 22 * number)
            sample = [(x + FINER * 10, middle), (x + FINER * 42, middle)]
            _stroke(draw, sample, _color(number), DASHES[number % len(DASHES)])
            draw.text((x + FINER * 50, middle), name, INK, font(14), anchor="lm")


class Frame:
    """Maps data to pixels of the large drawing."""

    def __init__(self, low_x: float, high_x: float, low_y: float, high_y: float, log_x: bool):
        self.low_x, self.high_x, self.low_y, self.high_y = low_x, high_x, low_y, high_y
        self.scale = math.log10 if log_x else float

    def x(self, value: float) -> float:
        low, high = self.scale(self.low_x), self.scale(self.high_x)
        return FINER * (LEFT + (self.scale(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT))

    def y(self, value: float) -> float:
        share = (value - self.low_y) / (self.high_y - self.low_y)
        return FINER * (HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))


def _decades(frame: Frame) -> list[float]:
    first, last = math.ceil(math.log10(frame.low_x) - 1e-9), math.floor(math.log10(frame.high_x) + 1e-9)
    return [10.0**power for power in range(first, last + 1)]


def _color(number: int) -> tuple[int, int, int]:
    return COLORS[number % len(COLORS)]


def font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(FINER * size)


def _stroke(draw: ImageDraw.ImageDraw, points: list[tuple[float, float]], color: tuple, dashes: tuple) -> None:
    """Draw a line through ``points``, in ``dashes`` of small pixels where there are any."""
    if not dashes:
        draw.line(points, color, 2 * FINER, joint="curve")
        return
    on, number, left = True, 0, FINER * float(dashes[0])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length, done = math.hypot(x1 - x0, y1 - y0), 0.0
        while length - done > 1e-9:
            step = min(left, length - done)
            if on:
                ends = [(x0 + (x1 - x0) * at / length, y0 + (y1 - y0) * at / length) for at in (done, done + step)]
                draw.line(ends, color, 2 * FINER)
            done, left = done + step, left - step
            if left <= 1e-9:
                on, number = not on, (number + 1) % len(dashes)
                left = FINER * float(dashes[number])
