"""Watch."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.clocks import hands, markers
from fastreid.data.synthetic.families.electronics import SLIT
from fastreid.data.synthetic.solids import Part

# depth of the dial below the front of a watch
_RECESS = 0.26


@family("1002", "Watch")
def watch(draws: Draws) -> list[Part]:
    shape = draws.choice("case", ("round", "round", "cushion", "rectangle", "tonneau", "octagon"))
    width, thickness = 4.0, draws.between("thickness", 0.9, 1.3)
    outline = _watch_outline(shape, width)
    tall = np.ptp(outline[:, 1]) / 2
    case = _watch_case(draws, outline, thickness, shape)
    case += _crown(
        draws.choice("crown", ("crown", "big crown", "pushers", "square")), np.ptp(outline[:, 0]) / 2, thickness
    )
    band_width = draws.choice("band width", (0.5, 0.62)) * width
    lugs = draws.choice("lugs", ("horns", "wide", "none"))
    if lugs != "none":
        size = 0.45 if lugs == "horns" else band_width
        xs = (-band_width / 2 - 0.1, band_width / 2 + 0.1) if lugs == "horns" else (0,)
        case = s.union([case, *(s.box(size, 2 * tall + 0.8, 0.5 * thickness, (x, 0, 0.1)) for x in xs)])
    parts = [Part(s.forward(case))]
    floor = thickness - _RECESS
    if not draws.chance("digital", 0.25):
        pointers = s.forward(hands(draws, 0.36 * width).translate((0, 0, floor)))
        parts.append(Part(pointers, not draws.chance("unclaimed hands", 0.25)))
    strap = _strap(draws, tall, thickness, band_width)
    return [*parts, Part(strap, not draws.chance("unclaimed strap", 0.45))]


def _watch_outline(kind: str, width: float) -> np.ndarray:
    if kind == "round":
        return s.ellipse(width, width)
    if kind == "octagon":
        angle = np.linspace(0, 2 * np.pi, 8, endpoint=False) + np.pi / 8
        return 0.54 * width * np.column_stack([np.cos(angle), np.sin(angle)])
    if kind == "tonneau":
        return s.ellipse(0.92 * width, 1.15 * width, 40, 3.2)
    height = width if kind == "cushion" else 1.18 * width
    return s.rectangle(width, height, 0.28 * width if kind == "cushion" else 0.12 * width, 6)


def _watch_case(draws: Draws, outline: np.ndarray, thickness: float, shape: str):
    """Case that lies on its back, from z = 0 to ``thickness``, with a recessed dial."""
    bezel = draws.choice("bezel", ("plain", "bevel", "ring", "notched"))
    profile = {
        "plain": [(0.9, 0), (1, 0.25), (1, 1)],
        "bevel": [(0.9, 0), (1, 0.25), (1, 0.6), (0.88, 1)],
    }.get(bezel, [(0.9, 0), (1, 0.25), (1, 0.62), (0.86, 0.62), (0.86, 1)])
    case = s.stack(outline, [(scale, share * thickness) for scale, share in profile])
    across = np.ptp(outline[:, 0])
    if bezel == "notched" and shape == "round":
        angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
        bites = [
            s.cylinder(
                0.07 * across, 9, (0.5 * across * np.cos(a), 0.5 * across * np.sin(a), 0.64 * thickness), segments=10
            )
            for a in angle
        ]
        case = s.stack(outline, [(0.9, 0), (1, 0.25 * thickness), (1, thickness)]) - s.union(bites)
    window = (
        0.76 * outline
        if shape != "octagon" or draws.chance("octagonal dial", 0.5)
        else s.ellipse(0.76 * across, 0.76 * across)
    )
    floor = (0, 0, thickness - _RECESS)
    case -= s.prism(window, 9, floor)
    marks = [] if draws.chance("digital", 0.25) else [mark.translate(floor) for mark in markers(draws, 0.365 * across)]
    back = s.ellipse(0.7 * across, 0.7 * across)
    line = s.prism(back, 0.05) - s.prism(s.offset(back, -0.03), 0.2, (0, 0, -0.1))
    return s.union([case, *marks]) - line


def _crown(kind: str, x: float, thickness: float):
    """Crown and buttons at ``x`` on the right of a case that lies on its back; they end in its wall."""
    z = 0.5 * thickness

    def button(radius: float, long: float, y: float):
        return s.cylinder(radius, long + 0.4, segments=20).rotate((0, 90, 0)).translate((x - 0.4, y, z))

    if kind == "square":
        return s.box(0.8, 0.9, 0.45 * thickness, (x, 0.5, z - 0.22 * thickness))
    if kind == "pushers":
        return s.union([button(0.3, 0.45, 0), *(s.box(0.7, 0.45, 0.4, (x, y, z - 0.2)) for y in (-1.0, 1.0))])
    return button(0.45, 0.5, 0) if kind == "big crown" else button(0.28, 0.35, 0)


def _strap(draws: Draws, tall: float, thickness: float, width: float):
    """Strap of an upright watch: closed to a ring, or open and hanging down on either side."""
    kind = draws.choice("strap", ("ring", "ring", "cuff", "open", "bent"))
    deep = draws.choice("strap thickness", (0.28, 0.4))
    front = -0.35 * thickness
    if kind in ("ring", "cuff"):
        half = tall + draws.between("wrist", 0.9, 1.6)
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        reach = 0.82 * half
        path = np.column_stack([front + reach - reach * np.cos(angle), half * np.sin(angle)])
        solid = _band(path, deep, width, closed=True)
        if kind == "cuff":
            return solid - s.box(99, 9, 1.1 * half, (0, front + 2 * reach, -0.55 * half))
        solid += s.box(1.15 * width, 2 * deep, 1.6, (0, front + 2 * reach, -0.8))
        return _links(draws, solid, path, deep, width)
    back = 0.6 if kind == "open" else 3.0
    halves = []
    for sign, name in ((1, "upper"), (-1, "lower")):
        long = draws.between(name, 3.0, 4.2) + (0.9 if sign < 0 else 0)
        knots = [
            (front, tall - 0.4),
            (front + 0.2, tall + 0.6),
            (front + 0.35 * back, tall + 0.45 * long),
            (front + back, tall + long),
        ]
        path = s.spline(knots, 20) * (1, sign)
        half = _links(draws, _band(path, deep, width), path, deep, width)
        end = path[-1]
        slim = draws.choice("taper", (0.75, 1.0)) * width / 2
        shape = [
            (-width / 2, 0),
            (width / 2, 0),
            (slim, end[1] - 0.5 * sign),
            (0.5 * slim, end[1]),
            (-0.5 * slim, end[1]),
            (-slim, end[1] - 0.5 * sign),
        ]
        half ^= s.plate(np.array(shape), 40)
        if sign > 0:
            frame = s.plate(s.rectangle(1.35 * width, 1.3, 0.3, 4), 0.4) - s.plate(
                s.rectangle(1.35 * width - 0.7, 0.65, 0.1, 2), 1
            )
            half += frame.translate((0, end[0], end[1] + 0.1))
        elif draws.chance("holes", 0.6):
            holes = [
                s.cylinder(0.13, 9, segments=12).rotate((90, 0, 0)).translate((0, 4.5, end[1] + 0.9 + 0.6 * k))
                for k in range(5)
            ]
            half -= s.union(holes)
        halves.append(half)
    return s.union(halves)


def _band(path: np.ndarray, thickness: float, width: float, closed: bool = False):
    """Band along a curve (N, 2) in y and z, ``width`` wide in x."""
    return s.ribbon(path, thickness, width, closed).rotate((0, 0, 90))


def _links(draws: Draws, solid, path: np.ndarray, deep: float, width: float):
    """Engrave what the strap is made of: plain, links across, or three rows of links."""
    kind = draws.choice("links", ("plain", "plain", "across", "rows"))
    if kind == "plain":
        return solid
    tools = []
    along = np.gradient(path, axis=0)
    step = max(round(0.85 / np.linalg.norm(along, axis=1).mean()), 1)
    for (y, z), (dy, dz) in zip(path[1::step], along[1::step], strict=True):
        slit = s.box(2 * width, 2 * deep, SLIT, (0, 0, -SLIT / 2)).rotate((-np.degrees(np.arctan2(dy, dz)), 0, 0))
        tools.append(slit.translate((0, y, z)))
    if kind == "rows":
        tools += [s.box(SLIT, 99, 99, (x, 0, -50)) for x in (-0.22 * width, 0.22 * width)]
    core = _band(path, 0.7 * deep, 0.96 * width, closed=len(path) > 40)
    return solid - (s.union(tools) - core)
