"""Surface shading: hatching, stipple, glass strokes and lines of slope, as lines and dots in canvas pixels."""

import numpy as np

from fastreid.data.synthetic.contours import level_lines
from fastreid.data.synthetic.projection import Projected
from fastreid.data.synthetic.style import Style
from fastreid.data.synthetic.surface import Surface
from fastreid.data.synthetic.visibility import DepthBuffer, Samples, depth_behind, runs, sample

LIGHT = np.array([-0.48, 0.62, 0.62])
# cosines to the eye at which a rounded surface gets a line; least and largest distance between two, pixels of 512
SLOPES, GAPS = (0.42, 0.61, 0.78), (5.0, 50.0)
Lines = list[np.ndarray]


def shade(
    surface: Surface, seen: Projected, buffer: DepthBuffer, style: Style, unit: float, rng: np.random.Generator
) -> tuple[Lines, np.ndarray]:
    """Return strokes, a list of (n, 2), and dots (m, 2); ``unit``: canvas pixels per pixel of ``style``."""
    nothing = np.zeros((0, 2))
    tone = seen.normals @ LIGHT
    if style.shading == "hatch":
        dark = surface.claimed & (tone < style.threshold - 0.25)
        return _hatch(dark, buffer, style, unit), nothing
    if style.shading == "stipple":
        return [], _stipple(np.where(surface.claimed, tone, 1.0), buffer, style, unit, rng)
    if style.shading == "contour":
        dark = surface.claimed & (tone < style.threshold + 0.15)
        return _slope_lines(dark, surface, seen, buffer, unit), nothing
    if style.shading == "glass":
        flat = surface.claimed & _large_planes(surface) & (seen.normals[:, 2] > 0.3)
        return _glass(flat, buffer, style, unit, rng), nothing
    return [], nothing


def _covered(chosen: np.ndarray, buffer: DepthBuffer, xy: np.ndarray) -> np.ndarray:
    """Whether the face seen at each point (n, 2) is one of ``chosen`` (T,)."""
    x, y = np.floor(xy.T * buffer.scale).astype(np.int64).clip(0, len(buffer.face) - 1)
    face = buffer.face[y, x]
    return (face >= 0) & chosen[face]


def _parallels(side: float, spacing: float, degrees: float) -> Samples:
    """Samples of parallel lines all over the canvas."""
    angle = np.radians(degrees)
    along, across = np.array([np.cos(angle), -np.sin(angle)]), np.array([np.sin(angle), np.cos(angle)])
    offsets = np.arange(-0.75 * side, 0.75 * side, spacing)
    reach = 0.75 * side
    middle = side / 2 + offsets[:, None] * across
    ends = np.stack([middle - reach * along, middle + reach * along], 1).reshape(-1, 2)
    flat = np.column_stack([ends, np.zeros(len(ends))])
    return sample(flat, np.repeat(np.arange(len(offsets)), 2), 1.5)


def _hatch(chosen: np.ndarray, buffer: DepthBuffer, style: Style, unit: float) -> Lines:
    side = len(buffer.face) / buffer.scale
    lines = _parallels(side, style.spacing * unit, style.angle)
    found = runs(_covered(chosen, buffer, lines.xyz[:, :2]), lines.line)
    return [lines.xyz[[start, stop - 1], :2] for start, stop in found]


def _stipple(tone: np.ndarray, buffer: DepthBuffer, style: Style, unit: float, rng: np.random.Generator) -> np.ndarray:
    """Dots on a jittered lattice, denser where it is darker."""
    side, pitch = len(buffer.face) / buffer.scale, 0.6 * style.spacing * unit
    places = np.stack(np.meshgrid(np.arange(0, side, pitch), np.arange(0, side, pitch)), -1).reshape(-1, 2)
    places = (places + rng.uniform(0, pitch, places.shape)).clip(0, side - 1)
    x, y = np.floor(places.T * buffer.scale).astype(np.int64).clip(0, len(buffer.face) - 1)
    face = buffer.face[y, x]
    density = np.clip(0.9 * (style.threshold + 0.25 - tone[face]), 0, 0.8)
    return places[(face >= 0) & (rng.random(len(places)) < density)]


def _large_planes(surface: Surface) -> np.ndarray:
    """Triangles (T,) that belong to a plane of at least 4 % of the surface."""
    corner = surface.vertices[surface.triangles]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    height = np.einsum("ij,ij->i", surface.face_normals, corner[:, 0]) / np.ptp(surface.vertices)
    planes = np.round(np.column_stack([surface.face_normals, height]) * 50).astype(np.int64)
    _, plane = np.unique(planes, axis=0, return_inverse=True)
    plane = plane.reshape(-1)
    return np.bincount(plane, area)[plane] > 0.04 * area.sum()


def _glass(chosen: np.ndarray, buffer: DepthBuffer, style: Style, unit: float, rng: np.random.Generator) -> Lines:
    """Groups of three short slanted strokes, the convention for glass, mirrors and polished faces."""
    side = len(buffer.face) / buffer.scale
    lines = _parallels(side, 5 * unit, 45)
    group, place = np.divmod(lines.line, 12)
    position = np.arange(len(lines.line)) - np.searchsorted(lines.line, lines.line)
    phase = rng.uniform(0, 90, group.max() + 1)[group] * unit / 1.5
    on = (place < 3) & ((position + phase + 6 * place) % (90 * unit / 1.5) < (44 - 10 * np.abs(place - 1)) * unit / 1.5)
    found = runs(on & _covered(chosen, buffer, lines.xyz[:, :2]), lines.line, shortest=6)
    return [lines.xyz[[start, stop - 1], :2] for start, stop in found]


def _slope_lines(chosen: np.ndarray, surface: Surface, seen: Projected, buffer: DepthBuffer, unit: float) -> Lines:
    """Lines of equal slope to the viewer: straight along a cylinder, rings on a ball, closer towards its contour."""
    gap = np.min(np.diff(SLOPES)) / np.maximum(_steepness(surface, seen), 1e-9)
    rounded = chosen & (gap > GAPS[0] * max(unit, 0.6)) & (gap < GAPS[1] * unit)
    lines = []
    for slope in SLOPES:
        points, chains = level_lines(surface, seen, seen.facing - slope)
        if not len(chains.points):
            continue
        samples = sample(points[chains.points], chains.lines, 1.0 / buffer.scale)
        segment = samples.seg - np.append(samples.line[1:] != samples.line[:-1], True)
        near = samples.xyz[:, 2] <= depth_behind(samples, buffer) + 0.01 * seen.size
        found = runs(near & rounded[chains.faces[segment, 0]], samples.line, shortest=16)
        lines += [samples.xyz[start:stop, :2] for start, stop in found]
    return lines


def _steepness(surface: Surface, seen: Projected) -> np.ndarray:
    """Change of the cosine to the eye per canvas pixel in each triangle (T,)."""
    corner, value = seen.xyz[surface.triangles, :2], seen.facing
    (ax, ay), (bx, by) = (corner[:, 1] - corner[:, 0]).T, (corner[:, 2] - corner[:, 0]).T
    a, b = value[:, 1] - value[:, 0], value[:, 2] - value[:, 0]
    area = np.where(np.abs(ax * by - ay * bx) < 1e-9, 1e-9, ax * by - ay * bx)
    return np.hypot(a * by - b * ay, b * ax - a * bx) / np.abs(area)
