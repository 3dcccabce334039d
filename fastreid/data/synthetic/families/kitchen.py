"""Container with lid, pots and pans."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part

GRIPS = ("ball", "disc", "bar", "loop", "cone")


def _grip(kind: str, size: float, z: float) -> list:
    """Handle on the middle of a lid whose top is at ``z``; ``size`` is its radius."""
    low = z - 0.4 * size
    if kind == "ball":
        return [s.cylinder(0.45 * size, 0.9 * size, (0, 0, low)), s.sphere(0.85 * size, (0, 0, z + 1.1 * size))]
    if kind == "disc":
        return [s.cylinder(0.5 * size, size, (0, 0, low)), s.cylinder(size, 0.5 * size, (0, 0, z + 0.5 * size))]
    if kind == "bar":
        posts = [s.box(0.5 * size, 0.8 * size, 1.4 * size, (x, 0, low)) for x in (-1.3 * size, 1.3 * size)]
        return [*posts, s.box(3.6 * size, 0.9 * size, 0.5 * size, (0, 0, z + 0.7 * size))]
    if kind == "cone":
        return [s.cylinder(0.4 * size, 1.8 * size, (0, 0, low), top=size)]
    angle = np.linspace(np.pi, 0, 20)
    arch = np.column_stack([1.3 * size * np.cos(angle), 0 * angle, z + 1.2 * size * np.sin(angle)])
    return [s.tube(np.vstack([arch[0] - (0, 0, 0.5 * size), arch, arch[-1] - (0, 0, 0.5 * size)]), 0.28 * size, 1.4)]


@family("0903", "Container with lid")
def container(draws: Draws) -> list[Part]:
    width = draws.between("width", 9, 15)
    shape = draws.choice("shape", ("rectangle", "rounded", "round", "oval", "hexagon", "squircle"))
    depth = width * (1.0 if shape in ("round", "hexagon") else draws.choice("aspect", (0.6, 0.8, 1.0)))
    height = width * draws.choice("tall", (0.42, 0.75, 1.2)) * draws.between("height", 0.85, 1.15)
    outline = {
        "rectangle": lambda: s.rectangle(width, depth),
        "rounded": lambda: s.rectangle(width, depth, 0.18 * depth),
        "hexagon": lambda: s.ellipse(depth, width, 6)[::-1, ::-1],  # a flat side to the left and right
        "squircle": lambda: s.ellipse(width, depth, power=3.4),
    }.get(shape, lambda: s.ellipse(width, depth))()
    wall, rim = _container_wall(draws, height)
    body = [s.stack(outline, wall), *_container_trim(draws, outline, wall, height)]
    lid, top = _container_lid(draws, outline * rim, height)
    grip = _grip(draws.choice("grip", GRIPS), draws.between("grip size", 0.08, 0.13) * depth, top)
    lid += grip if draws.chance("gripped", 0.7) else []
    sides = draws.choice("sides", ("none", "none", "ears", "clips", "bail"))
    reach = rim * outline[:, 0].max()
    if sides == "ears":
        body += [s.box(2.4, 0.4 * depth, 0.9, (x, 0, 0.72 * height)) for x in (-reach, reach)]
    elif sides == "clips":
        lid += [s.box(1.4, 0.4 * depth, 2.6, (x, 0, height - 1.8)) for x in (-reach, reach)]
    parts = [Part(s.union(body)), Part(s.union(lid), not draws.chance("unclaimed lid", 0.3))]
    if sides == "bail":
        parts.append(Part(_bail(reach, 0.8 * height, top + 0.35 * width), not draws.chance("unclaimed bail", 0.5)))
    return parts


def _container_wall(draws: Draws, height: float) -> tuple[np.ndarray, float]:
    """Profile of the wall as (scale, z), and its scale at the rim."""
    knots = {
        "straight": [(1, 0), (1, 1)],
        "taper": [(0.78, 0), (1, 1)],
        "belly": [(0.75, 0), (0.98, 0.3), (1, 0.6), (0.86, 1)],
        "foot": [(0.8, 0), (0.8, 0.12), (1, 0.12), (1, 1)],
        "shoulder": [(1, 0), (1, 0.72), (0.84, 0.84), (0.84, 1)],
    }[kind := draws.choice("wall", ("straight", "taper", "belly", "foot", "shoulder"))]
    profile = s.spline(knots, 16) if kind == "belly" else np.array(knots, float)
    return profile * (1, height), profile[-1, 0]


def _container_trim(draws: Draws, outline: np.ndarray, wall: np.ndarray, height: float) -> list:
    """Bands around the wall, a label on it, or feet."""

    def scale(z: float) -> float:
        return float(np.interp(z, wall[:, 1], wall[:, 0]))

    trim = draws.choice("trim", ("none", "bands", "label", "feet"))
    if trim == "bands":
        places = np.linspace(0.28, 0.62, draws.integer("bands", 1, 3)) * height
        return [s.stack(outline * scale(z) * 1.04, [(1, z), (1, z + 0.08 * height)]) for z in places]
    if trim == "label":
        low, tall, wide = 0.3 * height, 0.35 * height, np.ptp(outline[:, 0]) * 0.5
        grown = s.stack(outline * 1.05, wall)
        return [grown ^ s.plate(s.rectangle(wide, tall, 0.15 * tall), 50, (0, -25, low + tall / 2))]
    if trim == "feet":
        inner = 0.55 * scale(0.0) * outline.max(axis=0)
        foot = 0.1 * outline[:, 0].max()
        return [s.cylinder(foot, 1.4, (x, y, -0.9)) for x, y in s.grid((-inner[0], inner[0]), (-inner[1], inner[1]))]
    return []


def _container_lid(draws: Draws, outline: np.ndarray, height: float) -> tuple[list, float]:
    """The lid's solids and the height of its top."""
    tall = draws.between("lid height", 1.2, 2.6)
    kind = draws.choice("lid", ("cap", "dome", "stepped", "plug", "hinged"))
    skirt = [(1.07, height - 0.6), (1.07, height + 0.5 * tall)]
    if kind == "dome":
        angle = np.linspace(0, 1.35, 9)
        skirt += [(np.cos(a), skirt[1][1] + 1.3 * tall * np.sin(a)) for a in angle]
    elif kind == "stepped":
        skirt += [(0.8, skirt[1][1]), (0.68, height + 1.1 * tall)]
    elif kind == "plug":
        skirt = [(0.88, height - 0.3), (0.88, height + 0.3), (1.0, height + 0.3), (1.0, height + tall)]
    else:
        skirt += [(1.0, height + 0.5 * tall + 0.5)]
    lid, top = [s.stack(outline, skirt)], skirt[-1][1]
    if kind == "hinged":
        back, wide = 1.07 * outline[:, 1].max(), np.ptp(outline[:, 0])
        lid.append(s.rod((-0.3 * wide, back, height), (0.3 * wide, back, height), 0.6))
        lid.append(s.box(0.25 * wide, 1.0, 2.2, (0, -back, height - 1.6)))
    return lid, top


def _bail(reach: float, low: float, top: float):
    """A wire that swings over the lid, with a pivot on either side."""
    knots = [(-1.12, low), (-1.16, 0.45 * low + 0.55 * top), (-0.6, top), (0.6, top), (1.16, 0.45 * low + 0.55 * top)]
    path = s.spline([(x * reach, 0, z) for x, z in [*knots, (1.12, low)]], 40)
    pivots = [s.rod((0.6 * x, 0, low), (1.2 * x, 0, low), 0.6) for x in (-reach, reach)]
    return s.union([s.tube(path, 0.32, segments=12), *pivots])


@family("0702", "Cookware")
def pot(draws: Draws) -> list[Part]:
    radius, kind = draws.between("radius", 8, 12), draws.choice("kind", tuple(POTS))
    low, high, knots, long = POTS[kind]
    height = radius * draws.between("height", low, high)
    profile = s.spline(knots, 12) if len(knots) > 2 else np.array(knots, float)
    profile[:, 0] *= 1 - draws.choice("flare", (0.0, 0.16)) * (1 - profile[:, 1])
    segments = 10 if draws.chance("facets", 0.2) else s.SEGMENTS
    outline = s.ellipse(2, 1.45 if kind == "roaster" else 2, segments) * radius
    wall = 0.65 / radius
    cover = draws.choice("lid", ("none", "none", "flat", "dome", "stepped")) if kind != "roaster" else "dome"
    bulge = profile[-1, 0]
    shell = profile * (1, height)
    if cover == "none" and draws.chance("rim", 0.5):
        low = height - 0.9
        shell = [*shell[shell[:, 1] < low - 0.1], (bulge, low), (bulge + 0.08, low), (bulge + 0.08, height)]
    body = [s.stack(outline, shell), *_pot_trim(draws, outline, profile, height)]
    hollow = s.stack(outline, (profile - (wall, 0)) * (1, height - 0.65) + (0, 0.7))
    if long and cover == "none" and draws.chance("spout", 0.4):
        y, low = -0.97 * bulge * radius, height - 0.3 * radius
        body.append(s.cylinder(0.06 * radius, 0.3 * radius, (0, y, low), top=0.3 * radius))
        hollow += s.cylinder(0.02 * radius, 0.3 * radius, (0, y, low + 0.6), top=0.28 * radius)
    z = max(height - 1.7, 0.6 * height) * (1.0 if long else draws.choice("place", (1.0, 0.7)))
    handles = _pot_handles(draws, long, float(np.interp(z / height, profile[:, 1], profile[:, 0])) * radius, z)
    if cover == "none":
        # handles end inside the wall
        thinned = s.stack(outline, (profile - (wall / 2, 0)) * (1, height) + (0, 0.35))
        body, handles = s.union(body) - hollow, s.union(handles) - thinned
    else:
        body, handles = s.union(body), s.union(handles)
    parts = [Part(body), Part(handles, not draws.chance("unclaimed handles", 0.25))]
    if cover != "none":
        lid, top = _pot_lid(draws, cover, outline * bulge, height)
        lid += _grip(draws.choice("grip", GRIPS), draws.between("grip size", 0.1, 0.15) * radius, top)
        parts.append(Part(s.union(lid), not draws.chance("unclaimed lid", 0.35)))
    return parts


# kind: height over radius from, to; profile as (radius, height); has one long handle
POTS = {
    "saucepan": (0.75, 1.2, [(1, 0), (1, 1)], True),
    "skillet": (0.3, 0.42, [(0.78, 0), (0.9, 0.4), (1, 1)], True),
    "wok": (0.5, 0.65, [(0.35, 0), (0.7, 0.25), (0.93, 0.7), (1, 1)], True),
    "stockpot": (1.3, 1.8, [(1, 0), (1, 1)], False),
    "casserole": (0.6, 0.95, [(0.75, 0), (0.98, 0.3), (1, 0.65), (0.88, 1)], False),
    "roaster": (0.5, 0.7, [(0.85, 0), (1, 1)], False),
}


def _pot_trim(draws: Draws, outline: np.ndarray, profile: np.ndarray, height: float) -> list:
    """A base plate, or bands around the wall."""
    kind = draws.choice("trim", ("none", "bands", "base"))
    if kind == "base":
        return [s.stack(outline * profile[0, 0], [(0.82, -0.9), (0.82, 0.5)])]
    trim, tall = [], 0.09 * height
    for share in draws.choice("places", ((0.35,), (0.25, 0.45), (0.5,))) if kind == "bands" else ():
        low, scale = share * height - tall / 2, np.interp(share, profile[:, 1], profile[:, 0])
        trim.append(s.stack(outline * (scale + 0.05), [(1, low), (1, low + tall)]))
    return trim


def _pot_lid(draws: Draws, kind: str, outline: np.ndarray, height: float) -> tuple[list, float]:
    skirt = [(0.95, height - 0.3), (0.95, height + 0.3), (1.07, height + 0.3), (1.07, height + 1.1)]
    rise = draws.between("lid rise", 0.14, 0.3) * outline[:, 0].max()
    if kind == "dome":
        skirt += [(0.97 * np.cos(a), height + 1.0 + rise * np.sin(a)) for a in np.linspace(0, 1.4, 7)]
    elif kind == "stepped":
        skirt += [(0.8, height + 1.0), (0.66, height + 1.0 + 0.8 * rise)]
    return [s.stack(outline, skirt)], skirt[-1][1]


def _pot_handles(draws: Draws, long: bool, reach: float, z: float) -> list:
    """One long handle to the right, or one on either side; ``reach`` is the radius of the wall at the height ``z``."""
    kind, half = draws.choice("pair", ("wire", "lug", "bracket", "upright")), draws.choice("span", (0.25, 0.38))
    pair = _side_handle(kind, 0.77 * reach, z, half * reach)
    left = pair.rotate((0, 0, 180))
    if not long:
        return [pair, left]
    bar = _long_handle(draws, reach, z)
    return [bar, left] if draws.chance("helper", 0.3) else [bar]


def _side_handle(kind: str, x: float, z: float, half: float):
    """A handle on the right side of a pot, ``2 half`` wide, that starts at ``x`` inside the wall."""
    out = 0.3 * x + 0.9 * half + 0.6
    if kind == "lug":
        ear = s.prism(s.rectangle(2 * out, 2 * half, 0.5 * half), 0.8, (x, 0, z))
        return ear - s.prism(s.rectangle(0.3 * out, half, 0.15 * out), 4, (x + 0.7 * out, 0, z - 2))
    if kind == "bracket":
        arms = [s.box(out, 0.8, 0.8, (x + out / 2, y, z)) for y in (-half, half)]
        return s.union([*arms, s.box(0.9, 2 * half + 0.8, 1.3, (x + out, 0, z - 0.25))])
    lift = 1.2 * half if kind == "upright" else 0.15 * half
    knots = [(0, -half, 0), (0.7 * out, -0.95 * half, 0.6 * lift), (out, -0.5 * half, lift)]
    path = s.spline([*knots, *((a, -b, c) for a, b, c in knots[::-1])], 28)
    return s.tube(path + (x, 0, z), 0.5, segments=12)


def _long_handle(draws: Draws, reach: float, z: float):
    length, wide = draws.between("handle length", 1.1, 1.6) * reach, draws.between("handle width", 1.0, 1.5)
    kind, lift = draws.choice("handle", ("taper", "waist", "rod", "hung")), draws.choice("lift", (0.0, 0.12, 0.28))
    share = np.linspace(0, 1, 14)
    width = {
        "taper": 1.3 + 1.2 * share,
        "waist": 2.0 - 1.1 * np.sin(np.pi * share) ** 2 + 0.6 * share,
        "rod": 1.6 + 0 * share,
        "hung": 1.6 + 1.2 * share**2,
    }[kind] * wide
    thick = (1.5 if kind == "rod" else 0.9) * wide
    rise = lift * length * np.sin(np.pi / 2 * share)
    bar = s.paddle(share * length, width, thick + 0 * share, rise, 3 if kind == "taper" else 2.2)
    if kind == "hung":
        bar -= s.plate(s.ellipse(1.3 * wide, 2.4 * wide), 20, (0, 0, length - 2.1 * wide))
    return bar.rotate((90, 0, 90)).translate((0.9 * reach, 0, z))
