"""Reading meshes: OBJ by our own reader, the other formats through trimesh, and what is said of bad files."""

import sys

import numpy as np
import pytest

from fastreid.data.synthetic.mesh_files import read_mesh, turn_upright
from tests.data.meshes import CUBE, CUBE_TRIANGLES, write_obj


def points_of(mesh) -> np.ndarray:
    return mesh.vertices[mesh.triangles]


def test_obj_of_triangles_and_lines(tmp_path):
    mesh = read_mesh(write_obj(tmp_path / "cube.obj", CUBE, CUBE_TRIANGLES, [(0, 1), (1, 3)]))
    assert (mesh.vertices == CUBE).all()
    assert (mesh.triangles == CUBE_TRIANGLES).all()
    assert mesh.edges.tolist() == [[0, 1], [1, 3]]
    assert read_mesh(write_obj(tmp_path / "plain.OBJ", CUBE, CUBE_TRIANGLES)).edges is None


def test_obj_dialect(tmp_path):
    """Polygons, texture and normal numbers, numbers from the end, colours, polylines, comments, unknown words."""
    path = tmp_path / "odd.obj"
    path.write_bytes(
        b"# caf\xe9\nmtllib a.mtl\no thing\nv 0 0 0 1 .5 .5\nv 1 0 0\nvt 0 0\nvn 0 0 1\nv 1 1 0\nv 0 1 0\n"
        b"usemtl wood\ns off\nf 1/1/1 2//1 3/1 4\nv 2 2 2\nf -1 -2 -3\nl 1 2 3\n\n"
    )
    mesh = read_mesh(path)
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [4, 3, 2]]
    assert mesh.vertices.shape == (5, 3)
    assert mesh.edges.tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no triangles"),
        ("v 0 0 0\nv 1 0 0\nl 1 2\n", "holds no triangles"),
        ("v 0 0 0\nv 1 0 zero\n", "bad.obj:2: could not convert string to float: 'zero'; got 'v 1 0 zero'"),
        ("v 0 0 0\nf 1 0 1\n", "bad.obj:2: vertices are numbered from 1"),
        ("v 0 0 0\nf 1 2 3\n", "faces of vertices that do not exist: there are 1"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nl 1 9\n", "lines of vertices that do not exist: there are 3"),
        ("v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n", "fewer than three coordinates"),
        ("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    ],
)
def test_bad_obj(tmp_path, text, message):
    path = tmp_path / "bad.obj"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_mesh(path)


@pytest.mark.parametrize(("name", "options"), [
    ("binary.stl", {}), ("text.stl", {"file_type": "stl_ascii"}), ("mesh.ply", {}), ("scene.glb", {}), ("m.off", {}),
])  # fmt: skip
def test_formats_through_trimesh(tmp_path, name, options):
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / name
    trimesh.Trimesh(CUBE, CUBE_TRIANGLES, process=False).export(path, **options)
    mesh = read_mesh(path)
    assert points_of(mesh) == pytest.approx(CUBE[CUBE_TRIANGLES])
    assert mesh.edges is None


def test_parts_of_a_scene_are_in_their_places(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    scene = trimesh.Scene()
    cube = trimesh.Trimesh(CUBE, CUBE_TRIANGLES, process=False)
    for x in (0, 10):
        scene.add_geometry(cube, transform=trimesh.transformations.translation_matrix((x, 0, 0)))
    scene.export(tmp_path / "two.glb")
    found = points_of(read_mesh(tmp_path / "two.glb"))
    assert len(found) == 24
    assert found[..., 0].min() == pytest.approx(-1)
    assert found[..., 0].max() == pytest.approx(11)


@pytest.mark.parametrize("name", ["a.stl", "a.ply", "a.glb"])
def test_broken_files_are_named(tmp_path, name):
    pytest.importorskip("trimesh")
    (tmp_path / name).write_bytes(b"\x00\x01 not a mesh at all \xff" * 9)
    with pytest.raises(ValueError, match=name):
        read_mesh(tmp_path / name)


@pytest.mark.parametrize("header", [b"made by hand", b"solid by name only"])
def test_a_binary_stl_that_is_cut_off_is_called_so(tmp_path, header):
    trimesh = pytest.importorskip("trimesh")
    path = tmp_path / "a.stl"
    content = trimesh.Trimesh(CUBE, CUBE_TRIANGLES, process=False).export(file_type="stl")
    content = header.ljust(80) + content[80:]
    path.write_bytes(content)
    assert len(read_mesh(path).triangles) == 12
    path.write_bytes(content[:-10])
    with pytest.raises(ValueError, match=r"a\.stl is cut off: 12 triangles announced, 11 there"):
        read_mesh(path)


def test_missing_trimesh_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(ImportError, match=r"a\.stl needs .* trimesh: pip install \"\.\[meshes\]\" from the checkout"):
        read_mesh(tmp_path / "a.stl")


def test_upright_means_z_up_and_front_towards_minus_y(tmp_path):
    mesh = read_mesh(
        write_obj(tmp_path / "a.obj", np.array([(0, 1.0, 0), (0, 0, 1), (1, 0, 0)]), np.array([(0, 1, 2)]))
    )
    assert turn_upright(mesh, "y").vertices.tolist() == [[0, 0, 1], [0, -1, 0], [1, 0, 0]]
    assert turn_upright(mesh, "z") is mesh
