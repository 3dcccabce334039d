"""Which parts of a line can be seen: a depth buffer, and runs of visible samples along polylines."""

from dataclasses import dataclass

import numpy as np

_DEPTH_STEPS = float(1 << 30)


@dataclass(frozen=True)
class DepthBuffer:
    """depth float64 (S, S): distance from the viewer, inf where empty; face int64 (S, S), -1 where empty; both in
    cells of ``1 / scale`` canvas pixels."""

    depth: np.ndarray
    face: np.ndarray
    scale: float


def fill_depth_buffer(
    xyz: np.ndarray, triangles: np.ndarray, faces: np.ndarray, canvas: int, cells: int
) -> DepthBuffer:
    """Rasterise the triangles numbered ``faces`` without a loop: triangles to rows, rows to cells."""
    scale = cells / canvas
    corner = xyz[triangles[faces]] * scale
    low, high = xyz[:, 2].min() * scale, xyz[:, 2].max() * scale
    which, x, y = _cells(corner[..., :2], cells)
    depth = _depth_at(corner, which, x, y)
    steps = ((depth - low) / max(high - low, 1e-9) * _DEPTH_STEPS).astype(np.int64)
    nearest = np.full(cells * cells, np.iinfo(np.int64).max)
    np.minimum.at(nearest, y * cells + x, steps << 32 | faces[which])
    empty = nearest == np.iinfo(np.int64).max
    found = low + (nearest >> 32) / _DEPTH_STEPS * (high - low)
    depth = np.where(empty, np.inf, found / scale).reshape(cells, cells)
    return DepthBuffer(depth, np.where(empty, -1, nearest & 0xFFFFFFFF).reshape(cells, cells), scale)


def _expand(start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (i, v) for all integers v of start[i] <= v < stop[i], as two flat arrays."""
    count = np.maximum(stop - start, 0)
    owner = np.repeat(np.arange(len(start)), count)
    first = np.cumsum(count) - count
    return owner, np.arange(count.sum()) - first[owner] + start[owner]


def _cells(corner: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells whose centre lies in a triangle: numbers of the triangles, columns, rows."""
    y = corner[..., 1]
    top = np.ceil(y.min(1) - 0.5).astype(np.int64).clip(0, cells)
    bottom = np.floor(y.max(1) - 0.5).astype(np.int64).clip(-1, cells - 1) + 1
    owner, row = _expand(top, bottom)
    left, right = np.full(len(owner), -np.inf), np.full(len(owner), np.inf)
    for k in range(3):
        start, end = corner[:, k], corner[:, (k + 1) % 3]
        rise = (end[:, 1] - start[:, 1])[owner]
        flat = np.abs(rise) < 1e-12
        run = (end[:, 0] - start[:, 0])[owner] / np.where(flat, 1, rise)
        cross = start[owner, 0] + (row + 0.5 - start[owner, 1]) * run
        # triangles that face the viewer run counter-clockwise, so an edge that leads down bounds the left side
        left = np.where((rise > 0) & ~flat, np.maximum(left, cross), left)
        right = np.where((rise < 0) & ~flat, np.minimum(right, cross), right)
    start = np.ceil(left - 0.5).clip(0, cells).astype(np.int64)
    stop = np.floor(right - 0.5).clip(-1, cells - 1).astype(np.int64) + 1
    span, column = _expand(start, stop)
    return owner[span], column, row[span]


def _depth_at(corner: np.ndarray, which: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    origin, e1, e2 = corner[:, 0], corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    area = np.where(np.abs(area) < 1e-12, 1e-12, area)
    dx = (e1[:, 2] * e2[:, 1] - e2[:, 2] * e1[:, 1]) / area
    dy = (e2[:, 2] * e1[:, 0] - e1[:, 2] * e2[:, 0]) / area
    depth = origin[which, 2] + (x + 0.5 - origin[which, 0]) * dx[which] + (y + 0.5 - origin[which, 1]) * dy[which]
    # slivers have huge slopes; a point of a triangle is never outside the depths of its corners
    return np.clip(depth, corner[..., 2].min(1)[which], corner[..., 2].max(1)[which])


@dataclass(frozen=True)
class Samples:
    """Points along polylines: xyz float64 (M, 3), line int64 (M,), seg int64 (M,): the point (of the polylines' stored
    points) that starts the sample's segment."""

    xyz: np.ndarray
    line: np.ndarray
    seg: np.ndarray


def sample(points: np.ndarray, lines: np.ndarray, step: float) -> Samples:
    """Sample polylines every ``step`` at most; all stored points are samples too."""
    inner = np.append(lines[1:] == lines[:-1], False)
    ahead = np.roll(points, -1, axis=0)
    length = np.hypot(*(ahead - points)[:, :2].T)
    count = np.where(inner, np.maximum(np.ceil(length / step), 1), 1).astype(np.int64)
    owner, k = _expand(np.zeros(len(count), np.int64), count)
    t = np.where(inner[owner], k / count[owner], 0.0)[:, None]
    return Samples(points[owner] + (ahead - points)[owner] * t, lines[owner], owner)


def depth_behind(samples: Samples, buffer: DepthBuffer, reach: int = 1) -> np.ndarray:
    """Return the depth (M,) of the deepest of the cells around each sample, inf beside empty paper.

    A sample is visible if it is no further than that. ``reach`` 1 looks at the four cells around the sample, 2 at
    sixteen: enough to look past the rim of the very form whose contour is tested, at what lies behind it.
    """
    cells = len(buffer.depth)
    x, y = (np.floor(samples.xyz[:, axis] * buffer.scale - 0.5).astype(np.int64) for axis in (0, 1))
    deepest = np.full(len(x), -np.inf)
    for dy in range(1 - reach, 1 + reach):
        for dx in range(1 - reach, 1 + reach):
            around = buffer.depth[(y + dy).clip(0, cells - 1), (x + dx).clip(0, cells - 1)]
            np.maximum(deepest, around, out=deepest)
    return deepest


def runs(flags: np.ndarray, line: np.ndarray, bridge: int = 2, shortest: int = 4) -> np.ndarray:
    """Return (start, stop) (R, 2) of the runs of set ``flags`` within a line.

    Gaps of at most ``bridge`` samples are closed and runs of fewer than ``shortest`` dropped: both are artefacts of
    the depth buffer.
    """
    start, stop, value = _segments(flags, line)
    inside = np.zeros(len(start), bool)
    inside[1:-1] = (line[start[1:-1]] == line[start[:-2]]) & (line[start[1:-1]] == line[start[2:]])
    gap = ~value & inside & (stop - start <= bridge)
    start, stop, value = _segments(np.repeat(value | gap, stop - start), line)
    keep = value & (stop - start >= shortest)
    return np.column_stack([start[keep], stop[keep]])


def _segments(flags: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    change = np.flatnonzero((flags[1:] != flags[:-1]) | (line[1:] != line[:-1])) + 1
    start = np.concatenate([[0], change]) if len(flags) else np.zeros(0, np.int64)
    return start, np.append(start[1:], len(flags)), flags[start]
