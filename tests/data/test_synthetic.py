"""MiniPatent's renderer and solids: geometry against slow references."""

import sys

import numpy as np
import pytest

pytest.importorskip("manifold3d")

import itertools

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.contours import contours
from fastreid.data.synthetic.draws import Draws, SiblingDraws
from fastreid.data.synthetic.families import FAMILIES
from fastreid.data.synthetic.projection import VIEWS, Camera, project, rotation
from fastreid.data.synthetic.render import render, visible_lines
from fastreid.data.synthetic.shading import SLOPES, shade
from fastreid.data.synthetic.style import SHADINGS, Style, draw_style
from fastreid.data.synthetic.surface import build_surface, edges_of, link
from fastreid.data.synthetic.visibility import fill_depth_buffer, runs, sample


def ink(image) -> np.ndarray:
    return np.asarray(image.convert("L")) < 128


def lines_of(surface, camera, style=None, size=400):
    seen = project(surface, camera, size)
    buffer = fill_depth_buffer(seen.xyz, surface.triangles, np.flatnonzero(seen.front), size, 3 * size // 2)
    return visible_lines(surface, seen, buffer, style or Style(), size / 512)[0], seen


def length(lines) -> float:
    return sum(np.hypot(*np.diff(line, axis=0).T).sum() for line in lines)


def test_floating_part_is_refused():
    with pytest.raises(ValueError, match="2 separate pieces"):
        build_surface([s.Part(s.box(1, 1, 1)), s.Part(s.box(1, 1, 1, (3, 0, 0)))])


def test_enclosed_hollow_is_allowed():
    build_surface([s.Part(s.box(3, 3, 3) - s.box(1, 1, 1, (0, 0, 1)))])


def test_missing_manifold3d_names_the_extra(monkeypatch):
    s.kernel.cache_clear()
    monkeypatch.setitem(sys.modules, "manifold3d", None)
    with pytest.raises(ImportError, match=r"pip install \"\.\[synth\]\" from the checkout"):
        s.kernel()
    s.kernel.cache_clear()


def test_draws_do_not_depend_on_order():
    one, two = Draws(5, 6), Draws(5, 6)
    first = [one.between("a", 0, 1), one.choice("b", range(100)), one.integer("c", 0, 9)]
    assert first == [two.integer("c", 0, 9), two.choice("b", range(100)), two.between("a", 0, 1)][::-1]
    assert one.child("x").between("a", 0, 1) != one.between("a", 0, 1)


def test_sibling_draws_share_what_is_discrete_and_differ_a_little_in_the_rest():
    line = Draws(5, 6)
    siblings = [SiblingDraws(5, 6, sibling=k, sigma=0.08) for k in range(200)]
    assert {each.choice("b", range(100)) for each in siblings} == {line.choice("b", range(100))}
    assert {each.integer("c", 0, 90) for each in siblings} == {line.integer("c", 0, 90)}
    for draws, of in ((siblings, line), ([each.child("x") for each in siblings], line.child("x"))):
        values = np.array([each.between("a", 10, 30) for each in draws])
        assert len(np.unique(values)) == 200
        assert values == pytest.approx(of.between("a", 10, 30), abs=20 * 0.08 * 4.5)
        assert 0.06 < values.std() / 20 < 0.1
    wild = [SiblingDraws(5, 6, sibling=k, sigma=1.0).between("a", 10, 30) for k in range(300)]
    assert 10 <= min(wild) < max(wild) <= 30
    assert siblings[3].between("a", 10, 30) == SiblingDraws(5, 6, sibling=3, sigma=0.08).between("a", 10, 30)


def test_weighted_choice_follows_the_weights():
    picked = [Draws(0, k).choice("x", "abc", (3, 1, 0)) for k in range(800)]
    assert "c" not in picked
    assert 0.68 < picked.count("a") / 800 < 0.82


def test_solid_helpers_have_the_exact_volume():
    assert s.box(2, 3, 4).volume() == pytest.approx(24)
    assert s.prism(s.rectangle(2, 3), 4).volume() == pytest.approx(24)
    assert s.plate(s.rectangle(2, 3), 4).bounding_box() == pytest.approx((-1, -2, -1.5, 1, 2, 1.5))
    circle = 48 / 2 * np.sin(2 * np.pi / 48)  # area of the 48-gon
    assert s.cylinder(2, 3).volume() == pytest.approx(12 * circle)
    assert s.lathe([(2, 0), (2, 3)]).volume() == pytest.approx(12 * circle)
    assert s.rod((1, 2, 3), (1, 2, 8), 1, segments=48).volume() == pytest.approx(5 * circle)
    rings = np.array([np.column_stack([s.ellipse(2, 2), np.full(48, z)]) for z in (0, 5)])
    assert s.loft(rings).volume() == pytest.approx(5 * circle) == s.loft(rings[::-1]).volume()
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    ring = s.tube(np.column_stack([5 * np.cos(angle), 5 * np.sin(angle), 0 * angle]), 1, closed=True)
    assert ring.genus() == 1
    assert ring.volume() == pytest.approx(2 * np.pi**2 * 5, rel=0.03)


def test_stack_scales_the_outline_along_the_profile():
    frustum = s.stack(s.rectangle(2, 2), [(1, 0), (0.5, 3)], at=(0, 0, 1))
    assert frustum.volume() == pytest.approx(4 * 3 * (1 + 0.5 + 0.25) / 3)
    assert frustum.bounding_box() == pytest.approx((-1, -1, 1, 1, 1, 4))
    stepped = s.stack(s.rectangle(2, 2), [(1, 0), (1, 1), (0.5, 1), (0.5, 2)])
    assert stepped.volume() == pytest.approx(4 + 1)


def test_side_plate_faces_sideways():
    outline = np.array([(0, 0), (3, 0), (0, 4)])  # (y, z)
    solid = s.side_plate(outline, 2, (1, 0, 0))
    assert solid.volume() == pytest.approx(12)
    assert solid.bounding_box() == pytest.approx((0, 0, 0, 2, 3, 4))
    assert solid.slice(0.001).area() > solid.slice(3).area()


def test_sink_follows_the_surface():
    body, cutter = s.cylinder(2, 5), s.box(1, 9, 3, (0, -4.5, 1))
    sunk = s.sink(body, cutter, (0, 0.1, 0))
    assert body.volume() - sunk.volume() == pytest.approx(0.3, rel=0.01)  # width x height x depth
    assert (sunk.slice(0.5).bounds()[1], sunk.slice(2.5).bounds()[1]) == pytest.approx((-2, -(3.75**0.5)), rel=0.01)


def test_forward_turns_the_top_to_the_front():
    assert s.forward(s.box(1, 2, 3, (0, 5, 0))).bounding_box() == pytest.approx((-0.5, -3, 4, 0.5, 0, 6))


def test_paddle_has_its_width_and_thickness_at_its_place():
    bar = s.paddle(np.array([0.0, 2.0]), np.array([2.0, 2.0]), np.array([0.5, 0.5]), np.array([1.0, 1.0]), power=200)
    assert bar.bounding_box() == pytest.approx((-1, 0.75, 0, 1, 1.25, 2))
    assert bar.volume() == pytest.approx(2, rel=0.02)
    bent = s.paddle(np.array([0.0, 2.0]), np.array([2.0, 1.0]), np.array([1.0, 0.5]), np.array([0.0, 3.0]))
    assert bent.slice(2 - 1e-4).bounds() == pytest.approx((-0.5, 2.75, 0.5, 3.25), abs=1e-3)


def test_spline_passes_through_its_points():
    points = [(0, 0), (1, 2), (3, 1)]
    assert np.allclose(s.spline(points, 5)[[0, 2, 4]], points)


def test_engraving_is_no_deeper_than_asked():
    cube, post = s.box(4, 4, 4), s.box(1, 1, 20, (0, 0, -10))
    engraved = s.engrave(cube, post, 0.5)
    assert engraved.volume() == pytest.approx(64 - 2 * 0.5)
    assert engraved.bounding_box() == pytest.approx(cube.bounding_box())
    assert engraved.decompose()[0].genus() == 0


def test_ribbon_is_as_thick_as_asked():
    straight = s.ribbon([(0, 0), (1, 0), (4, 0)], 0.5, 2)
    assert straight.volume() == pytest.approx(4)
    assert straight.bounding_box() == pytest.approx((0, -1, -0.25, 4, 1, 0.25))
    assert s.ribbon(np.array([(0, 0), (2, 0)]), np.array([1, 0.5]), 3).volume() == pytest.approx(2 * 0.75 * 3)
    for turn in (1, -1):  # either way round
        ring = s.ribbon(3 * s.ellipse(2, 2, 90)[::turn], 0.4, 2, closed=True)
        assert ring.genus() == 1
        assert ring.volume() == pytest.approx(2 * np.pi * 3 * 0.4 * 2, rel=0.01)


def test_offset_keeps_its_distance():
    square = s.rectangle(4, 2)
    assert np.ptp(s.offset(square, -0.25), axis=0) == pytest.approx((3.5, 1.5))
    grown = s.kernel().CrossSection([s.offset(square, 0.5)])
    assert grown.area() == pytest.approx(8 + 12 * 0.5 + np.pi * 0.25, rel=0.005)
    with pytest.raises(ValueError, match="must leave something of the outline; got -1"):
        s.offset(square, -1)


@pytest.mark.parametrize("view", VIEWS)
def test_view_frames_are_right_handed(view):
    turn = rotation(Camera(view))
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_axis_views_look_from_the_side_they_are_named_after():
    toward = {view: rotation(Camera(view))[2].tolist() for view in VIEWS[1:]}
    front, side, up = [0, -1, 0], [1, 0, 0], [0, 0, 1]
    assert (toward["front"], toward["right"], toward["top"]) == (front, side, up)
    assert (toward["rear"], toward["left"], toward["bottom"]) == ([0, 1, 0], [-1, 0, 0], [0, 0, -1])


def test_front_view_shows_right_to_the_right_and_up_upwards():
    surface = build_surface([s.Part(s.box(4, 1, 1)), s.Part(s.box(1, 1, 3, (1.5, 0, 0)))])
    drawn = ink(render(surface, Camera("front"), Style(), 128))
    rows, columns = np.nonzero(drawn)
    assert columns[rows < 50].min() > 64
    mirrored = ink(render(surface, Camera("rear"), Style(), 128))
    rows, columns = np.nonzero(mirrored)
    assert columns[rows < 50].max() < 64


def test_edges_against_a_dictionary():
    surface = build_surface(FAMILIES["stool"].build(Draws(0, 0)))
    edges, faces = edges_of(surface.triangles, len(surface.vertices))
    table = {}
    for number, triangle in enumerate(surface.triangles.tolist()):
        for k in range(3):
            table.setdefault(frozenset((triangle[k], triangle[(k + 1) % 3])), set()).add(number)
    assert len(edges) == len(table)
    assert all(table[frozenset(edge)] == set(pair) for edge, pair in zip(edges.tolist(), faces.tolist(), strict=True))


def test_link_joins_chains_and_loops_and_breaks_where_the_kind_changes():
    edges = np.array([(0, 1), (2, 1), (2, 3), (5, 6), (6, 7), (7, 5)])
    faces = np.arange(12).reshape(6, 2)
    chains = link(edges, faces, np.array([False, False, True, False, False, False]))
    found = {tuple(chains.points[chains.lines == line].tolist()) for line in np.unique(chains.lines)}
    assert {frozenset(points) for points in found} == {frozenset({0, 1, 2}), frozenset({2, 3}), frozenset({5, 6, 7})}
    loop = next(points for points in found if 5 in points)
    assert loop[0] == loop[-1]
    assert len(loop) == 4
    covered = {frozenset(pair) for points in found for pair in itertools.pairwise(points)}
    assert covered == {frozenset(edge) for edge in edges.tolist()}


def test_depth_buffer_against_loops():
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-3, 23, (60, 3))
    triangles = np.arange(60).reshape(20, 3)
    a, b, c = (xyz[triangles[:, k], :2] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    triangles[area > 0] = triangles[area > 0][:, ::-1]  # facing the viewer
    buffer = fill_depth_buffer(xyz, triangles, np.arange(20), 20, 20)
    for y in range(20):
        for x in range(20):
            hits = []
            for number, corner in enumerate(xyz[triangles]):
                matrix = np.vstack([corner[:, :2].T, np.ones(3)])
                weights = np.linalg.solve(matrix, [x + 0.5, y + 0.5, 1])
                if (weights >= 0).all():
                    hits.append((weights @ corner[:, 2], number))
            depth, face = min(hits, default=(np.inf, -1))
            assert buffer.face[y, x] == face
            assert buffer.depth[y, x] == pytest.approx(depth, abs=1e-5)


def test_runs_against_loops():
    rng = np.random.default_rng(1)
    line = np.sort(rng.integers(0, 12, 300))
    flags = rng.random(300) < 0.7
    expected = []
    for number in np.unique(line):
        index = np.flatnonzero(line == number)
        value = flags[index].copy()
        set_places = np.flatnonzero(value)
        for left, right in itertools.pairwise(set_places):
            if right - left - 1 <= 2:
                value[left:right] = True
        start = None
        for k, on in enumerate([*value, False]):
            if on and start is None:
                start = k
            elif not on and start is not None:
                if k - start >= 4:
                    expected.append((index[0] + start, index[0] + k))
                start = None
    assert runs(flags, line).tolist() == [list(pair) for pair in expected]
    assert runs(np.zeros(0, bool), np.zeros(0, int)).shape == (0, 2)


def test_samples_are_dense_and_keep_the_corners():
    points, lines = (
        np.array([(0, 0, 0), (3, 4, 1), (3, 9, 2), (50, 50, 0), (52, 50, 0)], float),
        np.array([0, 0, 0, 1, 1]),
    )
    samples = sample(points, lines, 1.0)
    assert all((samples.xyz == point).all(1).any() for point in points)
    step = np.hypot(*np.diff(samples.xyz[:, :2], axis=0).T)
    assert (step[samples.line[1:] == samples.line[:-1]] <= 1 + 1e-9).all()


def test_cube_shows_nine_of_its_twelve_edges():
    surface = build_surface([s.Part(s.box(1, 1, 1))])
    lines, seen = lines_of(surface, Camera("perspective", azimuth=30, elevation=30))
    edges, faces = edges_of(surface.triangles, len(surface.vertices))
    cosine = (surface.face_normals[faces[:, 0]] * surface.face_normals[faces[:, 1]]).sum(1)
    visible = edges[(cosine < 0.5) & seen.front[faces].any(1)]
    assert len(visible) == 9
    exact = np.hypot(*(seen.xyz[visible[:, 0]] - seen.xyz[visible[:, 1]])[:, :2].T).sum()
    assert length(lines) == pytest.approx(exact, rel=0.01)


def test_hidden_object_is_not_drawn():
    wall = s.box(10, 1, 10)
    alone = build_surface([s.Part(wall)])
    behind = build_surface([s.Part(wall), s.Part(s.box(2, 4, 2, (0, 2, 4)))])
    front = Camera("perspective", azimuth=0, elevation=10, fill=0.8)
    assert length(lines_of(behind, front)[0]) == pytest.approx(length(lines_of(alone, front)[0]), rel=0.01)
    rear = Camera("perspective", azimuth=180, elevation=10, fill=0.8)
    assert length(lines_of(behind, rear)[0]) > 1.15 * length(lines_of(alone, rear)[0])


def test_contour_of_a_sphere_is_a_circle():
    surface = build_surface([s.Part(s.sphere(1))])
    seen = project(surface, Camera("perspective", fill=0.8), 200)
    points, chains = contours(surface, seen)
    radius = np.hypot(*(points[:, :2] - 100).T)
    assert radius == pytest.approx(80, rel=0.02)
    assert len(np.unique(chains.lines)) == 1
    assert length(lines_of(surface, Camera("perspective", fill=0.8), size=200)[0]) == pytest.approx(
        2 * np.pi * 80, rel=0.03
    )


def test_wall_seen_edge_on_keeps_its_outline():
    lines, _ = lines_of(build_surface([s.Part(s.cylinder(1, 3))]), Camera("top", fill=0.8))
    assert length(lines) == pytest.approx(np.pi * 320, rel=0.01)


def test_unclaimed_part_is_drawn_in_broken_lines():
    body, knob = s.box(2, 2, 2), s.box(1, 1, 2, (0, 0, 1.5))
    camera = Camera("front", fill=0.8)
    solid = length(lines_of(build_surface([s.Part(body), s.Part(knob)]), camera)[0])
    broken = length(lines_of(build_surface([s.Part(body), s.Part(knob, claimed=False)]), camera)[0])
    assert 0.75 * solid < broken < 0.95 * solid


@pytest.mark.parametrize("shading", ["hatch", "stipple", "glass", "contour"])
def test_shading_adds_ink_only_inside_the_outline(shading):
    surface = build_surface([s.Part(s.box(4, 4, 4)), s.Part(s.cylinder(1.5, 2, (0, 0, 3.9)))])
    camera = Camera("perspective", azimuth=40)
    plain = ink(render(surface, camera, Style(), 200))
    shaded = ink(render(surface, camera, Style(shading=shading, threshold=0.6), 200, rng=np.random.default_rng(0)))
    assert shaded.sum() > 1.1 * plain.sum()
    rows, columns = np.nonzero(plain)
    outside = np.ones_like(plain)
    outside[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = False
    assert not shaded[outside].any()


def test_contour_shading_runs_along_a_cylinder_where_its_slope_says():
    surface = build_surface([s.Part(s.cylinder(1, 3, segments=96))])
    seen = project(surface, Camera("front", fill=0.8), 512)
    buffer = fill_depth_buffer(seen.xyz, surface.triangles, np.flatnonzero(seen.front), 512, 768)
    strokes, dots = shade(surface, seen, buffer, Style(shading="contour", threshold=0.6), 1.0, np.random.default_rng(0))
    assert len(dots) == 0
    assert all(np.ptp(line[:, 0]) < 1 < 400 < np.ptp(line[:, 1]) for line in strokes)  # upright, of full height
    radius, centre = np.ptp(seen.xyz[:, 0]) / 2, 256
    expected = {side * radius * np.sqrt(1 - slope**2) for slope in SLOPES for side in (-1, 1)}
    found = [line[0, 0] - centre for line in strokes]
    assert len(found) >= len(SLOPES)
    assert all(min(abs(x - place) for place in expected) < 1 for x in found)
    assert len([x for x in found if x > 0]) > len([x for x in found if x < 0]), "the light comes from the left"


def test_outlines_are_heavy_only_beside_the_paper():
    surface = build_surface([s.Part(s.box(4, 4, 4)), s.Part(s.box(2, 5, 2, (0, 0, 1)))])
    camera = Camera("front", fill=0.8)
    thin, heavy = (ink(render(surface, camera, Style(outline=width), 256)) for width in (1.0, 3.0))
    added = heavy & ~thin
    rows, columns = np.nonzero(thin)
    inside = np.s_[rows.min() + 12 : rows.max() - 12, columns.min() + 12 : columns.max() - 12]
    assert thin[inside].any()
    assert not added[inside].any()
    assert added.sum() > 0.8 * thin.sum()


@pytest.mark.parametrize("bilevel", [True, False])
def test_scanned_sheets_waver_and_have_specks(bilevel):
    surface, camera = build_surface([s.Part(s.box(4, 4, 4))]), Camera("front", skew=2.0)
    clean, one, *others = (
        render(surface, camera, Style(scanned=k > 0), 256, rng=np.random.default_rng(k), bilevel=bilevel)
        for k in range(7)
    )
    assert one.mode == clean.mode
    assert not np.array_equal(one, others[0])
    rows, columns = np.nonzero(ink(clean))
    frame = np.zeros((256, 256), bool)
    frame[rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2] = True
    specks = [(np.asarray(sheet.convert("L"))[~frame] < 255).any() for sheet in (one, *others)]
    assert sum(specks) >= 3
    change = (ink(one) ^ ink(clean))[frame].sum()
    assert 0 < change < 0.5 * ink(clean).sum()


def test_style_is_drawn_from_few_values_or_fixed():
    mixed = [draw_style(Draws(0, k), "mixed") for k in range(200)]
    assert {style.stroke for style in mixed} == {1.3, 1.8, 2.4}
    assert 0.2 < np.mean([bool(x.label) for x in mixed]) < 0.4
    assert 0.1 < np.mean([x.scanned for x in mixed]) < 0.3
    assert {style.outline for style in mixed} == {1.0, 1.7}
    assert {style.shading for style in mixed} == set(SHADINGS)
    assert {draw_style(Draws(0, k), "fixed") for k in range(5)} == {Style()}
    with pytest.raises(ValueError, match="style of MiniPatent must be one of 'mixed', 'fixed'; got 'mixd'"):
        draw_style(Draws(0), "mixd")
    with pytest.raises(ValueError, match="shading"):
        Style(shading="hatching")


def test_bilevel_and_gray_images_and_the_label():
    surface = build_surface([s.Part(s.box(1, 1, 1))])
    camera = Camera("front", bottom=0.12)
    one, gray = render(surface, camera, Style(), 128), render(surface, camera, Style(), 128, bilevel=False)
    assert (one.mode, gray.mode) == ("1", "L")
    assert one.size == gray.size == (128, 128)
    assert len(np.unique(np.asarray(gray))) > 2
    labelled = ink(render(surface, camera, Style(), 128, label="FIG. 4"))
    assert labelled[113:].any()
    assert not ink(one)[113:].any()
