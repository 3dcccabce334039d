"""Shoe, handbag."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part

LENGTH = 28.0


_WAIST = s.spline([(0, 4.8), (0.3, 4.9), (0.44, 4.4), (0.6, 3.6), (0.8, 3.5), (1, 3.4)], 60)


def _half_width(share: np.ndarray | float, toe: float) -> np.ndarray:
    """Half width of a foot at ``share`` of its length (0 = toe tip, 1 = heel end); ``toe``: 1.6 pointed ... 3 boxy."""
    nose = (1 - (1 - np.clip(np.divide(share, 0.3), 0, 1)) ** toe) ** (1 / toe)
    tail = (1 - (1 - np.clip((1 - np.asarray(share)) / 0.15, 0, 1)) ** 2.2) ** (1 / 2.2)
    return np.maximum(np.interp(share, *_WAIST.T) * nose * tail, 0.05)


def _along(count: int) -> np.ndarray:
    """Places along the foot, dense at both ends where the outline is round."""
    return (1 - np.cos(np.linspace(0.03, np.pi - 0.03, count))) / 2


def _last(toe: float, widen: float, low, high, count: int = 32):
    """Skin of a shoe: super-elliptic sections from z = low(t) to high(t) along the length, toe at -y."""
    rings = []
    for share in _along(count):
        half = _half_width(share, toe) * widen
        bottom, top = low(share), high(share)
        section = s.ellipse(2 * half, 2 * (top - bottom), 36, 2.3)
        z = np.where(section[:, 1] > 0, section[:, 1], 0.05 * section[:, 1]) + bottom
        rings.append(np.column_stack([section[:, 0], np.full(36, (share - 0.5) * LENGTH), z]))
    return s.loft(np.array(rings))


@family("0204", "Shoe")
def shoe(draws: Draws) -> list[Part]:
    kind = draws.choice("kind", ("sneaker", "loafer", "boot", "heel", "clog"))
    toe, sole = draws.choice("toe", (1.5, 2.0, 2.8)), draws.between("sole", 1.2, 3.2)
    instep = draws.between("instep", 6.5, 8.5)
    heel = {"heel": draws.between("heel", 3.5, 6.5), "boot": 2.0}.get(kind, 0.0)
    sole = max(0.6 * sole, 1.0) if heel else sole

    def lift(share):
        """Height of the foot above the sole: a raised heel."""
        return heel / (1 + np.exp(-14 * (share - 0.52)))

    collar = {"boot": 9.0, "sneaker": 8.2, "loafer": 6.8, "heel": 6.2, "clog": 7.2}[kind]
    knots = np.array(
        [(0, 1.6), (0.12, 3.4), (0.3, 4.6), (0.48, instep), (0.62, instep + 0.6), (0.85, collar), (1, collar - 0.4)]
    )
    curve = s.spline(knots, 60)

    def profile(share):
        """Height of the upper above the foot; the toe cap is round."""
        nose = (1 - (1 - np.clip(share / 0.1, 0, 1)) ** 2.4) ** (1 / 2.4)
        return np.interp(share, curve[:, 0], curve[:, 1]) * max(float(nose), 0.05)

    upper = _last(toe, 1.0, lambda t: sole + lift(t) - 0.3, lambda t: profile(t) + sole + lift(t))
    base = _last_sole(draws, toe, sole, lift)
    claimed_sole = heel > 0 or not draws.chance("unclaimed sole", 0.25)
    parts = [upper, base] if claimed_sole else [upper.trim_by_plane((0, 0, 1), sole - 0.05)]
    back = 0.27 * LENGTH
    if heel:
        parts += _heel(draws.choice("heel shape", ("block", "slim", "wedge")), heel, sole)
    opening = (
        s.sphere(1, (0, 0, 0)).scale((2.7, 0.24 * LENGTH, 5.5)).translate((0, 0.2 * LENGTH, collar + sole + heel + 1.2))
    )
    if kind == "boot":
        tall = draws.choice("shaft", (9, 15))
        top, half = sole + heel + tall + 5, 4.4
        shaft = s.prism(s.ellipse(7.2, 11.4), tall + 1, (0, back + 0.2, sole + heel + 4), scale_top=(1.1, 1.1))
        opening = s.prism(s.ellipse(2 * half - 2.0, 10.4), tall, (0, back + 0.2, top - 4))
        parts.append(shaft)
    body = s.union(parts) - opening
    details = _details(draws, kind, toe, profile, sole, lift)
    solid = s.union([body, *details])
    return [Part(solid)] if claimed_sole else [Part(solid), Part(base, False)]


def _last_sole(draws: Draws, toe: float, sole: float, lift):
    y = _along(56)
    half = _half_width(y, toe) * draws.choice("sole width", (1.03, 1.1))
    side = np.column_stack([half, (y - 0.5) * LENGTH * 1.03])
    outline = np.vstack([side, (side * (-1, 1))[::-1]])
    slab = s.prism(outline, sole, n_divisions=1)
    if lift(1.0) > 0.5:
        return _bent(side, sole, lift)
    if draws.chance("tread", 0.5):
        cuts = [s.box(40, 0.8, 0.5, (0, k, -0.1)) for k in np.linspace(-11, 11, 9)]
        slab -= s.union(cuts)
    if draws.chance("welt", 0.5):
        slab -= s.prism(outline * 1.2, 0.3, (0, 0, 0.55 * sole)) - s.prism(
            outline * (0.93, 0.985), 0.3, (0, 0, 0.55 * sole)
        )
    return slab


def _bent(side: np.ndarray, thickness: float, lift):
    """Sole of constant thickness that follows the raised heel; ``side`` (N, 2): half width and place along y."""
    rings = []
    for half, y in side:
        bottom = lift(y / LENGTH / 1.03 + 0.5)
        rings.append(
            [(-half, y, bottom), (half, y, bottom), (half, y, bottom + thickness), (-half, y, bottom + thickness)]
        )
    return s.loft(np.array(rings))


def _heel(kind: str, heel: float, sole: float) -> list:
    top = heel + 0.5 * sole
    if kind == "wedge":
        side = np.array([(-2, 0), (0.47 * LENGTH, 0), (0.47 * LENGTH, top), (3, 0.8 * top), (-2, 0.5)])
        return [s.prism(side, 5.2).rotate((90, 0, 90)).translate((-2.6, 0, 0))]
    low = 1.0 if kind == "slim" else 2.4
    ratio = 2.8 / low
    return [s.prism(s.ellipse(2 * low, 2.2 * low), top, (0, 0.37 * LENGTH, 0), scale_top=(ratio, min(ratio, 2.2)))]


def _details(draws: Draws, kind: str, toe: float, profile, sole: float, lift) -> list:
    """Laces or a strap on the instep."""
    if kind in ("sneaker", "boot"):
        places = np.linspace(0.3, 0.42, draws.integer("laces", 3, 5))
        return [_lace(share, toe, profile(share), sole + lift(share)) for share in places]
    if kind in ("loafer", "clog") or draws.chance("strap", 0.4):
        share, width = draws.choice("strap place", (0.3, 0.36)), draws.choice("strap width", (1.6, 3.0))
        band = _last(toe, 1.05, lambda t: sole + lift(t), lambda t: profile(t) + sole + lift(t) + 0.35)
        return [band ^ s.box(40, width, 60, (0, (share - 0.5) * LENGTH, sole + 0.2))]
    return []


def _lace(share: float, toe: float, rise: float, bottom: float):
    """A cord across the instep, half sunk into the skin of ``_last``."""
    half = float(_half_width(share, toe))
    x = np.linspace(-0.55, 0.55, 13) * half
    z = bottom + rise * (1 - np.abs(x / half) ** 2.3) ** (1 / 2.3)
    return s.tube(np.column_stack([x, np.full(13, (share - 0.5) * LENGTH), z - 0.1]), 0.42, segments=8)


@family("0301", "Handbag")
def handbag(draws: Draws) -> list[Part]:
    kind = draws.choice("body", ("trapezoid", "box", "round", "bucket", "pouch"))
    width, height = draws.between("width", 22, 38), draws.between("height", 16, 28)
    depth = draws.between("depth", 7, 13)
    body = _bag_body(kind, width, height, depth)
    parts, trim = [body], draws.choice("trim", ("none", "flap", "pocket", "clasp", "band"))
    top_width = {"trapezoid": 0.7, "round": 0.55, "pouch": 0.62, "bucket": 0.55}.get(kind, 1.0) * width
    if trim != "none" and kind != "bucket":
        parts += _trim(draws, trim, kind, body, width, height)
    claimed, straps = not draws.chance("unclaimed handles", 0.35), draws.choice("handles", ("one", "two", "long"))
    span = 0.3 * top_width if straps != "long" else 0.42 * top_width
    rise = draws.between("rise", 7, 14) * (1.8 if straps == "long" else 1)
    lid = {"round": 0.93, "pouch": 0.96}.get(kind, 1.0) * height
    arch = draws.choice("arch", ("round", "square"))
    radius = draws.choice("handle radius", (0.5, 0.8))
    places = (-0.28 * depth, 0.28 * depth) if straps == "two" else (0.0,)
    top = depth * {"trapezoid": 0.7, "pouch": 0.5}.get(kind, 1.0)
    handles = [_bag_handle(arch, span, lid - 2.5, rise, radius).translate((0, y * top / depth, 0)) for y in places]
    return [Part(s.union(parts)), *(Part(handle, claimed) for handle in handles)]


def _bag_body(kind: str, width: float, height: float, depth: float):
    if kind == "trapezoid":
        return s.prism(s.rectangle(width, depth, 1.5), height, scale_top=(0.75, 0.7))
    if kind == "box":
        return s.cushion(width, depth, height, 1.6)
    if kind == "bucket":
        return s.lathe(
            s.spline(
                [(0.36 * width, 0), (0.42 * width, 0.1 * height), (0.38 * width, 0.6 * height), (0.32 * width, height)],
                20,
            )
        )
    if kind == "round":
        return s.plate(s.ellipse(width, 2 * height, 64, 2.4), depth).trim_by_plane((0, 0, 1), 0)
    levels = np.linspace(0, 1, 22)
    rings = []
    for t in levels:
        w = width * (0.82 + 0.5 * t - 0.66 * t**2)
        d = depth * (0.75 + 0.9 * t - 1.25 * t**2)
        rings.append(np.column_stack([s.ellipse(w, d, 40, 2.8), np.full(40, t * height)]))
    return s.loft(np.array(rings))


def _trim(draws: Draws, kind: str, body_kind: str, body, width: float, height: float) -> list:
    """Front details: slabs that hug the body, cut out of a slightly inflated copy of it."""
    grown = body.scale((1.03, 1.1, 1.02)).translate((0, 0, -0.005 * height))
    if kind == "flap":
        drop = draws.choice("flap", (0.35, 0.6))
        mask = s.plate(s.rectangle(0.8 * width, 2 * drop * height, 0.3 * drop * height), 100, (0, -50, height))
        clasp = s.box(2.2, 3, 2.6, (0, _front(body, (1 - drop) * height + 1.5), (1 - drop) * height + 0.4))
        return [grown ^ mask, clasp]
    if kind == "pocket":
        mask = s.plate(s.rectangle(0.56 * width, 0.45 * height, 1.5), 100, (0, -50, 0.34 * height))
        return [grown ^ mask]
    if kind == "band":
        low = draws.choice("band", (0.2, 0.45))
        return [grown ^ s.box(100, 100, 0.12 * height, (0, 0, low * height))]
    return [
        s.cylinder(1.6, 1.8, segments=28)
        .rotate((90, 0, 0))
        .translate((0, _front(body, 0.75 * height) + 0.9, 0.75 * height))
    ]


def _front(body, z: float) -> float:
    """The y of the frontmost point of ``body`` at the height ``z``."""
    return body.slice(z).bounds()[1]


def _bag_handle(arch: str, span: float, z: float, rise: float, radius: float):
    if arch == "square":
        knots = [
            (-span, z),
            (-0.95 * span, z + 0.8 * rise),
            (-0.75 * span, z + rise),
            (0.75 * span, z + rise),
            (0.95 * span, z + 0.8 * rise),
            (span, z),
        ]
        path = s.spline(knots, 48)
    else:
        angle = np.linspace(np.pi, 0, 40)
        path = np.column_stack([span * np.cos(angle), z + 2.5 + rise * np.sin(angle)])
        path = np.vstack([(-span, z), path, (span, z)])
    return s.tube(np.column_stack([path[:, 0], np.zeros(len(path)), path[:, 1]]), radius, 1.4, segments=14)
