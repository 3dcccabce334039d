"""Cutlery: spoons, forks, knives, sporks."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part


@family("0703", "Cutlery")
def cutlery(draws: Draws) -> list[Part]:
    """Upright, its broad face to the front: handle below z = 0, head above."""
    kind = draws.choice("kind", ("spoon", "spoon", "fork", "fork", "knife", "knife", "spork"))
    length, neck = draws.between("handle length", 11, 16), draws.between("neck", 0.65, 0.9)
    neck, length = (1.9 * neck, 0.85 * length) if kind == "knife" else (neck, length)
    head = _knife_blade(draws) if kind == "knife" else _bowl_or_tines(draws, kind, neck)
    bend = 0.0 if kind == "knife" else draws.choice("bend", (0.0, 0.06, 0.1))
    which = draws.choice("unclaimed", ("none", "none", "none", "handle", "head"))
    handle = _cutlery_handle(draws, length, neck, bend, plain=which == "handle")
    if draws.chance("bolster", 0.3):
        handle += s.prism(s.ellipse(neck + 0.8, 0.4 * neck + 1.1), 1.1, (0, 0, -0.6))
    return [Part(head, which != "head"), Part(handle, which != "handle")]


# width from the end of the handle to the neck: 0 is the neck's, 1 the end's
HANDLES = {
    "taper": (1, 0.75, 0.45, 0.2, 0),
    "fiddle": (0.9, 1, 0.75, 0.12, 0.05, 0),
    "rod": (0.3, 0.2, 0.2, 0.15, 0),
    "block": (1, 1, 0.95, 0.9, 0.8, 0.6),
    "waist": (1, 0.7, 0.25, 0.35, 0.75, 0.1),
}


def _cutlery_handle(draws: Draws, length: float, neck: float, bend: float, plain: bool):
    """From z = -length to just above 0, where it is ``neck`` wide; it swings backwards by ``bend`` of its length.

    ``plain``: nothing is sunk into it, for the broken lines of two edges that coincide would join into a full one.
    """
    shares = HANDLES[draws.choice("handle", tuple(HANDLES))]
    end, share = draws.between("end", 1.7, 2.5), (1 - np.cos(np.linspace(0, np.pi, 30))) / 2
    curve = s.spline(list(zip(np.linspace(0, 1, len(shares)), shares, strict=True)), 40)
    width = neck + (end - neck) * np.interp(share, *curve.T)
    roundness = draws.choice("tip", (1.0, 2.0, 5.0))
    width *= (1 - (1 - np.clip(share / 0.09 + 0.02, 0, 1)) ** roundness) ** (1 / roundness)
    thick = draws.choice("section", (0.85, 1.05)) * (1.5 - 0.65 * share)
    z, y = share * (length + 0.8) - length, bend * length * np.sin(np.pi * share) - 0.1
    body = s.paddle(z, width, thick, y, draws.choice("edge", (2.0, 4.0)))
    ornament = draws.choice("ornament", ("none", "none", "hole", "panel", "bars"))
    if plain or ornament == "none" or shares[0] < 0.5:
        return body
    if ornament == "hole":
        return body - s.plate(s.ellipse(0.5 * end, 0.9 * end), 30, (0, 0, 0.85 * end - length))
    band = _bands(draws, ornament, 0.5 * end - length, length)
    return body - (band ^ s.paddle(z, 0.55 * width, 9 + 0 * z, y) ^ (body - body.translate((0, 0.22, 0))))


def _bands(draws: Draws, ornament: str, low: float, length: float):
    """Where the front of a handle is sunk, from the height ``low``: one panel or a row of bars."""
    if ornament == "panel":
        return s.box(30, 30, draws.choice("panel", (0.3, 0.6)) * length, (0, 0, low))
    return s.union([s.box(30, 30, 0.45, (0, 0, low + 0.95 * k)) for k in range(draws.integer("bars", 2, 5))])


def _bowl_or_tines(draws: Draws, kind: str, neck: float):
    """Head of a spoon, fork or spork; the hollow side faces the front."""
    width, length = draws.between("width", 3.0, 4.2), draws.between("head length", 5.6, 7.2)
    if kind == "fork":
        return _fork_head(draws, 0.85 * width, length, neck)
    shape = draws.choice("bowl", ("oval", "egg", "round", "square"))
    length *= {"round": 0.75}.get(shape, 1.0)
    outline = s.ellipse(width * (1.15 if shape == "round" else 1), length, power=3.2 if shape == "square" else 2.0)
    if shape == "egg":
        outline[:, 0] *= 1 - 0.32 * outline[:, 1] / length
    deep, angle = draws.between("deep", 0.9, 1.5), np.linspace(0.25, np.pi / 2, 9)
    profile = np.column_stack([np.sin(angle), -deep * np.cos(angle)])
    inner = profile * (1 - 0.72 / width, 1 - 0.36 / deep)
    bowl = s.stack(outline, profile) - s.stack(outline, np.vstack([inner, inner[-1] + (0, 1)]))
    bowl = bowl.rotate((90, 0, 0)).translate((0, 0, 0.47 * length))
    if kind == "spoon":
        return bowl
    notches = [np.array([(x, 0.66), (x + 0.055, 1.1), (x - 0.055, 1.1)]) * (width, length) for x in (-0.16, 0.16)]
    return bowl - s.union([s.plate(notch, 20) for notch in notches])


def _fork_head(draws: Draws, width: float, length: float, neck: float):
    share = np.linspace(0, 1, 22)
    shoulders = ((0, 0.8, 1, 1, 0.97, 0.95), (0, 0.25, 0.85, 1, 1, 0.97), (0, 0.5, 0.8, 0.9, 1, 1))
    knots = draws.choice("shoulder", shoulders)
    spread = np.interp(share, *s.spline(list(zip(np.linspace(0, 1, 6), knots, strict=True)), 40).T)
    y = draws.choice("curve", (0.5, 1.0)) * np.sin(np.pi * share)
    thick = np.interp(share, [0, 0.2, 1], [0.3, 0.55, 0.55])
    head = s.paddle(share * (length + 0.6) - 0.6, neck + (width - neck) * spread, thick, y, 4.0)
    tines, root = draws.choice("tines", (2, 3, 3, 4)), draws.choice("root", (0.42, 0.55)) * length
    pitch, gap = width / tines, (0.62 if tines == 2 else 0.42) * width / tines
    cuts = []
    for x in (np.arange(1, tines) - tines / 2) * pitch:
        wedge = np.array([(x - gap / 2, root), (x + gap / 2, root), (x + 0.8 * gap, 9), (x - 0.8 * gap, 9)])
        cuts += [s.plate(wedge, 20), s.plate(s.ellipse(gap, gap, 16), 20, (x, 0, root))]
    return head - s.union(cuts)


def _knife_blade(draws: Draws):
    length, width = draws.between("blade", 7, 10), draws.between("blade width", 1.5, 2.3)
    kind = draws.choice("blade kind", ("table", "steak", "butter", "cheese"))
    edge = {
        "table": [(-0.25, -0.8), (-0.5, 0.6), (-0.55, 0.75 * length), (-0.35, 0.95 * length), (0.2, length)],
        "steak": [(-0.25, -0.8), (-0.5, 0.6), (-0.52, 0.55 * length), (-0.2, 0.85 * length), (0.45, length)],
        "butter": [(-0.25, -0.8), (-0.4, 0.35 * length), (-0.85, 0.6 * length), (-0.7, 0.9 * length), (0.1, length)],
        "cheese": [(-0.25, -0.8), (-0.5, 0.6), (-0.7, 0.6 * length), (-0.55, 0.8 * length), (0.1, 0.75 * length)],
    }[kind]
    back = {"cheese": [(0.75, length), (0.5, 0.8 * length)], "butter": [(0.45, 0.9 * length)]}.get(kind, [])
    curve = s.spline(edge, 40) * (width, 1)
    rear = np.array([*back, (0.5, 0.7 * length), (0.5, 0.6), (0.25, -0.8)]) * (width, 1)
    blade = s.plate(np.vstack([curve, rear]), 0.6)
    if kind == "steak" or draws.chance("serrated", 0.2):
        places = np.arange(0.3 * length, 0.75 * length, 0.65)
        at = np.interp(places, curve[:, 1], curve[:, 0])
        blade -= s.union([s.plate(s.ellipse(0.5, 0.5, 12), 4, (x, 0, z)) for x, z in zip(at, places, strict=True)])
    return blade
