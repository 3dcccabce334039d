"""Points with error bars and their names beside them, as an image."""

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

from fastreid.evaluation.plots import COLORS, FINER, INK, RIGHT, WIDTH, Frame, Plot, font

RADIUS, CAP, LINE_HEIGHT = 5, 4, 16  # pixels of the reduced picture
PADDING = 0.08  # of the range of the points, free on each side


class Scatter(Plot):
    """Named points, each with the deviation of its y."""

    def point(self, name: str, x: float, y: float, deviation: float = 0.0) -> "Scatter":
        """Add a point with a bar from ``y - deviation`` to ``y + deviation``."""
        self.line(name, [x, x, x], [y - deviation, y, y + deviation])
        return self

    def _frame(self) -> Frame:
        xs = np.concatenate([line[1] for line in self.lines]) if self.lines else np.zeros(0)
        ys = np.concatenate([line[2] for line in self.lines]) if self.lines else np.zeros(0)
        return Frame(*_padded(xs), *(self.y_range or _padded(ys)), self.log_x)

    def _draw(self, image: Image.Image, frame: Frame, number: int) -> None:
        _, xs, ys, _ = self.lines[number]
        if not len(xs):
            return
        x, (low, y, high) = frame.x(xs[0]), (frame.y(value) for value in ys)
        draw, color, cap, radius = ImageDraw.Draw(image), COLORS[number % len(COLORS)], FINER * CAP, FINER * RADIUS
        if low > high:
            for ends in ((x, low, x, high), (x - cap, low, x + cap, low), (x - cap, high, x + cap, high)):
                draw.line(ends, color, FINER * 2)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], color)

    def _legend(self, draw: ImageDraw.ImageDraw) -> None:
        """Write each name beside its point, to the left where there is no room, moved where another one stands."""
        frame, gap = self._frame(), FINER * (RADIUS + 4)
        points = [(name, frame.x(xs[1]), frame.y(ys[1])) for name, xs, ys, _ in self.lines if len(xs)]
        taken = [(x - gap, y - gap, x + gap, y + gap) for _, x, y in points]
        for name, x, y in sorted(points, key=lambda point: point[2]):
            width = draw.textlength(name, font(13))
            box = next(box for box in _places(x, y, width, gap) if not any(_overlap(box, other) for other in taken))
            taken.append(box)
            middle = (box[1] + box[3]) / 2
            if abs(middle - y) > gap:
                draw.line([(x, y), (box[0] if box[0] > x else box[2], middle)], (*INK, 110), FINER)
            draw.text((box[0], middle), name, INK, font(13), anchor="lm")


def _places(x: float, y: float, width: float, gap: float) -> Iterator[tuple[float, float, float, float]]:
    """Boxes for a text beside (x, y), from near to far; both sides at each height, the right one first if it fits."""
    height = FINER * LINE_HEIGHT
    fits = x + gap + width < FINER * (WIDTH - RIGHT)
    step = 0
    while True:
        for shift in dict.fromkeys((-step, step)):
            middle = y + shift * height / 2
            for left in (x + gap, x - gap - width) if fits else (x - gap - width,):
                yield left, middle - height / 2, left + width, middle + height / 2
        step += 1


def _overlap(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _padded(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    room = PADDING * (high - low) or abs(high) * PADDING or 1.0
    return low - room, high + room
