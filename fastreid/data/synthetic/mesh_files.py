"""Files of triangle meshes: OBJ with the hard edges of its author by our own reader, other formats through trimesh."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# the axis that points upwards by custom of the format
UP_AXES = {".obj": "y", ".gltf": "y", ".glb": "y", ".stl": "z", ".ply": "z", ".off": "z"}


@dataclass(frozen=True)
class Mesh:
    """Triangles as a file holds them, in no particular order or orientation.

    vertices float64 (V, 3); triangles int64 (T, 3); edges int64 (E, 2): the lines an author wants drawn, or ``None``
    where the file has none and they must be found.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    edges: np.ndarray | None = None


def read_mesh(path: str | os.PathLike) -> Mesh:
    """Read a mesh; polygons are cut into triangles, the parts of a scene are put in their places.

    Raises:
        ValueError: unreadable, without triangles, or with coordinates that are not finite; names the file.
        ImportError: a format other than OBJ without trimesh, the extra ``meshes``.
    """
    path = Path(path)
    mesh = _read_obj(path) if path.suffix.lower() == ".obj" else _read_with_trimesh(path)
    if not len(mesh.triangles):
        raise ValueError(f"{path} holds no triangles")
    if not np.isfinite(mesh.vertices[mesh.triangles]).all():
        raise ValueError(f"{path} has triangles whose coordinates are not finite")
    return mesh


def turn_upright(mesh: Mesh, up: str) -> Mesh:
    """Return the mesh with z up and its front towards -y; of a mesh with y up, +z is the front, as in glTF."""
    if up == "z":
        return mesh
    x, y, z = mesh.vertices.T
    return Mesh(np.column_stack([x, -z, y]), mesh.triangles, mesh.edges)


def _read_obj(path: Path) -> Mesh:
    vertices, triangles, edges = [], [], []
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            kind, *fields = line.split() or [""]
            try:
                if kind == "v":
                    vertices.append([float(field) for field in fields[:3]])
                elif kind == "f":
                    first, *others = _indices(fields, len(vertices))
                    triangles += [(first, a, b) for a, b in itertools.pairwise(others)]
                elif kind == "l":
                    chain = _indices(fields, len(vertices))
                    edges += itertools.pairwise(chain)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}; got {line.strip()[:80]!r}") from None
    if any(len(vertex) != 3 for vertex in vertices):
        raise ValueError(f"{path} has vertices with fewer than three coordinates")
    points = np.array(vertices, float).reshape(-1, 3)
    lines = np.array(edges, np.int64).reshape(-1, 2) if edges else None
    faces = np.array(triangles, np.int64).reshape(-1, 3)
    for what, numbers in (("faces", faces), ("lines", lines)):
        if numbers is not None and numbers.size and not 0 <= numbers.min() <= numbers.max() < len(points):
            raise ValueError(f"{path} has {what} of vertices that do not exist: there are {len(points)}")
    return Mesh(points, faces, lines)


def _indices(fields: list[str], count: int) -> list[int]:
    """Vertex numbers of ``v/vt/vn`` fields: from 1, or negative and counted back from the last of ``count`` so far."""
    numbers = [int(field.partition("/")[0]) for field in fields]
    if 0 in numbers:
        raise ValueError("vertices are numbered from 1")
    return [number - 1 if number > 0 else count + number for number in numbers]


def _require_whole_stl(path: Path) -> None:
    """Refuse a binary STL that ends early: trimesh takes it for text, and finds nothing.

    80 bytes of header, which may begin with "solid" as a text does, the number of triangles, 50 bytes for each.
    """
    content = path.read_bytes()
    begin = content[:1024].lower()
    if len(content) < 84 or b"facet" in begin or b"endsolid" in begin:  # a text
        return
    announced, there = int.from_bytes(content[80:84], "little"), (len(content) - 84) // 50
    if there < announced:
        raise ValueError(f"{path} is cut off: {announced} triangles announced, {there} there")


def _read_with_trimesh(path: Path) -> Mesh:
    try:
        import trimesh
    except ImportError as error:
        raise ImportError(
            f'Reading {path.name} needs the package trimesh: pip install ".[meshes]" from the checkout '
            "(OBJ needs nothing)",
            name="trimesh",
        ) from error
    if path.suffix.lower() == ".stl":
        _require_whole_stl(path)
    try:
        scene = trimesh.load_scene(path, process=False)
        # to_mesh() puts the parts of a scene into their places
        mesh = scene.to_mesh()
    except OSError:
        raise
    except Exception as error:  # its readers fail in many ways on a broken file
        raise ValueError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    return Mesh(np.asarray(mesh.vertices, float).reshape(-1, 3), np.asarray(mesh.faces, np.int64).reshape(-1, 3))
