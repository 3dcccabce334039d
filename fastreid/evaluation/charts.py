"""Small SVG charts for the report: no library, no script, colours from the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 540, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 34
MAX_POINTS = 400  # per line; longer ones are averaged down


@dataclass(frozen=True)
class Series:
    """One line of a chart; points that are not finite are left out."""

    name: str
    xs: Sequence[float] = field(repr=False)
    ys: Sequence[float] = field(repr=False)

    def points(self) -> list[tuple[float, float]]:
        finite = [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
        step = math.ceil(len(finite) / MAX_POINTS) or 1
        groups = [finite[start : start + step] for start in range(0, len(finite), step)]
        return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


@dataclass(frozen=True)
class _Frame:
    """Maps data ranges to the plotting area."""

    low_x: float
    high_x: float
    low_y: float
    high_y: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.low_x) / ((self.high_x - self.low_x) or 1) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.low_y) / ((self.high_y - self.low_y) or 1) * (HEIGHT - TOP - BOTTOM)


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    dividers: Sequence[tuple[float, str]] = (),
    y_range: tuple[float, float] | None = None,
    whole_x: bool = False,
) -> str:
    """Return a ``<figure>`` with one line per series and a legend.

    Args:
        dividers: (x, label) pairs, drawn as vertical lines with the label to their right.
        y_range: fixed range; default: from the data, down to 0 when they come near it.
        whole_x: x counts something: only whole numbers are written at its axis.
    """
    drawn = [(one.name, one.points()) for one in series]
    drawn = [(name, points) for name, points in drawn if points]
    if not drawn:
        return ""
    frame = _fit([point for _, points in drawn for point in points], [x for x, _ in dividers], y_range)
    body = _axes(frame, x_label, whole_x=whole_x)
    for x, label in dividers:
        at = frame.x(x)
        if x > frame.low_x:
            body += f'<line class="divider" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        body += f'<text class="note" x="{at + 5:.1f}" y="{TOP + 9}">{escape(label)}</text>'
    for number, (name, points) in enumerate(drawn, start=1):
        body += _line(frame, name, points, number)
    legend = "".join(f'<li class="s{n}">{escape(name)}</li>' for n, (name, _) in enumerate(drawn, start=1))
    return _figure(title, body, f'<ul class="legend">{legend}</ul>' if len(drawn) > 1 else "")


def bar_chart(title: str, edges: Sequence[float], counts: Sequence[int], x_label: str) -> str:
    """Return a ``<figure>`` with a histogram: ``counts[i]`` items between ``edges[i]`` and ``edges[i + 1]``."""
    frame = _Frame(edges[0], edges[-1], 0, max(*counts, 1))
    body = _axes(frame, x_label, whole_y=True)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        left, top = frame.x(low) + 1.5, frame.y(count)
        body += (
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{frame.x(high) - left - 1.5:.1f}" '
            f'height="{HEIGHT - BOTTOM - top:.1f}" rx="2"><title>{low:g} to {high:g}: {count}</title></rect>'
        )
    return _figure(title, body, "")


def nice_ticks(low: float, high: float, count: int = 5, whole: bool = False) -> list[float]:
    """Return about ``count`` round numbers (steps of 1, 2, 2.5 or 5 times a power of ten) between low and high.

    With ``whole`` only the whole ones among them, which may be fewer.
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power * count >= span * 0.999)
    first = math.ceil(low / step - 1e-9)
    ticks = [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]
    return [tick for tick in ticks if tick == int(tick)] if whole else ticks


def _fit(points: list[tuple[float, float]], more_xs: list[float], y_range: tuple[float, float] | None) -> _Frame:
    xs, ys = [x for x, _ in points] + more_xs, [y for _, y in points]
    if y_range is None:
        low, high = min(ys), max(ys)
        low = 0.0 if 0 <= low < 0.5 * high else low
        pad = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        y_range = (low if low == 0 else low - pad, high + pad)
    return _Frame(min(xs), max(xs), *y_range)


def _axes(frame: _Frame, x_label: str, whole_x: bool = False, whole_y: bool = False) -> str:
    bottom = HEIGHT - BOTTOM
    parts = []
    for tick in nice_ticks(frame.low_y, frame.high_y, whole=whole_y):
        at = frame.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for tick in nice_ticks(frame.low_x, frame.high_x, 6, whole_x):
        at = frame.x(tick)
        parts.append(f'<text class="tick" x="{at:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text class="note" x="{WIDTH - RIGHT}" y="{HEIGHT - 3}" text-anchor="end">{escape(x_label)}</text>')
    return "".join(parts)


def _line(frame: _Frame, name: str, points: list[tuple[float, float]], number: int) -> str:
    path = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    line = f'<polyline class="line s{number}" points="{path}"/>'
    if len(points) > 30:
        return line
    dots = (
        f'<circle class="dot s{number}" cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}" r="3">'
        f"<title>{escape(name)}: {y:.4g} at {_number(x)}</title></circle>"
        for x, y in points
    )
    return line + "".join(dots)


def _figure(title: str, body: str, legend: str) -> str:
    return (
        f'<figure class="chart"><figcaption>{escape(title)}{legend}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg></figure>'
    )


def _number(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10000 else f"{value:g}"
