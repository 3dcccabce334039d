"""Toy vehicles that are no trucks: peg car, locomotive, racer, tractor."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families.toy_trucks import Toy, cab


def pegs(draws: Draws, toy: Toy) -> list:
    """Flat car with figures or rings on pegs."""
    count, kind = draws.integer("pegs", 2, 4), draws.choice("peg", ("figure", "rings", "block"))
    places = np.linspace(-0.36, 0.36, count) * toy.length
    r = min(0.36 * toy.length / count, 0.34 * toy.width)
    rail = s.box(0.9 * toy.width, toy.length * 0.98, 0.8, (0, 0, toy.deck - 0.1))
    parts = [rail]
    for k, y in enumerate(places):
        tall = draws.between(f"peg {k}", 2.2, 4.0)
        if kind == "figure":
            parts += [
                s.cylinder(r, tall, (0, y, toy.deck), top=0.6 * r, segments=32),
                s.sphere(0.75 * r, (0, y, toy.deck + tall + 0.4 * r)),
            ]
        elif kind == "block":
            turn = draws.choice(f"block {k}", (4, 6, 32))
            parts.append(s.cylinder(r * 1.05, tall, (0, y, toy.deck), segments=turn))
        else:
            steps = [(r * (1 - 0.22 * n), toy.deck + 1.1 * (n + m)) for n in range(3) for m in (0, 1)]
            parts += [s.lathe(steps, 32, (0, y, 0)), s.sphere(0.6 * r, (0, y, toy.deck + 3.5))]
    return parts


def locomotive(draws: Draws, toy: Toy) -> list:
    """Boiler with chimney and domes, cab at the rear."""
    r, start = draws.between("boiler", 0.34, 0.44) * toy.width, -toy.length / 2
    depth = draws.between("cab depth", 4.2, 5.6)
    end = toy.length / 2 - depth
    z = toy.deck + 0.85 * r
    house = s.box(0.95 * toy.width, depth - 0.6, toy.cab + r, (0, toy.length / 2 - depth / 2 - 0.1, toy.deck - 0.1))
    window = s.box(
        99, 0.45 * depth, 0.4 * toy.cab, (0, toy.length / 2 - depth / 2, toy.deck + 0.45 * toy.cab + 0.4 * r)
    )
    top = toy.deck + toy.cab + r - 0.2
    roof = draws.choice("roof", ("flat", "arched"))
    shape = s.rectangle(1.15 * toy.width, 0.9) if roof == "flat" else s.ellipse(1.2 * toy.width, 3.2, 32)
    roof = s.plate(shape, depth + 0.8, (0, toy.length / 2 - depth / 2 - 0.1, top)).trim_by_plane((0, 0, 1), top - 0.3)
    boiler = s.rod((0, start + 0.6, z), (0, end + 1, z), r, segments=32)
    nose = s.rod((0, start - 0.1, z), (0, start + 1, z), 0.72 * r, segments=24)
    stack = draws.choice("chimney", ("straight", "funnel", "diamond"))
    profile = {"straight": [(0.9, 0), (0.9, 3.2)], "funnel": [(0.6, 0), (0.6, 1.6), (1.3, 3.6)]}.get(
        stack, [(0.6, 0), (0.6, 1.2), (1.4, 2.4), (0.7, 3.6)]
    )
    chimney = s.lathe(np.array(profile) + (0, z + 0.8 * r), 24, (0, start + 2.2, 0))
    domes = [s.sphere(1.1, (0, start + 2.2 + 2.8 * (k + 1), z + r)) for k in range(draws.integer("domes", 0, 2))]
    return [
        s.engrave(house, window, 0.3),
        roof,
        boiler,
        nose,
        chimney,
        *domes,
        s.box(1.2 * r, end - start, r, (0, (start + end) / 2, toy.deck - 0.2)),
    ]


def racer(draws: Draws, toy: Toy) -> list:
    """Streamlined body with a cockpit."""
    high = draws.between("cowl", 2.4, 3.6)
    knots = [
        (0.0, 0.3, 0.35),
        (0.2, 0.62, 0.6),
        (0.5, 0.9, 1.0),
        (0.78, 0.85, 0.9),
        (1.0, draws.choice("tail", (0.3, 0.7)), 0.5),
    ]
    rings = []
    for share, w, h in s.spline(knots, 14):
        x, z = s.ellipse(w * 0.8 * toy.width, 2 * h * high, 28, draws.choice("section", (2.0, 2.4))).T
        rings.append(np.column_stack([x, np.full(28, (share - 0.5) * 1.04 * toy.length), z + toy.deck]))
    seat = s.prism(s.ellipse(0.46 * toy.width, 0.2 * toy.length, 28), 9, (0, 0.1 * toy.length, toy.deck + 0.35 * high))
    parts = [(s.loft(np.array(rings)) - seat).trim_by_plane((0, 0, 1), toy.deck - 0.3)]
    if draws.chance("driver", 0.6):
        parts.append(s.sphere(0.17 * toy.width, (0, 0.1 * toy.length, toy.deck + high)))
        parts.append(
            s.cylinder(0.15 * toy.width, 0.8 * high, (0, 0.1 * toy.length, toy.deck + 0.2 * high), segments=20)
        )
    wing = draws.choice("wing", ("none", "wing", "fin"))
    y = 0.44 * toy.length
    if wing == "wing":
        posts = [s.box(0.6, 1.0, high + 1.4, (side * 0.16 * toy.width, y, toy.deck - 0.2)) for side in (-1, 1)]
        parts += [s.box(toy.width, 2.0, 0.6, (0, y, toy.deck + high + 0.9)), *posts]
    elif wing == "fin":
        fin = np.array([(-4.5, 0), (0.6, 0), (1.0, high + 1.6), (-0.6, high + 1.6)])
        parts.append(s.side_plate(fin, 0.7, (0, y, toy.deck + 0.1)))
    return parts


def tractor(draws: Draws, toy: Toy) -> list:
    """Hood with a grille, behind it a cab, a canopy or a bare seat."""
    start, split = -toy.length / 2 + 0.3, 0.02 * toy.length
    tall, top = draws.between("hood", 2.6, 3.6), draws.choice("top", ("cab", "canopy", "seat"))
    hood = s.prism(
        s.rectangle(0.55 * toy.width, split - start + 1, 0.8, 4), tall, (0, (start + split + 1) / 2, toy.deck - 0.1)
    )
    slots = [s.box(0.38 * toy.width, 9, 0.5, (0, start, toy.deck + k * tall)) for k in (0.25, 0.5, 0.75)]
    parts = [s.sink(hood, s.union(slots), (0, 0.4, 0))]
    if draws.chance("exhaust", 0.7):
        parts.append(
            s.cylinder(0.45, 3.4, (0.1 * toy.width, start + 0.45 * (split - start), toy.deck + tall - 0.4), segments=12)
        )
    if top == "cab":
        return [*parts, cab(draws, toy, split, toy.length / 2 - split - 0.8)]
    y, rise = (split + toy.length / 2) / 2, toy.deck
    parts += [
        s.cushion(0.5 * toy.width, 2.6, 1.6, 0.4, (0, y, rise - 0.3)),
        s.cushion(0.5 * toy.width, 0.9, 3.4, 0.4, (0, y + 1.4, rise - 0.2)),
    ]
    column = s.rod((0, split + 0.5, rise), (0, split + 1.4, rise + 3.4), 0.4, segments=12)
    disc = s.rod((0, split + 1.3, rise + 3.1), (0, split + 1.5, rise + 3.7), 1.3, segments=20)
    parts += [column, disc]
    if top == "canopy":
        x, a, b = 0.36 * toy.width, split + 0.8, toy.length / 2 - 0.8
        posts = [
            s.rod((u, v, rise - 0.3), (u, v, rise + toy.cab + 1.6), 0.4, segments=12)
            for u, v in s.grid((-x, x), (a, b))
        ]
        parts += [*posts, s.box(2 * x + 1.2, b - a + 1.6, 0.8, (0, (a + b) / 2, rise + toy.cab + 1.4))]
    return parts
