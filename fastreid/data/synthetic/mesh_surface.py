"""The drawn surface of any mesh: its creases and the normals of its smooth parts."""

import numpy as np

from fastreid.data.synthetic.mesh_creases import crease_edges
from fastreid.data.synthetic.mesh_files import Mesh
from fastreid.data.synthetic.mesh_repair import EdgeTable, clean, components, edge_table, orient
from fastreid.data.synthetic.mesh_union import unite
from fastreid.data.synthetic.surface import CREASE_DEGREES, Folds, Surface, link

# triangles at a smaller angle lie in one plane
FLAT_DEGREES = 0.5
# edges at a larger angle are the outline where no smooth contour runs
BEND_DEGREES = 1.5
# a triangle lower than this share of the object's size lies as its neighbours do
NEEDLE = 1.5e-3


def surface_of_mesh(mesh: Mesh, crease: float = CREASE_DEGREES) -> Surface:
    """Prepare a mesh for drawing, whatever its state.

    Triangles seen from both sides are stored twice, back to back, so that nothing depends on their orientation.

    Args:
        crease: angle between neighbouring triangles, in degrees, above which their edge is a line; without effect
            with ``mesh.edges``, which then are the lines.

    Raises:
        ValueError: no triangle has an area.
    """
    mesh = clean(mesh)
    vertices, (triangles, sheet) = mesh.vertices, orient(mesh.vertices, mesh.triangles)
    part = np.zeros(len(triangles), np.int64)
    if mesh.edges is None:
        vertices, triangles, sheet, part = unite(vertices, triangles, sheet)
    normals = _face_normals(vertices, triangles)
    table = edge_table(triangles)
    steady = _steadied(vertices, triangles, normals, table)
    cosine = _cosines(table, steady)
    bent = cosine < np.cos(np.radians(BEND_DEGREES))
    if mesh.edges is None:
        # parts that lie flush are parts still
        hard = crease_edges(vertices, table, cosine, crease) | (part[table.faces[:, 0]] != part[table.faces[:, 1]])
        split = hard | (cosine < np.cos(np.radians(crease)))
    else:
        hard = _listed(table.ends, mesh.edges)
        # such authors model by hand: on coarse facets a smooth contour is off the outline of the depth buffer
        split = hard | bent
    corner = _corner_normals(vertices, triangles, steady, table, cosine, split)
    ends, faces = _lines(mesh, table, hard, sheet)
    chains = link(ends, faces, np.zeros(len(ends), bool))
    bent &= (table.count < 3) & ~hard
    # the other side of a sheet has vertices of its own: the contours of both are found by vertex
    back = triangles[sheet][:, ::-1] + len(vertices)
    return Surface(
        np.concatenate([vertices, vertices]) if len(back) else vertices,
        np.concatenate([triangles, back]),
        np.concatenate([corner, -corner[sheet][:, ::-1]]),
        np.concatenate([normals, -normals[sheet]]),
        np.ones(len(triangles) + len(back), bool),
        chains,
        Folds(table.ends[bent], table.faces[bent], split[bent]),
    )


def _double_areas(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Normals (T, 3) as long as twice the area of their triangles."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def _face_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    normals = _double_areas(vertices, triangles)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)


def _steadied(vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray, table: EdgeTable) -> np.ndarray:
    """Normals (T, 3) with those of needles, which turn anywhere, replaced by the mean of their neighbours'."""
    corner = vertices[triangles]
    sides = np.roll(corner, -1, axis=1) - corner
    area = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1)
    height = area / np.maximum(np.linalg.norm(sides, axis=2).max(1), 1e-300)
    needle = height < NEEDLE * np.linalg.norm(np.ptp(corner.reshape(-1, 3), axis=0))
    weighted = normals * np.where(needle, 0, area)[:, None]
    f, g = table.faces[table.count == 2].T
    sign = np.where(table.opposed[table.count == 2], 1, -1)[:, None]
    around = np.zeros_like(normals)
    np.add.at(around, f, sign * weighted[g])
    np.add.at(around, g, sign * weighted[f])
    length = np.linalg.norm(around, axis=1, keepdims=True)
    return np.where(needle[:, None] & (length > 0), around / np.maximum(length, 1e-300), normals)


def _cosines(table: EdgeTable, normals: np.ndarray) -> np.ndarray:
    """Cosine (E,) of the angle between the two triangles of an edge, whatever their orientation; -1: not two."""
    cosine = np.einsum("ij,ij->i", normals[table.faces[:, 0]], normals[table.faces[:, 1]])
    return np.where(table.count == 2, np.where(table.opposed, cosine, -cosine), -1.0)


def _listed(ends: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Which of ``ends`` (E, 2) are among ``edges`` (N, 2), both with the lower vertex first."""
    size = int(max(ends.max(initial=0), edges.max(initial=0))) + 1
    return np.isin(ends[:, 0] * size + ends[:, 1], edges[:, 0] * size + edges[:, 1])


def _lines(mesh: Mesh, table: EdgeTable, hard: np.ndarray, sheet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends (L, 2) of the lines and the triangles (L, 2) beside them; -1: none that could turn away and hide it."""
    ends, faces = table.ends[hard], table.faces[hard]
    hides = (table.count[hard] == 2) & ~sheet[faces].any(1)
    faces = np.where(hides[:, None], faces, -1)
    if mesh.edges is None:
        return ends, faces
    alone = mesh.edges[~_listed(mesh.edges, ends)]
    return np.concatenate([ends, alone]), np.concatenate([faces, np.full(alone.shape, -1)])


def _corner_normals(
    vertices: np.ndarray,
    triangles: np.ndarray,
    normals: np.ndarray,
    table: EdgeTable,
    cosine: np.ndarray,
    split: np.ndarray,
) -> np.ndarray:
    """Normals (T, 3, 3) averaged over the triangles around a vertex that no ``split`` edge separates.

    Weights are the corner's angle times the area of the plane it lies in: a large flat face keeps its normal where it
    runs into a fillet, and its contour does not wander into the face.
    """
    count = len(triangles)
    smooth = (table.count == 2) & table.opposed & ~split
    first, second = (_corners_at(triangles, table, smooth, side) for side in (0, 1))
    group = components(first.ravel(), second.ravel(), 3 * count)
    corner = vertices[triangles]
    sides = np.roll(corner, -1, axis=1) - corner
    sides /= np.maximum(np.linalg.norm(sides, axis=2, keepdims=True), 1e-300)
    angle = np.arccos(np.clip(-np.einsum("tki,tki->tk", sides, np.roll(sides, 1, axis=1)), -1, 1))
    weight = (angle * _plane_areas(vertices, triangles, table, cosine)[:, None]).ravel()
    spread = np.repeat(normals, 3, axis=0)
    total = np.column_stack([np.bincount(group, weight * spread[:, axis]) for axis in range(3)])
    length = np.linalg.norm(total, axis=1, keepdims=True)
    mean = (total / np.maximum(length, 1e-300))[group].reshape(-1, 3, 3)
    return np.where(length[group].reshape(-1, 3, 1) > 0, mean, normals[:, None])


def _corners_at(triangles: np.ndarray, table: EdgeTable, chosen: np.ndarray, side: int) -> np.ndarray:
    """Corner numbers ``3 t + k`` (n, 2) at both ends of the chosen edges in their first or second triangle."""
    face = table.faces[chosen, side]
    match = triangles[face][:, None, :] == table.ends[chosen][:, :, None]
    return 3 * face[:, None] + match.argmax(2)


def _plane_areas(vertices: np.ndarray, triangles: np.ndarray, table: EdgeTable, cosine: np.ndarray) -> np.ndarray:
    flat = table.faces[cosine > np.cos(np.radians(FLAT_DEGREES))]
    plane = components(*flat.T, len(triangles))
    return np.bincount(plane, np.linalg.norm(_double_areas(vertices, triangles), axis=1))[plane]
