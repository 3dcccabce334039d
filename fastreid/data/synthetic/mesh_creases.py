"""Which edges of a mesh are lines: sharp ones, followed over gaps where they are less sharp, without loose scraps."""

from collections import defaultdict

import numpy as np

from fastreid.data.synthetic.mesh_repair import EdgeTable, components

# a gap in a crease is closed along edges of at least this share of the angle, turning by at most so many degrees
WEAK_SHARE, LARGEST_TURN = 0.5, 40.0
# lines with a free end that are shorter than this share of the object's size are noise of the tessellation
SHORTEST = 0.06


def crease_edges(vertices: np.ndarray, table: EdgeTable, cosine: np.ndarray, crease: float) -> np.ndarray:
    """Return which edges (E,) are drawn.

    Two thresholds as in Canny's edge detector: an edge sharper than ``crease`` degrees is a line, a weaker one only
    where it leads from the free end of a line to another line.

    Args:
        cosine: (E,) between the two triangles of each edge; -1 where there are not two, which is always a line.
    """
    drawn = cosine < np.cos(np.radians(crease))
    weak = ~drawn & (cosine < np.cos(np.radians(WEAK_SHARE * crease)))
    for path in _bridges(vertices, table.ends, drawn, weak):
        drawn[path] = True
    size = np.linalg.norm(np.ptp(vertices[np.unique(table.ends)], axis=0))
    return drawn & ~_scraps(vertices, table.ends, drawn, SHORTEST * size)


def _bridges(vertices: np.ndarray, ends: np.ndarray, drawn: np.ndarray, weak: np.ndarray) -> list[list[int]]:
    """Paths of weak edges from the free end of a line, straight on, to a vertex of a line."""
    count = np.bincount(ends[drawn].ravel(), minlength=len(vertices))
    around = defaultdict(list)
    for edge in np.flatnonzero(weak).tolist():
        for vertex in ends[edge].tolist():
            around[vertex].append(edge)
    least, paths = np.cos(np.radians(LARGEST_TURN)), []
    for edge in np.flatnonzero(drawn & (count[ends] == 1).any(1)).tolist():
        for free, other in (ends[edge].tolist(), ends[edge, ::-1].tolist()):
            if count[free] != 1:
                continue
            path, before, at = [], other, free
            while (following := _straight_on(vertices, ends, around[at], path, before, at, least)) is not None:
                path.append(following)
                before, at = at, int(ends[following].sum()) - at
                if count[at] or len(path) > 50:
                    break
            if path and count[at] and at != free:
                paths.append(path)
    return paths


def _straight_on(vertices, ends, candidates: list[int], path: list[int], before: int, at: int, least: float):
    """Return the edge of ``candidates`` at vertex ``at`` that turns least, ``None`` if all turn too much."""
    direction = vertices[at] - vertices[before]
    direction = direction / np.linalg.norm(direction)
    best, found = least, None
    for edge in candidates:
        step = vertices[int(ends[edge].sum()) - at] - vertices[at]
        straight = float(direction @ step) / float(np.linalg.norm(step))
        if straight > best and edge not in path:
            best, found = straight, edge
    return found


def _scraps(vertices: np.ndarray, ends: np.ndarray, drawn: np.ndarray, shortest: float) -> np.ndarray:
    """Which edges (E,) belong to connected lines with a free end that are shorter than ``shortest`` in all."""
    chosen = ends[drawn]
    line = components(*chosen.T, len(vertices))
    length = np.linalg.norm(vertices[chosen[:, 0]] - vertices[chosen[:, 1]], axis=1)
    total = np.bincount(line[chosen[:, 0]], length, minlength=line.max() + 1)
    free = np.bincount(chosen.ravel(), minlength=len(vertices)) == 1
    open_ended = np.bincount(line[free], minlength=len(total)) > 0
    scrap = np.zeros(len(ends), bool)
    scrap[drawn] = ((total < shortest) & open_ended)[line[chosen[:, 0]]]
    return scrap
