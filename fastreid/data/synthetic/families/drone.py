"""Drone."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part

# directions of the arms, degrees from the x axis
LAYOUTS = {
    "x": (45, 135, 225, 315),
    "wide x": (30, 150, 210, 330),
    "long x": (58, 122, 238, 302),
    "plus": (0, 90, 180, 270),
    "six": (0, 60, 120, 180, 240, 300),
    "three": (90, 210, 330),
}


@family("1207", "Drone")
def drone(draws: Draws) -> list[Part]:
    layout, reach = draws.choice("layout", (*LAYOUTS, "h")), draws.between("reach", 17, 24)
    guard = draws.choice("guard", ("none", "none", "ring", "duct"))
    if guard != "none":
        reach *= 0.8
    width, length, height = (
        draws.between("width", 7, 12),
        draws.between("length", 11, 18),
        draws.between("height", 3.2, 5.5),
    )
    rise = draws.choice("rise", (0.0, 0.0, 2.5, -1.5))
    ends = _ends(layout, reach, 0.4 * height + rise)
    # half the way to the next motor
    room = 0.5 * min(np.hypot(*(ends[0] - end)[:2]) for end in ends[1:])
    motor, tall = draws.between("motor", 1.3, 2.0), draws.between("motor height", 2.2, 3.6)
    body = [_body(draws, width, length, height), *_arms(draws, layout, ends, 0.4 * height)]
    body += [s.cylinder(motor, tall, end - (0, 0, 0.4 * tall), segments=20) for end in ends]
    parts = [*body, *_gear(draws, width, length, ends), *_fittings(draws, width, length, height)]
    if guard != "none":
        parts += [_guard(guard, end, 0.97 * room) for end in ends]
    blades = draws.choice("blades", (2, 2, 3))
    span = min(0.86 * room, 0.62 * reach)
    angle = draws.choice("propeller angle", (20, 65, 90))
    whirl = [
        _propeller(blades, span, motor, 1 - 2 * (k % 2), angle).translate(tuple(end + (0, 0, 0.6 * tall)))
        for k, end in enumerate(ends)
    ]
    return [Part(s.union(parts)), Part(s.union(whirl), not draws.chance("unclaimed propellers", 0.4))]


def _ends(layout: str, reach: float, z: float) -> list[np.ndarray]:
    """Where the motors sit, counter-clockwise from the right."""
    if layout == "h":
        return [np.array([x * 0.72 * reach, y * 0.72 * reach, z]) for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1))]
    angles = np.radians(LAYOUTS[layout])
    return [np.array([reach * np.cos(a), reach * np.sin(a), z]) for a in angles]


def _arms(draws: Draws, layout: str, ends: list[np.ndarray], z: float) -> list:
    kind, thick = draws.choice("arm", ("round", "square", "taper", "blade")), draws.between("arm radius", 0.65, 1.0)
    root = np.array([0, 0, z])
    spans = [(root, end) for end in ends]
    if layout == "h":
        spans = [(ends[0], ends[3]), (ends[1], ends[2])]
        middle = (0.5 * (a + b) for a, b in spans)
        spans += [(root, m) for m in middle]
    if kind == "taper":
        return [s.rod(a, b, 1.9 * thick, 0.8 * thick, 16) for a, b in spans]
    if kind == "blade":
        return [_flat_arm(a, b, thick) for a, b in spans]
    return [
        s.rod(a, b, thick * (1.2 if kind == "square" else 1), segments=4 if kind == "square" else 12) for a, b in spans
    ]


def _flat_arm(start: np.ndarray, end: np.ndarray, thick: float):
    """Flat bar with a wide root."""
    along = end - start
    side = np.array([-along[1], along[0], 0]) / np.hypot(*along[:2])
    rings = [
        [place + x * w * side + (0, 0, z * thick) for x, z in ((-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5))]
        for place, w in ((start, 2.4 * thick), (start + 0.6 * along, 1.2 * thick), (end, 1.5 * thick))
    ]
    return s.loft(np.array(rings))


def _body(draws: Draws, width: float, length: float, height: float):
    kind = draws.choice("body", ("slab", "dome", "shell", "frame", "disc", "faceted"))
    if kind == "slab":
        return s.cushion(width, length, height, draws.choice("softness", (0.6, 1.8)))
    if kind == "dome":
        upper = s.sphere(1, scale=(0.55 * width, 0.55 * length, 1.1 * height)).trim_by_plane((0, 0, 1), 0)
        return upper + s.prism(s.ellipse(1.2 * width, 1.15 * length), 0.3 * height, (0, 0, -0.1 * height))
    if kind == "disc":
        across = 0.62 * (width + length)
        return s.lathe([(0.38 * across, 0), (0.5 * across, 0.4 * height), (0.32 * across, height)])
    if kind == "frame":
        deck = s.prism(s.rectangle(width, length, 1.5, 4), 0.9)
        posts = [
            s.cylinder(0.6, height, (x, y, 0.1), segments=12)
            for x, y in s.grid((-0.36 * width, 0.36 * width), (-0.4 * length, 0.4 * length))
        ]
        # tapered: walls seen exactly edge-on would show through the deck
        core = s.prism(s.rectangle(0.5 * width, 0.55 * length), 0.8 * height, (0, 0, 0.2), scale_top=(0.9, 0.9))
        return s.union([deck, deck.translate((0, 0, height - 0.9)), *posts, core])
    outline = s.ellipse(1, 1, 8 if kind == "faceted" else 32, 2.0 if kind == "faceted" else 2.6)
    shares = ((0, 0.35, 0.3), (0.12, 0.7, 0.62), (0.45, 1, 1), (0.8, 0.85, 0.8), (1, 0.5, 0.45))
    rings = []
    for share, w, h in shares if kind == "faceted" else s.spline(shares, 12):
        x, z = (outline * (w * width, h * height)).T
        rings.append(np.column_stack([x, np.full(len(x), (share - 0.5) * length), z + 0.5 * height * (0.6 + 0.4 * h)]))
    return s.loft(np.array(rings))


def _propeller(blades: int, span: float, motor: float, hand: int, angle: float):
    """Propeller about the z axis; ``hand`` 1 or -1: the sense in which it turns."""
    shape = s.spline([(0, 0.45), (0.3 * span, 1.1), (0.75 * span, 0.9), (span, 0.4)], 10)
    blade = np.vstack([shape, np.array([(span, -0.4), (0.3 * span, -0.6), (0, -0.45)])]) * (1, 0.085 * span)
    blade = s.prism(blade, 0.7, (0, 0, 0.2)).rotate((8 * hand, 0, 0))
    turned = [blade.scale((1, hand, 1)).rotate((0, 0, hand * angle + 360 * k / blades)) for k in range(blades)]
    return s.union([*turned, s.cylinder(0.5 * motor, 1.6, (0, 0, -0.3), segments=20)])


def _guard(kind: str, end: np.ndarray, radius: float):
    """Ring around a propeller, on three struts from the motor."""
    if kind == "duct":
        ring = s.cylinder(radius, 2.6, segments=32) - s.cylinder(radius - 1.2, 9, (0, 0, -3), segments=32)
    else:
        angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
        circle = (radius - 1) * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle])
        ring = s.tube(circle, 1.0, closed=True, segments=12).translate((0, 0, 0.4))
    spokes = [s.box(radius - 0.8, 1.0, 0.9, (0.5 * radius, 0, 0)).rotate((0, 0, turn)) for turn in (30, 150, 270)]
    return s.union([ring, *spokes]).translate(tuple(end))


def _gear(draws: Draws, width: float, length: float, ends: list[np.ndarray]) -> list:
    """Landing gear."""
    kind, drop = draws.choice("landing gear", ("skids", "legs", "feet", "none")), draws.between("drop", 4, 9)
    x, y = 0.34 * width, 0.26 * length
    if kind == "skids":
        flare, r = draws.choice("flare", (1.0, 1.8)), 0.55
        parts = []
        for side in (-1, 1):
            foot = side * x * flare
            parts.append(s.rod((foot, -1.5 * y, -drop), (foot, 1.5 * y, -drop), r, segments=12))
            parts += [s.rod((side * x, k * y, 1.2), (foot, k * y, -drop), r, segments=12) for k in (-1, 1)]
        return parts
    if kind == "legs":
        return [
            s.rod((a * x, b * y, 1.2), (a * 1.9 * x, b * 1.7 * y, -drop), 0.9, 0.5, 12)
            for a, b in s.grid((-1, 1), (-1, 1))
        ]
    if kind == "feet":
        return [s.rod(end, end - (0, 0, drop), 1.0, 0.6, 12) for end in ends]
    return []


def _fittings(draws: Draws, width: float, length: float, height: float) -> list:
    """Camera towards the front; battery, receiver or aerials."""
    kind, y = draws.choice("camera", ("gimbal", "lens", "box", "none")), -0.36 * length
    parts = []
    if kind == "gimbal":
        parts += [
            s.cylinder(0.7, 3, (0, y, -1.6)),
            s.sphere(1.6, (0, y, -2.2)),
            s.rod((0, y, -2.2), (0, y - 2.2, -2.2), 0.8),
        ]
    elif kind == "lens":
        z = 0.45 * height
        parts.append(
            s.rod((0, -0.2 * length, z), (0, -0.56 * length, z), 0.3 * height)
            - s.rod((0, -0.53 * length, z), (0, -length, z), 0.19 * height)
        )
    elif kind == "box":
        parts.append(s.box(0.4 * width, 0.3 * length, 3.2, (0, y + 1.0, -2.2)))
        parts.append(s.rod((0, y, -0.6), (0, y - 0.15 * length - 0.4, -0.6), 0.9))
    top = draws.choice("top", ("plain", "battery", "puck", "aerials", "fin"))
    if top == "battery":
        parts.append(s.box(0.5 * width, 0.5 * length, 0.5 * height, (0, 0.05 * length, 0.75 * height)))
    elif top == "puck":
        parts.append(s.cylinder(0.22 * width, 0.75 * height, (0, 0.12 * length, 0.5 * height)))
    elif top == "aerials":
        parts += [
            s.rod((x, 0.3 * length, 0.5 * height), (2.2 * x, 0.5 * length, 1.1 * height + 4), 0.45, segments=12)
            for x in (-0.2 * width, 0.2 * width)
        ]
    elif top == "fin":
        fin = np.array([(-0.1, 0.4), (0.42, 0.4), (0.5, 1.9), (0.36, 1.9)]) * (length, height)
        parts.append(s.side_plate(fin, 0.9))
    return parts
