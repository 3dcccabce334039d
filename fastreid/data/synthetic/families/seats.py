"""Chair, stool, sofa (Locarno 06-01)."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.legs import LEG_KINDS, legs, pedestal, stretchers
from fastreid.data.synthetic.solids import Part


def _seat(kind: str, width: float, depth: float, thickness: float, z: float):
    if kind == "round":
        return s.prism(s.ellipse(width, depth), thickness, (0, 0, z))
    if kind == "trapezoid":
        w, d = width / 2, depth / 2
        return s.prism(np.array([(-w, -d), (w, -d), (0.8 * w, d), (-0.8 * w, d)]), thickness, (0, 0, z))
    if kind == "cushion":
        return s.cushion(width, depth, 1.6 * thickness, 0.7 * thickness, (0, 0, z))
    radius = {"square": 0.0, "rounded": 0.25}[kind] * min(width, depth)
    return s.prism(s.rectangle(width, depth, radius), thickness, (0, 0, z))


def _back(draws: Draws, kind: str, width: float, y: float, z: float, height: float) -> list:
    """Back rest between two posts at x = +-width / 2; it starts inside the seat at ``z`` and leans to the rear."""
    lean, post = draws.between("lean", 0.02, 0.2) * height, draws.between("post", 1.1, 1.9)
    square = draws.chance("square posts", 0.4)

    def at(x: float, share: float) -> tuple[float, float, float]:
        return x, y + lean * share, z + height * share

    w = width / 2
    parts = [s.rod(at(x, 0), at(x, 1), post, segments=4 if square else 20) for x in (-w, w)]
    slab, tilt = 1.2 * post, np.degrees(np.arctan2(lean, height))

    def rail(low: float, high: float):
        bar = s.box(width, slab, (high - low) * height, (0, 0, 0)).rotate((-tilt, 0, 0))
        return bar.translate(at(0, low))

    if kind == "panel":
        return [*parts, rail(draws.between("panel", 0.15, 0.55), 0.98)]
    if kind == "ladder":
        count = draws.integer("rungs", 2, 4)
        tops = np.linspace(0.98, 0.3, count)
        return parts + [rail(top - 0.12, top) for top in tops]
    if kind == "slats":
        count = draws.integer("slats", 3, 7)
        across = np.linspace(-w, w, count + 2)[1:-1]
        return [*parts, rail(0.84, 0.98)] + [s.rod(at(x, 0), at(x, 0.9), 0.7 * post, segments=16) for x in across]
    if kind == "splat":
        return [
            *parts,
            rail(0.82, 0.98),
            s.box(0.32 * width, 0.8 * slab, 0.85 * height).rotate((-tilt, 0, 0)).translate(at(0, 0)),
        ]
    # hoop: one bent bar instead of two posts
    angle = np.linspace(0, np.pi, 25)
    hoop = [at(-w * np.cos(a), 0.45 + 0.5 * np.sin(a)) for a in angle]
    bent = s.tube(np.array([at(-w, 0), at(-w, 0.2), *hoop, at(w, 0.2), at(w, 0)]), post)
    spokes = [
        s.rod(at(x, 0), at(x, 0.45 + 0.5 * np.sqrt(1 - (x / w) ** 2)), 0.55 * post, segments=12)
        for x in np.linspace(-0.6, 0.6, 4) * w
    ]
    return [bent, *spokes]


def _arms(draws: Draws, width: float, depth: float, z: float) -> list:
    rise, thickness = draws.between("arm rise", 17, 24), draws.between("arm", 1.3, 2.0)
    parts = []
    for side in (-1, 1):
        x = side * (width / 2 - 1.5)
        parts.append(s.rod((x, -0.22 * depth, z), (x, -0.22 * depth, z + rise), thickness, segments=16))
        parts.append(s.box(2.6 * thickness, 0.84 * depth, 1.6 * thickness, (x, 0.07 * depth, z + rise - thickness)))
    return parts


def _sled(corners: list, top: float) -> list:
    """Two bent bars, each from a front corner down, along the floor and up to the rear corner."""
    bars = []
    for (x, front), (x_rear, rear) in (corners[:2], corners[2:]):
        loop = [
            (x, front, top),
            (x, front, 3),
            (x, front + 2, 1.4),
            (x_rear, rear - 2, 1.4),
            (x_rear, rear, 3),
            (x_rear, rear, top),
        ]
        bars.append(s.tube(s.spline(loop, 40), 1.3, segments=12))
    return bars


@family("0601", "Chair")
def chair(draws: Draws) -> list[Part]:
    kind = draws.choice("seat", ("square", "rounded", "trapezoid", "round", "cushion"))
    width, depth = draws.between("width", 38, 52), draws.between("depth", 38, 48)
    height, thickness = draws.between("height", 40, 48), draws.between("thickness", 2.5, 5)
    base, top = draws.choice("base", ("legs", "legs", "legs", "pedestal", "sled")), height + 0.5 * thickness
    inset = 0.3 if kind == "round" else 0.4
    corners = s.grid((-inset * width, inset * width), (-inset * depth, inset * depth))
    if kind == "trapezoid":
        corners = [(x * (1 if y < 0 else 0.8), y) for x, y in corners]
    parts = [_seat(kind, width, depth, thickness, height)]
    if base == "legs":
        splay, radius = draws.choice("splay", (0.0, 0.08, 0.18)), draws.between("leg radius", 1.5, 2.4)
        parts += legs(draws.choice("leg", LEG_KINDS), corners, radius, top, splay)
        parts += stretchers(
            draws.choice("stretcher", ("none", "box", "h", "sides")), corners, 0.55 * radius, top, splay, 0.4 * height
        )
    elif base == "pedestal":
        parts += pedestal(draws.child("pedestal"), top, 0.5 * width, 2.6)
    else:
        parts += _sled(corners, top - 1)
    reach = width * {"round": 0.52, "trapezoid": 0.66}.get(kind, 0.84)
    y = depth * (0.36 if kind == "round" else 0.43)
    backs = ("panel", "ladder", "slats", "splat", "hoop")
    parts += _back(
        draws.child("back"),
        draws.choice("back", backs),
        reach,
        y,
        height + 0.3 * thickness,
        draws.between("back height", 34, 56),
    )
    if kind in ("square", "rounded", "cushion") and draws.chance("arms", 0.3):
        parts += _arms(draws, width, depth, height + 0.4 * thickness)
    return [Part(s.union(parts))]


@family("0601", "Stool")
def stool(draws: Draws) -> list[Part]:
    kind = draws.choice("seat", ("round", "square", "rounded", "cushion"))
    width, height = (
        draws.between("width", 30, 40),
        draws.choice("height class", (45, 62, 76)) * draws.between("height", 0.93, 1.07),
    )
    depth = width if kind == "round" else width * draws.choice("aspect", (1.0, 0.75))
    thickness = draws.between("thickness", 2.5, 7)
    top, parts = height + 0.4 * thickness, [_seat(kind, width, depth, thickness, height)]
    base = draws.choice("base", ("four", "four", "three", "pedestal"))
    if base == "pedestal":
        parts += pedestal(draws.child("pedestal"), top, 0.55 * width, draws.between("column", 2, 3.2))
        if draws.chance("ring", 0.5):
            parts += _ring(0.3 * width, 0.35 * height) + [
                s.rod((-0.3 * width, 0, 0.35 * height), (0.3 * width, 0, 0.35 * height), 0.8)
            ]
        return [Part(s.union(parts))]
    splay, radius = draws.choice("splay", (0.0, 0.15, 0.35)), draws.between("leg radius", 1.3, 2.3)
    leg_kind = draws.choice("leg", LEG_KINDS)
    if base == "three":
        corners = [(0.33 * width * np.sin(a), -0.33 * depth * np.cos(a)) for a in 2 * np.pi * np.arange(3) / 3]
        parts += legs(leg_kind, corners, radius, top, splay) + _ring(
            0.33 * width * (1 + 0.65 * splay), 0.35 * top, 0.33 * depth * (1 + 0.65 * splay)
        )
        return [Part(s.union(parts))]
    corners = s.grid((-0.34 * width, 0.34 * width), (-0.34 * depth, 0.34 * depth))
    parts += legs(leg_kind, corners, radius, top, splay)
    parts += stretchers(
        draws.choice("stretcher", ("none", "box", "h", "cross")), corners, 0.6 * radius, top, splay, 0.3 * height
    )
    return [Part(s.union(parts))]


def _ring(radius: float, z: float, other: float | None = None) -> list:
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    path = np.column_stack([radius * np.cos(angle), (other or radius) * np.sin(angle), np.full(40, z)])
    return [s.tube(path, 0.9, closed=True, segments=12)]


@family("0601", "Sofa")
def sofa(draws: Draws) -> list[Part]:
    seats, seat = draws.integer("seats", 1, 3), draws.between("seat width", 55, 70)
    depth, seat_height = draws.between("depth", 75, 92), draws.between("seat height", 22, 30)
    back, arm = draws.between("back", 42, 62), draws.between("arm", 12, 22)
    lift, soft = draws.choice("lift", (8, 12, 18)), draws.choice("soft", (1.5, 5.0))
    inner, arm_kind = seats * seat, draws.choice("arm kind", ("box", "roll", "slope", "none"))
    width = inner + (2 * arm if arm_kind != "none" else 0)
    parts = [s.cushion(width, depth, seat_height, soft, (0, 0, lift))]
    back_depth = draws.between("back depth", 15, 24)
    back_width = draws.choice("back width", (width, inner))
    parts.append(
        s.cushion(back_width, back_depth, seat_height + back - 2, soft, (0, (depth - back_depth) / 2 - 1.6, lift + 2))
    )
    parts += _sofa_arms(arm_kind, inner, arm, depth, lift, seat_height + draws.between("arm rise", 12, 26), soft)
    cushions = draws.choice("cushions", ("each", "bench"))
    count = seats if cushions == "each" else 1
    for k in range(count):
        x = (k - (count - 1) / 2) * inner / count
        parts.append(
            s.cushion(
                inner / count - 1.5, depth - back_depth + 3, 14, 4, (x, -back_depth / 2 - 1.5, lift + seat_height - 4)
            )
        )
        if draws.choice("back cushions", (True, False)):
            parts.append(
                s.cushion(inner / count - 2, 16, back - 4, 5, (x, depth / 2 - back_depth - 4, lift + seat_height + 6))
            )
    corners = s.grid((-width / 2 + 7, width / 2 - 7), (-depth / 2 + 7, depth / 2 - 7))
    parts += legs(draws.choice("leg", ("square", "round", "tapered", "block")), corners, 2.6, lift + 4, 0.0)
    return [Part(s.union(parts))]


def _sofa_arms(kind: str, inner: float, arm: float, depth: float, lift: float, height: float, soft: float) -> list:
    if kind == "none":
        return []
    x, parts = inner / 2 + arm / 2, []
    for side in (-1, 1):
        if kind == "roll":
            parts.append(s.cushion(0.8 * arm, depth - 2, height - arm / 2, 1.5, (side * x, 0, lift + 1)))
            parts.append(
                s.rod(
                    (side * x, -depth / 2 + 1, lift + height - arm / 2),
                    (side * x, depth / 2 - 1, lift + height - arm / 2),
                    0.62 * arm,
                )
            )
        elif kind == "slope":
            y = depth / 2 - 1
            side_view = np.array([(-y, lift + 1), (y, lift + 1), (y, lift + height + 12), (-y, lift + height - 10)])
            blade = s.prism(side_view, arm).rotate((90, 0, 90))
            parts.append(blade.translate((side * x - arm / 2, 0, 0)))
        else:
            parts.append(s.cushion(arm, depth - 1, height, soft, (side * x, 0, lift + 0.5)))
    return parts
