"""From a surface and a camera to a drawing: hidden-line removal in vectors, strokes by Pillow."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fastreid.data.synthetic.contours import contours
from fastreid.data.synthetic.folds import folds
from fastreid.data.synthetic.projection import Camera, Projected, project
from fastreid.data.synthetic.shading import shade
from fastreid.data.synthetic.style import Style
from fastreid.data.synthetic.surface import Chains, Surface
from fastreid.data.synthetic.visibility import DepthBuffer, depth_behind, fill_depth_buffer, runs, sample

SUPERSAMPLING = 4
# (depth tolerance as a share of the object's size, cells looked at to either side, shortest run in samples); a contour
# lies on facets, hence off the true rim, and a very short one is a ripple of the facets
CREASE_TEST, CONTOUR_TEST = (0.004, 1, 4), (0.03, 2, 8)
# share of a pixel that must be inked for a black pixel of a bilevel drawing
BILEVEL_COVERAGE = 0.42
# scanned sheets: deviation of the inked share at the edges of lines, mean number of specks and their radius (of 512 px)
WAVER, SPECKS, SPECK_RADIUS = 0.14, 5, 0.7


def render(
    surface: Surface,
    camera: Camera,
    style: Style,
    size: int = 256,
    label: str = "",
    rng: np.random.Generator | None = None,
    bilevel: bool = True,
) -> Image.Image:
    """Draw one figure.

    Args:
        size: side of the square canvas in pixels.
        label: text under the drawing, e.g. ``"FIG. 3"``.
        rng: source of stipple, glass strokes and the specks of a scanned sheet.
        bilevel: True for a 1-bit image, False for 8-bit gray with antialiased lines.

    Returns:
        Black lines on white, mode "1" or "L".
    """
    seen = project(surface, camera, size)
    cells = int(np.clip(size, 384, 768))
    buffer = fill_depth_buffer(seen.xyz, surface.triangles, np.flatnonzero(seen.front), size, cells)
    # below 384 px lines are drawn relatively wider: one pixel is the least that a bilevel drawing can show
    unit = size / 512
    wide = max(unit, 0.75)
    rng = np.random.default_rng(0) if rng is None else rng
    paper = _Paper(size)
    lines, outline = visible_lines(surface, seen, buffer, style, unit)
    for line in lines:
        paper.stroke(line, style.stroke * wide)
    for line in outline if style.outline > 1 else ():
        paper.stroke(line, style.outline * style.stroke * wide)
    strokes, dots = shade(surface, seen, buffer, style, unit, rng)
    for line in strokes:
        paper.stroke(line, max(0.55 * style.stroke * wide, 0.85))
    paper.dots(dots, max(0.55 * style.stroke * wide, 0.8))
    if label:
        paper.text(label, camera)
    if style.scanned:
        paper.scan(rng, SPECK_RADIUS * wide)
    return paper.finish(bilevel)


def visible_lines(
    surface: Surface, seen: Projected, buffer: DepthBuffer, style: Style, unit: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the visible creases and contours as polylines (n, 2) in canvas pixels, broken lines cut into dashes.

    The second list are the pieces of unbroken lines with empty paper beside them.
    """
    creases, (points, smooth) = surface.chains, contours(surface, seen)
    # a crease between two faces that are turned away is hidden whatever the depth buffer says
    kinds = [(seen.xyz, creases, (seen.front[creases.faces] | (creases.faces < 0)).any(1), CREASE_TEST)]
    kinds += [(points, smooth, np.ones(len(smooth.points), bool), CONTOUR_TEST)]
    lines, outline = [], []
    if surface.folds is not None:
        bent, rims = folds(surface.folds, seen)
        kinds += [(seen.xyz, bent, np.ones(len(bent.points), bool), CREASE_TEST)]
        shown = np.ones(len(rims.points), bool)
        outline = _seen_lines(seen.xyz[rims.points], rims, shown, buffer, CREASE_TEST, seen.size)[1]
        lines = [(line, False) for line in outline]
    for places, chains, shown, test in kinds:
        more, outer = _seen_lines(places[chains.points], chains, shown, buffer, test, seen.size)
        lines, outline = lines + more, outline + outer
    drawn = []
    for line, broken in lines:
        drawn += _dashes(line, style, unit) if broken else [line]
    return drawn, outline


def _seen_lines(
    points: np.ndarray, chains: Chains, shown: np.ndarray, buffer: DepthBuffer, test: tuple, size: float
) -> tuple[list[tuple[np.ndarray, bool]], list[np.ndarray]]:
    """Visible runs (n, 2) of polylines and whether they are drawn broken; those of them that bound the drawing."""
    if not len(points):
        return [], []
    samples = sample(points, chains.lines, 1.0 / buffer.scale)
    # the last point of a polyline has no segment of its own: it goes with the one before
    last = np.append(samples.line[1:] != samples.line[:-1], True)
    segment = samples.seg - last
    tolerance, reach, shortest = test
    behind = depth_behind(samples, buffer, reach)
    flags = shown[segment] & (samples.xyz[:, 2] <= behind + tolerance * size)
    found = runs(flags, samples.line, shortest=shortest)
    outer = runs(flags & np.isinf(behind) & ~chains.broken[segment], samples.line, shortest=shortest)
    lines = [(samples.xyz[start:stop, :2], bool(chains.broken[segment[start]])) for start, stop in found]
    return lines, [samples.xyz[start:stop, :2] for start, stop in outer]


def _dashes(line: np.ndarray, style: Style, unit: float) -> list[np.ndarray]:
    on, off = np.multiply(style.dash, max(unit, 0.6))
    travelled = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    inked = travelled % (on + off) < on
    pieces = runs(inked, (travelled // (on + off)).astype(np.int64), bridge=0, shortest=2)
    return [line[start:stop] for start, stop in pieces]


class _Paper:
    """A supersampled canvas."""

    def __init__(self, size: int):
        self.size, self.grain = size, None
        self.image = Image.new("L", (size * SUPERSAMPLING, size * SUPERSAMPLING), 255)
        self.draw = ImageDraw.Draw(self.image)

    def stroke(self, line: np.ndarray, width: float) -> None:
        self.draw.line((line * SUPERSAMPLING).ravel().tolist(), fill=0, width=max(round(width * SUPERSAMPLING), 1))

    def dots(self, places: np.ndarray, radius: float) -> None:
        r = radius * SUPERSAMPLING / 1.6
        for x, y in (places * SUPERSAMPLING).tolist():
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=0)

    def text(self, label: str, camera: Camera) -> None:
        side = self.size * SUPERSAMPLING
        x = side * np.clip(0.5 + camera.shift[0], 0.2, 0.8)
        font = _font(round(side * 0.05))
        self.draw.text((x, side * (1 - camera.bottom / 2)), label, fill=0, font=font, anchor="mm")

    def scan(self, rng: np.random.Generator, radius: float) -> None:
        """Add specks, and let the edges of lines waver."""
        self.dots(rng.uniform(0, self.size, (rng.poisson(SPECKS), 2)), radius)
        self.grain = rng.normal(0, 255 * WAVER, (self.size, self.size))

    def finish(self, bilevel: bool) -> Image.Image:
        gray = self.image.reduce(SUPERSAMPLING)
        if self.grain is not None:
            share = np.asarray(gray)
            edge = (share > 0) & (share < 255)
            gray = Image.fromarray(np.where(edge, np.clip(share + self.grain, 0, 255), share).astype(np.uint8))
        if not bilevel:
            return gray
        threshold = round(255 * (1 - BILEVEL_COVERAGE))
        return gray.point(lambda value: 255 if value > threshold else 0).convert("1", dither=Image.Dither.NONE)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
