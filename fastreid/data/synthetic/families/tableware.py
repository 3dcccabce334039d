"""Cup, bottle, vase."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part


def _loop(kind: str, x: float, low: float, high: float, reach: float, radius: float):
    """A handle in the x-z plane that starts and ends at ``x`` and reaches out by ``reach`` to the right."""
    rise = high - low
    if kind == "ear":
        knots = [
            (0, high),
            (0.7 * reach, high + 0.05 * rise),
            (reach, high - 0.25 * rise),
            (0.55 * reach, low + 0.25 * rise),
            (0, low),
        ]
    elif kind == "square":
        knots = [
            (0, high),
            (0.85 * reach, high),
            (reach, high - 0.12 * rise),
            (reach, low + 0.12 * rise),
            (0.85 * reach, low),
            (0, low),
        ]
    else:
        knots = [
            (0, high),
            (0.75 * reach, high - 0.05 * rise),
            (reach, (low + high) / 2),
            (0.75 * reach, low + 0.05 * rise),
            (0, low),
        ]
    path = s.spline([(x + a, 0.0, b) for a, b in knots], 28)
    return s.tube(path, radius, 1.5 if kind == "square" else 1.2, segments=16)


@family("0701", "Cup")
def cup(draws: Draws) -> list[Part]:
    height, radius = draws.between("height", 6.5, 13), draws.between("radius", 3.4, 5.2)
    wall, kind = (
        draws.between("wall", 0.25, 0.5),
        draws.choice("body", ("straight", "taper", "belly", "waist", "bowl", "faceted")),
    )
    shapes = {
        "straight": [(1, 0), (1, 1)],
        "taper": [(0.68, 0), (1, 1)],
        "belly": [(0.72, 0), (1.02, 0.3), (1.0, 0.6), (0.86, 1)],
        "waist": [(0.9, 0), (0.82, 0.35), (0.84, 0.6), (1.04, 1)],
        "bowl": [(0.4, 0), (0.8, 0.2), (0.97, 0.55), (1.04, 1)],
        "faceted": [(0.75, 0), (1, 1)],
    }
    knots = np.array(shapes[kind]) * (radius, height)
    curve = s.spline(knots, 24) if len(knots) > 2 else knots
    segments = draws.choice("facets", (6, 8, 10)) if kind == "faceted" else s.SEGMENTS
    hollow = np.column_stack([np.maximum(curve[:, 0] - wall, 0.3), curve[:, 1]])
    hollow[:, 1] = wall + hollow[:, 1] * (1 - wall / height) * 1.002
    inside = s.lathe(hollow, segments)
    body = [s.lathe(curve, segments)]
    if draws.chance("foot", 0.35):
        body.append(s.cylinder(0.7 * curve[0, 0], 0.8, (0, 0, -0.5)))
    if draws.chance("band", 0.3) and kind != "faceted":
        at = draws.choice("band height", (0.2, 0.5, 0.8))
        body.append(
            s.cylinder(
                np.interp(at, curve[:, 1] / height, curve[:, 0]) + 0.22, 0.12 * height, (0, 0, (at - 0.06) * height)
            )
        )
    body = s.union(body)
    handles = draws.choice("handles", (0, 1, 1, 1, 2))
    loop_kind, share = draws.choice("loop", ("round", "ear", "square")), draws.choice("span", (0.5, 0.7))
    low, high = height * (0.5 - share / 2), height * (0.48 + share / 2)
    x = np.interp([low, high], curve[:, 1], curve[:, 0]).min() - 0.6 * wall
    if kind == "faceted":
        x *= np.cos(np.pi / segments)
    loop = _loop(loop_kind, x, low, high, draws.between("reach", 2.2, 3.6), draws.between("loop radius", 0.35, 0.55))
    loops = [loop, loop.rotate((0, 0, 180))][:handles]
    parts = [Part(s.union([body, *loops]) - inside)]
    if draws.chance("saucer", 0.25):
        parts.append(Part(_saucer(curve[0, 0], radius), claimed=False))
    return parts


def _saucer(foot: float, radius: float):
    outer = s.lathe(s.spline([(0.9 * foot, -1.1), (1.2 * radius, -0.9), (1.8 * radius, 0.1)], 14))
    return (
        outer
        - s.lathe(s.spline([(1.02 * foot, -0.4), (1.2 * radius, -0.35), (1.79 * radius, 0.13)], 14))
        + s.cylinder(0.6 * foot, 1.4, (0, 0, -1.1))
    )


@family("0901", "Bottle")
def bottle(draws: Draws) -> list[Part]:
    height, radius = draws.between("height", 15, 30), draws.between("radius", 3, 5.2)
    neck, shoulder = draws.between("neck", 0.3, 0.5) * radius, draws.between("shoulder", 0.58, 0.8)
    kind = draws.choice("body", ("round", "round", "oval", "square", "flask"))
    shape = draws.choice("shoulder shape", ("soft", "steep", "cone", "waist"))
    knots = {
        "soft": [(1, shoulder), (0.9, shoulder + 0.07), (0.6, shoulder + 0.13)],
        "steep": [(1, shoulder + 0.02), (0.97, shoulder + 0.08), (0.75, shoulder + 0.12)],
        "cone": [(1, 0.6 * shoulder), (0.72, 0.8 * shoulder + 0.05)],
        "waist": [(0.95, 0.2), (0.76, 0.38), (1, 0.6), (0.8, shoulder + 0.1)],
    }[shape]
    outline = [(1.0, 0.04), *knots, (neck / radius, 0.87)]
    curve = np.vstack([(0.88, 0), s.spline(outline, 36), (neck / radius, 0.97)]) * (radius, height)
    body, sections = _bottle_body(kind, curve, neck), (0.75 if kind in ("oval", "flask") else 1.0)
    if kind == "round" and draws.chance("grooves", 0.45):
        count, start = draws.integer("groove count", 2, 4), draws.choice("groove start", (0.12, 0.3))
        for k in range(count):
            z = (start + 0.065 * k) * height
            reach = np.interp(z, curve[:, 1], curve[:, 0])
            body -= s.cylinder(2 * radius, 0.022 * height, (0, 0, z)) - s.cylinder(
                0.93 * reach, 0.1 * height, (0, 0, z - 1)
            )
    parts = [body]
    if kind != "round" and draws.chance("label", 0.4):
        face = radius * sections * (0.72 if kind == "square" else 0.9)
        parts.append(
            s.plate(
                s.rectangle(0.9 * radius, 0.25 * height, 0.2 * radius),
                0.5 * radius,
                (0, -face + 0.18 * radius, 0.3 * height),
            )
        )
    cap = _cap(draws, draws.choice("cap", ("screw", "ribbed", "cork", "pump", "none")), neck, 0.93 * height)
    if not cap:
        bore = s.cylinder(0.78 * neck, height, (0, 0, 0.8 * height))
        return [Part(s.union([*parts, s.cylinder(1.2 * neck, 0.03 * height, (0, 0, 0.92 * height))]) - bore)]
    return [Part(s.union(parts)), Part(s.union(cap), not draws.chance("unclaimed cap", 0.3))]


def _bottle_body(kind: str, curve: np.ndarray, neck: float):
    """Body whose sections are circles, ellipses or rounded squares that become a circle at the neck."""
    if kind == "round":
        return s.lathe(curve)
    round_ring = s.ellipse(2, 2)
    flat = {"oval": s.ellipse(2, 1.4), "flask": s.ellipse(2, 1.0, power=2.6), "square": s.ellipse(1.7, 1.7, power=5)}[
        kind
    ]
    radius = curve[:, 0].max()
    rings = []
    for r, z in curve:
        share = np.clip((r - neck) / (radius - neck), 0, 1) ** 0.7
        rings.append(np.column_stack([r * (share * flat + (1 - share) * round_ring), np.full(len(flat), z)]))
    return s.loft(np.array(rings))


def _cap(draws: Draws, kind: str, neck: float, z: float) -> list:
    tall = draws.between("cap height", 1.0, 2.6)
    if kind == "screw":
        return [s.cylinder(1.3 * neck, tall, (0, 0, z)), s.cylinder(1.42 * neck, 0.35, (0, 0, z - 0.2))]
    if kind == "ribbed":
        angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
        reach = neck * (1.36 + 0.1 * np.sign(np.cos(16 * angle)))[:, None]
        return [s.prism(reach * np.column_stack([np.cos(angle), np.sin(angle)]), tall, (0, 0, z))]
    if kind == "cork":
        return [
            s.cylinder(0.9 * neck, tall, (0, 0, z), top=1.05 * neck),
            s.sphere(1.35 * neck, (0, 0, z + tall + 0.5 * neck), (1, 1, 0.8)),
        ]
    if kind == "pump":
        head = z + tall + 2.2
        parts = [s.cylinder(1.35 * neck, tall, (0, 0, z)), s.cylinder(0.35, head - z, (0, 0, z))]
        spout = s.tube(
            s.spline([(0, 0, head), (-1.5, 0, head + 0.1), (-3.4, 0, head - 0.2), (-4, 0, head - 1)], 20),
            0.5,
            segments=12,
        )
        return [*parts, s.cylinder(0.9 * neck, 0.9, (0, 0, head - 0.5)), spout]
    return []


@family("1102", "Vase")
def vase(draws: Draws) -> list[Part]:
    height, radius = draws.between("height", 16, 36), draws.between("radius", 5, 9)
    kind = draws.choice("outline", ("urn", "tulip", "trumpet", "gourd", "cylinder", "pear"))
    knots = {
        "urn": [(0.5, 0), (0.9, 0.4), (1, 0.65), (0.55, 0.88), (0.7, 1)],
        "tulip": [(0.45, 0), (0.95, 0.25), (0.75, 0.65), (1, 1)],
        "trumpet": [(0.6, 0), (0.35, 0.2), (0.4, 0.6), (1, 1)],
        "gourd": [(0.6, 0), (1, 0.25), (0.5, 0.55), (0.7, 0.75), (0.4, 1)],
        "cylinder": [(0.7, 0), (0.72, 0.5), (0.75, 1)],
        "pear": [(0.6, 0), (1, 0.3), (0.5, 0.75), (0.45, 1)],
    }[kind]
    wobble = np.array([1, *(draws.between(f"knot {k}", 0.85, 1.15) for k in range(1, len(knots)))])
    curve = s.spline(np.array(knots) * np.column_stack([wobble * radius, np.full(len(knots), height)]), 40)
    surface = draws.choice("surface", ("plain", "plain", "rings", "facets", "flutes", "twist"))
    solid = _vase_body(draws, surface, curve)
    bore = _bore(curve, {"facets": 0.58, "flutes": 0.76, "twist": 0.76}.get(surface, 0.86))
    if surface == "rings":
        for share in (0.3, 0.42, 0.54)[: draws.integer("rings", 1, 3)]:
            reach = np.interp(share * height, curve[:, 1], curve[:, 0])
            solid += s.cylinder(reach + 0.5, 0.05 * height, (0, 0, (share - 0.025) * height))
    handles = draws.choice("handles", (0, 0, 1, 2))
    if handles:
        low, high = 0.5 * height, 0.85 * height
        x = np.interp([low, high], curve[:, 1], curve[:, 0]).min() * 0.86
        loop = _loop(
            draws.choice("loop", ("round", "ear")), x, low, high, draws.between("reach", 3.5, 5.5), 0.07 * radius
        )
        solid = s.union([solid, *[loop, loop.rotate((0, 0, 180))][:handles]])
    if draws.chance("foot", 0.4):
        solid += s.cylinder(1.25 * curve[0, 0], 0.05 * height, (0, 0, -0.03 * height))
    return [Part(solid - bore)]


def _bore(curve: np.ndarray, share: float):
    """The hollow above 45 % of the height; it keeps clear of the wall by the factor ``share``."""
    upper = curve[curve[:, 1] > 0.45 * curve[-1, 1]] * (share, 1.0)
    return s.lathe(np.vstack([upper, (upper[-1, 0], 1.05 * curve[-1, 1])]))


def _vase_body(draws: Draws, surface: str, curve: np.ndarray):
    if surface == "facets":
        return s.lathe(curve, draws.choice("facets", (4, 6, 8)))
    if surface not in ("flutes", "twist"):
        return s.lathe(curve)
    count = draws.choice("lobes", (6, 8, 10))
    angle = np.linspace(0, 2 * np.pi, 8 * count, endpoint=False)
    lobe = 1 - 0.13 * np.abs(np.sin(count * angle / 2 + np.pi / 2))
    turn = np.linspace(0, 1.4 if surface == "twist" else 0.0, len(curve))
    rings = [
        np.column_stack([r * lobe * np.cos(angle + t), r * lobe * np.sin(angle + t), np.full(len(angle), z)])
        for (r, z), t in zip(curve, turn, strict=True)
    ]
    return s.loft(np.array(rings))
