"""Gear, knob."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part


@family("1599", "Gear")
def gear(draws: Draws) -> list[Part]:
    """Built with its axis upwards and turned to the front."""
    kind, radius = draws.choice("kind", ("spur", "helical", "bevel", "double", "ring", "crown", "sprocket")), 10.0
    wide = draws.between("width", 2.5, 7.0) if kind != "sprocket" else draws.between("width", 1.2, 2.2)
    shape = {"sprocket": "chain"}.get(kind) or draws.choice("tooth", ("trapezoid", "round", "saw"))
    outline = _toothed(shape, draws.integer("teeth", 11, 20), radius, draws.between("tooth height", 0.13, 0.2))
    if kind == "ring":
        solid = _ring(draws, radius, wide) - s.prism(0.86 * outline, 4 * wide, (0, 0, -wide))
        return [Part(s.forward(solid))]
    if kind == "helical":
        body = s.prism(outline, wide, n_divisions=6, twist_degrees=draws.choice("twist", (-20, 20)) * wide / 5)
    elif kind == "bevel":
        body = s.prism(outline, wide, scale_top=(draws.choice("cone", (0.55, 0.75)),) * 2)
    elif kind == "crown":
        body = _crown(draws, radius, wide)
    else:
        body = s.prism(outline, wide)
    body = _web(draws, kind, body, 0.78 * radius, wide)
    bore = draws.between("bore", 0.15, 0.24) * radius
    body, top = _hub(draws, kind, body, bore, wide)
    body -= _bore(draws.choice("bore kind", ("round", "keyed", "hexagon", "flat")), bore, 60)
    parts = [Part(s.forward(body))]
    if draws.chance("shaft", 0.3):
        long = draws.choice("shaft length", (6.0, 12.0))
        parts.append(Part(s.forward(s.cylinder(1.03 * bore, top + 2 * long, (0, 0, -long))), claimed=False))
    return parts


def _toothed(shape: str, teeth: int, radius: float, share: float) -> np.ndarray:
    """Outline of a gear whose teeth are ``share`` of its radius high, less when there are many."""
    low = 1 - share * min(1, 18 / teeth)
    phase, height = {
        "trapezoid": ([-0.5, -0.28, -0.13, 0.13, 0.28], [0, 0, 1, 1, 0]),
        "round": ([-0.5, -0.38, -0.25, -0.12, 0, 0.12, 0.25, 0.38], [0, 0.12, 0.5, 0.9, 1, 0.9, 0.5, 0.12]),
        "saw": ([-0.5, -0.3, 0.35, 0.48], [0, 0, 1, 1]),
        "chain": ([-0.5, -0.4, -0.3, -0.2, -0.07, 0.07, 0.2, 0.3, 0.4], [0, 0.08, 0.3, 0.75, 1, 1, 0.75, 0.3, 0.08]),
    }[shape]
    angle = 2 * np.pi / teeth * (np.arange(teeth)[:, None] + np.array(phase)).ravel()
    reach = radius * (low + (1 - low) * np.tile(height, teeth))
    return np.column_stack([reach * np.cos(angle), reach * np.sin(angle)])


def _around(solid, count: int) -> list:
    """``count`` copies of a solid about the z axis."""
    return [solid.rotate((0, 0, 360 * k / count)) for k in range(count)]


def _ring(draws: Draws, radius: float, wide: float):
    """Blank of an internal gear: plain, with a flange, or with ears for bolts."""
    mount = draws.choice("mount", ("plain", "flange", "ears", "slots"))
    blank = s.cylinder(1.12 * radius, wide)
    if mount == "flange":
        holes = _around(s.cylinder(0.07 * radius, 20, (1.26 * radius, 0, -9)), draws.choice("bolts", (4, 6, 8)))
        return blank + (s.cylinder(1.4 * radius, 0.35 * wide) - s.union(holes))
    if mount == "ears":
        ear = s.cylinder(0.2 * radius, 0.6 * wide, (1.18 * radius, 0, 0))
        ear -= s.cylinder(0.09 * radius, 20, (1.22 * radius, 0, -9))
        return blank + s.union(_around(ear, draws.choice("bolts", (3, 4, 6))))
    if mount == "slots":
        notch = s.box(0.16 * radius, 0.2 * radius, 20, (1.13 * radius, 0, -9))
        return blank - s.union(_around(notch, draws.choice("bolts", (4, 6, 8))))
    return blank


def _crown(draws: Draws, radius: float, wide: float):
    """Teeth that stand up from a disc."""
    count = draws.choice("crown teeth", (10, 14, 18))
    gap = np.pi * radius / count
    cut = s.prism(np.array([(0, -0.35), (1.5, -0.5), (1.5, 0.5), (0, 0.35)]) * (radius, gap), 20, (0, 0, 0.55 * wide))
    return s.cylinder(radius, wide) - s.cylinder(0.76 * radius, 20, (0, 0, 0.5 * wide)) - s.union(_around(cut, count))


def _web(draws: Draws, kind: str, body, reach: float, wide: float):
    """Lighten the disc inside the radius ``reach``; bevel and double gears have no room for it."""
    web = draws.choice("web", ("solid", "recess", "holes", "spokes", "windows"))
    if kind in ("bevel", "double"):
        return body
    reach *= 0.88 if kind == "crown" else 1.0
    hub = 0.42 * reach + 0.8
    if web == "recess" and kind != "crown":
        pan = s.cylinder(reach, 20) - s.cylinder(hub, 20)
        return body - pan.translate((0, 0, 0.72 * wide)) - pan.translate((0, 0, 0.28 * wide - 20))
    count, middle = draws.integer("openings", 3, 6), (reach + hub) / 2
    if web == "holes":
        hole = s.cylinder(min(0.4 * (reach - hub), 1.6 * reach / count), 60, (middle, 0, -20), segments=28)
        return body - s.union(_around(hole, count))
    if web in ("spokes", "windows"):
        half = np.pi / count * (0.72 if web == "spokes" else 0.5)
        angle = np.linspace(-half, half, 9)
        rim = np.column_stack([np.cos(angle), np.sin(angle)])
        window = s.prism(np.vstack([reach * rim, hub * rim[::-1]]), 60, (0, 0, -20))
        return body - s.union(_around(window, count))
    return body


def _hub(draws: Draws, kind: str, body, bore: float, wide: float):
    """Add a hub, or the second gear of a double one; return the body and its height."""
    side = draws.choice("hub", ("none", "front", "both", "step"))
    tall = draws.between("hub height", 0.25, 0.6) * wide + 0.8
    if kind == "double":
        shape, teeth = draws.choice("second tooth", ("trapezoid", "round")), draws.integer("second teeth", 9, 14)
        pinion = _toothed(shape, teeth, draws.between("pinion", 4.6, 6.2), 0.26)
        return body + s.prism(pinion, wide + tall + 1.5, (0, 0, 0.3)), wide + tall + 1.5
    low = 0.3 if side != "both" else -tall
    if side == "none":
        return body + s.cylinder(1.5 * bore, 0.9 * wide, (0, 0, 0.05 * wide)), wide
    body += s.cylinder(1.65 * bore, wide + tall - low, (0, 0, low))
    if side == "step":
        body += s.cylinder(2.2 * bore, wide + 0.5 * tall - 0.3, (0, 0, 0.3))
    return body, wide + tall


def _bore(kind: str, radius: float, long: float):
    hole = s.cylinder(radius, long, (0, 0, -long / 2), segments=6 if kind == "hexagon" else 36)
    if kind == "keyed":
        return hole + s.box(0.6 * radius, 0.8 * radius, long, (0, 1.0 * radius, -long / 2))
    if kind == "flat":
        return hole.trim_by_plane((0, -1, 0), -0.6 * radius)
    return hole


@family("0806", "Knob")
def knob(draws: Draws) -> list[Part]:
    """Built upwards from the panel at z = 0 and turned to the front."""
    kind = draws.choice("kind", ("turned", "turned", "ball", "shaped", "shaped", "ribbed", "bar", "pointer"))
    radius = draws.between("radius", 3, 4.5)
    rise = draws.between("rise", 0.7, 1.2) * radius
    stem = draws.between("stem", 0.32, 0.45) * radius
    parts = [s.cylinder(stem * draws.choice("stem taper", (1.0, 1.5)), rise + 0.5, (0, 0, -0.2), top=stem)]
    rosette = draws.choice("rosette", ("none", "round", "square", "stepped"))
    if rosette == "square":
        parts.append(s.prism(s.rectangle(1.7 * radius, 1.7 * radius, 0.2 * radius), 0.55, (0, 0, -0.2)))
    elif rosette != "none":
        parts.append(s.cylinder(0.85 * radius, 0.55, (0, 0, -0.2)))
    if rosette == "stepped":
        parts.append(s.cylinder(0.62 * radius, 1.0, (0, 0, -0.2)))
    head, face = _knob_head(draws, kind, radius)
    head = _knob_face(draws, head, radius, face) if kind in ("turned", "shaped", "ribbed") else head
    design = [Part(s.forward(s.union([*parts, head.translate((0, 0, rise))])))]
    if draws.chance("screw", 0.35):
        design.append(Part(s.forward(s.cylinder(0.2 * radius, 2.6, (0, 0, -2.5), segments=20)), claimed=False))
    return design


def _knob_head(draws: Draws, kind: str, radius: float):
    """The part that is gripped, standing on z = 0, and the height of its face."""
    tall = draws.between("tall", 0.45, 0.9) * radius
    if kind == "ball":
        squash = draws.choice("squash", (0.7, 0.9, 1.0))
        return s.sphere(radius, (0, 0, 0.85 * squash * radius), (1, 1, squash)), 1.85 * squash * radius
    if kind == "bar":
        long, section = draws.between("long", 2.2, 3.4) * radius, draws.choice("section", ("round", "square", "oval"))
        if section == "round":
            return s.rod((-long / 2, 0, 0.3 * radius), (long / 2, 0, 0.3 * radius), 0.42 * radius), radius
        power = {"square": 8.0, "oval": 2.0}[section]
        return s.prism(s.ellipse(long, 0.9 * radius, power=power), 0.6 * radius), 0.6 * radius
    if kind == "turned":
        knots = {
            "mushroom": [(0.4, 0), (0.95, 0.35), (1, 0.6), (0.7, 0.95), (0.3, 1)],
            "flare": [(0.35, 0), (0.6, 0.5), (1, 0.9), (0.95, 1)],
            "disc": [(0.9, 0), (1, 0.1), (1, 0.9), (0.9, 1)],
            "cone": [(1, 0), (0.75, 0.55), (0.6, 1)],
        }[draws.choice("profile", ("mushroom", "flare", "disc", "cone"))]
        curve = s.spline(knots, 20) if len(knots) == 5 else np.array(knots, float)
        return s.lathe(curve * (radius, tall)), tall
    if kind == "shaped":
        return s.stack(_knob_outline(draws, radius), [(0.7, 0), (1, 0.4 * tall), (1, 0.7 * tall), (0.78, tall)]), tall
    ribbed = s.prism(_ribs(draws, radius), tall)
    if kind == "ribbed":
        return ribbed + s.cylinder(0.8 * radius, 0.2 * tall, (0, 0, 0.95 * tall)), 1.15 * tall
    blade = s.prism(s.rectangle(0.5 * radius, 1.8 * radius, 0.2 * radius), 0.9 * tall, (0, 0.1 * radius, 0.3 * tall))
    return s.cylinder(1.05 * radius, 0.5 * tall) + blade, 1.2 * tall


def _ribs(draws: Draws, radius: float) -> np.ndarray:
    """Outline of a grip with square ribs or with flutes."""
    count = draws.choice("ribs", (8, 10, 14))
    angle = np.linspace(0, 2 * np.pi, 8 * count, endpoint=False)
    wave = np.sin(count * angle / 2)
    depth = 0.09 * (np.sin(count * angle) > 0) if draws.chance("square ribs", 0.5) else 0.14 * (1 - np.abs(wave))
    return radius * (1 - depth)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


def _knob_outline(draws: Draws, radius: float) -> np.ndarray:
    return {
        "square": lambda: s.rectangle(1.9 * radius, 1.9 * radius, 0.25 * radius),
        "hexagon": lambda: s.ellipse(2 * radius, 2 * radius, 6),
        "octagon": lambda: s.ellipse(2 * radius, 2 * radius, 8),
        "oval": lambda: s.ellipse(2.4 * radius, 1.5 * radius),
        "clover": lambda: _clover(draws.choice("lobes", (3, 4, 5)), radius),
    }[draws.choice("outline", ("square", "hexagon", "octagon", "oval", "clover"))]()


def _clover(lobes: int, radius: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    reach = radius * (0.86 + 0.16 * np.sin(lobes * angle + np.pi / 2))
    return np.column_stack([reach * np.sin(angle), reach * np.cos(angle)])[::-1]


def _knob_face(draws: Draws, head, radius: float, face: float):
    """Cut or raise something on the face of a knob at z = ``face``."""
    kind = draws.choice("face", ("plain", "ring", "dimple", "button", "cross"))
    reach = draws.choice("face size", (0.3, 0.42)) * radius
    if kind == "ring":
        groove = s.cylinder(reach + 0.18 * radius, 4, (0, 0, face - 0.3)) - s.cylinder(reach, 9, (0, 0, face - 4))
        return head - groove
    if kind == "dimple":
        return head - s.sphere(1.3 * reach, (0, 0, face + 0.4 * reach))
    if kind == "button":
        return head + s.cylinder(reach, 0.5, (0, 0, face - 0.2))
    if kind == "cross":
        return head - s.box(2.4 * reach, 0.4, 9, (0, 0, face - 0.35)) - s.box(0.4, 2.4 * reach, 9, (0, 0, face - 0.35))
    return head
