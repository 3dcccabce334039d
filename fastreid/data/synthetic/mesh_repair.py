"""Triangles as files hold them made fit for drawing: welded, without slivers and junctions, consistently oriented."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from fastreid.data.synthetic.mesh_files import Mesh
from fastreid.data.synthetic.visibility import fill_depth_buffer

# shares of the diagonal of the bounding box: what counts as one point
WELD = 2e-5
JUNCTION = 5e-5
# pairs of an edge and a vertex that are tried for junctions; a heap of loose triangles has billions
MOST_CANDIDATES = 5_000_000
# directions from which a patch votes on its outer side, and cells of the depth buffer
DIRECTIONS, CELLS = 20, 160
# a patch seen from both sides by more than this share of the cells is a sheet
BOTH_SIDES = 0.03


@dataclass(frozen=True)
class EdgeTable:
    """Edges of a mesh.

    ends int64 (E, 2), a < b; count int64 (E,): triangles at the edge; faces int64 (E, 2): the first two of them, -1
    for none; opposed bool (E,): the two run along the edge in opposite directions, as in a consistent orientation;
    of_half int64 (3 T,): edge of half-edge ``k * T + t``, which leads from corner k of triangle t to the next.
    """

    ends: np.ndarray
    count: np.ndarray
    faces: np.ndarray
    opposed: np.ndarray
    of_half: np.ndarray


def edge_table(triangles: np.ndarray) -> EdgeTable:
    size = int(triangles.max()) + 1
    halves = np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)])
    keys, of_half, count = np.unique(halves.min(1) * size + halves.max(1), return_inverse=True, return_counts=True)
    of_half = of_half.reshape(-1)
    order = np.argsort(of_half, kind="stable")
    first = np.cumsum(count) - count
    one, two = order[first], order[np.minimum(first + 1, len(order) - 1)]
    faces = np.column_stack([one, np.where(count > 1, two, -1)])
    upward = halves[:, 0] < halves[:, 1]
    opposed = (count > 1) & (upward[one] != upward[two])
    faces = np.where(faces < 0, -1, faces % len(triangles))
    return EdgeTable(np.column_stack([keys // size, keys % size]), count, faces, opposed, of_half)


def components(one: np.ndarray, other: np.ndarray, count: int) -> np.ndarray:
    """Return the number of the connected component of each node (count,); ``one[i]`` and ``other[i]`` are joined."""
    graph = coo_matrix((np.ones(len(one), bool), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def clean(mesh: Mesh) -> Mesh:
    """Weld vertices, drop degenerate and doubled triangles, cut triangles where others have a vertex on their edge.

    Raises:
        ValueError: nothing is left.
    """
    used = np.unique(mesh.triangles)
    size = np.linalg.norm(np.ptp(mesh.vertices[used], axis=0))
    if not size > 0:
        raise ValueError("all triangles are in one point")
    vertices, number = _weld(mesh.vertices, WELD * size)
    triangles = _drop_degenerate(vertices, number[mesh.triangles], WELD * size)
    if not len(triangles):
        raise ValueError("all triangles are degenerate")
    triangles = _cut_at_junctions(vertices, triangles, JUNCTION * size)
    triangles = _drop_degenerate(vertices, triangles, WELD * size)
    edges = mesh.edges
    if edges is not None:
        edges = np.unique(np.sort(number[edges], axis=1), axis=0)
        edges = edges[edges[:, 0] != edges[:, 1]]
    return Mesh(vertices, triangles, edges)


def _weld(vertices: np.ndarray, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return points and the number of each vertex among them; vertices that are not finite stay alone."""
    points, number = np.unique(np.where(np.isfinite(vertices), vertices, 0), axis=0, return_inverse=True)
    pairs = cKDTree(points).query_pairs(tolerance, output_type="ndarray")
    group = components(*pairs.T, len(points))
    _, kept = np.unique(group, return_index=True)
    return points[kept], group[number.reshape(-1)].astype(np.int64)


def _drop_degenerate(vertices: np.ndarray, triangles: np.ndarray, tolerance: float) -> np.ndarray:
    """Drop triangles lower than ``tolerance`` and repetitions of the same three vertices."""
    corner = vertices[triangles]
    sides = np.roll(corner, -1, axis=1) - corner
    longest = np.linalg.norm(sides, axis=2).max(1)
    height = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / np.maximum(longest, 1e-300)
    triangles = triangles[height > tolerance]
    _, first = np.unique(np.sort(triangles, axis=1), axis=0, return_index=True)
    return triangles[np.sort(first)]


def _cut_at_junctions(vertices: np.ndarray, triangles: np.ndarray, tolerance: float) -> np.ndarray:
    """Cut triangles whose open edge passes through vertices of other open edges, so that neighbours share edges."""
    for _ in range(6):
        table = edge_table(triangles)
        half = np.flatnonzero(table.count[table.of_half] == 1)
        face, k = half % len(triangles), half // len(triangles)
        # one edge of a triangle at a time
        _, first = np.unique(face, return_index=True)
        loose = np.unique(table.ends[table.count == 1])
        whole = _ends_of(triangles, face, k)
        apex = triangles[face, (k + 2) % 3]
        edge, vertex = _points_on(vertices, whole, loose, tolerance)
        keep = vertex != apex[edge]
        edge, vertex = edge[keep], vertex[keep]
        if not len(edge):
            break
        _, first = np.unique(face[edge], return_index=True)
        keep = np.isin(edge, edge[first])
        edge, vertex = edge[keep], vertex[keep]
        triangles = np.concatenate([np.delete(triangles, face[edge], axis=0), _fans(whole, apex, edge, vertex)])
    return triangles


def _ends_of(triangles: np.ndarray, face: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.column_stack([triangles[face, k], triangles[face, (k + 1) % 3]])


def _points_on(vertices: np.ndarray, ends: np.ndarray, loose: np.ndarray, tolerance: float):
    """Return pairs (edge, vertex) of the vertices ``loose`` inside the edges, ordered along each edge."""
    if not len(ends):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    start, along = vertices[ends[:, 0]], vertices[ends[:, 1]] - vertices[ends[:, 0]]
    length = np.linalg.norm(along, axis=1)
    tree = cKDTree(vertices[loose])
    crowd = tree.query_ball_point(start + along / 2, length / 2, return_length=True)
    fewest = np.argsort(crowd, kind="stable")
    tried = np.sort(fewest[np.cumsum(crowd[fewest]) <= MOST_CANDIDATES])
    near = tree.query_ball_point(start[tried] + along[tried] / 2, length[tried] / 2)
    edge = np.repeat(tried, [len(found) for found in near])
    vertex = loose[np.concatenate([np.zeros(0, np.int64), *(np.asarray(found, np.int64) for found in near)])]
    offset = vertices[vertex] - start[edge]
    place = np.einsum("ij,ij->i", offset, along[edge]) / length[edge]
    away = np.linalg.norm(offset - along[edge] * (place / length[edge])[:, None], axis=1)
    inside = (away < tolerance) & (place > tolerance) & (place < length[edge] - tolerance)
    order = np.lexsort((place[inside], edge[inside]))
    return edge[inside][order], vertex[inside][order]


def _fans(ends: np.ndarray, apex: np.ndarray, edge: np.ndarray, vertex: np.ndarray) -> np.ndarray:
    """Triangles between the apex and the pieces of the edge between its ends and the vertices on it."""
    starts = np.append(True, edge[1:] != edge[:-1])
    stops = np.append(starts[1:], True)
    before = np.where(starts, ends[edge, 0], np.roll(vertex, 1))
    pieces = np.column_stack([before, vertex, apex[edge]])
    last = np.column_stack([vertex, ends[edge, 1], apex[edge]])[stops]
    return np.concatenate([pieces, last])


def orient(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn triangles so that neighbours agree and the side that is seen more is the outer one.

    Patches (triangles joined by edges of exactly two) are voted on as by Takayama et al., "A simple method for
    correcting facet orientations in polygon meshes based on ray casting", JGT 2014, with depth buffers for rays.

    Returns:
        The triangles (T, 3) and whether each is seen from both sides (T,), or from none, in which case it may be.
    """
    table, count = edge_table(triangles), len(triangles)
    inner = table.count == 2
    f, g = table.faces[inner].T
    swap = np.where(table.opposed[inner], 0, count)
    # node t: triangle t as it is, node count + t: turned over
    rows, columns = np.concatenate([f, f + count]), np.concatenate([g + swap, g + count - swap])
    label = components(rows, columns, 2 * count)
    turned = label[count:] < label[:count]
    patch = np.minimum(label[:count], label[count:])
    triangles = np.where(turned[:, None], triangles[:, ::-1], triangles)
    front, back = (np.bincount(patch, votes)[patch] for votes in _sides_seen(vertices, triangles))
    triangles = np.where((back > front)[:, None], triangles[:, ::-1], triangles)
    sheet = np.minimum(front, back) > BOTH_SIDES * (front + back)
    return triangles, sheet | (front + back == 0)


def _sides_seen(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells in which the front and the back of each triangle is seen, summed over directions all around."""
    front, back = np.zeros(len(triangles)), np.zeros(len(triangles))
    centred = vertices - (vertices[triangles].min((0, 1)) + vertices[triangles].max((0, 1))) / 2
    centred = centred / np.linalg.norm(centred[np.unique(triangles)], axis=1).max()
    for toward in _directions(DIRECTIONS):
        right = np.cross((0.3, 0.2, 0.9), toward)
        right /= np.linalg.norm(right)
        picture = centred @ np.array([right, -np.cross(toward, right), -toward]).T
        xyz = (picture + (1, 1, 0)) * CELLS / 2
        a, b, c = (xyz[triangles[:, k], :2] for k in range(3))
        area = (b - a)[:, 1] * (c - a)[:, 0] - (b - a)[:, 0] * (c - a)[:, 1]
        facing = np.where((area < 0)[:, None], triangles[:, ::-1], triangles)
        buffer = fill_depth_buffer(xyz, facing, np.flatnonzero(np.abs(area) > 1e-6), CELLS, CELLS)
        seen = np.bincount(buffer.face[buffer.face >= 0], minlength=len(triangles))
        front += np.where(area > 0, seen, 0)
        back += np.where(area < 0, seen, 0)
    return front, back


def _directions(count: int) -> np.ndarray:
    """Unit vectors (count, 3) spread over the sphere along a spiral of golden angles."""
    k = np.arange(count) + 0.5
    height, turn = 1 - 2 * k / count, np.pi * (1 + 5**0.5) * k
    flat = np.sqrt(1 - height**2)
    return np.column_stack([flat * np.cos(turn), flat * np.sin(turn), height])
