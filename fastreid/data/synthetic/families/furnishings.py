"""Table, cabinet, lamp, loudspeaker."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.legs import LEG_KINDS, legs, pedestal, stretchers
from fastreid.data.synthetic.solids import Part


@family("0603", "Table")
def table(draws: Draws) -> list[Part]:
    shape = draws.choice("shape", ("rectangle", "rounded", "round", "oval", "hexagon"))
    width, height = (
        draws.between("width", 70, 150),
        draws.choice("height class", (42, 74)) * draws.between("height", 0.94, 1.06),
    )
    depth = width if shape in ("round", "hexagon") else width * draws.choice("aspect", (0.45, 0.6, 0.8))
    thickness, z = draws.between("thickness", 2, 6), height
    outline = {
        "rectangle": lambda: s.rectangle(width, depth),
        "rounded": lambda: s.rectangle(width, depth, 0.2 * depth),
        "hexagon": lambda: s.ellipse(width, depth, 6),
    }.get(shape, lambda: s.ellipse(width, depth))()
    parts = [s.prism(outline, thickness, (0, 0, z))]
    inset = {"rectangle": 0.44, "rounded": 0.42, "hexagon": 0.26}.get(shape, 0.31)
    w, d, top = inset * width, inset * depth, z + 0.5 * thickness
    corners = s.grid((-w, w), (-d, d))
    base = draws.choice("base", ("legs", "legs", "pedestal", "trestle", "panels"))
    if base == "pedestal":
        return [
            Part(s.union(parts + pedestal(draws.child("pedestal"), top, 0.36 * depth, draws.between("column", 3, 6))))
        ]
    if base == "trestle":
        for x in (-0.8 * w, 0.8 * w):
            parts += [
                s.rod((x, -d, 1.5), (x, 0.1 * d, top), 2.2, segments=4),
                s.rod((x, d, 1.5), (x, -0.1 * d, top), 2.2, segments=4),
            ]
            parts.append(s.box(5, 1.2 * d, 4, (x, 0, z - 3)))
        crossing = top / 1.1
        parts.append(s.rod((-0.8 * w, 0, crossing), (0.8 * w, 0, crossing), 2.0, segments=4))
        return [Part(s.union(parts))]
    if base == "panels":
        parts += [s.box(thickness, 2 * d, top, (x, 0, 0)) for x in (-w, w)]
        parts.append(s.box(2 * w, 1.5, draws.between("web", 0.2, 0.7) * z, (0, 0.4 * d, 0.15 * z)))
    splay = draws.choice("splay", (0.0, 0.0, 0.12)) if base == "legs" else 0.0
    if base == "legs":
        radius = draws.between("leg radius", 2, 4)
        parts += legs(draws.choice("leg", LEG_KINDS), corners, radius, top, splay)
        parts += stretchers(draws.choice("stretcher", ("none", "none", "box", "h")), corners, 1.4, top, splay, 0.2 * z)
        if draws.chance("apron", 0.5):
            parts += [s.box(2 * w, 1.6, 9, (0, y, z - 8)) for y in (-d, d)] + [
                s.box(1.6, 2 * d, 9, (x, 0, z - 8)) for x in (-w, w)
            ]
    if draws.chance("shelf", 0.35):
        reach = 2 * (1 + 0.65 * splay)
        parts.append(s.box(reach * w, reach * d, 2, (0, 0, 0.35 * z)))
    return [Part(s.union(parts))]


@family("0604", "Cabinet")
def cabinet(draws: Draws) -> list[Part]:
    width, height = draws.between("width", 60, 150), draws.between("height", 55, 150)
    depth, lift = draws.between("depth", 35, 50), draws.choice("lift", (0, 9, 16))
    body = s.box(width, depth, height, (0, 0, lift))
    columns, rows = draws.integer("columns", 1, 3), draws.integer("rows", 1, 4)
    border, gap = draws.choice("border", (3.0, 6.0)), 2.2
    handle, parts = draws.choice("handle", ("knob", "bar", "slot", "none")), []
    cell_w, cell_h = (width - 2 * border) / columns, (height - 2 * border) / rows
    for column in range(columns):
        pattern = draws.choice(f"column {column}", ("drawers", "doors", "open"), (3, 3, 1))
        x = -width / 2 + border + (column + 0.5) * cell_w
        spans = [(0, rows)] if pattern == "doors" else [(row, row + 1) for row in range(rows)]
        for low, high in spans:
            z, tall = lift + border + low * cell_h, (high - low) * cell_h - gap
            front = s.box(cell_w - gap, 3, tall, (x, -depth / 2, z + gap / 2))
            if pattern == "open":
                body -= s.box(cell_w - gap, 1.6 * depth, tall, (x, -depth / 2, z + gap / 2))
            else:
                parts.append(front)
                upright, side = pattern == "doors", (-1 if column % 2 else 1)
                parts += _handle(
                    handle, x + (side * 0.36 * cell_w if upright else 0), -depth / 2 - 1.5, z + tall / 2, upright
                )
    parts.append(body)
    if draws.chance("top", 0.5):
        parts.append(s.box(width + 4, depth + 4, 3, (0, 0, lift + height - 0.5)))
    if lift:
        corners = s.grid((-width / 2 + 5, width / 2 - 5), (-depth / 2 + 5, depth / 2 - 5))
        support = draws.choice("support", ("legs", "plinth", "sled"))
        if support == "legs":
            parts += legs(draws.choice("leg", LEG_KINDS), corners, 2.4, lift + 2, draws.choice("splay", (0.0, 0.06)))
        elif support == "plinth":
            parts.append(s.box(width - 8, depth - 8, lift + 1))
        else:
            parts += [
                s.box(4, depth, lift + 1, (x, 0, 0)) - s.box(8, depth - 8, lift - 3, (x, 0, 3))
                for x in (-width / 2 + 8, width / 2 - 8)
            ]
    return [Part(s.union(parts))]


def _handle(kind: str, x: float, y: float, z: float, upright: bool) -> list:
    if kind == "knob":
        return [
            s.lathe([(0.9, 0), (0.9, 1.5), (1.9, 2.2), (1.9, 3.4)], 20).rotate((90, 0, 0)).translate((x, y + 0.3, z))
        ]
    if kind == "bar":
        ends = [(x, y - 2, z - 7), (x, y - 2, z + 7)] if upright else [(x - 7, y - 2, z), (x + 7, y - 2, z)]
        posts = [s.rod((e[0], y + 0.5, e[2]), e, 0.6, segments=10) for e in ends]
        return [s.rod(*ends, 0.9, segments=12), s.sphere(0.9, ends[0]), s.sphere(0.9, ends[1]), *posts]
    if kind == "slot":
        size = (3.0, 12.0) if upright else (12.0, 3.0)
        return [
            s.plate(s.rectangle(*size, 1.4), 2.0, (x, y, z))
            - s.plate(s.rectangle(size[0] - 1.2, size[1] - 1.2, 0.9), 3.0, (x, y - 1.5, z))
        ]
    return []


@family("2605", "Lamp")
def lamp(draws: Draws) -> list[Part]:
    height, stem = draws.between("height", 32, 70), draws.between("stem", 0.8, 1.6)
    foot_kind = draws.choice("foot", ("disc", "ball", "block", "urn", "tripod", "cone"))
    foot_radius, shade_radius = draws.between("foot radius", 6.5, 11), draws.between("shade radius", 11, 20)
    claimed = not draws.chance("unclaimed foot", 0.25)
    shade_height = draws.between("shade height", 12, 24)
    shade = _shade(
        draws, draws.choice("shade", ("cone", "drum", "dome", "square", "pleated", "bell")), shade_radius, shade_height
    )
    bar = 0.62 * shade_height
    # the bar ends inside the wall: it must neither float nor pierce the outside
    reach = min(_radius_at(shade, bar), _radius_at(shade, bar + 0.7)) - 0.15
    spider = [s.rod((-reach, 0, bar), (reach, 0, bar), 0.6, segments=10)]
    upper = [solid.translate((0, 0, height)) for solid in (shade, *spider)]
    column = s.cylinder(stem, height + bar + 0.4, segments=24)
    foot = _lamp_foot(foot_kind, foot_radius, height, stem)
    return [Part(s.union(foot), claimed), Part(s.union([*upper, column]))]


def _radius_at(shade, z: float) -> float:
    """Half the width of a shade along x at the height ``z``."""
    low, _, high, _ = shade.slice(z).bounds()
    return (high - low) / 2


def _shade(draws: Draws, kind: str, radius: float, height: float):
    wall, top = 0.7, draws.choice("top", (0.35, 0.55, 0.75))
    if kind == "pleated":
        count = draws.choice("pleats", (12, 16, 20))
        angle = np.linspace(0, 2 * np.pi, 6 * count, endpoint=False)
        reach = radius * (1 + 0.05 * np.cos(count * angle))[:, None]
        outline = reach * np.column_stack([np.cos(angle), np.sin(angle)])
        inner = 0.88 * radius * np.column_stack([np.cos(angle), np.sin(angle)])
        return s.prism(outline, height, scale_top=(top, top)) - s.prism(
            inner, 1.02 * height, (0, 0, -0.01 * height), scale_top=(top, top)
        )
    if kind == "square":
        outline = s.rectangle(1.6 * radius, 1.6 * radius)
        inner = s.rectangle(1.6 * radius - 2 * wall, 1.6 * radius - 2 * wall)
        return s.prism(outline, height, scale_top=(top, top)) - s.prism(
            inner, 1.02 * height, (0, 0, -0.01 * height), scale_top=(top, top)
        )
    profile = {
        "cone": [(radius, 0), (top * radius, height)],
        "drum": [(radius, 0), (0.93 * radius, height)],
        "dome": [(radius * np.cos(a), height * np.sin(a)) for a in np.linspace(0, 1.45, 16)],
        "bell": s.spline(
            [(radius, 0), (0.7 * radius, 0.25 * height), (0.55 * radius, 0.7 * height), (0.3 * radius, height)], 20
        ),
    }[kind]
    profile = np.array(profile, dtype=float)
    inner = np.column_stack([np.maximum(profile[:, 0] - wall, 0.5), profile[:, 1]])
    lid = 0.96 if kind == "dome" else 1.02
    inner[:, 1] = (inner[:, 1] - height / 2) * (1.02 if lid > 1 else 1) + height / 2
    if kind == "dome":
        inner[:, 1] = inner[:, 1] * lid - 0.01 * height
    return s.lathe(profile) - s.lathe(inner)


def _lamp_foot(kind: str, radius: float, height: float, stem: float) -> list:
    if kind == "disc":
        return [s.cylinder(radius, 2)]
    if kind == "ball":
        return [s.sphere(radius, (0, 0, 0.95 * radius)), s.cylinder(0.6 * radius, 1.5)]
    if kind == "block":
        return [s.prism(s.rectangle(1.4 * radius, 1.4 * radius), 0.55 * height, scale_top=(0.75, 0.75))]
    if kind == "urn":
        knots = [(0.55, 0), (0.5, 0.05), (0.35, 0.1), (0.95, 0.4), (0.8, 0.62), (0.3, 0.78), (0.36, 0.84)]
        return [s.lathe(s.spline([(r * radius, z * height) for r, z in knots], 40))]
    if kind == "cone":
        return [s.cylinder(radius, 0.7 * height, top=1.3 * stem)]
    feet = [(1.2 * radius * np.sin(a), -1.2 * radius * np.cos(a), 0.8) for a in 2 * np.pi * np.arange(3) / 3]
    return [s.rod((0, 0, 0.72 * height), foot, 1.0, 0.8, 16) for foot in feet] + [s.sphere(1.6, (0, 0, 0.72 * height))]


@family("1401", "Loudspeaker")
def loudspeaker(draws: Draws) -> list[Part]:
    kind = draws.choice("body", ("box", "rounded", "soft", "taper", "cylinder"))
    width, height = draws.between("width", 16, 26), draws.between("height", 22, 48)
    depth = width if kind == "cylinder" else width * draws.between("depth", 0.7, 1.2)
    if kind == "box":
        body = s.box(width, depth, height)
    elif kind == "rounded":
        body = s.prism(s.rectangle(width, depth, 0.25 * width), height)
    elif kind == "soft":
        body = s.cushion(width, depth, height, 0.2 * width)
    elif kind == "taper":
        body = s.prism(s.rectangle(width, depth), height, scale_top=(0.75, 0.75))
    else:
        body = s.cylinder(width / 2, height) - s.box(width, width, 2 * height, (0, -0.88 * width, -0.5 * height))
    face, slope = (-0.38 * width if kind == "cylinder" else -depth / 2), (0.125 * depth if kind == "taper" else 0.0)
    upright = (90 - np.degrees(np.arctan2(slope, height)), 0, 0)
    drivers, parts = draws.integer("drivers", 1, 3), []
    room = height / drivers
    for k in range(drivers):
        radius = min(0.36 * width, 0.4 * room) * (1.0 if k == 0 else draws.choice("smaller", (1.0, 0.7, 0.5)))
        if kind == "taper":
            radius *= 0.75
        ring, cut = _driver(draws.choice("driver", ("cone", "dome", "flat")), radius)
        place = (0, face + slope * (k + 0.5) / drivers, (k + 0.5) * room)
        body -= cut.rotate(upright).translate(place)
        parts += [solid.rotate(upright).translate(place) for solid in ring]
    parts.append(body)
    if kind != "taper" and draws.chance("rear plate", 0.6):
        rear = {"cylinder": width / 2}.get(kind, depth / 2)
        parts.append(
            s.box(0.4 * width, 1.6, 0.2 * height, (0, rear, draws.choice("plate height", (0.15, 0.5)) * height))
        )
    base = draws.choice("base", ("none", "feet", "spikes", "slab"))
    if base in ("feet", "spikes"):
        shape = (
            s.cylinder(1.2, 2.6, top=1.2, segments=20) if base == "feet" else s.cylinder(0.3, 3.4, top=1.3, segments=20)
        )
        low = 0.25 * width if kind in ("soft", "cylinder", "rounded") else 0.38 * width
        parts += [shape.translate((x, y, -1.6)) for x, y in s.grid((-low, low), (-0.27 * depth, 0.27 * depth))]
    elif base == "slab":
        parts.append(s.box(1.15 * width, 1.15 * depth, 2, (0, 0, -1.2)))
    return [Part(s.union(parts))]


def _driver(kind: str, radius: float) -> tuple[list, object]:
    """Surround ring (to add) and cone (to cut away) around the z axis, outward is +z."""
    ring = s.lathe([(radius, -0.8), (radius, 0.7)]) - s.cylinder(0.86 * radius, 4, (0, 0, -2))
    if kind == "flat":
        return [ring], s.cylinder(0.86 * radius, 2.2, (0, 0, -1.2))
    cone = s.cylinder(0.3 * radius, 0.5 * radius + 1, (0, 0, -0.5 * radius), top=0.86 * radius)
    if kind == "cone":
        return [ring], cone
    return [ring, s.sphere(0.36 * radius, (0, 0, -0.45 * radius))], cone
