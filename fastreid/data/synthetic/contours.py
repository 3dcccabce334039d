"""Lines on rounded surfaces: the contour, where a surface turns away from the viewer, and lines of equal slope."""

import numpy as np

from fastreid.data.synthetic.projection import EDGE_ON, Projected
from fastreid.data.synthetic.surface import Chains, Surface, link


def contours(surface: Surface, seen: Projected) -> tuple[np.ndarray, Chains]:
    """Return points (N, 3) in canvas pixels of the contour and the polylines through them.

    The contour is the zero set of the interpolated cosine between normal and view direction (Hertzmann, "Introduction
    to 3D Non-Photorealistic Rendering", SIGGRAPH course 1999), which is smooth on a faceted surface.
    """
    return level_lines(surface, seen, seen.facing - EDGE_ON)


def level_lines(surface: Surface, seen: Projected, value: np.ndarray) -> tuple[np.ndarray, Chains]:
    """Return points (N, 3) in canvas pixels and the polylines where ``value`` (T, 3), given at corners, is zero."""
    positive = value > 0
    crossed = positive.any(1) & ~positive.all(1)
    faces = np.flatnonzero(crossed)
    nodes, points = [], []
    for k in range(3):
        a, b = k, (k + 1) % 3
        cut = positive[faces, a] != positive[faces, b]
        nodes.append(np.where(cut, _edge_keys(surface, faces, a, b), -1))
        points.append(_cut(surface, seen, faces, value, a, b))
    nodes, points = np.stack(nodes, 1), np.stack(points, 1)
    chosen = np.argsort(nodes < 0, axis=1, kind="stable")[:, :2]
    rows = np.arange(len(faces))[:, None]
    keys, where = np.unique(nodes[rows, chosen], return_inverse=True)
    place = np.zeros((len(keys), 3))
    place[where.reshape(-1)] = points[rows, chosen].reshape(-1, 3)
    chains = link(where.reshape(-1, 2), np.column_stack([faces, faces]), ~surface.claimed[faces])
    return place, chains


def _edge_keys(surface: Surface, faces: np.ndarray, a: int, b: int) -> np.ndarray:
    ends = np.sort(surface.triangles[faces][:, [a, b]], axis=1)
    return ends[:, 0] * len(surface.vertices) + ends[:, 1]


def _cut(surface: Surface, seen: Projected, faces: np.ndarray, value: np.ndarray, a: int, b: int) -> np.ndarray:
    start, end = (seen.xyz[surface.triangles[faces, k]] for k in (a, b))
    change = value[faces, a] - value[faces, b]
    t = value[faces, a] / np.where(change == 0, 1, change)
    return start + (end - start) * np.clip(t, 0, 1)[:, None]
