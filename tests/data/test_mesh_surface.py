"""Any triangles as a drawable surface: repair and classification against loops, drawings that depend on shape alone."""

import numpy as np
import pytest

from fastreid.data.synthetic.contours import contours
from fastreid.data.synthetic.folds import folds
from fastreid.data.synthetic.mesh_creases import crease_edges
from fastreid.data.synthetic.mesh_files import Mesh
from fastreid.data.synthetic.mesh_repair import clean, edge_table, orient
from fastreid.data.synthetic.mesh_surface import surface_of_mesh
from fastreid.data.synthetic.projection import VIEWS, Camera, project
from fastreid.data.synthetic.render import render, visible_lines
from fastreid.data.synthetic.style import Style
from fastreid.data.synthetic.surface import link
from fastreid.data.synthetic.visibility import fill_depth_buffer
from tests.data.meshes import CUBE, CUBE_TRIANGLES, ball, box, joined, soup

CAMERA = Camera("perspective", azimuth=30, elevation=30, fill=0.8)
SQUARE = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], float), np.array([(0, 1, 2), (0, 2, 3)])


def picture(mesh, camera=CAMERA, **options) -> np.ndarray:
    return np.asarray(render(surface_of_mesh(Mesh(*mesh), **options), camera, Style(), 200))


def length_drawn(mesh, camera=CAMERA, size=400, **options) -> float:
    surface = surface_of_mesh(mesh if isinstance(mesh, Mesh) else Mesh(*mesh), **options)
    seen = project(surface, camera, size)
    buffer = fill_depth_buffer(seen.xyz, surface.triangles, np.flatnonzero(seen.front), size, 2 * size)
    lines, _ = visible_lines(surface, seen, buffer, Style(), size / 512)
    return sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)


def lengths(surface) -> float:
    """Length of all creases in space."""
    inner = surface.chains.lines[1:] == surface.chains.lines[:-1]
    steps = np.diff(surface.vertices[surface.chains.points], axis=0)[inner]
    return np.linalg.norm(steps, axis=1).sum()


def test_edges_against_a_dictionary():
    rng = np.random.default_rng(0)
    triangles = np.array([rng.permutation(9)[:3] for _ in range(30)])  # edges of one, two and more triangles
    table, found = edge_table(triangles), {}
    for number, triangle in enumerate(triangles.tolist()):
        for k in range(3):
            a, b = triangle[k], triangle[(k + 1) % 3]
            found.setdefault((min(a, b), max(a, b)), []).append((number, a < b))
    assert {1, 2} < set(table.count.tolist())
    assert [tuple(pair) for pair in table.ends.tolist()] == sorted(found)
    for edge, row in enumerate(table.ends.tolist()):
        uses = found[tuple(row)]
        assert table.count[edge] == len(uses)
        assert set(table.faces[edge].tolist()) <= {face for face, _ in uses} | {-1}
        assert (table.faces[edge] == -1).sum() == (len(uses) == 1)
        if len(uses) == 2:
            assert set(table.faces[edge].tolist()) == {face for face, _ in uses}
            assert table.opposed[edge] == (uses[0][1] != uses[1][1])
    for half, edge in enumerate(table.of_half.tolist()):
        k, t = divmod(half, 30)
        assert set(table.ends[edge].tolist()) == {triangles[t, k], triangles[t, (k + 1) % 3]}


def test_cleaning_welds_and_drops_degenerate_and_doubled_triangles():
    rng = np.random.default_rng(1)
    vertices, triangles = soup(CUBE, CUBE_TRIANGLES, rng)
    vertices = vertices + rng.uniform(-1e-6, 1e-6, vertices.shape)
    doubled = np.concatenate([triangles, triangles[:4, ::-1], [(0, 0, 1), (0, 1, 0)]])
    mesh = clean(Mesh(vertices, doubled))
    assert len(mesh.vertices) == 8
    assert len(mesh.triangles) == 12
    assert (edge_table(mesh.triangles).count == 2).all()


def test_cleaning_renumbers_the_lines_and_ignores_vertices_without_triangle():
    vertices = np.concatenate([[(np.nan, 0, 0)], CUBE, CUBE])
    mesh = clean(Mesh(vertices, CUBE_TRIANGLES + 1, np.array([(1, 2), (10, 9), (9, 1)])))
    assert len(mesh.edges) == 1
    assert sorted(mesh.vertices[mesh.edges[0]].tolist()) == [[-1, -1, -1], [-1, -1, 1]]


@pytest.mark.parametrize(
    ("vertices", "message"),
    [(np.zeros((3, 3)), "in one point"), (np.array([(0, 0, 0), (1, 1, 1), (2, 2, 2)], float), "degenerate")],
)
def test_nothing_left_to_draw(vertices, message):
    with pytest.raises(ValueError, match=message):
        surface_of_mesh(Mesh(vertices, np.array([(0, 1, 2)])))


def test_junctions_are_cut():
    """A large triangle beside smaller ones: their vertices lie on its edge, two of its edges have such neighbours."""
    vertices = np.array(
        [(0, 0, 0), (6, 0, 0), (0, 6, 0), (2, 0, 0), (4, 0, 0), (3, -4, 0), (3, 3, 0), (6, 6, 0)], float
    )
    triangles = np.array([(0, 1, 2), (0, 5, 3), (3, 5, 4), (4, 5, 1), (1, 7, 6), (6, 7, 2)])
    mesh = clean(Mesh(vertices, triangles))
    table = edge_table(mesh.triangles)
    outside = {frozenset(pair) for pair in ((0, 5), (5, 1), (1, 7), (7, 2), (2, 0))}
    number = {tuple(point): k for k, point in enumerate(vertices.tolist())}
    name = [number[tuple(point)] for point in mesh.vertices.tolist()]
    assert {frozenset(name[v] for v in pair) for pair in table.ends[table.count == 1].tolist()} == outside
    corner = mesh.vertices[mesh.triangles]
    area = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1).sum() / 2
    assert area == pytest.approx(18 + 12 + 9 + 9)
    surface = surface_of_mesh(Mesh(vertices, triangles))
    assert lengths(surface) == pytest.approx(2 * 5 + 6 + 6 + 6)


@pytest.mark.parametrize("seed", range(3))
def test_closed_surfaces_are_turned_outwards(seed):
    rng = np.random.default_rng(seed)
    vertices, triangles = joined(box((2, 2, 2)), box((1, 1, 1), (3, 0, 0)))
    mesh = clean(Mesh(*soup(vertices, triangles, rng)))
    triangles, sheet = orient(mesh.vertices, mesh.triangles)
    corner = mesh.vertices[triangles]
    volume = np.einsum("ti,ti->t", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6
    assert volume == pytest.approx(8 + 1)
    assert not sheet.any()


def test_open_and_one_sided_surfaces_are_sheets():
    assert orient(*SQUARE)[1].all()
    assert orient(CUBE, CUBE_TRIANGLES[2:])[1].all()  # a box without a side shows its inside
    angle = np.linspace(0, np.pi, 13)[:-1]
    spoke = np.column_stack([np.cos(angle) * np.cos(2 * angle), np.cos(angle) * np.sin(2 * angle), np.sin(angle)])
    middle = 3 * np.column_stack([np.cos(2 * angle), np.sin(2 * angle), 0 * angle])
    moebius = np.concatenate([middle + spoke, middle - spoke])
    k, n = np.arange(12), 12
    ahead = np.where(k + 1 < n, k + 1, n)  # after one turn the upper edge goes on as the lower one
    other = np.where(k + 1 < n, k + 1 + n, 0)
    strip = np.concatenate([np.column_stack([k, k + n, ahead]), np.column_stack([k + n, other, ahead])])
    assert orient(moebius, strip)[1].all()
    assert picture((moebius, strip)).mean() < 0.99


@pytest.mark.parametrize("view", VIEWS)
def test_drawing_does_not_depend_on_the_state_of_the_mesh(view):
    camera = Camera(view, azimuth=30, elevation=30, fill=0.8)
    vertices, triangles = joined(box((2, 2, 2)), box((1, 1, 1), (0, 0, 2.5)))
    expected = picture((vertices, triangles), camera)
    inside_out = picture((vertices, triangles[:, ::-1]), camera)
    random = picture(soup(vertices, triangles, np.random.default_rng(3)), camera)
    assert (expected == inside_out).all()
    assert (expected == random).all()


def test_cube_shows_nine_of_its_twelve_edges():
    surface = surface_of_mesh(Mesh(CUBE, CUBE_TRIANGLES))
    assert lengths(surface) == pytest.approx(24)
    seen = project(surface, CAMERA, 400)
    table = edge_table(surface.triangles)
    edges = table.ends[(np.diff(surface.vertices[table.ends], axis=1)[:, 0] != 0).sum(1) == 1]
    assert len(edges) == 12
    hidden = np.argmax(seen.xyz[:, 2])
    shown = edges[(edges != hidden).all(1)]
    assert len(shown) == 9
    exact = np.hypot(*(seen.xyz[shown[:, 0]] - seen.xyz[shown[:, 1]])[:, :2].T).sum()
    assert length_drawn((CUBE, CUBE_TRIANGLES)) == pytest.approx(exact, rel=0.01)


def test_same_lines_as_the_solids_of_minipatent():
    pytest.importorskip("manifold3d")
    from fastreid.data.synthetic import solids as s
    from fastreid.data.synthetic.surface import build_surface

    parts = s.box(2, 2, 1), s.cylinder(0.6, 2, (0, 0, 0.5))
    surface = build_surface([s.Part(part) for part in parts])
    meshes = [(np.asarray(p.to_mesh().vert_properties, float), np.asarray(p.to_mesh().tri_verts)) for p in parts]
    for view in VIEWS:
        camera = Camera(view, azimuth=30, elevation=30, fill=0.8)
        ours = np.asarray(render(surface, camera, Style(), 200))
        assert (ours != picture(joined(*meshes), camera)).mean() < 0.002, view


def test_a_finely_faceted_ball_is_one_circle():
    vertices, triangles = soup(*ball(24), np.random.default_rng(0))
    surface = surface_of_mesh(Mesh(vertices, triangles))
    assert not len(surface.chains.points)
    seen = project(surface, CAMERA, 200)
    points, chains = contours(surface, seen)
    assert np.hypot(*(points[:, :2] - 100).T) == pytest.approx(80, rel=0.02)
    assert len(np.unique(chains.lines)) == 1
    assert length_drawn((vertices, triangles)) == pytest.approx(2 * np.pi * 160, rel=0.03)


def test_crease_angle_decides_whether_facets_are_lines():
    coarse = ball(6)  # 30 degrees from ring to ring
    assert not len(surface_of_mesh(Mesh(*coarse), crease=35).chains.points)
    facets = 12 * 2 * np.sin(np.radians(15)) * (6 + np.sin(np.radians(np.arange(30, 180, 30))).sum())
    assert lengths(surface_of_mesh(Mesh(*coarse), crease=5)) == pytest.approx(facets)


def test_outline_of_coarse_facets_is_closed():
    """Edges that are no creases are drawn where they are the outline, and nowhere else."""
    vertices, triangles = ball(6)
    surface = surface_of_mesh(Mesh(vertices, triangles, np.array([(0, 12)])))
    seen = project(surface, CAMERA, 400)
    assert not len(contours(surface, seen)[0])
    chains, rims = folds(surface.folds, seen)
    assert not len(rims.points)
    assert len(np.unique(chains.lines)) == 1
    assert chains.points[0] == chains.points[-1]
    distance = np.hypot(*(seen.xyz[chains.points, :2] - 200).T)
    assert 0.85 * 160 < distance.min() < distance.max() < 1.05 * 160


@pytest.mark.parametrize("turned", [False, True])
def test_sheet_hides_what_is_behind_it_and_is_drawn_from_both_sides(turned):
    vertices, triangles = SQUARE
    sheet = (vertices * 3, triangles[:, ::-1] if turned else triangles)
    alone = length_drawn(sheet, Camera("top"))
    assert alone == length_drawn(sheet, Camera("bottom")) == pytest.approx(4 * 300, rel=0.01)
    behind = joined(sheet, box((1, 1, 1), (0, 0, -2)))
    assert length_drawn(behind, Camera("top")) == pytest.approx(alone, rel=0.01)
    assert length_drawn(behind, Camera("bottom")) == pytest.approx(alone * (1 + 1 / 6), rel=0.01)


def test_crease_of_a_sheet_is_drawn_from_both_sides():
    vertices = np.array([(0, 0, 0), (0, 2, 0), (2, 2, 0), (2, 0, 0), (0, 2, 2), (0, 0, 2)], float)
    corner = vertices, np.array([(0, 1, 2), (0, 2, 3), (0, 5, 4), (0, 4, 1)])
    into, onto = (Camera("perspective", azimuth=a, elevation=e, fill=0.8) for a, e in ((100, 35), (-80, -35)))
    assert length_drawn(corner, into) == pytest.approx(length_drawn(corner, onto), rel=0.01)


def test_sheet_seen_edge_on_is_a_line():
    drawn = ~picture(SQUARE, Camera("front", fill=0.8))
    rows, columns = np.nonzero(drawn)
    assert np.ptp(columns) == pytest.approx(160, abs=3)
    assert np.ptp(rows) <= 2


def test_lines_of_the_author_are_the_lines():
    mesh = Mesh(CUBE, CUBE_TRIANGLES, np.array([(3, 7), (1, 0)]))
    surface = surface_of_mesh(mesh)
    assert lengths(surface) == pytest.approx(4)
    # a diagonal that is no edge of a triangle is drawn too; the outline of a cube is six edges whatever is listed
    crossed = Mesh(CUBE, CUBE_TRIANGLES, np.array([(3, 5)]))
    assert lengths(surface_of_mesh(crossed)) == pytest.approx(8**0.5)
    top = Camera("top", fill=0.5)
    assert length_drawn(crossed, top) == pytest.approx(4 * 200 + 200 * 2**0.5, rel=0.01)


def test_creases_are_followed_over_gaps_and_scraps_are_dropped():
    """A ridge of ten segments at angles of 40 degrees but for two at 20; 20 degrees at the end lead nowhere."""
    angles = np.array([40, 40, 40, 20, 20, 40, 40, 40, 20, 20])
    ends = np.column_stack([np.arange(10), np.arange(1, 11)])
    vertices = np.column_stack([np.arange(11.0), np.zeros(11), np.zeros(11)])
    table = edge_table(np.column_stack([ends, np.arange(10) + 11]))
    on_ridge = np.flatnonzero((table.ends < 11).all(1))
    cosine = np.ones(len(table.ends))
    cosine[on_ridge] = np.cos(np.radians(angles))
    vertices = np.concatenate([vertices, vertices[:10] + (0.5, 1, 0)])
    drawn = crease_edges(vertices, table, cosine, 32.0)
    assert drawn[on_ridge].tolist() == [True] * 8 + [False] * 2
    assert drawn.sum() == 8
    cosine[on_ridge] = np.cos(np.radians(np.where(np.arange(10) == 4, 40, 0)))
    far = np.concatenate([vertices, [(0, 60, 0), (60, 60, 0), (60, 0, 0)]])
    wide = edge_table(np.concatenate([np.column_stack([ends, np.arange(10) + 11]), [(21, 22, 23)]]))
    flat = np.concatenate([cosine, np.ones(len(wide.ends) - len(cosine))])
    assert not crease_edges(far, wide, flat, 32.0).any()
    assert crease_edges(vertices, table, cosine, 32.0).sum() == 1


def test_needles_make_no_creases():
    """A sliver of a triangle in a flat plate points sideways."""
    vertices = np.array([(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0), (1, 1, 2e-4)], float)
    triangles = np.array([(0, 1, 2), (0, 2, 4), (4, 2, 3), (0, 4, 3)])
    surface = surface_of_mesh(Mesh(vertices, triangles))
    assert lengths(surface) == pytest.approx(8)


def test_penetrating_parts_show_their_intersection():
    pytest.importorskip("manifold3d")
    slab, post = box((4, 4, 1)), box((1, 1, 3), (0, 0, 1))
    surface = surface_of_mesh(Mesh(*joined(slab, post)))
    assert lengths(surface) == pytest.approx(36 + 4 * 2 + 4 + 4)
    assert np.abs(surface.vertices[:, 2]).max() == pytest.approx(2.5)


def test_missing_faces_between_parts_are_closed():
    """A table of a game: the legs have no upper side, which the board covers; a flush part keeps its line."""
    pytest.importorskip("manifold3d")
    board, (vertices, triangles) = box((4, 4, 1)), box((1, 1, 3), (0, 0, -1.8))
    upper = (vertices[triangles][..., 2] == vertices[:, 2].max()).all(1)
    surface = surface_of_mesh(Mesh(*joined(board, (vertices, triangles[~upper]))))
    assert upper.sum() == 2
    assert lengths(surface) == pytest.approx(36 + 4 * 2.8 + 4 + 4)
    flush = surface_of_mesh(Mesh(*joined(box((2, 2, 2)), box((2, 2, 2), (1.5, 0, 0)))))
    # the line between them may change from the end of one to that of the other
    assert lengths(flush) == pytest.approx(4 * (3.5 + 2 + 2) + 8, abs=1.2)


def test_without_manifold3d_parts_are_drawn_apart(monkeypatch, caplog):
    from fastreid.data.synthetic import mesh_union

    monkeypatch.setattr(mesh_union, "kernel", lambda: (_ for _ in ()).throw(ImportError("none")))
    mesh_union._manifold3d_is_there.cache_clear()
    surface = surface_of_mesh(Mesh(*joined(box((4, 4, 1)), box((1, 1, 3), (0, 0, 1)))))
    mesh_union._manifold3d_is_there.cache_clear()
    assert lengths(surface) == pytest.approx(36 + 4 * 3 + 8)
    assert "manifold3d" in caplog.text


def test_links_of_no_edges():
    nothing = np.zeros((0, 2), np.int64)
    assert not len(link(nothing, nothing, np.zeros(0, bool)).points)


def test_rims_of_an_author_who_lists_lines_bound_the_outline_alone():
    """Two halves of a plate with a crack between them that is no line, and no other one either."""
    vertices = np.array(
        [(0, 0, 0), (2, 0, 0), (2, 2, 0), (0, 2, 0), (2.003, 0, 0), (4, 0, 0), (4, 2, 0), (2.003, 2, 0)]
    )
    triangles = np.array([(0, 1, 2), (0, 2, 3), (4, 5, 6), (4, 6, 7)])
    mesh = Mesh(vertices, triangles, np.array([(0, 2)]))
    size = 320 / 4
    assert length_drawn(mesh, Camera("top", fill=0.8)) == pytest.approx((2 * 4 + 2 * 2 + 8**0.5) * size, rel=0.02)
