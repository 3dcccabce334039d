"""Dumbbell."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.hardware import polygon
from fastreid.data.synthetic.solids import Part


def _along_x(upright, x: float = 0.0):
    """Turn what stands on z = 0 to point along x from ``x``."""
    return upright.rotate((0, 90, 0)).translate((x, 0, 0))


@family("2102", "Dumbbell")
def dumbbell(draws: Draws) -> list[Part]:
    kind = draws.choice("kind", ("hexagon", "octagon", "drum", "ball", "plates", "bone", "block"))
    grip, radius = draws.between("grip", 11, 15), draws.between("grip radius", 1.2, 1.9)
    size, thick = draws.between("head", 7.5, 13), draws.between("thickness", 4, 8)
    bar = _grip(draws, grip, radius)
    head = _head(draws, kind, size, thick)
    right = head.translate((grip / 2 - 0.3, 0, 0))
    parts = [Part(s.union([right, right.mirror((1, 0, 0)), *([] if kind == "plates" else [bar])]))]
    if kind == "plates":
        # the weights are what is claimed, or the bar with its nuts is
        reach = grip / 2 + 1.4 * thick + 3
        rod = s.union(
            [bar, _along_x(s.cylinder(radius * 0.85, 2 * reach), -reach), *_nuts(draws, reach, thick, radius)]
        )
        parts = [Part(parts[0].solid, not draws.chance("unclaimed weights", 0.3)), Part(rod)]
    return parts


def _grip(draws: Draws, length: float, radius: float):
    """Handle along x between the heads."""
    shape = draws.choice("handle", ("straight", "swell", "waist", "rings", "square"))
    half = length / 2
    share = np.linspace(-1, 1, 15)
    bulge = {"swell": 0.35, "waist": -0.25}.get(shape, 0.0) * (1 - share**2)
    if shape == "square":
        bar = s.prism(s.rectangle(2 * radius, 2 * radius, 0.6 * radius, 4), length, (0, 0, -half))
    else:
        bar = s.lathe(np.column_stack([radius * (1 + bulge), half * share]), 32)
    if shape == "rings":
        places = np.linspace(-0.55, 0.55, draws.integer("rings", 3, 5)) * half
        bar += s.union([s.cylinder(1.22 * radius, 0.7, (0, 0, z - 0.35), segments=32) for z in places])
    return _along_x(bar)


def _head(draws: Draws, kind: str, size: float, thick: float):
    """Right head, from x = 0 outwards."""
    edge = draws.choice("edge", (0.0, 0.12, 0.25)) * size
    if kind == "plates":
        return _plates(draws, size, thick)
    if kind == "ball":
        return s.sphere(size / 2, (0.42 * size, 0, 0)).trim_by_plane((-1, 0, 0), -0.76 * size)
    outline = {
        "hexagon": polygon(6, size),
        "octagon": polygon(8, size),
        "block": s.rectangle(0.8 * size, size, draws.choice("corner", (0.1, 1.5)), 4),
    }.get(kind, s.ellipse(size, size))
    steps = [(1, 0), (1, thick)]
    if kind == "bone":
        steps = [(0.5, 0), (0.86, 0.16 * thick), (1, 0.5 * thick), (0.86, 0.84 * thick), (0.6, thick)]
    elif edge:
        steps = [(1 - edge / size, 0), (1, 0.6 * edge), (1, thick - 0.6 * edge), (1 - edge / size, thick)]
    # the height of the outline is x after the turn
    solid = _along_x(s.stack(outline[:, ::-1] * (-1, 1), steps))
    return solid if kind == "bone" else _face(draws, solid, size * (1 - edge / size), thick)


def _face(draws: Draws, head, size: float, thick: float):
    """The outer end of a head: plain, a sunk disc, a raised boss or a ring."""
    kind = draws.choice("face", ("plain", "disc", "boss", "ring"))
    disc = _along_x(s.cylinder(0.33 * size, 1.6), thick - 0.8)
    if kind == "plain":
        return head
    if kind == "boss":
        return head + disc
    return head - (disc if kind == "disc" else disc - _along_x(s.cylinder(0.2 * size, 1.6), thick - 0.8))


def _plates(draws: Draws, size: float, thick: float):
    """Discs on a bar, growing or shrinking outwards."""
    count, size = draws.integer("plates", 1, 3), 1.25 * size
    step, order = draws.between("step", 0.68, 0.86), draws.choice("order", (1, -1))
    parts, x, width = [], 0.0, 1.4 * thick / count
    for k in range(count):
        reach = size / 2 * step ** (k if order > 0 else count - 1 - k)
        rim = 0.2 * width if count == 1 else 0.0
        profile = [(reach - rim, 0), (reach, rim), (reach, width - rim), (reach - rim, width)]
        parts.append(_along_x(s.lathe(profile, 40), x - 0.02 * k))
        x += width - 0.02
    if draws.chance("dished", 0.5):
        top = size / 2 * (step ** (count - 1) if order > 0 else 1)
        parts = [s.union(parts) - _along_x(s.cylinder(0.72 * top, 2) - s.cylinder(0.4 * top, 2), x - 0.5)]
    collar = _along_x(s.cylinder(0.16 * size, 1.5 * thick), -0.9)
    return s.union([*parts, collar])


def _nuts(draws: Draws, reach: float, thick: float, radius: float) -> list:
    kind = draws.choice("nut", ("star", "hexagon", "none"))
    if kind == "none":
        return []
    outline = polygon(6, 3.6 * radius)
    if kind == "star":
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        outline = (1.9 + 0.4 * np.cos(6 * angle))[:, None] * radius * np.column_stack([np.cos(angle), np.sin(angle)])
    nut = _along_x(s.prism(outline, 1.8), reach - 3.2)
    return [nut, nut.mirror((1, 0, 0))]
