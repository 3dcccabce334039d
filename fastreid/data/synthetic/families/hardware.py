"""Screwdriver, bolt."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.solids import Part


def polygon(count: int, across: float) -> np.ndarray:
    """Regular polygon (count, 2) that stands on a flat; ``across``: width between opposite flats."""
    angle = np.pi / count * (2 * np.arange(count) + 1) - np.pi / 2
    return across / 2 / np.cos(np.pi / count) * np.column_stack([np.cos(angle), np.sin(angle)])


def _lobes(count: int, depth: float, segments: int = 6) -> np.ndarray:
    """Unit circle (N, 2) cut into ``count`` round lobes; ``depth`` of the notches between them."""
    angle = np.linspace(0, 2 * np.pi, segments * count, endpoint=False)
    reach = 1 - depth * (1 - np.abs(np.sin(count * angle / 2)))
    return reach[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])


HANDLES = {
    # (radius, height) of the handle, relative; the shank leaves at the top
    "classic": [(0.7, 0), (1.0, 0.06), (1.0, 0.62), (0.62, 0.78), (0.82, 0.9), (0.6, 1)],
    "pear": [(0.75, 0), (1.0, 0.14), (1.0, 0.35), (0.72, 0.72), (0.62, 0.88), (0.7, 1)],
    "barrel": [(0.85, 0), (0.95, 0.04), (1.0, 0.5), (0.95, 0.9), (0.6, 1)],
    "waist": [(0.8, 0), (1.0, 0.12), (0.8, 0.5), (1.0, 0.82), (0.85, 0.95), (0.5, 1)],
}


@family("0804", "Screwdriver")
def screwdriver(draws: Draws) -> list[Part]:
    kind = draws.choice("handle", (*HANDLES, "tee", "ball"))
    length, radius = draws.between("handle length", 8, 11.5), draws.between("handle radius", 1.7, 2.6)
    reach, shank = draws.between("shank length", 4, 13), draws.between("shank radius", 0.42, 0.65)
    handle, top = _handle(draws, kind, length, radius)
    stem = [s.prism(polygon(draws.choice("shank", (4, 6, 24)), 2 * shank), reach + 1, (0, 0, top - 1))]
    if draws.chance("bolster", 0.4):
        stem.append(s.prism(polygon(6, 3.2 * shank), 1.2, (0, 0, top - 0.2)))
    tip = _tip(draws.choice("tip", ("slot", "cross", "key", "nut", "point")), shank, top + reach - 0.05)
    claimed = not draws.chance("unclaimed shank", 0.35)
    return [Part(handle), Part(s.union([*stem, *tip]), claimed)]


def _handle(draws: Draws, kind: str, length: float, radius: float):
    """Handle that stands on z = 0 or hangs around it, and the height of its upper end."""
    flutes = draws.choice("flutes", (0, 3, 6, 8))
    outline = (
        _lobes(flutes, {3: 0.16, 6: 0.2, 8: 0.16}[flutes], 16 if flutes == 3 else 6) if flutes else s.ellipse(2, 2)
    )
    if kind == "ball":
        knob = s.stack(outline, [(r * 1.5 * radius, z * 2.6 * radius) for r, z in s.spline(HANDLES["pear"], 14)])
        return knob, 2.6 * radius
    if kind == "tee":
        bar = np.array([(0.5, -1), (0.8, -0.85), (0.62, -0.3), (0.62, 0.3), (0.8, 0.85), (0.5, 1)])
        bar = s.lathe(bar * (0.85 * radius, 0.5 * length), 32).rotate((0, 90, 0)).translate((0, 0, 0.6 * radius))
        return bar + s.cylinder(0.5 * radius, 2.4 * radius, (0, 0, 0.6 * radius), top=0.42 * radius), 2.9 * radius
    profile = [(r * radius, z * length) for r, z in s.spline(HANDLES[kind], 17)]
    body = s.stack(outline, profile)
    trim = draws.choice("trim", ("none", "cap", "band", "hole", "rings"))
    if trim == "cap":
        body += s.lathe(
            [(0.8 * radius, -0.1 * length), (1.05 * radius, -0.05 * length), (1.05 * radius, 0.08 * length)]
        )
    elif trim == "hole":
        body += s.cushion(1.5 * radius, 0.8 * radius, 1.8 * radius, 0.3 * radius, (0, 0, -1.2 * radius))
        body -= s.rod((0, -9, -0.65 * radius), (0, 9, -0.65 * radius), 0.36 * radius)
    elif trim != "none":
        places = (0.3,) if trim == "band" else np.linspace(0.25, 0.55, draws.integer("rings", 2, 4))
        tall = 0.2 if trim == "band" else 0.035
        rings = s.union([s.box(9, 9, tall * length, (0, 0, z * length)) for z in places])
        core = s.stack(s.ellipse(2, 2), [(0.7 * r, z) for r, z in profile])
        body -= rings - core
    return body, length


def _tip(kind: str, shank: float, z: float) -> list:
    """Working end of the blade, from the height ``z`` upwards."""
    r = shank
    if kind == "slot":
        flare = np.array([(-r, 0), (r, 0), (1.5 * r, 1.3), (1.2 * r, 3), (-1.2 * r, 3), (-1.5 * r, 1.3)])
        wedge = np.array([(-r, 0), (r, 0), (0.3 * r, 3), (-0.3 * r, 3)])
        return [(s.plate(flare, 9) ^ s.side_plate(wedge, 9)).translate((0, 0, z))]
    if kind == "nut":
        socket = s.cylinder(1.9 * r, 2.6, (0, 0, z)) + s.cylinder(r, 1.0, (0, 0, z - 0.8), top=1.9 * r)
        return [socket - s.prism(polygon(6, 2.5 * r), 2, (0, 0, z + 1.4))]
    if kind == "point":
        return [s.cylinder(0.95 * r, 2.4, (0, 0, z), top=0.3 * r)]
    if kind == "key":
        return [s.prism(polygon(6, 1.5 * r), 2.2, (0, 0, z))]
    cone = s.cylinder(1.15 * r, 1.5, (0, 0, z + 0.9), top=0.35 * r) + s.cylinder(1.15 * r, 0.95, (0, 0, z))
    gaps = [
        s.prism(s.rectangle(3 * r, 3 * r), 5, (x * 1.9 * r, y * 1.9 * r, z + 0.5)) for x, y in s.grid((-1, 1), (-1, 1))
    ]
    return [cone - s.union(gaps)]


@family("0808", "Bolt")
def bolt(draws: Draws) -> list[Part]:
    kind = draws.choice("head", ("hexagon", "flange", "socket", "dome", "flat", "wing", "eye", "knurled", "square"))
    radius, length = draws.between("radius", 0.8, 1.4), draws.between("length", 5, 11)
    across = draws.between("across", 1.4, 1.8) * radius
    tall = draws.between("head height", 0.65, 1.1) * across
    head = _bolt_head(draws, kind, radius, across, tall)
    bare = draws.choice("bare shank", (0.0, 0.2, 0.5)) * length
    shank = [_thread(draws, radius, length - bare + 0.15).translate((0, 0, -length))]
    if bare:
        shank.append(s.cylinder(0.96 * radius, bare + 0.2, (0, 0, -bare - 0.1)))
    if draws.chance("square neck", 0.5 if kind == "dome" else 0.1):
        shank.append(s.box(2.1 * radius, 2.1 * radius, 1.2, (0, 0, -1.1)))
    parts = [Part(s.union([head, *shank]))]
    fitting = draws.choice("fitting", ("none", "none", "nut", "washer"))
    if fitting == "nut":
        at = -draws.between("nut height", 0.6, 0.85) * length
        nut = s.prism(polygon(6, 3.4 * radius), 1.5 * radius, (0, 0, at))
        parts.append(Part(nut, not draws.chance("unclaimed nut", 0.6)))
    elif fitting == "washer":
        disc = (
            s.cylinder(2.1 * across, 0.5, (0, 0, -0.45))
            if kind != "flat"
            else s.cylinder(1.6 * across, 0.5, (0, 0, -1.5))
        )
        parts.append(Part(disc, not draws.chance("unclaimed washer", 0.5)))
    return parts


def _thread(draws: Draws, radius: float, length: float, segments: int = 12):
    """Threaded rod from z = 0 upwards; the ridge winds along the diagonals of the grid that ``loft`` triangulates."""
    pitch = max(draws.choice("pitch", (0.7, 1.0)) * radius, length / 12)
    depth, end = draws.choice("depth", (0.24, 0.32)) * pitch, draws.choice("end", ("flat", "chamfer", "point"))
    step = np.arange(segments)
    corner = 2 * np.pi / segments * step
    rings = []
    for level in range(int(segments * length / pitch) + 1):
        phase = (step - level) % segments / segments
        reach = radius - depth * (1 - np.abs(2 * phase - 1))
        z = np.full(segments, level * pitch / segments)
        rings.append(np.column_stack([reach * np.cos(corner), reach * np.sin(corner), z]))
    rod = s.loft(np.array(rings)) + s.cylinder(0.6 * radius, 0.2 * pitch, (0, 0, length - 0.2 * pitch))
    if end == "flat":
        return rod
    tip = 1.6 * radius if end == "point" else 0.5 * radius
    start = 0.25 * radius if end == "point" else 0.6 * radius
    return rod ^ s.lathe([(start, 0), (1.1 * radius, tip), (1.1 * radius, length + 1)], 24)


def _bolt_head(draws: Draws, kind: str, radius: float, across: float, tall: float):
    """Head that stands on z = 0, with its drive."""
    if kind in ("hexagon", "flange", "square"):
        chamfer = s.lathe([(1.6 * across, 0), (1.6 * across, tall - 0.5 * across), (0.95 * across, tall)])
        # turned by half a facet: no edge of the cone meets a corner of the polygon
        head = s.prism(polygon(4 if kind == "square" else 6, 2 * across), tall) ^ chamfer.rotate((0, 0, 3.75))
        if kind == "flange":
            head += s.lathe([(1.6 * across, -0.1), (1.6 * across, 0.25), (1.1 * across, 0.5 * tall)])
        return head
    if kind == "wing":
        wing = s.plate(s.ellipse(2.0 * across, 2.6 * across, 32, 2.6), 0.7 * radius).rotate((0, 28, 0))
        wing = wing.translate((1.35 * across, 0, tall + 0.7 * across))
        return s.union([s.cylinder(across, tall + 0.3, top=0.75 * across), wing, wing.mirror((1, 0, 0))])
    if kind == "eye":
        angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
        ring = s.tube(
            1.6 * across * np.column_stack([np.cos(angle), 0 * angle, np.sin(angle)]), 0.7 * radius, closed=True
        )
        return s.union([ring.translate((0, 0, 1.6 * across + 0.4 * radius)), s.cylinder(1.25 * radius, 0.5)])
    return _round_head(draws, kind, across, tall)


def _round_head(draws: Draws, kind: str, across: float, tall: float):
    if kind == "knurled":
        head, top = s.prism(_lobes(14, 0.14, 6) * 1.5 * across, tall), tall
    elif kind == "flat":
        head, top = s.lathe([(0.6 * across, -1.1 * tall), (1.5 * across, 0), (1.5 * across, 0.2)]), 0.2
    elif kind == "dome":
        top = 0.8 * across
        head = s.sphere(1, scale=(1.5 * across, 1.5 * across, top)).trim_by_plane((0, 0, 1), 0)
    else:
        head, top = s.cylinder(1.2 * across, 1.4 * tall), 1.4 * tall
    drive = draws.choice("drive", ("hexagon", "slot", "cross", "star"))
    size = 0.7 * across if kind != "flat" else 0.85 * across
    bar = s.rectangle(2.6 * size, 0.5 * size)
    outlines = {"hexagon": [polygon(6, 1.7 * size)], "star": [_lobes(6, 0.25) * size], "slot": [bar * (9, 1)]}
    outlines["cross"] = [bar, bar[:, ::-1] * (-1, 1)]
    return head - s.union([s.prism(outline, 9, (0, 0, top - 0.45 * min(tall, across))) for outline in outlines[drive]])
