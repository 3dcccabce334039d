"""Toy vehicle."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.toy_engines import locomotive, pegs, racer, tractor
from fastreid.data.synthetic.families.toy_trucks import Toy, dump, fire, mixer, van
from fastreid.data.synthetic.families.wheels import wheel
from fastreid.data.synthetic.solids import Part

KINDS = {
    "dump": dump,
    "mixer": mixer,
    "fire": fire,
    "van": van,
    "pegs": pegs,
    "locomotive": locomotive,
    "racer": racer,
    "tractor": tractor,
}


@family("2101", "Toy vehicle")
def toy_vehicle(draws: Draws) -> list[Part]:
    kind = draws.choice("kind", tuple(KINDS))
    radius = draws.between("wheel", 1.5, 2.3)
    length, width = draws.between("length", 13, 18), draws.between("width", 5.5, 7.5)
    toy = Toy(length, width, radius, 1.1 * radius + draws.between("chassis", 0.8, 1.6), draws.between("cab", 3.6, 5.2))
    body = [*_chassis(draws, toy), *KINDS[kind](draws, toy)]
    wheels = _wheels(draws, toy, kind)
    parts = [Part(s.union(body)), Part(wheels, not draws.chance("unclaimed wheels", 0.25))]
    if draws.chance("cord", 0.25):
        parts.append(Part(_cord(draws, toy), not draws.chance("unclaimed cord", 0.6)))
    return parts


def _chassis(draws: Draws, toy: Toy) -> list:
    low, height = 0.7 * toy.wheel, toy.deck - 0.7 * toy.wheel
    parts = [
        s.prism(s.rectangle(0.8 * toy.width, toy.length, draws.choice("corner", (0.2, 1.5)), 4), height, (0, 0, low))
    ]
    bumper = draws.choice("bumper", ("none", "bar", "plough"))
    if bumper == "bar":
        parts.append(s.box(toy.width, 1.0, 0.9, (0, -toy.length / 2, low)))
    elif bumper == "plough":
        side = np.array([(-1.9, 0.4), (0.5, 0.6), (0.5, toy.deck - 0.2), (-0.5, toy.deck - 0.2)])
        parts.append(s.side_plate(side, 1.05 * toy.width, (0, -toy.length / 2, 0)))
    return parts


def _wheels(draws: Draws, toy: Toy, kind: str):
    """All wheels with their axles."""
    style, wide = draws.choice("wheels", ("plain", "disc", "spokes", "holes")), draws.between("tread", 1.0, 1.7)
    axles = [-0.32, 0.32]
    if kind in ("mixer", "fire", "van") and draws.chance("three axles", 0.5):
        axles = [-0.34, 0.1, 0.36]
    if kind == "locomotive":
        axles = [-0.3, 0.02, 0.34]
    rear = 1.5 if kind == "tractor" else 1.0
    sets = []
    for share in axles:
        radius = toy.wheel * (rear if share > 0 else 1.0)
        right = wheel(style, radius, wide).translate((0.4 * toy.width + wide + 0.15, 0, 0))
        axle = s.rod((-0.45 * toy.width, 0, 0), (0.45 * toy.width, 0, 0), 0.45, segments=12)
        sets.append(s.union([right, right.mirror((1, 0, 0)), axle]).translate((0, share * toy.length, radius)))
    return s.union(sets)


def _cord(draws: Draws, toy: Toy):
    y, z = -toy.length / 2, toy.deck - 0.6
    reach, end = draws.between("cord length", 4, 7), draws.choice("cord end", ("bead", "ring"))
    cord = s.tube(s.spline([(0, y + 1, z), (0, y - 0.4 * reach, z - 0.5), (0, y - reach, 0.9)], 12), 0.3, segments=12)
    if end == "bead":
        return cord + s.sphere(0.8, (0, y - reach, 0.9))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = s.tube(
        np.column_stack([1.2 * np.cos(angle), 1.2 * np.sin(angle), 0 * angle]), 0.32, closed=True, segments=12
    )
    return cord + ring.translate((0, y - reach - 1.1, 0.9))
