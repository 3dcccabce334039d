"""Clock, with the marks and hands that watches have too."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.electronics import SLIT
from fastreid.data.synthetic.solids import Part

# front of a case: (share of the outline, share of the depth), from the back to the front
_RIMS = {
    "plain": [(1, 0), (1, 1)],
    "bevel": [(1, 0), (1, 0.55), (0.88, 1)],
    "step": [(1, 0), (1, 0.5), (0.91, 0.5), (0.91, 1)],
    "round": [(1, 0), (1, 0.5), (0.985, 0.72), (0.94, 0.9), (0.86, 1)],
}
_SEGMENTS_OF_DIGITS = ["abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg"]


def markers(draws: Draws, radius: float) -> list:
    """Hour marks around the origin, raised from the plane z = 0."""
    kind = draws.choice("marks", ("bars", "long quarters", "dots", "four", "wedges", "none"))
    if kind == "none":
        return []
    solids = []
    for hour in range(0, 12, 3 if kind == "four" else 1):
        long = 0.2 if kind == "four" or (kind == "long quarters" and hour % 3 == 0) else 0.12
        if kind == "dots":
            mark = s.cylinder(0.045 * radius, 0.1 * radius, segments=12)
        elif kind == "wedges":
            mark = s.prism(np.array([(0, -0.09), (0.05, 0.07), (-0.05, 0.07)]) * radius, 0.1 * radius)
        else:
            mark = s.box(0.07 * radius, long * radius, 0.1 * radius)
        solids.append(mark.translate((0, (0.88 - long / 2) * radius, -0.06 * radius)).rotate((0, 0, 30 * hour)))
    return solids


def hands(draws: Draws, radius: float):
    """Hands around the origin, clear of the plane z = 0 (a line where they touch it would be drawn solid even if the
    hands are unclaimed); half of all show ten past ten, as is usual."""
    minute = 10 if draws.chance("ten past ten", 0.5) else draws.integer("minute", 0, 59)
    hour = 10 if minute == 10 else draws.integer("hour", 0, 11)
    shape = draws.choice("hands", ("bar", "taper", "sword"))
    outline = {
        "bar": [(-0.055, -0.12), (0.055, -0.12), (0.055, 1), (-0.055, 1)],
        "taper": [(-0.08, -0.15), (0.08, -0.15), (0.02, 1), (-0.02, 1)],
        "sword": [(-0.04, 0), (0.04, 0), (0.1, 0.7), (0, 1), (-0.1, 0.7)],
    }[shape]
    solids = [s.cylinder(0.09 * radius, 0.21 * radius, (0, 0, -0.06 * radius), segments=20)]
    for angle, long, low in ((30 * hour + minute / 2, 0.5, 0.03), (6 * minute, 0.74, 0.09)):
        hand = s.prism(np.array(outline) * (radius, long * radius), 0.04 * radius, (0, 0, low * radius))
        solids.append(hand.rotate((0, 0, -angle)))
    return s.union(solids)


@family("1001", "Clock")
def clock(draws: Draws) -> list[Part]:
    if draws.chance("digital", 0.15):
        return _digital_clock(draws)
    radius, depth = 10.0, draws.between("depth", 2.5, 6)
    stand = draws.choice("stand", ("wall", "wall", "feet", "plinth", "bells", "pendulum", "bracket"))
    shapes = ("round", "round", "rounded", "octagon", "hexagon")
    shape = draws.choice("case", shapes if stand == "bells" else (*shapes, "square", "arch"))
    outline, wide = _case_outline(shape, radius), draws.choice("frame", (0.7, 0.82))
    case = s.stack(outline, [(scale, (share - 1) * depth) for scale, share in _RIMS[draws.choice("rim", tuple(_RIMS))]])
    opening = outline if draws.chance("dial like the case", 0.5) else s.ellipse(1.9 * radius, 1.9 * radius)
    floor, dial = (0, 0, -0.16 * radius), wide * 0.95 * radius
    case -= s.prism(wide * opening, depth, floor)
    case = s.union([case, *(mark.translate(floor) for mark in markers(draws, dial))])
    parts = [s.forward(_clock_back(draws, case, depth)), *_stand(draws, stand, radius, depth, case.bounding_box()[1])]
    pointers = s.forward(hands(draws, dial).translate(floor))
    return [Part(s.union(parts)), Part(pointers, not draws.chance("unclaimed hands", 0.3))]


def _case_outline(kind: str, radius: float) -> np.ndarray:
    """Outline that holds a circle of 0.95 ``radius``, star-shaped about the origin."""
    if kind == "round":
        return s.ellipse(2 * radius, 2 * radius)
    if kind in ("octagon", "hexagon"):
        sides = 8 if kind == "octagon" else 6
        # flat at the top and the bottom
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False) + (np.pi / 8 if sides == 8 else 0)
        reach = 1.04 * radius / np.cos(np.pi / sides)
        return reach * np.column_stack([np.cos(angle), np.sin(angle)])
    if kind == "arch":
        top = radius * np.column_stack([np.cos(np.linspace(0, np.pi, 25)), np.sin(np.linspace(0, np.pi, 25))])
        return np.vstack([top, [(-1.15 * radius, -1.05 * radius), (1.15 * radius, -1.05 * radius)]])
    return s.rectangle(2 * radius, 2 * radius, 0.02 * radius if kind == "square" else 0.5 * radius, 6)


def _clock_back(draws: Draws, case, depth: float):
    """Battery lid, setting knob or hanging slot on the rear."""
    kind = draws.choice("back", ("lid", "round lid", "knobs"))
    if kind == "knobs":
        return s.union([case, *(s.cylinder(1.1, 1.4, (x, 1.5, -depth - 1), segments=24) for x in (-3, 3))])
    shape = s.rectangle(7, 4, 0.6, 4) if kind == "lid" else s.ellipse(8, 8)
    line = s.prism(shape, 9) - s.prism(s.offset(shape, -2 * SLIT), 9)
    case = s.engrave(case, line.translate((0, 0, -depth - 8)), 0.25)
    return s.union([case, s.cylinder(0.8, 1.0, (0, -5, -depth - 0.7), segments=20)])


def _stand(draws: Draws, kind: str, radius: float, depth: float, low: float) -> list:
    """What carries an upright clock whose case begins at ``low`` in z and spans 0 to ``depth`` in y."""
    middle = depth / 2
    if kind == "feet":
        spread, slant = 0.5 * radius, draws.choice("slant", (0.0, 2.0))
        ball = draws.choice("ball feet", (True, False))
        feet = [
            s.rod((x, middle, low + 2.5), (x + np.sign(x) * slant, middle, low - 1.5), 0.9, 0.6)
            for x in (-spread, spread)
        ]
        return [*feet, *(s.sphere(1.1, (np.sign(x) * (spread + slant), middle, low - 1.6)) for x in (-1, 1) if ball)]
    if kind == "plinth":
        wide = draws.choice("plinth", (1.5, 2.6)) * radius
        return [
            s.box(wide, depth + 2, 2.2, (0, middle, low - 2)),
            s.box(0.8 * wide, depth, 2.2, (0, middle, low - 0.3)),
        ]
    if kind == "bells":
        return _bells(radius, middle, draws.between("bell", 2.8, 4.0))
    if kind == "pendulum":
        drop = draws.between("drop", 8, 14)
        bob = s.plate(s.ellipse(5, 5), 0.3 * depth, (0, middle, low - drop))
        shaft = s.box(0.9, 0.2 * depth, drop + 1, (0, middle, low - drop))
        if draws.chance("pendulum case", 0.5):
            long = drop + 4
            trunk = s.box(9.6, 0.8 * depth, long + 1, (0, middle, low - long))
            trunk -= s.box(7, depth, long - 2.5, (0, 0, low - long + 1.2))
            return [trunk, bob.translate((0, 0.05 * depth, 0)), shaft]
        return [bob, shaft]
    if kind == "bracket":
        legs = [s.box(1.0, 0.5 * depth, -low + 3, (x, middle, low - 2.5)) for x in (-1.22 * radius, 1.22 * radius)]
        pins = s.rod((-1.2 * radius, middle, 0), (1.2 * radius, middle, 0), 0.9)
        pins = pins - s.box(1.6 * radius, 99, 99, (0, 0, -50))
        return [*legs, pins, s.box(2.44 * radius + 1, 0.9 * depth, 1.0, (0, middle, low - 2.5))]
    return []


def _bells(radius: float, middle: float, size: float) -> list:
    """Two bells above, a hammer and a handle between them, two feet below."""
    solids = []
    for side in (-1, 1):
        bell = s.stack(s.ellipse(2 * size, 2 * size, 32), [(1, 0), (0.95, 0.3), (0.78, 0.62), (0.5, 0.88), (0.2, 1)])
        bell = bell.scale((1, 1, 0.8 * size)).translate((0, 0, radius + 0.9)) + s.cylinder(
            0.5, 3, (0, 0, radius - 1.5), segments=16
        )
        solids.append(bell.rotate((0, 32 * side, 0)).translate((0, middle, 0)))
        foot = (side * 0.5 * radius, middle, -0.8 * radius)
        solids.append(s.rod(foot, (side * 0.68 * radius, middle, -1.25 * radius), 0.8, 0.5))
    apex = (radius + 0.5 + 0.8 * size) * np.array([np.sin(np.radians(32)), np.cos(np.radians(32))])
    arch = s.spline([apex * (-1, 1), apex * (-0.7, 1) + (0, 1.6), apex * (0.7, 1) + (0, 1.6), apex], 20)
    handle = s.tube(np.column_stack([arch[:, 0], np.full(20, middle), arch[:, 1]]), 0.45, segments=12)
    return [
        *solids,
        handle,
        s.cylinder(0.4, size + 1.2, (0, middle, radius - 1), segments=12),
        s.sphere(0.9, (0, middle, radius + size)),
    ]


def _digital_clock(draws: Draws) -> list[Part]:
    width, height, depth = draws.between("width", 20, 30), draws.between("height", 9, 14), draws.between("depth", 6, 11)
    side = draws.choice("side", ("box", "wedge", "round"))
    if side == "round":
        profile = s.ellipse(depth, height, 40)
    else:
        lean = 0.45 * depth if side == "wedge" else 0
        profile = np.array(
            [
                (-depth / 2, -height / 2),
                (depth / 2, -height / 2),
                (depth / 2, height / 2),
                (lean - depth / 2, height / 2),
            ]
        )
    body = s.side_plate(profile, width)
    screen = s.rectangle(0.84 * width, 0.7 * height, 0.6, 4)
    body = s.engrave(body, s.plate(screen, 20, (0, -10.5, 0)) - s.plate(0.985 * screen, 30, (0, -10, 0)), 0.3)
    digits = [
        draws.integer("tens", 0, 1),
        draws.integer("hour", 0, 9),
        draws.integer("ten minutes", 0, 5),
        draws.integer("minute", 0, 9),
    ]
    size = min(0.26 * height, 0.085 * width)
    figures = [
        _digit(digit, size).translate((x * width, 0, 0))
        for digit, x in zip(digits, (-0.3, -0.12, 0.12, 0.3), strict=True)
    ]
    figures += [s.plate(s.rectangle(0.3 * size, 0.3 * size), 20, (0, -10, z * size)) for z in (-0.45, 0.45)]
    body = s.engrave(body, s.union(figures).trim_by_plane((0, -1, 0), 0), 0.45)
    keys = draws.integer("keys", 2, 5)
    at, top = np.linspace(-0.3, 0.3, keys) * width, height / 2
    wide = draws.choice("key", (1.6, 2.6))
    buttons = [s.prism(s.rectangle(wide, 1.6, 0.5, 4), 1.6, (x, 0.2 * depth, top - 1.0)) for x in at]
    feet = [
        s.box(1.6, 0.55 * depth, 1.6 if side == "round" else 1.2, (x, 0.1 * depth, -top - 0.6))
        for x in (-0.38 * width, 0.38 * width)
    ]
    return [Part(s.union([body, *buttons, *feet]))]


def _digit(value: int, size: float):
    """Seven-segment figure, 1.4 ``size`` wide and 2.4 ``size`` high, as a tool that reaches far to the front."""
    bar, post = s.rectangle(0.9 * size, 0.26 * size), s.rectangle(0.26 * size, 0.9 * size)
    places = {
        "a": (0, 1.1),
        "g": (0, 0),
        "d": (0, -1.1),
        "b": (0.55, 0.55),
        "c": (0.55, -0.55),
        "e": (-0.55, -0.55),
        "f": (-0.55, 0.55),
    }
    on = [(places[name], bar if name in "agd" else post) for name in _SEGMENTS_OF_DIGITS[value]]
    return s.union([s.plate(shape, 20, (x * size, -10, z * size)) for (x, z), shape in on])
