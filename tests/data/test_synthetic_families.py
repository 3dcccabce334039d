"""Every family of MiniPatent over 200 seeds: one connected solid, visible from every side."""

import numpy as np
import pytest

pytest.importorskip("manifold3d")

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws, SiblingDraws
from fastreid.data.synthetic.families import FAMILIES, MIRRORED, get_family
from fastreid.data.synthetic.plan import Settings, plan_design
from fastreid.data.synthetic.projection import AXIS_VIEWS, VIEWS, Camera, rotation
from fastreid.data.synthetic.render import render
from fastreid.data.synthetic.style import Style
from fastreid.data.synthetic.surface import build_surface, check_solid
from fastreid.data.synthetic.visibility import fill_depth_buffer

SEEDS = 200
LEAST = 0.015  # share of the canvas
CELLS = 96
# opposite views have one silhouette
SIDES = ("front", "left", "top")


def whole(parts):
    return s.union([part.solid for part in parts])


def surely_covered(solid, view: str) -> float:
    """At least so much of the canvas is covered: no section is larger than the silhouette, so it is volume / depth."""
    box = np.reshape(solid.bounding_box(), (2, 3))
    width, height, depth = np.abs(rotation(Camera(view)) @ (box[1] - box[0]))
    return 0.64 * solid.volume() / depth / max(width, height) ** 2


def nearly_blank(solid, view: str) -> bool:
    return surely_covered(solid, view) < LEAST and covered(solid, view) < LEAST


def covered(solid, view: str) -> float:
    """Share of a square canvas that the silhouette covers when its larger side is 0.8 of the canvas."""
    mesh = solid.to_mesh()
    flat = np.asarray(mesh.vert_properties, float)[:, :3] @ rotation(Camera(view)).T
    low, high = flat[:, :2].min(0), flat[:, :2].max(0)
    place = (flat[:, :2] - (low + high) / 2) * (0.8 * CELLS / (high - low).max()) * (1, -1) + CELLS / 2
    xyz, triangles = np.column_stack([place, -flat[:, 2]]), np.asarray(mesh.tri_verts, np.int64)
    a, b, c = (xyz[triangles[:, k], :2] for k in range(3))
    area = (b - a)[:, 1] * (c - a)[:, 0] - (b - a)[:, 0] * (c - a)[:, 1]
    buffer = fill_depth_buffer(xyz, triangles, np.flatnonzero(area > 1e-9), CELLS, CELLS)
    return float((buffer.face >= 0).mean())


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_family_is_one_solid_seen_from_all_sides(name):
    faults = []
    for seed in range(SEEDS):
        parts = get_family(name).build(Draws(11, seed))
        solid = whole(parts)
        try:
            check_solid(solid)
        except ValueError as error:
            faults.append(f"seed {seed}: {error}")
            continue
        faults += [f"seed {seed}: no claimed part"] * (not any(part.claimed for part in parts))
        faults += [f"seed {seed}: {view} is nearly blank" for view in SIDES if nearly_blank(solid, view)]
    assert not faults, f"{len(faults)} faults, among them {faults[:5]}"


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_all_views_show_the_design_inside_the_canvas(name):
    for seed in (1, 2):
        surface = build_surface(FAMILIES[name].build(Draws(11, seed)))
        assert np.isfinite(surface.vertices).all()
        assert np.isfinite(surface.normals).all()
        for view in VIEWS:
            drawn = np.asarray(render(surface, Camera(view, fill=0.8), Style(), 128).convert("L")) < 128
            rows, columns = np.nonzero(drawn)
            spread = max(np.ptp(rows), np.ptp(columns)) / 128
            assert 0.75 < spread < 0.85, (seed, view)
            assert 0.01 < drawn.mean() < 0.4, (seed, view)
            assert not np.concatenate([drawn[[0, -1]], drawn[:, [0, -1]].T]).any(), (seed, view)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_designs_and_siblings_differ_in_shape(name):
    build = FAMILIES[name].build
    draws = [Draws(3, 0), Draws(3, 1), *(SiblingDraws(3, 0, sibling=k, sigma=0.08) for k in (0, 1))]
    shapes = [whole(build(each)) for each in draws]
    assert len({round(shape.volume(), 5) for shape in shapes}) == len(shapes)
    for sibling in shapes[2:]:
        check_solid(sibling)


def test_silhouettes_cover_what_they_should():
    solid = s.box(4, 2, 1) - s.box(2, 9, 0.5, (0, 0, 0.25))
    assert covered(solid, "front") == pytest.approx(0.64 * (4 - 1) / 16, abs=0.01)
    assert covered(solid, "left") == pytest.approx(0.64 * 2 / 4, abs=0.01)
    assert covered(solid, "top") == pytest.approx(0.64 * 8 / 16, abs=0.01)
    assert set(SIDES) < set(AXIS_VIEWS)
    assert all(surely_covered(solid, view) <= covered(solid, view) + 0.01 for view in SIDES)
    needle = s.rod((0, 0, 0), (9, 9, 9), 0.01)
    assert nearly_blank(needle, "front")


@pytest.mark.parametrize("name", sorted(MIRRORED))
def test_sides_said_to_be_mirror_images_are(name):
    for seed in range(12):
        built = FAMILIES[name].build(Draws(12, seed))
        for claimed in (True, False):
            parts = [part for part in built if part.claimed == claimed]
            if parts:
                solid = whole(parts)
                assert (solid - solid.mirror((1, 0, 0))).volume() < 1e-3 * solid.volume(), seed


def test_locarno_codes_and_titles():
    assert len(FAMILIES) == 33
    assert all(len(f.locarno) == 4 and f.locarno.isdigit() and f.title for f in FAMILIES.values())
    assert FAMILIES["chair"].locarno == "0601"
    with pytest.raises(KeyError, match="Did you mean 'chair'"):
        get_family("chiar")


def test_flat_scraps_of_booleans_are_no_loose_parts():
    """Cutlery of this seed has one: a piece without volume inside its handle."""
    plan = plan_design("train", 800, Settings())
    build_surface(plan.family.build(plan.draws.child("shape")))
