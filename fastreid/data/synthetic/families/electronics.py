"""Headphones, computer mouse."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part

# thinner than a drawn line: both edges of such a slit fall on one
SLIT = 0.04
# outer face of an ear cup: (share of the outline, share of the depth)
_CUP_FACES = {
    "flat": [(1, 0), (1, 1)],
    "dome": [(1, 0), (1, 0.3), (0.95, 0.58), (0.83, 0.8), (0.62, 0.94), (0.35, 1)],
    "step": [(1, 0), (1, 0.45), (0.72, 0.45), (0.72, 1)],
    "dish": [(1, 0), (1, 1), (0.78, 1), (0.66, 0.6)],
    "cone": [(1, 0), (0.97, 0.35), (0.6, 1)],
}


def _sideways(solid):
    """Turn a solid that lies flat so that it points to the right: local x, y, z become y, z, x."""
    return solid.rotate((90, 0, 90))


@family("1401", "Headphones")
def headphones(draws: Draws) -> list[Part]:
    radius, depth = draws.between("radius", 2.6, 4.4), draws.between("cup depth", 1.2, 2.4)
    outline = _cup_outline(draws.choice("cup", ("round", "oval", "square", "egg", "hexagon")), radius)
    tall = np.ptp(outline[:, 1]) / 2
    spread, rise = draws.between("spread", 6.8, 8.8), draws.between("rise", 6.0, 10.0)
    arm = draws.choice("arm", ("yoke", "slider", "wire"))
    foot = tall + draws.between("drop", 1.0, 2.6)
    cup = _cup(draws, outline, depth).translate((spread - depth / 2, 0, 0))
    side = [cup, *_arm(arm, outline, depth, spread, foot)]
    band = _band(draws, spread, foot, rise)
    right = s.union(side)
    parts = [Part(s.union([right, right.mirror((1, 0, 0)), *band]))]
    if draws.chance("microphone", 0.3):
        parts.append(Part(_microphone(draws, spread, depth), not draws.chance("unclaimed microphone", 0.4)))
    if draws.chance("cord", 0.35):
        cords = _cords(draws.choice("cords", ("one", "two")), spread, tall)
        parts.append(Part(s.union(cords), not draws.chance("unclaimed cord", 0.6)))
    return parts


def _cup_outline(kind: str, radius: float) -> np.ndarray:
    if kind == "square":
        return s.rectangle(1.8 * radius, 2.1 * radius, 0.6 * radius, 5)
    if kind == "hexagon":
        return s.ellipse(2 * radius, 2.2 * radius, 6)[:, ::-1] * (1, -1)
    width = {"round": 2.0, "oval": 1.6, "egg": 1.75}[kind] * radius
    outline = s.ellipse(width, 2.2 * radius if kind != "round" else width, 30)
    if kind == "egg":
        outline[:, 0] *= 1 + 0.22 * outline[:, 1] / radius
    return outline


def _cup(draws: Draws, outline: np.ndarray, depth: float):
    """Ear cup around the x axis: cushion for x < 0, housing from 0 to ``depth``."""
    face, radius = draws.choice("face", tuple(_CUP_FACES)), np.ptp(outline[:, 1]) / 2
    housing = s.stack(outline, [(scale, z * depth) for scale, z in _CUP_FACES[face]])
    if face == "flat" and draws.chance("emblem", 0.6):
        ring = s.prism(0.5 * outline, 9) - s.prism(0.5 * outline * (1 - SLIT / radius), 9)
        housing = s.engrave(housing, ring, 0.1)
    thick, wide = draws.between("cushion", 0.9, 1.8), draws.choice("cushion width", (0.92, 1.06))
    # steps of less than the crease angle, so that only the rim is drawn
    swell = [(0.28, -1), (0.08, -0.8), (0, -0.5), (0.08, -0.2), (0.28, 0.05)]
    cushion = s.stack(outline, [(wide * (1 - inset * thick / radius), z * thick) for inset, z in swell])
    cushion -= s.stack(outline, [(0.55, -2 * thick), (0.55, -0.4 * thick)])
    return _sideways(housing + cushion)


def _arm(kind: str, outline: np.ndarray, depth: float, x: float, top: float) -> list:
    """What carries the right cup: from its housing around ``x`` up to the height ``top``."""
    half, tall = np.ptp(outline, axis=0) / 2
    if kind == "yoke":
        fork = s.prism(s.offset(outline, 0.95), 0.7) - s.prism(s.offset(outline, 0.35), 2, (0, 0, -0.5))
        fork = _sideways(fork).translate((x - 0.35, 0, 0)).trim_by_plane((0, 0, 1), -0.35)
        pins = s.rod((x, -half - 0.6, 0), (x, half + 0.6, 0), 0.3, segments=16) ^ s.box(9, 99, 9, (x, 0, -4))
        return [fork, pins, s.box(0.7, 1.4, top - tall + 0.1, (x, 0, tall + 0.5))]
    if kind == "slider":
        return [s.cushion(0.8 + 0.25 * depth, 1.7, top + 1.2, 0.3, (x, 0, 0))]
    wires = [s.rod((x, y, 0), (x, 0.6 * y, top + 0.8), 0.25, segments=12) for y in (-0.9, 0.9)]
    return [*wires, s.cushion(0.9, 1.9, 1.2, 0.3, (x, 0, top - 0.2))]


def _band(draws: Draws, spread: float, foot: float, rise: float) -> list:
    """Headband that ends at (+-spread, foot)."""
    kind, width = (
        draws.choice("band", ("strap", "tube", "double", "padded", "suspended")),
        draws.between("width", 1.6, 3),
    )
    angle = np.linspace(0, np.pi, 29)
    boxy = draws.choice("arch", (2.0, 2.6))
    x = spread * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** (2 / boxy)
    z = foot + rise * np.sin(angle) ** (2 / boxy)
    arch = np.column_stack([x, z])
    if kind == "tube":
        return [_tube(arch, 0, 0.55, 1.5)]
    if kind in ("double", "suspended"):
        rails = [_tube(arch, y, 0.32, 1) for y in (-0.42 * width, 0.42 * width)]
        ends = [s.cushion(1.1, 1.3 * width, 1.4, 0.3, (sign * spread, 0, foot - 0.4)) for sign in (-1, 1)]
        low = arch * (0.985, 1) - (0, 1.5 if kind == "suspended" else 0)
        inner = slice(0, 29) if kind == "suspended" else slice(9, 20)
        return [*rails, *ends, s.ribbon(low[inner], 0.5, (1.4 if kind == "suspended" else 1.15) * width)]
    strip = s.ribbon(arch, 0.55, width)
    return [strip] if kind == "strap" else [strip, s.ribbon(arch[7:22] * (0.97, 1) - (0, 0.5), 1.2, 1.25 * width)]


def _tube(arch: np.ndarray, y: float, radius: float, flat: float):
    return s.tube(np.column_stack([arch[:, 0], np.full(len(arch), y), arch[:, 1]]), radius, flat, segments=12)


def _microphone(draws: Draws, spread: float, depth: float):
    """Boom from the left cup forward to the mouth."""
    reach, x = draws.between("reach", 5.5, 8), -spread
    path = s.spline([(x, 0, -0.5), (x, -0.4 * reach, -2), (0.9 * x, -0.8 * reach, -3.6), (0.6 * x, -reach, -4.4)], 16)
    capsule = s.sphere(1, scale=(0.9, 0.55, 0.55)).translate(tuple(path[-1]))
    return s.union(
        [s.tube(path, 0.28, segments=12), capsule, _sideways(s.cylinder(1, 0.7)).translate((x - 0.35, 0, -0.5))]
    )


def _cords(kind: str, spread: float, tall: float) -> list:
    """Cord from the left cup, or one from either cup, that ends in a plug."""
    end = (0, 0, -tall - 6.5)
    if kind == "two":
        joint = (0, 0, -tall - 4)
        sides = [
            [(x, 0, 0.5 - tall), (0.95 * x, 0, -tall - 1.5), (0.4 * x, 0, -tall - 2.8), joint]
            for x in (-spread, spread)
        ]
        paths = [*sides, [(0, 0, -tall - 3.6), (0.3, 0, -tall - 5), end]]
    else:
        x = -spread
        paths = [[(x, 0, 0.5 - tall), (x, 0, -tall - 1.5), (0.75 * x, 0, -tall - 3.6), (0.2 * x, 0, -tall - 4.2), end]]
    plug = s.union(
        [s.cylinder(0.5, 1.8, (0, 0, end[2] - 1.6), segments=20), s.cylinder(0.25, 2, (0, 0, end[2] - 3), segments=12)]
    )
    return [*(s.tube(s.spline(path, 18), 0.25, segments=12) for path in paths), plug]


@family("1402", "Computer mouse")
def mouse(draws: Draws) -> list[Part]:
    length, width = 11.0, draws.between("width", 5.6, 7.2)
    kind = draws.choice("kind", ("symmetric", "ergonomic", "low", "waisted", "vertical", "trackball"))
    height = draws.between("height", 3.2, 4.6) * {"low": 0.6, "vertical": 1.7}.get(kind, 1)
    body = _mouse_body(draws, kind, length, width, height)
    split = draws.between("split", -1.5, 1.0)
    body = _buttons(draws, kind, body, split)
    body = _underside(draws.choice("underside", ("bars", "feet", "ring")), body, width)
    parts = [body]
    if kind == "trackball":
        ball, x, y = draws.between("ball", 1.4, 1.9), draws.choice("ball place", (-0.25, 0.0)) * width, 2.2
        at = (x, y, _roof(body, x, y) - 0.35 * ball)
        parts = [body - s.sphere(1.2 * ball, at), s.sphere(ball, at), s.cylinder(0.3, at[2], (x, y, 0.2))]
    if draws.chance("cable", 0.45):
        path = s.spline(
            [
                (0, 0.6 - length / 2, 0.8),
                (0, -length / 2 - 2, 0.7),
                (0.9, -length / 2 - 4, 0.5),
                (0.2, -length / 2 - 6, 0.5),
            ],
            20,
        )
        relief = s.rod((0, 0.6 - length / 2, 0.8), (0, -length / 2 - 1.2, 0.75), 0.5, 0.34, segments=16)
        cable = s.union([s.tube(path, 0.25, segments=12), relief])
        return [Part(s.union(parts)), Part(cable, not draws.chance("unclaimed cable", 0.6))]
    return [Part(s.union(parts))]


def _mouse_body(draws: Draws, kind: str, length: float, width: float, height: float):
    """Shell with a flat bottom; buttons at -y. Sections along y, widest and highest towards the palm."""
    crest, nose = draws.between("crest", 0.5, 0.7), draws.choice("nose", (1.8, 2.6, 4.0))
    tail, power = draws.choice("tail", (2.0, 3.0)), draws.choice("section", (2.2, 3.0))
    front = draws.between("front", 0.35, 0.6) if kind != "low" else 0.8
    tops = s.spline([(-0.2, 0.6 * front), (0, front), (crest, 1.0), (1.05, 0.6), (1.3, 0.3)], 60)
    waist = {"waisted": 0.16, "ergonomic": 0.08}.get(kind, 0.0)
    shear = {"ergonomic": -0.22, "vertical": -0.55}.get(kind, 0.0)
    rings = []
    for t in (1 - np.cos(np.linspace(0.02, np.pi - 0.02, 22))) / 2:
        round_front = (1 - (1 - min(t / 0.35, 1)) ** nose) ** (1 / nose)
        round_tail = (1 - (1 - min((1 - t) / 0.45, 1)) ** tail) ** (1 / tail)
        half = 0.5 * width * max(round_front * round_tail * (1 - waist * np.exp(-(((t - 0.42) / 0.17) ** 2))), 0.04)
        top = height * float(np.interp(t, *tops.T)) * max(round_front**0.5 * round_tail**0.6, 0.1)
        section = s.ellipse(2 * half, 2 * top, 30, power)
        z = np.maximum(section[:, 1], 0)
        rings.append(np.column_stack([section[:, 0] + shear * (z - 0.3 * height), np.full(30, (t - 0.5) * length), z]))
    return s.loft(np.array(rings))


def _buttons(draws: Draws, kind: str, body, split: float):
    """Seams between the buttons, a wheel or strip, and buttons for the thumb."""
    layout = draws.choice("layout", ("cross seam", "long seam", "island", "base seam"))
    height = body.bounding_box()[5]
    seams = [s.box(SLIT, 20, 30, (0, split - 10, 0.3 * height))]
    if layout == "cross seam":
        seams.append(s.box(30, SLIT, 30, (0, split, 0.3 * height)))
    elif layout == "long seam":
        seams.append(s.box(SLIT, 40, 30, (0, 0, 0.3 * height)))
    elif layout == "island":
        strip = s.rectangle(1.9, 7.5, 0.9)
        seams = [
            s.prism(strip, 40, (0, split - 2, 0.5 * height)) - s.prism(s.offset(strip, -SLIT), 50, (0, split - 2, 0))
        ]
    else:
        seams.append(s.box(30, 40, SLIT, (0, 0, 0.3 * height)))
    body = s.engrave(body, s.union(seams), 0.15)
    wheel = draws.choice("wheel", ("wheel", "wide wheel", "strip", "none"), (4, 2, 2, 1))
    wheel = "wheel" if wheel == "none" and kind == "vertical" else wheel
    y = min(split - 2.2, -2.2)
    if wheel == "strip":
        body = s.engrave(body, s.prism(s.rectangle(0.7, 3.0, 0.3, 4), 40, (0, y, 0.3)), 0.12)
    elif wheel != "none":
        size = 0.55 if wheel == "wheel" else 1.0
        roof = _roof(body, 0, y)
        body -= s.prism(s.rectangle(size + 0.5, 2.4, 0.5, 4), 40, (0, y, roof - 0.9))
        body += _sideways(s.cylinder(1.0, size, segments=28)).translate((-size / 2, y, roof - 0.55))
    if draws.chance("thumb buttons", 0.45) and kind not in ("low", "trackball"):
        keys = [s.box(20, 1.6, 0.7, (-11.5, y, 0.5 * height)) for y in (-0.9, 1.0)]
        body = s.union([body, *(key ^ body.scale((1.07, 1, 1)) for key in keys)])
    return body


def _roof(body, x: float, y: float) -> float:
    """Height of the top of ``body`` at (x, y)."""
    return (body ^ s.box(0.5, 0.5, 99, (x, y, 0))).bounding_box()[5]


def _underside(kind: str, body, width: float):
    if kind == "ring":
        pads = [
            s.prism(s.ellipse(0.62 * width, 7.4), 1, (0, 0, -0.85))
            - s.prism(s.ellipse(0.62 * width - 1, 6.4), 3, (0, 0, -2))
        ]
    else:
        places = [(0, -3.3), (0, 3.4)] if kind == "bars" else s.grid((-0.2 * width, 0.2 * width), (-3, 3))
        size = (0.45 * width, 1.0) if kind == "bars" else (1.1, 1.1)
        pads = [s.prism(s.rectangle(*size, 0.4, 4), 1, (x, y, -0.85)) for x, y in places]
    return s.engrave(body, s.union([*pads, s.cylinder(0.55, 1, (0, 0, -0.85), segments=24)]), 0.2)
