"""The drawn surface of a design: triangles with corner normals, and the lines of its creases."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastreid.data.synthetic.solids import Part, union

CREASE_DEGREES = 32.0
# Share of the volume of a design below which a loose piece is a scrap: a cube of a thousandth of its size.
SCRAP = 1e-9


@dataclass(frozen=True)
class Surface:
    """Closed triangle mesh of the union of all parts.

    vertices float64 (V, 3); triangles int64 (T, 3), counter-clockwise from outside; normals float64 (T, 3, 3), one per
    corner, split at creases; face_normals float64 (T, 3); claimed bool (T,); chains: creases as polylines; folds: other
    edges, drawn only where they are the outline.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    normals: np.ndarray
    face_normals: np.ndarray
    claimed: np.ndarray
    chains: "Chains"
    folds: "Folds | None" = None


@dataclass(frozen=True)
class Chains:
    """Polylines stored end to end.

    points int64 (P,), vertex numbers; lines int64 (P,), polyline of each point; faces int64 (P, 2), the two triangles
    beside the segment that starts at the point (unused at the last point of a polyline), -1 for a side without a
    triangle that could turn away, as at the rim of an open sheet; broken bool (P,).
    """

    points: np.ndarray
    lines: np.ndarray
    faces: np.ndarray
    broken: np.ndarray


@dataclass(frozen=True)
class Folds:
    """Edges that are no creases.

    ends int64 (E, 2), vertex numbers; faces int64 (E, 2), the two triangles beside them, -1 for the second at an open
    rim; split bool (E,): their normals differ, so that no smooth contour crosses the edge.
    """

    ends: np.ndarray
    faces: np.ndarray
    split: np.ndarray


def build_surface(parts: Sequence[Part]) -> Surface:
    """Unite ``parts`` and prepare the result for drawing.

    Raises:
        ValueError: the union is not a valid solid of one piece; a family has floating or self-intersecting parts.
    """
    originals = [part.solid.as_original() for part in parts]
    solid = union(originals)
    check_solid(solid)
    mesh = solid.calculate_normals(0, CREASE_DEGREES).to_mesh(0)
    properties = np.asarray(mesh.vert_properties, dtype=float)
    corners = np.asarray(mesh.tri_verts, dtype=np.int64)
    same = np.arange(len(properties))
    same[np.asarray(mesh.merge_from_vert, dtype=np.int64)] = np.asarray(mesh.merge_to_vert, dtype=np.int64)
    triangles, vertices = same[corners], properties[:, :3]
    face_normals = np.cross(*(vertices[triangles[:, k]] - vertices[triangles[:, 0]] for k in (1, 2)))
    face_normals /= np.maximum(np.linalg.norm(face_normals, axis=1, keepdims=True), 1e-12)
    unclaimed = {o.original_id() for o, part in zip(originals, parts, strict=True) if not part.claimed}
    claimed = ~np.isin(np.repeat(mesh.run_original_id, np.diff(mesh.run_index) // 3), list(unclaimed))
    chains = _crease_chains(triangles, face_normals, claimed, len(vertices))
    return Surface(vertices, triangles, properties[corners, 3:6], face_normals, claimed, chains)


def check_solid(solid) -> None:
    """Raise ``ValueError`` unless ``solid`` is valid and in one piece.

    Enclosed hollows are invisible, and so are the flat scraps that booleans leave where faces nearly coincide.
    """
    status = getattr(solid.status(), "name", str(solid.status()))
    if status != "NoError" or solid.is_empty() or solid.volume() <= 0:
        raise ValueError(f"not a solid: status {status}, volume {solid.volume():.3g}")
    # the skin of a hollow encloses a negative volume
    if (pieces := sum(piece.volume() > SCRAP * solid.volume() for piece in solid.decompose())) != 1:
        raise ValueError(f"the solid has {pieces} separate pieces; its parts must overlap to be one")


def edges_of(triangles: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges (E, 2) as vertex pairs a < b and the two triangles (E, 2) beside each; ``count`` vertices."""
    halves = np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    faces = np.tile(np.arange(len(triangles)), 3)
    forward = halves[:, 0] < halves[:, 1]
    keys = halves.min(1) * count + halves.max(1)
    # a closed oriented surface holds each edge once in either direction
    up, down = (np.flatnonzero(side)[np.argsort(keys[side], kind="stable")] for side in (forward, ~forward))
    return halves[up], np.column_stack([faces[up], faces[down]])


def _crease_chains(triangles: np.ndarray, face_normals: np.ndarray, claimed: np.ndarray, count: int) -> Chains:
    edges, faces = edges_of(triangles, count)
    cosine = np.einsum("ij,ij->i", face_normals[faces[:, 0]], face_normals[faces[:, 1]])
    sharp = (cosine < np.cos(np.radians(CREASE_DEGREES))) | (claimed[faces[:, 0]] != claimed[faces[:, 1]])
    edges, faces = edges[sharp], faces[sharp]
    return link(edges, faces, ~claimed[faces].any(axis=1))


def link(edges: np.ndarray, faces: np.ndarray, broken: np.ndarray) -> Chains:
    """Join edges (E, 2) into polylines wherever exactly two edges of the same kind meet."""
    at = defaultdict(list)
    for number, (a, b) in enumerate(edges.tolist()):
        at[a].append(number)
        at[b].append(number)
    ends, kind = edges.tolist(), broken.tolist()
    through = {node for node, e in at.items() if len(e) == 2 and kind[e[0]] == kind[e[1]]}
    used = [False] * len(ends)
    points, lines, order = [], [], []

    def walk(node: int, edge: int, line: int) -> None:
        points.append(node)
        while True:
            used[edge] = True
            order.append(edge)
            lines.append(line)
            node = ends[edge][1] if ends[edge][0] == node else ends[edge][0]
            points.append(node)
            candidates = [other for other in at[node] if not used[other]]
            if node not in through or not candidates:
                break
            edge = candidates[0]
        order.append(edge)
        lines.append(line)

    line = 0
    open_starts = [(node, edge) for node in at if node not in through for edge in at[node]]
    loops = [(ends[edge][0], edge) for edge in range(len(ends))]
    for node, edge in open_starts + loops:
        if not used[edge]:
            walk(node, edge, line)
            line += 1
    order = np.array(order, dtype=np.int64)
    return Chains(np.array(points, np.int64), np.array(lines, np.int64), faces[order], broken[order])
