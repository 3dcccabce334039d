"""Faucet."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part


@family("2301", "Faucet")
def faucet(draws: Draws) -> list[Part]:
    """The spout comes towards the viewer."""
    radius = draws.between("radius", 1.1, 1.6)
    spout = draws.choice("spout", ("goose", "goose", "arc", "straight", "square", "wide"))
    control = draws.choice("control", ("side", "pair", "pair") if spout == "goose" else ("side", "top", "top", "pair"))
    height = radius * draws.between("height", 4.0, 6.5)
    parts = [_column(draws.choice("column", ("round", "taper", "square", "waist")), radius, height)]
    parts += _spout(draws, spout, radius, height)
    claimed = not draws.chance("unclaimed handle", 0.2)
    handles = _faucet_handles(draws, control, radius, height)
    span = 3.6 * radius
    if control == "pair":
        link = draws.choice("link", ("deck", "bridge"))
        if link == "bridge":
            z = 0.45 * height
            parts.append(s.rod((-span, 0, z), (span, 0, z), 0.5 * radius))
        plate = s.rectangle(2 * span + 2.6 * radius, 2.6 * radius, draws.choice("corner", (0.3, 1.3)) * radius)
        parts += [s.prism(plate, 0.6, (0, 0, -0.4))] if link == "deck" else []
    if control != "pair" or link == "bridge":
        parts += _escutcheon(draws, radius)
    design = [Part(s.union(parts)), Part(s.union(handles), claimed)]
    if draws.chance("shank", 0.35):
        shank = [s.cylinder(0.6 * radius, 4.2, (0, 0, -4.0)), s.cylinder(1.2 * radius, 0.8, (0, 0, -2.2), segments=6)]
        design.append(Part(s.union(shank), claimed=False))
    return design


def _column(kind: str, radius: float, height: float):
    if kind == "square":
        return s.prism(s.rectangle(1.8 * radius, 1.8 * radius, 0.2 * radius), height)
    knots = {"round": [(1, 0), (1, 1)], "taper": [(1.25, 0), (0.85, 1)], "waist": [(1.3, 0), (0.85, 0.3), (1, 1)]}[kind]
    curve = s.spline(knots, 14) if len(knots) > 2 else np.array(knots, float)
    return s.lathe(curve * (radius, height))


def _escutcheon(draws: Draws, radius: float) -> list:
    kind = draws.choice("base", ("none", "round", "square", "stepped"))
    if kind == "square":
        return [s.prism(s.rectangle(3.6 * radius, 3.6 * radius, 0.4 * radius), 0.6, (0, 0, -0.3))]
    rings = {"none": 0, "round": 1, "stepped": 2}[kind]
    return [s.cylinder((2.1 - 0.4 * k) * radius, 0.55 + 0.5 * k, (0, 0, -0.3)) for k in range(rings)]


def _spout(draws: Draws, kind: str, radius: float, height: float) -> list:
    reach, bore = draws.between("reach", 5.5, 9.5), draws.between("bore", 0.55, 0.75) * radius
    if kind == "square":
        z, deep = height - 1.4 * radius, 1.1 * bore
        arm = s.box(1.7 * bore, reach, deep, (0, -reach / 2, z))
        return [arm, s.box(1.7 * bore, 1.6 * bore, 1.4 * bore, (0, 0.8 * bore - reach, z - bore))]
    if kind == "wide":
        z = 0.7 * height
        side = [(0, z - 0.8), (0, z + 0.8), (-reach, z + 0.3), (-reach - 0.3, z - 0.3)]
        slab = s.prism(np.array(side), 2.6 * radius).rotate((90, 0, 90)).translate((-1.3 * radius, 0, 0))
        return [slab]
    if kind == "goose":
        bend, rise = 0.45 * reach, draws.choice("rise", (1.0, 4.0))
        angle = np.linspace(0, draws.choice("turn", (0.86, 1.0)) * np.pi, 26)
        arc = np.column_stack([0 * angle, bend * (np.cos(angle) - 1), height + rise + bend * np.sin(angle)])
        heading = np.array([0, -np.sin(angle[-1]), np.cos(angle[-1])])
        path = np.vstack([(0, 0, height - 1), (0, 0, height + 0.5 * rise), arc, arc[-1] + 1.2 * heading])
        end = arc[-1] + 1.0 * heading
    elif kind == "arc":
        z = 0.55 * height
        knots = [(0, 0, z), (0, -0.4 * reach, z + 1.6), (0, -0.8 * reach, z + 1.5), (0, -reach, z + 0.2)]
        path, end, heading = s.spline(knots, 24), np.array(knots[-1]), np.array([0, -0.3, -1.0])
    else:
        path = np.array([(0, 0, 0.6 * height), (0, -0.5 * reach, 0.6 * height + 0.8), (0, -reach, 0.6 * height + 1.6)])
        end, heading = path[-1] + (0, 1.2 * bore, 0), np.array([0, 0, -1.0])
    head = draws.choice("head", ("plain", "ring", "spray"))
    long, wide = {"plain": (0.9, 1.15), "ring": (1.0, 1.4), "spray": (3.0, 1.5)}[head]
    if kind == "straight":
        return [s.tube(path, bore, segments=20), s.rod(end, end + (bore + 0.5 * long) * heading, bore * wide / 1.6)]
    long *= 1.0 if kind == "goose" else 0.5
    nozzle = s.rod(end, end + long * heading, bore * min(wide, 1.2), bore * wide)
    return [s.tube(path, bore, segments=20), nozzle]


def _faucet_handles(draws: Draws, control: str, radius: float, height: float) -> list:
    kind = draws.choice("handle", ("lever", "paddle", "cross", "knob"))
    if control == "top":
        cap = s.lathe(s.spline([(1.05, 0), (1.05, 0.5), (0.8, 1.0), (0.3, 1.15)], 12) * radius, at=(0, 0, height - 0.2))
        up, back = draws.choice("tilt", ((0.5, 1.0), (0.5, -1.0), (0.15, -1.0)))
        lever = _lever(kind, 2.6 * radius, radius)
        turn = 90 - np.degrees(np.arctan2(up, 1))
        return [cap, lever.rotate((-turn * back, 0, 0)).translate((0, 0, height + 0.35 * radius))]
    if control == "side":
        z = 0.5 * height
        hub = s.rod((0.4 * radius, 0, z), (1.9 * radius, 0, z), 0.75 * radius)
        lever = _lever("lever" if kind in ("cross", "knob") else kind, 2.8 * radius, 0.9 * radius)
        return [hub, lever.rotate((draws.choice("tilt", (0, 60)), 25, 0)).translate((1.5 * radius, 0, z))]
    parts = []
    for side in (-1, 1):
        x, top = side * 3.6 * radius, 0.62 * height
        parts.append(s.cylinder(0.95 * radius, top, (x, 0, -0.3), top=0.55 * radius))
        parts += _tap(kind, side, radius, x, top - 0.4)
    return parts


def _lever(kind: str, length: float, radius: float):
    """Upright lever that starts inside the origin."""
    if kind == "paddle":
        return s.prism(s.rectangle(1.1 * radius, 0.45 * radius, 0.2 * radius), length, scale_top=(1.4, 0.9))
    if kind == "knob":
        return s.rod((0, 0, 0), (0, 0, 0.8 * length), 0.28 * radius) + s.sphere(0.55 * radius, (0, 0, 0.85 * length))
    if kind == "cross":
        return s.cylinder(0.42 * radius, length, top=0.28 * radius)
    return s.lathe(s.spline([(0.3, 0), (0.26, 0.5), (0.36, 0.9), (0.2, 1)], 12) * (radius, length))


def _tap(kind: str, side: int, radius: float, x: float, z: float) -> list:
    """Handle on a column of a pair, whose top is a little above ``z``."""
    middle = z + 0.8 * radius
    if kind == "cross":
        tips = 1.5 * radius * np.array([(0.8, 0.6), (-0.6, 0.8)])
        arms = [s.rod((-a, -b, 0), (a, b, 0), 0.34 * radius) for a, b in tips]
        return [s.cylinder(0.75 * radius, 1.6 * radius, (x, 0, z)), *(arm.translate((x, 0, middle)) for arm in arms)]
    if kind == "knob":
        return [s.cylinder(1.15 * radius, 1.4 * radius, (x, 0, z), segments=8)]
    if kind == "lever":
        arm = s.rod((0, 0, 0), (2.4 * radius, 0, 0.5 * radius), 0.3 * radius, 0.4 * radius)
    else:
        arm = s.prism(s.rectangle(2.6 * radius, 0.8 * radius, 0.35 * radius), 0.5 * radius, (1.2 * radius, 0, 0))
    arm = arm.rotate((0, 0, 0 if side > 0 else 180))
    return [s.cylinder(0.75 * radius, 1.2 * radius, (x, 0, z)), arm.translate((x, 0, middle))]
