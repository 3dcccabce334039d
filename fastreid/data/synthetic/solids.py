"""Solid modelling in few words, on top of manifold3d.

Axes: x to the right, y away from a viewer in front, z up. Lengths are arbitrary (the renderer scales to the canvas).
Solids that shall be one piece must overlap, not just touch.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SEGMENTS = 48
Point = Sequence[float]


@functools.cache
def kernel():
    """Return the module manifold3d.

    Raises:
        ImportError: it is not installed; the message names the extra.
    """
    try:
        import manifold3d
    except ImportError as error:
        raise ImportError(
            'Drawing MiniPatent needs the package manifold3d: pip install ".[synth]" from the checkout',
            name="manifold3d",
        ) from error
    return manifold3d


@dataclass(frozen=True)
class Part:
    """A solid of a design. ``claimed=False``: shown for context only, so drawn in broken lines."""

    solid: Any
    claimed: bool = True


def box(width: float, depth: float, height: float, at: Point = (0, 0, 0)):
    """Box centred on ``at`` in x and y that stands on it in z."""
    return kernel().Manifold.cube((width, depth, height), True).translate((at[0], at[1], at[2] + height / 2))


def cushion(width: float, depth: float, height: float, radius: float, at: Point = (0, 0, 0)):
    """Box as ``box`` with all edges and corners rounded."""
    radius = min(radius, 0.49 * min(width, depth, height))
    sphere = kernel().Manifold.sphere(radius, 16)
    w, d, h = width / 2 - radius, depth / 2 - radius, height / 2 - radius
    centres = [(x, y, z) for x in (-w, w) for y in (-d, d) for z in (-h, h)]
    # rarely the hull of many balls has a sliver that a union sets free; the hull of the result has not
    ball_hull = kernel().Manifold.batch_hull([sphere.translate(centre) for centre in centres]).hull()
    return ball_hull.translate((at[0], at[1], at[2] + height / 2))


def prism(outline: np.ndarray, height: float, at: Point = (0, 0, 0), **extrude):
    """Extrude a closed outline (N, 2) in the x-y plane upwards; ``extrude``: n_divisions, twist_degrees, scale_top."""
    section = kernel().CrossSection([np.asarray(outline, dtype=float)], kernel().FillRule.EvenOdd)
    return kernel().Manifold.extrude(section, height, **extrude).translate(tuple(at))


def plate(outline: np.ndarray, thickness: float, at: Point = (0, 0, 0)):
    """Plate that faces the viewer: outline (N, 2) in x and z, ``thickness`` in y, centred on ``at`` in y."""
    return prism(outline, thickness).translate((0, 0, -thickness / 2)).rotate((90, 0, 0)).translate(tuple(at))


def side_plate(outline: np.ndarray, thickness: float, at: Point = (0, 0, 0)):
    """Plate that faces sideways: outline (N, 2) in y and z, ``thickness`` in x, centred on ``at`` in x."""
    return prism(outline, thickness).translate((0, 0, -thickness / 2)).rotate((90, 0, 90)).translate(tuple(at))


def cylinder(radius: float, height: float, at: Point = (0, 0, 0), top: float | None = None, segments: int = SEGMENTS):
    """Upright cylinder, or cone frustum with the upper radius ``top``, standing on ``at``."""
    return kernel().Manifold.cylinder(height, radius, radius if top is None else top, segments).translate(tuple(at))


def sphere(radius: float, at: Point = (0, 0, 0), scale: Point = (1, 1, 1)):
    return kernel().Manifold.sphere(radius, 32).scale(tuple(scale)).translate(tuple(at))


def rod(start: Point, end: Point, radius: float, end_radius: float | None = None, segments: int = 24):
    """Round bar from ``start`` to ``end``; ``segments=4`` gives a square bar."""
    start, end = np.asarray(start, float), np.asarray(end, float)
    axis = end - start
    length = float(np.linalg.norm(axis))
    bar = cylinder(radius, length, top=end_radius, segments=segments)
    if segments == 4:
        bar = bar.rotate((0, 0, 45))
    frame = np.column_stack([*_across(axis / length), axis / length, start])
    return bar.transform(frame)


def _across(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors that make a right-handed frame with ``axis``; the first lies along x where it can."""
    helper = np.array([0.0, 1.0, 0.0]) if abs(axis[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    first = np.cross(helper, axis)
    first /= np.linalg.norm(first)
    return first, np.cross(axis, first)


def lathe(profile: Sequence[Point], segments: int = SEGMENTS, at: Point = (0, 0, 0)):
    """Turn a profile of (radius, z) points, from bottom to top, about the z axis."""
    points = [(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])]
    section = kernel().CrossSection([np.asarray(points, dtype=float)], kernel().FillRule.EvenOdd)
    return kernel().Manifold.revolve(section, segments).translate(tuple(at))


def loft(rings: np.ndarray, closed: bool = False):
    """Skin through ``rings`` (R, N, 3), consecutive closed curves of equally many points.

    Ends are closed by flat fans; with ``closed`` the last ring joins the first (a torus).
    """
    rings = np.asarray(rings, dtype=float)
    count, size = rings.shape[:2]
    index = np.arange(count * size).reshape(count, size)
    following = np.roll(index, -1, axis=0) if closed else index[1:]
    here = index if closed else index[:-1]
    a, b, c, d = here, np.roll(here, -1, axis=1), np.roll(following, -1, axis=1), following
    faces = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    points = rings.reshape(-1, 3)
    if not closed:
        first, last = len(points), len(points) + 1
        points = np.vstack([points, rings[0].mean(0), rings[-1].mean(0)])
        faces += [_fan(index[0][::-1], first), _fan(index[-1], last)]
    solid = _manifold(points, np.concatenate(faces))
    return solid if solid.volume() >= 0 else _manifold(points, np.concatenate(faces)[:, ::-1])


def stack(outline: np.ndarray, profile: Sequence[Point], at: Point = (0, 0, 0)):
    """Solid whose section at height z is ``outline`` (N, 2) times s, for all (s, z) of ``profile`` from bottom to top.

    The outline must be star-shaped about the origin; two points of one z make a step. A circle gives a ``lathe``.
    """
    outline = np.asarray(outline, dtype=float)
    rings = [np.column_stack([scale * outline, np.full(len(outline), z)]) for scale, z in profile]
    return loft(np.array(rings)).translate(tuple(at))


def paddle(z: np.ndarray, width: np.ndarray, thickness: np.ndarray, offset: np.ndarray, power: float = 2.6):
    """Bar along z: super-elliptic sections ``width`` (x) by ``thickness`` (y), moved by ``offset`` in y; all (N,)."""
    unit = ellipse(1, 1, 24, power)
    rings = [
        np.column_stack([unit[:, 0] * w, unit[:, 1] * t + y, np.full(24, h)])
        for h, w, t, y in zip(z, width, thickness, offset, strict=True)
    ]
    return loft(np.array(rings))


def _fan(ring: np.ndarray, centre: int) -> np.ndarray:
    return np.stack([ring, np.roll(ring, -1), np.full(len(ring), centre)], axis=1)


def _manifold(points: np.ndarray, faces: np.ndarray):
    mesh = kernel().Mesh(np.ascontiguousarray(points, np.float32), np.ascontiguousarray(faces, np.uint32))
    return kernel().Manifold(mesh)


def tube(path: np.ndarray, radius: float, flat: float = 1.0, closed: bool = False, segments: int = 16):
    """Sweep an ellipse along a path (N, 3); ``flat`` scales its half axis along the path's plane normal."""
    path = np.asarray(path, dtype=float)
    tangents = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    side = np.cross(tangents[0], tangents[len(path) // 3])
    side = side / np.linalg.norm(side) if np.linalg.norm(side) > 1e-6 else _across(tangents[0])[0]
    angles = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    rings = []
    for point, tangent in zip(path, tangents, strict=True):
        across = np.cross(side, tangent)
        across /= np.linalg.norm(across)
        rings.append(point + radius * (np.cos(angles)[:, None] * across + flat * np.sin(angles)[:, None] * side))
    return loft(np.array(rings), closed)


def engrave(body, tool, depth: float):
    """Cut ``tool`` into a roughly convex ``body``, no deeper than ``depth``; a slit thinner than a line draws one line.

    Depth is measured along the axes of the body's bounding box.
    """
    low, high = np.array(body.bounding_box()).reshape(2, 3)
    middle, shrink = (low + high) / 2, 1 - 2 * depth / (high - low)
    core = body.translate(tuple(-middle)).scale(tuple(shrink)).translate(tuple(middle))
    return body - (tool - core)


def sink(body, tool, shift: Point):
    """Recess the surface of ``body`` inside ``tool`` by the vector ``shift``, which points into the body.

    The floor is the surface itself, moved: unlike ``engrave``, the body may be concave and other sides stay untouched.
    """
    return body - (tool - body.translate(tuple(shift)))


def forward(solid):
    """Turn a solid built upwards (z) so that its top faces the front and its y becomes up."""
    return solid.rotate((90, 0, 0))


def ribbon(path: np.ndarray, thickness: float | np.ndarray, width: float, closed: bool = False):
    """Flat band along a curve (N, 2) in x and z, ``width`` wide in y; ``thickness``: one, or one per point.

    With ``closed`` the last point joins the first (a ring).
    """
    path = np.asarray(path, dtype=float)
    along = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    normal = (along / np.linalg.norm(along, axis=1, keepdims=True))[:, ::-1] * (1, -1)
    half = np.reshape(thickness, (-1, 1)) / 2 * normal
    if not closed:
        return plate(np.vstack([path + half, (path - half)[::-1]]), width)
    one, other = plate(path + half, width), plate(path - half, width)
    return (one - other) + (other - one)


def union(solids: Sequence):
    return kernel().Manifold.batch_boolean(list(solids), kernel().OpType.Add)


def grid(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    return [(x, y) for x in xs for y in ys]


def rectangle(width: float, depth: float, radius: float = 0.0, segments: int = 8) -> np.ndarray:
    """Outline (N, 2) of a rectangle centred on the origin with rounded corners, counter-clockwise."""
    radius = min(radius, 0.499 * min(width, depth))
    if radius <= 0:
        return np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, depth / 2)
    quarter = np.linspace(0, np.pi / 2, segments + 1)
    corners = []
    for turn, (sx, sy) in enumerate([(1, 1), (-1, 1), (-1, -1), (1, -1)]):
        angle = quarter + turn * np.pi / 2
        centre = np.array([sx * (width / 2 - radius), sy * (depth / 2 - radius)])
        corners.append(centre + radius * np.column_stack([np.cos(angle), np.sin(angle)]))
    return np.vstack(corners)


def offset(outline: np.ndarray, distance: float) -> np.ndarray:
    """Outline (M, 2) at a constant ``distance`` outside a closed outline (N, 2), or inside where it is negative.

    Raises:
        ValueError: nothing is left inside.
    """
    section = kernel().CrossSection([np.asarray(outline, dtype=float)], kernel().FillRule.NonZero)
    moved = section.offset(distance, kernel().JoinType.Round, 2.0, SEGMENTS).to_polygons()
    if not moved:
        raise ValueError(f"distance of offset must leave something of the outline; got {distance:g}")
    return max(moved, key=len)


def ellipse(width: float, depth: float, segments: int = SEGMENTS, power: float = 2.0) -> np.ndarray:
    """Outline (N, 2) of a super-ellipse; ``power`` 2 is an ellipse, larger is boxier."""
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    x = np.sign(cosine) * np.abs(cosine) ** (2 / power)
    y = np.sign(sine) * np.abs(sine) ** (2 / power)
    return np.column_stack([x * width / 2, y * depth / 2])


def spline(points: Sequence[Point], count: int = 32) -> np.ndarray:
    """Smooth curve (count, D) through ``points``, both ends included (Catmull-Rom)."""
    knots = np.asarray(points, dtype=float)
    padded = np.vstack([2 * knots[0] - knots[1], knots, 2 * knots[-1] - knots[-2]])
    position = np.linspace(0, len(knots) - 1, count)
    index = np.minimum(position.astype(int), len(knots) - 2)
    t = (position - index)[:, None]
    p0, p1, p2, p3 = (padded[index + shift] for shift in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
