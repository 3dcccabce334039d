"""Car."""

from dataclasses import dataclass

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.wheels import wheel
from fastreid.data.synthetic.solids import Part

RELIEF = 0.03
# shares of the length, from the nose: foot and head of the windshield, head and foot of the rear window
CABINS = {
    "sedan": (0.30, 0.43, 0.70, 0.84),
    "hatchback": (0.27, 0.40, 0.82, 0.95),
    "wagon": (0.28, 0.39, 0.91, 0.975),
    "coupe": (0.36, 0.49, 0.62, 0.93),
    "van": (0.11, 0.25, 0.95, 0.985),
    "pickup": (0.29, 0.40, 0.56, 0.61),
    "roadster": (0.38, 0.47, 0.49, 0.51),
}
HEIGHTS = {"sedan": 1.42, "hatchback": 1.5, "wagon": 1.62, "coupe": 1.3, "van": 1.9, "pickup": 1.7, "roadster": 1.28}
LAMPS = {"round": (0.24, 0.24), "slim": (0.42, 0.1), "square": (0.32, 0.2), "upright": (0.13, 0.34)}


@dataclass(frozen=True)
class _Frame:
    """Measures of a car in metres; ``places``: see ``CABINS``; ``clear``: height of the floor above the ground."""

    kind: str
    length: float
    width: float
    height: float
    belt: float
    clear: float
    wheel: float
    places: tuple[float, ...]

    def y(self, share: float) -> float:
        return (share - 0.5) * self.length


def _frame(draws: Draws) -> _Frame:
    kind = draws.choice("kind", tuple(CABINS))
    height = HEIGHTS[kind] * draws.between("height", 0.95, 1.06)
    wheel_radius = draws.between("wheel", 0.3, 0.36) * (1.12 if kind in ("wagon", "pickup") else 1.0)
    # the wheel houses must stay under the bonnet
    belt = max(draws.between("belt", 0.58, 0.66) * min(height, 1.75), 2.5 * wheel_radius)
    shift = draws.between("cab forward", -0.03, 0.02)
    places = tuple(place + shift * (k < 2) for k, place in enumerate(CABINS[kind]))
    length = draws.between("length", 3.7, 4.9)
    return _Frame(
        kind, length, draws.between("width", 1.65, 1.95), height, belt, 0.55 * wheel_radius, wheel_radius, places
    )


@family("1208", "Automobile")
def car(draws: Draws) -> list[Part]:
    f = _frame(draws)
    axles = (0.14 + f.wheel / f.length, 0.87 - f.wheel / f.length)
    body = s.union([_faces(draws, f, _lower_body(draws, f)), _cabin(draws, f)]) - _arches(f, axles)
    if f.kind in ("pickup", "roadster"):
        body = _open_top(draws, f, body)
    body = s.union([body, *_fittings(draws, f)])
    tread, kind = 0.2, draws.choice("wheels", ("spokes", "holes", "disc", "star"))
    right = wheel(kind, f.wheel, tread, 5 if kind == "star" else 6).translate((f.width / 2 - 0.02, 0, f.wheel))
    axle = s.rod((-0.4 * f.width, 0, f.wheel), (0.4 * f.width, 0, f.wheel), 0.12)
    pair = s.union([right, right.mirror((1, 0, 0)), axle])
    claimed = not draws.chance("unclaimed wheels", 0.3)
    return [Part(body), *(Part(pair.translate((0, f.y(share), 0)), claimed) for share in axles)]


def _lower_body(draws: Draws, f: _Frame):
    """Everything below the windows: what its outlines from the side, the front and above have in common."""
    nose = max(f.belt - draws.between("hood slope", 0.06, 0.26), 2.3 * f.wheel)
    deck = f.belt - (draws.between("deck slope", 0.0, 0.1) if f.kind in ("sedan", "coupe", "roadster") else 0.02)
    points = [
        (0.03, f.clear), (0.97, f.clear), (0.995, f.clear + 0.2), (1, deck - 0.2), (0.985, deck), (f.places[3], f.belt),
        (f.places[0], f.belt), (0.05, nose), (0.0, nose - 0.2), (0.0, f.clear + 0.15),
    ]  # fmt: skip
    side = _soft(np.array([(f.y(share), z) for share, z in points]), draws.choice("roundness", (0.04, 0.12)))
    w = f.width / 2
    half = np.array([(0.9 * w, f.clear - 0.01), (w, f.clear + 0.25), (w, 0.8 * f.belt), (0.92 * w, f.belt + 0.02)])
    front = np.vstack([half, (half * (-1, 1))[::-1]])
    plan = s.ellipse(f.width, f.length, 36, draws.choice("plan", (5, 9)))
    return s.side_plate(side, 3) ^ s.plate(front, 9) ^ s.prism(plan, 3)


def _soft(outline: np.ndarray, radius: float) -> np.ndarray:
    """Round the convex corners of an outline."""
    return s.offset(s.offset(outline, -radius), radius)


def _faces(draws: Draws, f: _Frame, body):
    """Sink lamps, grille, number plate and doors into the lower body."""
    z = f.belt - 0.36
    lamps, tails = (_lamps(draws.choice(name, tuple(LAMPS)), f, z) for name in ("lamps", "tail lamps"))
    front = [*lamps, *_grille(draws.choice("grille", ("slot", "wide", "twin", "bars", "none")), f, z)]
    rear = [*tails, s.plate(s.rectangle(0.52, 0.13), 0.5 * f.length, (0, 0, 0.62 * z + 0.38 * f.clear))]
    door, *second = _doors(draws, f)
    reliefs = [*(x.translate((0, -f.length / 2, 0)) for x in front), *(x.translate((0, f.length / 2, 0)) for x in rear)]
    body = s.engrave(body, s.union([*reliefs, door]), RELIEF)
    # another depth, so that a line parts the doors
    return s.engrave(body, second[0], 2 * RELIEF) if second else body


def _lamps(kind: str, f: _Frame, z: float) -> list:
    width, height = LAMPS[kind]
    shape, x = s.rectangle(width, height, 0.45 * height, 4), 0.43 * f.width - width / 2
    return [s.plate(shape + (side * x, 0), 0.5 * f.length, (0, 0, z)) for side in (-1, 1)]


def _grille(kind: str, f: _Frame, z: float) -> list:
    low = (z + f.clear) / 2 + 0.05
    rows = {"slot": [(0.9, 0.1, 0, low)], "wide": [(0.75, 0.28, 0, low + 0.05)], "none": []}
    rows["twin"] = [(0.26, 0.26, side * 0.17, low + 0.1) for side in (-1, 1)]
    rows["bars"] = [(0.8, 0.07, 0, low + 0.16 * k) for k in (-0.5, 0.5)]
    return [
        s.plate(s.rectangle(width, height, 0.04, 2), 0.5 * f.length, (x, 0, middle))
        for width, height, x, middle in rows[kind]
    ]


def _doors(draws: Draws, f: _Frame) -> list:
    """One or two pairs of doors as bars through the body."""
    start, end = f.y(f.places[0] + 0.03), f.y(min(f.places[2], 0.74))
    split = end if f.kind in ("coupe", "pickup", "roadster") or draws.chance("two doors", 0.3) else (start + end) / 2
    if split == end:
        end = split = max(min(split, start + 0.3 * f.length), start + 0.2 * f.length)
    low, high = f.clear + 0.16, f.belt - 0.1
    spans = [(start, split), (split, end)][: 1 if split == end else 2]
    return [s.box(9, b - a, high - low, (0, (a + b) / 2, low)) for a, b in spans]


def _cabin(draws: Draws, f: _Frame):
    """The upper body with its windows."""
    a, b, c, d = (f.y(share) for share in f.places)
    low, high, w = f.belt - 0.12, f.height, f.width / 2
    roof = 0.03 * draws.choice("roof", (0.3, 1.5))
    side = np.array(
        [(a, f.belt), (a, low), (d, low), (d, f.belt), (c, high - roof), ((b + c) / 2, high), (b, high - roof)]
    )
    top = draws.between("tumble home", 0.62, 0.76) * w
    front = _soft(np.array([(-0.9 * w, low), (0.9 * w, low), (top, high), (-top, high)]), 0.08)
    cabin = s.side_plate(side, 3) ^ s.plate(front, 9)
    openings = [
        s.plate(s.offset(front, -0.1), 9).trim_by_plane((0, 0, 1), f.belt + 0.06),
        *([] if f.kind == "roadster" else [_side_windows(draws, f, s.offset(side, -0.09))]),
    ]
    if f.kind not in ("roadster", "pickup") and draws.chance("sun roof", 0.3):
        hatch = s.rectangle(1.1 * top, 0.45 * min(c - b, 1.6), 0.08, 4)
        openings.append(s.prism(hatch, 9, (0, b + 0.45 * min(c - b, 1.6), f.belt)))
    return s.engrave(cabin, s.union(openings), RELIEF)


def _side_windows(draws: Draws, f: _Frame, outline: np.ndarray):
    glass = s.side_plate(outline, 9).trim_by_plane((0, 0, 1), f.belt + 0.05)
    glass -= s.union([s.box(10, 0.09, 9, (0, y, 0)) for y in _pillars(draws, f)])
    blind = f.kind == "van" and draws.chance("panel van", 0.5)
    return glass.trim_by_plane((0, -1, 0), -f.y(0.45)) if blind else glass


def _pillars(draws: Draws, f: _Frame) -> list[float]:
    """Places of the bars between the side windows."""
    first, last = f.places[0] + 0.03, min(f.places[2], 0.74)
    bars = [(first + last) / 2 + draws.choice("pillar", (0.0, 0.03))]
    if f.kind in ("wagon", "van"):
        bars.append(last)
    return [f.y(share) for share in bars]


def _arches(f: _Frame, axles: tuple[float, float]):
    """Wheel houses."""
    tunnel = s.rod((0.28 * f.width, 0, f.wheel), (f.width, 0, f.wheel), 1.22 * f.wheel, segments=24)
    return s.union(
        [house.translate((0, f.y(share), 0)) for share in axles for house in (tunnel, tunnel.mirror((1, 0, 0)))]
    )


def _open_top(draws: Draws, f: _Frame, body):
    """The bed of a pickup, or the seats of a roadster."""
    start = f.places[3] + 0.015
    if f.kind == "pickup":
        return body - s.box(0.8 * f.width, (0.965 - start) * f.length, 2, (0, f.y((start + 0.965) / 2), 2.3 * f.wheel))
    end = draws.choice("cockpit", (0.7, 0.78))
    room = s.prism(
        s.rectangle(0.78 * f.width, (end - start) * f.length, 0.1), 2, (0, f.y((start + end) / 2), 0.55 * f.belt)
    )
    seat = s.cushion(0.3 * f.width, 0.2, 0.75, 0.08, (0, f.y(end - 0.06), 0.45 * f.belt))
    return s.union([body - room, *(seat.translate((side * 0.19 * f.width, 0, 0)) for side in (-1, 1))])


def _fittings(draws: Draws, f: _Frame) -> list:
    """Mirrors and tail pipes; at times a rear wing or roof rails."""
    ear = s.box(0.26, 0.12, 0.16, (f.width / 2 + 0.02, f.y(f.places[0] + 0.06), f.belt - 0.1))
    parts = [ear, ear.mirror((1, 0, 0))] if draws.chance("mirrors", 0.75) else []
    pipes = draws.choice("tail pipes", ((), (0.3,), (-0.3, 0.3), (-0.06, 0.06)))
    parts += [
        s.rod((x * f.width, f.y(0.8), f.clear), (x * f.width, f.y(1.01), f.clear), 0.07, segments=12) for x in pipes
    ]
    if f.kind in ("coupe", "sedan", "roadster") and draws.chance("wing", 0.35):
        wing = s.box(0.86 * f.width, 0.22, 0.08, (0, f.y(0.955), f.belt + 0.12))
        parts += [
            wing,
            *(s.box(0.09, 0.16, 0.5, (side * 0.3 * f.width, f.y(0.955), f.belt - 0.33)) for side in (-1, 1)),
        ]
    if f.kind in ("wagon", "van") and draws.chance("rails", 0.5):
        a, b, x = f.y(f.places[1] + 0.04), f.y(f.places[2] - 0.02), 0.27 * f.width
        rail = s.box(0.09, b - a, 0.2, (x, (a + b) / 2, f.height - 0.1))
        parts += [rail, rail.mirror((1, 0, 0))]
    return parts
