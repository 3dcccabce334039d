"""Wrench, hammer."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part


def _disc(radius: float, thickness: float, z: float, segments: int = s.SEGMENTS):
    return s.plate(s.ellipse(2 * radius, 2 * radius, segments), thickness, (0, 0, z))


def _jaw(kind: str, radius: float, thickness: float, z: float, up: int, tilt: float):
    """Head of a wrench at height ``z`` that opens upwards (``up`` 1) or downwards (-1)."""
    head = _disc(radius, thickness, 0)
    if kind == "open":
        gap = 0.95 * radius
        slot = s.union(
            [
                s.plate(s.rectangle(gap, 2 * radius), 4 * thickness, (0, 0, 1.05 * radius)),
                s.plate(s.ellipse(gap, 0.6 * gap, 24), 4 * thickness, (0, 0, 0.06 * radius)),
            ]
        )
        head -= slot
    else:
        points = {"ring": 12, "hex": 6}[kind]
        angle = np.linspace(0, 2 * np.pi, 2 * points, endpoint=False)
        reach = 0.62 * radius * np.where(np.arange(2 * points) % 2, 0.88, 1.0)
        head -= s.plate(np.column_stack([reach * np.cos(angle), reach * np.sin(angle)]), 4 * thickness)
    return head.rotate((0, tilt, 0)).rotate((0, 0 if up > 0 else 180, 0)).translate((0, 0, z))


@family("0805", "Wrench")
def wrench(draws: Draws) -> list[Part]:
    length, thickness = draws.between("length", 15, 26), draws.between("thickness", 0.7, 1.3)
    width, taper = draws.between("width", 1.3, 2.2), draws.choice("taper", (0.75, 1.0))
    upper, lower = draws.between("upper head", 1.9, 2.8), draws.between("lower head", 1.6, 2.6)
    kind = draws.choice("kind", ("combination", "double open", "double ring", "hung", "grip"))
    heads = {
        "combination": ("open", "ring"),
        "double open": ("open", "open"),
        "double ring": ("ring", "ring"),
        "hung": ("open", None),
        "grip": ("open", None),
    }
    top, bottom = heads[kind]
    if top == "ring" or bottom == "ring":
        hexagonal = draws.chance("hexagon", 0.4)
        top, bottom = (("hex" if hexagonal and head == "ring" else head) for head in (top, bottom))
    tilt = draws.choice("tilt", (0, 15, -15))
    parts = [_jaw(top, upper, 1.25 * thickness, length, 1, tilt if top == "open" else 0)]
    w = width / 2
    handle = s.plate(
        np.array([(-taper * w, 0), (taper * w, 0), (w, length - 0.7 * upper), (-w, length - 0.7 * upper)]), thickness
    )
    if bottom:
        parts.append(_jaw(bottom, lower, 1.25 * thickness, 0, -1, tilt if bottom == "open" else 0))
        handle = handle.trim_by_plane((0, 0, 1), 0.75 * lower)
    else:
        end = draws.choice("end", (1.0, 1.4)) * w
        handle += _disc(end, thickness, 0)
        if kind == "hung":
            handle -= _disc(0.55 * end, 4 * thickness, 0, 24)
    if draws.chance("recess", 0.55) and kind != "grip":
        groove = s.plate(s.rectangle(0.55 * width * taper, 0.6 * length, 0.25 * width), thickness)
        middle = 0.5 * length
        handle -= groove.translate((0, -0.75 * thickness, middle)) + groove.translate((0, 0.75 * thickness, middle))
    parts.append(handle)
    if kind == "grip":
        grip = s.prism(s.ellipse(1.6 * width, 2.2 * thickness, 32, 3), 0.55 * length, (0, 0, -0.6 * w))
        rings = [
            s.prism(s.ellipse(2 * width, 3 * thickness, 32, 3), 0.3, (0, 0, z))
            for z in np.linspace(0.1, 0.42, draws.integer("rings", 2, 5)) * length
        ]
        parts += [
            grip - s.union([ring - s.prism(s.ellipse(1.4 * width, 1.9 * thickness, 32, 3), length) for ring in rings])
        ]
    return [Part(s.union(parts))]


@family("0802", "Hammer")
def hammer(draws: Draws) -> list[Part]:
    length, head = draws.between("length", 24, 36), draws.between("head", 8, 13)
    face, kind = draws.between("face", 1.3, 2.2), draws.choice("kind", ("claw", "ball", "cross", "mallet", "sledge"))
    z = length - face
    parts = _hammer_head(draws, kind, head, face, z)
    shape = draws.choice("handle", ("straight", "swell", "flat", "grip"))
    r = 0.62 * face
    if shape == "straight":
        parts.append(s.cylinder(r, length, top=0.85 * r))
    elif shape == "swell":
        knots = [(1.0, 0), (1.25, 0.06), (1.0, 0.22), (1.2, 0.4), (0.75, 0.75), (0.8, 1)]
        parts.append(s.lathe(s.spline([(a * r, b * length) for a, b in knots], 36)))
    elif shape == "flat":
        parts.append(s.prism(s.rectangle(2.4 * r, 1.6 * r, 0.5 * r), length, scale_top=(0.75, 0.85)))
    else:
        parts.append(s.cylinder(0.7 * r, length))
        grip = s.prism(s.ellipse(2.9 * r, 2.2 * r), 0.42 * length)
        cuts = [
            s.cylinder(4 * r, 0.5, (0, 0, k)) - s.prism(s.ellipse(2.5 * r, 1.85 * r), 4, (0, 0, k - 1))
            for k in np.linspace(0.08, 0.36, draws.integer("cuts", 2, 5)) * length
        ]
        unclaimed = draws.chance("unclaimed grip", 0.3)
        return [Part(s.union(parts)), Part(grip - s.union(cuts), not unclaimed)]
    return [Part(s.union(parts))]


def _hammer_head(draws: Draws, kind: str, head: float, face: float, z: float) -> list:
    """Striking face to the left (-x); other end by kind."""
    lie = (0, 90, 0)
    block = s.box(2.4 * face, 1.7 * face, 1.9 * face, (0, 0, z - 0.95 * face))
    if kind in ("mallet", "sledge"):
        segments = draws.choice("sides", (8, s.SEGMENTS))
        barrel = (
            s.cylinder(1.5 * face, head, segments=segments)
            .rotate((0, 0, 22.5))
            .rotate(lie)
            .translate((-head / 2, 0, z))
        )
        if kind == "sledge":
            return [barrel]
        caps = [
            s.cylinder(1.65 * face, 0.16 * head).rotate(lie).translate((x, 0, z)) for x in (-0.52 * head, 0.36 * head)
        ]
        return [barrel, *caps]
    neck = s.cylinder(0.75 * face, 0.3 * head).rotate(lie).translate((-0.42 * head, 0, z))
    strike = s.cylinder(face, 0.18 * head).rotate(lie).translate((-0.52 * head, 0, z))
    parts = [block, neck, strike]
    if kind == "ball":
        parts += [
            s.cylinder(0.6 * face, 0.3 * head).rotate(lie).translate((0, 0, z)),
            s.sphere(0.95 * face, (0.36 * head, 0, z)),
        ]
    elif kind == "cross":
        side = np.array(
            [
                (0.5 * face, -0.9 * face),
                (0.55 * head, -0.15 * face),
                (0.55 * head, 0.15 * face),
                (0.5 * face, 0.9 * face),
            ]
        )
        parts.append(s.plate(side, 1.6 * face, (0, 0, z)))
    else:
        curve = s.spline([(0.4 * face, 0.75 * face), (0.3 * head, 0.55 * face), (0.58 * head, -0.9 * face)], 16)
        lower = s.spline([(0.55 * head, -1.15 * face), (0.28 * head, -0.25 * face), (0.4 * face, -0.75 * face)], 16)
        claw = s.plate(np.vstack([curve, lower])[::-1], 1.6 * face, (0, 0, z))
        slot = s.prism(
            np.array([(0.9 * face, 0), (head, -0.4 * face), (head, 0.4 * face)]), 8 * face, (0, 0, z - 4 * face)
        )
        parts.append(claw - slot)
    return parts
