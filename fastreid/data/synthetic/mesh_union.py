"""Parts that penetrate one another made one: their intersections are lines of a drawing, what is inside is not."""

import functools
import itertools
import logging

import numpy as np

from fastreid.data.synthetic.mesh_repair import components, edge_table
from fastreid.data.synthetic.solids import kernel, union

logger = logging.getLogger(__name__)


def unite(
    vertices: np.ndarray, triangles: np.ndarray, sheet: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unite the parts of an oriented mesh whose bounding boxes meet; those that bound no solid stay as they are.

    Holes through which no inside is seen are covered: models for games lack the faces where parts sit on each other.

    Args:
        sheet: triangles seen from both sides (T,), never part of a solid.

    Returns:
        Vertices, triangles, ``sheet`` and the number of the part that each triangle comes from.
    """
    part, solid_like = _parts(triangles, sheet)
    if solid_like.sum() < 2 or not _manifold3d_is_there():
        return vertices, triangles, sheet, part
    meeting = _meeting(vertices, triangles, part, np.flatnonzero(solid_like))
    solids = {number: _solid(vertices, triangles[part == number]) for number in meeting}
    solids = {number: solid.as_original() for number, solid in solids.items() if solid is not None}
    whole = union(list(solids.values())) if len(solids) > 1 else None
    if whole is None or whole.is_empty():
        return vertices, triangles, sheet, part
    points, faces, origin = _triangles_of(whole)
    number_of = {solid.original_id(): number for number, solid in solids.items()}
    rest = ~np.isin(part, list(solids))
    return (
        np.concatenate([vertices, points]),
        np.concatenate([triangles[rest], faces + len(vertices)]),
        np.concatenate([sheet[rest], np.zeros(len(faces), bool)]),
        np.concatenate([part[rest], [number_of[one] for one in origin.tolist()]]).astype(np.int64),
    )


@functools.cache
def _manifold3d_is_there() -> bool:
    try:
        kernel()
    except ImportError:
        logger.warning(
            "Without the package manifold3d the lines where parts of a mesh penetrate each other are missing: "
            'pip install ".[meshes]" from the checkout'
        )
        return False
    return True


def _parts(triangles: np.ndarray, sheet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the parts joined by edges (T,); which of them are consistent and nowhere seen from inside (P,)."""
    table, count = edge_table(triangles), len(triangles)
    faces = np.tile(np.arange(count), 3)
    # through the edges, so that an edge of many triangles joins them all
    label = components(faces, count + table.of_half, count + len(table.ends))
    _, part = np.unique(label[:count], return_inverse=True)
    part = part.reshape(-1)
    flawed = np.bincount(part, sheet) > 0
    flawed[part[table.faces[(table.count > 2) | (table.count == 2) & ~table.opposed, 0]]] = True
    return part, ~flawed


def _meeting(vertices: np.ndarray, triangles: np.ndarray, part: np.ndarray, numbers: np.ndarray) -> list[int]:
    """Parts out of ``numbers`` whose bounding box meets that of another one."""
    boxes = [vertices[triangles[part == number]].reshape(-1, 3) for number in numbers]
    low, high = (np.array([bound(box, axis=0) for box in boxes]) for bound in (np.min, np.max))
    meets = ((low[:, None] <= high[None]) & (low[None] <= high[:, None])).all(2)
    return numbers[meets.sum(1) > 1].tolist()


def _solid(vertices: np.ndarray, triangles: np.ndarray):
    """Return the solid within a surface, ``None`` if there is none, as where it winds about itself."""
    covers = _covers(triangles)
    if covers is None:
        return None
    used, corners = np.unique(np.concatenate([triangles, covers]), return_inverse=True)
    corners = corners.reshape(-1, 3).astype(np.uint64)
    for faces in (corners, corners[:, ::-1]):
        solid = kernel().Manifold(kernel().Mesh64(vertices[used], np.ascontiguousarray(faces)))
        if getattr(solid.status(), "name", "") == "NoError" and solid.volume() > 0:
            return solid
    return None


def _covers(triangles: np.ndarray) -> np.ndarray | None:
    """Triangles (N, 3) that cover the holes, fans over their rims; ``None`` where rims touch each other."""
    table = edge_table(triangles)
    k, face = np.divmod(np.flatnonzero(table.count[table.of_half] == 1), len(triangles))
    after = dict(zip(triangles[face, (k + 1) % 3].tolist(), triangles[face, k].tolist(), strict=True))
    if len(after) < len(face):
        return None
    fans = []
    while after:
        rim = [next(iter(after))]
        while (following := after.pop(rim[-1])) != rim[0]:
            rim.append(following)
        fans += [(rim[0], a, b) for a, b in itertools.pairwise(rim[1:])]
    return np.array(fans, np.int64).reshape(-1, 3)


def _triangles_of(solid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, triangles, and the id of the original solid of each triangle."""
    mesh = solid.to_mesh64()
    points = np.asarray(mesh.vert_properties, float)[:, :3]
    same = np.arange(len(points))
    same[np.asarray(mesh.merge_from_vert, np.int64)] = np.asarray(mesh.merge_to_vert, np.int64)
    runs = np.diff(np.asarray(mesh.run_index, np.int64)) // 3
    return points, same[np.asarray(mesh.tri_verts, np.int64)], np.repeat(np.asarray(mesh.run_original_id), runs)
