"""Toy trucks: a cab and what stands behind it."""

from dataclasses import dataclass

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws


@dataclass(frozen=True)
class Toy:
    """Measures in centimetres; the nose is at y = -length / 2, the deck is the upper face of the chassis."""

    length: float
    width: float
    wheel: float
    deck: float
    cab: float


def cab(draws: Draws, toy: Toy, start: float, depth: float):
    """Driver's cab over y = start ... start + depth with windows on all sides."""
    shape, width = draws.choice("cab shape", ("square", "slanted", "round", "bonnet")), 0.86 * toy.width
    a, b, low, high = start, start + depth, toy.deck - 0.1, toy.deck + toy.cab
    lean = {"slanted": 0.35, "bonnet": 0.55}.get(shape, 0.0) * depth
    side = [(a, low), (b, low), (b, high), (a + lean, high), (a, low + 0.45 * toy.cab)]
    room = s.side_plate(np.array(side), width)
    if shape == "round":
        room = s.plate(s.offset(s.rectangle(width - 2, 2 * toy.cab - 2), 1.0), depth, (0, a + depth / 2, low))
        room = room.trim_by_plane((0, 0, 1), low)
    glass = s.plate(s.rectangle(0.72 * width, 0.42 * toy.cab, 0.3, 3), 99, (0, 0, low + 0.68 * toy.cab))
    door = np.array([(a + lean + 0.16 * depth, low + 0.47 * toy.cab), (b - 0.16 * depth, low + 0.47 * toy.cab)])
    door = np.vstack([door, door[::-1] + (0, 0.4 * toy.cab)])
    return s.engrave(room, glass + s.side_plate(door, 99), 0.3)


def _lamps(draws: Draws, toy: Toy, y: float, z: float) -> list:
    """Two head lamps at the front face y."""
    if not draws.chance("lamps", 0.6):
        return []
    lamp = s.rod((0.26 * toy.width, y + 0.5, z), (0.26 * toy.width, y - 0.4, z), 0.6, segments=16)
    return [lamp, lamp.mirror((1, 0, 0))]


def _truck(draws: Draws, toy: Toy) -> tuple[list, float, float]:
    """Cab at the front; places where the load starts and ends."""
    depth = draws.between("cab depth", 3.4, 4.8)
    start = -toy.length / 2 + 0.2
    parts = [cab(draws, toy, start, depth), *_lamps(draws, toy, start, toy.deck + 0.22 * toy.cab)]
    return parts, start + depth + 0.6, toy.length / 2


def dump(draws: Draws, toy: Toy) -> list:
    """A bed that may be tipped."""
    parts, a, b = _truck(draws, toy)
    tall, width, tilt = draws.between("bed", 2.4, 4.2), 1.02 * toy.width, draws.choice("tilt", (0, 0, 22))
    side = np.array([(a - b, 0), (-1.2, 0), (0.4, 0.9 * tall), (0.1, tall), (a - b, tall)])
    bed = s.side_plate(side, width) - s.side_plate(side * 0.97 + (-0.3, 0.7), width - 1.2)
    if draws.chance("ribs", 0.5):
        ribs = [s.box(width + 0.7, 0.7, tall - 0.5, (0, share * (b - a), 0)) for share in (-0.85, -0.55, -0.25)]
        bed += s.union(ribs) - s.box(width - 0.4, 99, 99, (0, 0, 0.3))
    bed = bed.translate((0, 1.2, 0)).rotate((-tilt, 0, 0)).translate((0, b - 1.2, toy.deck - 0.15))
    if tilt:
        parts.append(
            s.rod(
                (0, (a + b) / 2, toy.deck - 0.3), (0, (a + b) / 2, toy.deck + 0.19 * (b - a) - 0.25), 0.6, segments=12
            )
        )
    return [*parts, bed]


def mixer(draws: Draws, toy: Toy) -> list:
    """A drum for concrete that leans backwards."""
    parts, a, b = _truck(draws, toy)
    span, thick = b - a, draws.between("drum", 0.36, 0.46) * toy.width
    shape = draws.choice("drum shape", ("pear", "cone"))
    knots = (
        [(0.5, 0), (0.95, 0.2), (1.0, 0.5), (0.5, 1.0)]
        if shape == "pear"
        else [(0.65, 0), (1, 0.3), (1, 0.55), (0.45, 1)]
    )
    drum = s.lathe((s.spline(knots, 14) if shape == "pear" else np.array(knots)) * (thick, 1.05 * span), 32)
    if draws.chance("bands", 0.6):
        drum += s.cylinder(1.08 * thick, 0.8, (0, 0, 0.42 * span), segments=32)
    drum = drum.rotate((-72, 0, 0)).translate((0, a, toy.deck + thick * 0.9))
    feet = [s.box(0.6 * toy.width, 1.2, thick + 0.8, (0, y, toy.deck - 0.2)) for y in (a + 0.9, b - 0.35 * span)]
    chute = s.rod((0, b - 0.8, toy.deck + 1.0), (0, b + 1.2, toy.deck - 0.6), 0.7, segments=4)
    return [
        *parts,
        drum,
        *feet,
        *([chute, s.box(1, 1, 2, (0, b - 0.6, toy.deck - 0.4))] if draws.chance("chute", 0.5) else []),
    ]


def fire(draws: Draws, toy: Toy) -> list:
    """A fire engine with its ladder."""
    parts, a, b = _truck(draws, toy)
    tall = draws.between("body", 2.6, 3.8)
    parts.append(s.box(0.9 * toy.width, b - a + 0.7, tall, (0, (a + b) / 2 - 0.35, toy.deck - 0.1)))
    length, x, rise = b - a + 2.5, 0.2 * toy.width, draws.choice("ladder", (3, 14))
    rails = [s.box(0.5, length, 0.6, (side * x, -length / 2, 0)) for side in (-1, 1)]
    rungs = [
        s.box(2 * x, 0.5, 0.45, (0, y, 0.05)) for y in -length * np.linspace(0.08, 0.92, draws.integer("rungs", 4, 6))
    ]
    ladder = s.union([*rails, *rungs]).rotate((-rise, 0, 0)).translate((0, b, toy.deck + tall + 0.3))
    stand = s.box(2 * x + 0.4, 1.4, 1.4, (0, b - 1.0, toy.deck + tall - 0.7))
    parts += [ladder, stand]
    if rise < 10:
        parts.append(s.box(2 * x + 0.4, 1.2, 1.3, (0, a + 1.0, toy.deck + tall - 0.5)))
    if draws.chance("beacon", 0.7):
        parts.append(
            s.cylinder(0.8, 1.6, (0.3 * toy.width, -toy.length / 2 + 2.8, toy.deck + toy.cab - 0.3), segments=20)
        )
    return parts


def van(draws: Draws, toy: Toy) -> list:
    """A box or a tank behind the cab."""
    parts, a, b = _truck(draws, toy)
    tall, width = draws.between("box", 4.4, 7.0), toy.width
    roof = draws.choice("box roof", ("flat", "arched", "tank"))
    middle, span = (a + b) / 2, b - a
    if roof == "tank":
        tank = s.plate(s.ellipse(width, 0.75 * width, 32), span, (0, middle, toy.deck + 0.36 * width))
        caps = [s.cylinder(0.8, 0.9, (0, middle + k * span, toy.deck + 0.68 * width), segments=16) for k in (-0.2, 0.2)]
        return [
            *parts,
            tank,
            s.box(0.6 * width, span, 0.3 * width, (0, middle, toy.deck - 0.2)),
            *caps,
            _bridge(toy, a),
        ]
    outline = s.rectangle(width, tall) + (0, tall / 2)
    if roof == "arched":
        outline = np.vstack(
            [[(-width / 2, 0), (width / 2, 0)], s.ellipse(width, 0.7 * tall, 32)[:17] + (0, 0.65 * tall)]
        )
    body = s.plate(outline, span, (0, middle, toy.deck - 0.1))
    panel = draws.choice("panel", ("plain", "side", "doors", "windows"))
    low = toy.deck + 0.2 * tall
    tools = {
        "side": [s.box(99, 0.76 * span, 0.4 * tall, (0, middle, low))],
        "doors": [s.box(0.36 * width, 20, 0.55 * tall, (k * 0.21 * width, b, low)) for k in (-1, 1)],
        "windows": [
            s.box(99, 0.2 * span, 0.3 * tall, (0, middle + k * span, low + 0.1 * tall)) for k in (-0.3, 0, 0.3)
        ],
    }.get(panel)
    return [*parts, s.engrave(body, s.union(tools), 0.3) if tools else body, _bridge(toy, a)]


def _bridge(toy: Toy, y: float):
    """What joins a cab and the load behind it."""
    return s.box(0.4 * toy.width, 2.0, 1.6, (0, y - 0.3, toy.deck - 0.3))
