"""Eyeglasses."""

from collections.abc import Callable

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part

# outlines of the right lens within +-1: towards the temple is +x
_LENSES = {
    "wayfarer": [(-0.95, 0.7), (0, 0.9), (0.95, 0.85), (1, 0.4), (0.75, -0.6), (0.1, -0.9), (-0.6, -0.7), (-0.92, 0)],
    "cat eye": [
        (-0.9, 0.55),
        (0.1, 0.75),
        (1.05, 1),
        (0.98, 0.2),
        (0.6, -0.7),
        (0, -0.9),
        (-0.65, -0.7),
        (-0.95, -0.05),
    ],
    "aviator": [(-0.85, 0.7), (0, 0.9), (0.9, 0.75), (1, 0.1), (0.7, -0.75), (0.1, -1), (-0.5, -0.7), (-0.85, 0)],
}


def _lens_outline(kind: str, width: float, height: float) -> np.ndarray:
    if kind in _LENSES:
        knots = _LENSES[kind]
        curve = s.spline([knots[-1], *knots, *knots[:2]], 61)[6:-6]
        return (curve[:-1] * (width / 2, height / 2))[::-1]
    if kind == "hexagon":
        return s.ellipse(width, height, 6)
    return s.ellipse(width, height, 40, 4.0 if kind == "rectangle" else 2.0)


@family("1606", "Eyeglasses")
def eyeglasses(draws: Draws) -> list[Part]:
    frame = draws.choice("frame", ("full", "full", "half", "rimless", "browline", "shield"))
    claimed = not draws.chance("unclaimed lenses", 0.4)
    if frame == "shield":
        front, lens, corner = _shield(draws)
    else:
        front, lens, corner = _front_frame(draws, frame)
    temples = _temples(draws, corner)
    if frame == "rimless":
        return [Part(s.union([front, temples])), Part(lens)]
    if draws.chance("unclaimed temples", 0.2):
        return [Part(front), Part(lens), Part(temples, False)]
    return [Part(s.union([front, temples])), Part(lens, claimed)]


def _front_frame(draws: Draws, kind: str):
    """Frame, lenses and the point (x, y, z) of the right temple's hinge."""
    shape = draws.choice("lens", ("round", "oval", "rectangle", "hexagon", *_LENSES))
    width, bridge = draws.between("lens width", 4.8, 5.8), draws.between("bridge", 1.5, 2.2)
    height = {
        "round": 0.97,
        "oval": 0.68,
        "rectangle": 0.62,
        "hexagon": 0.95,
        "aviator": 0.86,
        "cat eye": 0.75,
        "wayfarer": 0.78,
    }[shape] * width
    outline, middle = _lens_outline(shape, width, height), (width + bridge) / 2
    rim, deep = draws.choice("rim", (0.3, 0.55)), draws.choice("rim depth", (0.4, 0.6))
    level = draws.choice("hinge", (0.25, 0.55)) * height / 2
    lens = s.plate(s.offset(outline, 0.05), 0.2)
    outer = s.plate(s.offset(outline, rim), deep)
    hoop = outer - s.plate(outline, 9)
    if kind in ("half", "browline"):
        hoop = hoop.trim_by_plane((0, 0, 1), -0.05 * height if kind == "half" else 0.12 * height)
    if kind == "browline":
        brow = s.plate(s.offset(outline, rim + 0.35), 1.4 * deep) - s.plate(outline, 9)
        hoop += brow.trim_by_plane((0, 0, 1), 0.15 * height)
    edge = _span(outline, level)[1] + (0 if kind == "rimless" else rim)
    lug = s.box(0.9, 0.5 * deep + 0.35, 0.6, (edge + 0.1, 0.15, level - 0.3))
    side = [lug] if kind == "rimless" else [hoop, lug]
    if rim < 0.4 and draws.chance("nose pads", 0.7):
        pad, start = (-0.1 - width / 2, 0.75, -0.18 * height), _span(outline, 0.05 * height)[0] - rim / 2
        side += [s.sphere(1, pad, (0.2, 0.28, 0.5)), s.rod((start, 0, 0.05 * height), pad, 0.13, segments=12)]
    turn = draws.choice("wrap", (0, 4, 8))

    def place(solid):
        return solid.translate((middle, 0, 0)).rotate((0, 0, turn))

    half, right = s.union([place(solid) for solid in side]), place(lens)

    def reach(z: float) -> float:
        """Half the length of a bridge at the height ``z``: it ends in the rim, or on a lens without one."""
        return middle + _span(outline, z)[0] + (0.35 if kind == "rimless" else -0.1)

    nose = _bridge(draws, kind, bridge, height, reach, deep)
    parts = [half, half.mirror((1, 0, 0)), *nose]
    angle = np.radians(turn)
    corner = ((middle + edge + 0.35) * np.cos(angle), (middle + edge + 0.35) * np.sin(angle), level)
    return s.union(parts), right + right.mirror((1, 0, 0)), corner


def _span(outline: np.ndarray, z: float) -> tuple[float, float]:
    """Where a star-shaped outline begins and ends in x at the height ``z``."""
    ahead = np.roll(outline, -1, axis=0)
    crossing = (outline[:, 1] - z) * (ahead[:, 1] - z) <= 0
    start, end = outline[crossing], ahead[crossing]
    share = (z - start[:, 1]) / np.where(end[:, 1] == start[:, 1], 1, end[:, 1] - start[:, 1])
    x = start[:, 0] + share * (end[:, 0] - start[:, 0])
    return float(x.min()), float(x.max())


def _bridge(draws: Draws, frame: str, gap: float, height: float, reach: Callable[[float], float], deep: float) -> list:
    """What joins lenses of the ``height`` over the nose, ``gap`` wide; ``reach``: half its length at a height."""
    kind = draws.choice(
        "bridge kind", ("bar", "arch", "saddle") if frame == "browline" else ("bar", "arch", "double", "saddle")
    )
    z = (0.3 if frame == "browline" else 0.16) * height
    end = reach(z)
    if kind == "saddle":
        low, mid = z - 0.5, 0.4 * gap
        side = [(-end, z + 0.6), (end, z + 0.6), (end, low), (mid, low + 0.2), (0, z), (-mid, low + 0.2), (-end, low)]
        return [s.plate(np.array(side)[::-1], deep)]
    if kind == "arch":
        knots = [(-end, z - 0.2), (-0.25 * gap, z + 0.3), (0.25 * gap, z + 0.3), (end, z - 0.2)]
        return [s.tube(s.spline([(x, 0, up) for x, up in knots], 16), 0.28, segments=12)]
    levels = (-0.04 * height, 0.27 * height) if kind == "double" else (z,)
    return [s.rod((-reach(z), 0, z), (reach(z), 0, z), 0.25, segments=16) for z in levels]


def _shield(draws: Draws):
    """One curved lens under a brow bar."""
    wide, height, bend = (
        draws.between("shield width", 12.5, 14.5),
        draws.between("shield height", 3.6, 5),
        draws.between("bend", 8.5, 12),
    )
    notch = draws.choice("notch", (0.45, 0.7)) * height
    side = [(-0.5, 0.5), (0.5, 0.5), (0.5, 0), (0.36, -0.5), (0.14, -0.5)]
    mirrored = [(-0.14, -0.5), (-0.36, -0.5), (-0.5, 0)]
    outline = np.array([*side, (0.0, -0.5 + notch / height), *mirrored]) * (wide, height)
    mask = s.plate(outline[::-1], 60)

    def shell(thick: float, low: float, high: float):
        ring = s.cylinder(bend + thick / 2, high - low, segments=96) - s.cylinder(
            bend - thick / 2, 99, (0, 0, -9), segments=96
        )
        return (ring ^ s.box(99, 99, 99, (0, -49.5, -40))).translate((0, bend, low))

    lens = shell(0.25, -height, height) ^ mask
    bar = shell(0.6, 0.5 * height - draws.choice("bar", (0.6, 1.1)), 0.5 * height) ^ mask
    if draws.chance("lower bar", 0.4):
        bar += shell(0.6, -0.5 * height - 0.01, -0.5 * height + 0.5) ^ mask
    y = bend - np.sqrt(bend**2 - (wide / 2) ** 2)
    bar = s.union([bar, *(s.box(0.7, 0.9, 0.7, (x, y, 0.5 * height - 0.75)) for x in (-wide / 2, wide / 2))])
    return bar, lens, (wide / 2 + 0.05, y, 0.5 * height - 0.4)


def _temples(draws: Draws, corner: tuple[float, float, float]):
    """Side arms that start at the hinge ``corner`` (x, y, z) and go back behind the ears."""
    x, y, z = corner
    kind, long = draws.choice("temples", ("skull", "straight", "library", "cable")), draws.between("temple", 11.5, 13.5)
    thick = draws.choice("temple height", (0.35, 0.7, 1.1))
    drop = {"skull": 2.2, "straight": 0.0, "library": 0.7, "cable": 3.6}[kind]
    bend = 0.68 * long if kind != "cable" else 0.74 * long
    knots = [
        (y - 0.1, z),
        (y + 0.5 * bend, z),
        (y + bend, z - 0.04 * drop),
        (y + 0.5 * (bend + long), z - 0.4 * drop),
        (y + long, z - drop),
    ]
    path = s.spline(knots, 28)
    tip = 0.55 if kind in ("skull", "library") else 0.35
    arm = s.ribbon(path, np.linspace(thick, min(tip, thick), 28), 0.4).rotate((0, 0, 90)).translate((x, 0, 0))
    if kind == "library":
        arm += s.box(0.4, 1.6, 0.8, (x, path[-1, 0] - 0.6, path[-1, 1] - 0.35))
    arm += s.box(0.5, 0.7, max(thick, 0.6), (x, y, z - max(thick, 0.6) / 2))
    return arm + arm.mirror((1, 0, 0))
