"""Plug adapter."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part

SOCKETS = ("us", "us ground", "eu", "uk", "au")


def _slots(kind: str, size: float) -> tuple[list[np.ndarray], bool]:
    """Outlines of the holes or pins of one socket around the origin, upright; whether they sit in a round well."""
    flat, wide = s.rectangle(0.22, 0.8), s.rectangle(0.8, 0.24)
    pin = s.ellipse(0.5, 0.5, 20)
    slanted = flat @ np.array([(0.87, 0.5), (-0.5, 0.87)])
    outlines = {
        "us": [flat + (-0.6, 0), flat + (0.6, 0)],
        "us ground": [flat + (-0.6, 0.3), flat + (0.6, 0.3), pin + (0, -0.6)],
        "eu": [pin + (-0.85, 0), pin + (0.85, 0)],
        "uk": [s.rectangle(0.3, 0.85) + (0, 0.75), wide + (-0.9, -0.5), wide + (0.9, -0.5)],
        "au": [slanted * (-1, 1) + (-0.6, 0.25), slanted + (0.6, 0.25), flat + (0, -0.7)],
    }[kind]
    return [size * outline for outline in outlines], kind == "eu"


def _outlet(kind: str, size: float, x: float, y: float, depth: float):
    """What an outlet at (x, y) takes from a front face at z = ``depth``."""
    outlines, well = _slots(kind, size)
    low = depth - (1.1 if well else 0.6)
    cuts = [s.prism(outline, 4, (x, y, low)) for outline in outlines]
    return s.union([*cuts, s.cylinder(1.75 * size, 4, (x, y, depth - 0.6))] if well else cuts)


@family("1303", "Plug adapter")
def plug(draws: Draws) -> list[Part]:
    """Pins at the rear, outlets at the front; built upwards and turned."""
    outlets = draws.choice("outlets", ((1, 1), (1, 1), (1, 2), (2, 1), (1, 3)))
    size, depth = draws.between("size", 0.9, 1.1), draws.between("depth", 2.4, 5.0)
    pitch = (3.9 * size, 3.9 * size)
    width, height = outlets[0] * pitch[0] + draws.between("border", 0.6, 1.6), outlets[1] * pitch[1] + 0.9
    ports = draws.choice("ports", (0, 0, 1, 2))
    height += 1.7 if ports else 0.0
    outline, profile = _plug_body(draws, width, height, depth)
    body = [s.stack(outline, profile)]
    kind, shift = draws.choice("outlet", SOCKETS), 0.85 if ports else 0.0
    places = s.grid(*((np.arange(n) - (n - 1) / 2) * p for n, p in zip(outlets, pitch, strict=True)))
    cuts = [_outlet(kind, size, x, y + shift, depth) for x, y in places]
    for x in (np.arange(ports) - (ports - 1) / 2) * 1.7:
        cuts.append(s.prism(s.rectangle(1.2, 0.5), 4, (x, 1.25 - height / 2, depth - 0.8)))
    body += _plug_trim(draws, outline, height, depth)
    pins, _ = _slots(draws.choice("pins", SOCKETS), 1.0)
    prongs = s.union([s.prism(pin, draws.choice("pin length", (1.7, 2.3)) + 0.5, (0, 0, -1.9)) for pin in pins])
    parts = [Part(s.forward(s.union(body) - s.union(cuts)))]
    parts.append(Part(s.forward(prongs), not draws.chance("unclaimed pins", 0.35)))
    if draws.chance("cord", 0.3):
        parts.append(Part(s.forward(_cord(draws, height, depth)), claimed=False))
    return parts


def _plug_body(draws: Draws, width: float, height: float, depth: float) -> tuple[np.ndarray, list]:
    """Outline, and profile of (scale, z)."""
    shape = draws.choice("shape", ("sharp", "rounded", "rounded", "oval", "octagon"))
    if shape == "oval":
        outline = s.ellipse(1.2 * width, 1.2 * height, power=2.6)
    elif shape == "octagon":
        outline = s.rectangle(1.08 * width, 1.08 * height, 0.25 * min(width, height), 1)
    else:
        outline = s.rectangle(width, height, {"sharp": 0.0, "rounded": 0.22}[shape] * min(width, height))
    profile = {
        "straight": [(1, 0), (1, depth)],
        "bevel": [(1, 0), (1, depth - 0.5), (0.9, depth)],
        "taper": [(1.2, 0), (0.98, depth)],
        "flange": [(1.18, 0), (1.18, 0.7), (1, 0.7), (1, depth)],
        "step": [(0.8, 0), (0.8, 0.45 * depth), (1, 0.6 * depth), (1, depth)],
    }[draws.choice("profile", ("straight", "bevel", "taper", "flange", "step"))]
    return outline, profile


def _plug_trim(draws: Draws, outline: np.ndarray, height: float, depth: float) -> list:
    """Ribs around the sides, a switch on top, or a light at the front."""
    kind = draws.choice("trim", ("none", "ribs", "switch", "light"))
    if kind == "ribs":
        places = np.linspace(0.35, 0.75, draws.integer("ribs", 2, 3)) * depth
        return [s.stack(outline * 1.1, [(1, z), (1, z + 0.3)]) for z in places]
    if kind == "switch":
        top = outline[:, 1].max()
        return [s.box(1.6, 1.6, 0.8, (0, top, 0.62 * depth - 0.4))]
    if kind == "light":
        return [s.cylinder(0.25, 1.0, (0.36 * np.ptp(outline[:, 0]), -0.38 * height, depth - 0.8), segments=20)]
    return []


def _cord(draws: Draws, height: float, depth: float):
    """A cord that leaves the lower side through a sleeve; y is up."""
    y, z = -0.4 * height, 0.5 * depth
    sway, long = draws.choice("sway", (-2.0, 0.0, 2.0)), draws.between("cord length", 4, 8)
    path = s.spline([(0, y, z), (0, y - 3, z), (0.4 * sway, y - 3 - 0.6 * long, z), (sway, y - 3 - long, z)], 24)
    return s.union([s.rod((0, y, z), (0, y - 2.6, z), 0.75, 0.5), s.tube(path, 0.36, segments=12)])
