"""Mobile phone."""

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws
from fastreid.data.synthetic.families import family
from fastreid.data.synthetic.families.electronics import SLIT
from fastreid.data.synthetic.solids import Part


@family("1403", "Mobile phone")
def phone(draws: Draws) -> list[Part]:
    kind = draws.choice("kind", ("slate", "keypad", "clamshell"), (5, 2, 2))
    return {"slate": _slate, "keypad": _keypad_phone, "clamshell": _clamshell}[kind](draws)


def _slab(width: float, height: float, radius: float, thickness: float, edge: str):
    """Upright plate that faces -y, its middle in the origin; ``edge``: square, chamfer or round."""
    insets = {
        "square": [(0, 0), (0, 1)],
        "chamfer": [(0.3, 0), (0, 0.3), (0, 0.7), (0.3, 1)],
        "round": [(0.3, 0), (0.1, 0.2), (0, 0.5), (0.1, 0.8), (0.3, 1)],
        "curved back": [(0, 0), (0, 0.35), (0.12, 0.65), (0.45, 0.9), (0.7, 1)],
    }[edge]
    rings = []
    for inset, share in insets:
        d = inset * thickness
        flat = s.rectangle(width - 2 * d, height - 2 * d, max(radius - d, 0.05), 6)
        rings.append(np.column_stack([flat[:, 0], np.full(len(flat), (share - 0.5) * thickness), flat[:, 1]]))
    return s.loft(np.array(rings))


def _frame(width: float, height: float, radius: float):
    """A line around a rectangle in x and z, as a tool for ``engrave``."""
    outer = s.rectangle(width, height, radius, 6)
    inner = s.rectangle(width - 2 * SLIT, height - 2 * SLIT, max(radius - SLIT, 0), 6)
    return s.plate(outer, 9) - s.plate(inner, 10)


def _window(width: float, height: float, x: float, z: float, radius: float = 0.2):
    return s.plate(s.rectangle(width, height, radius, 4), 9, (x, 0, z))


def _front(tool, thickness: float):
    """The part of ``tool`` that touches only the front half of a slab."""
    return tool.trim_by_plane((0, -1, 0), 0.2 * thickness)


def _slate(draws: Draws) -> list[Part]:
    width, aspect, thickness = (
        draws.between("width", 6.4, 8),
        draws.between("aspect", 1.75, 2.25),
        draws.between("thickness", 0.8, 1.2),
    )
    height, radius = width * aspect, draws.choice("corner", (0.35, 0.9, 1.5))
    body = _slab(width, height, radius, thickness, draws.choice("edge", ("square", "chamfer", "round", "curved back")))
    chin = draws.choice("home", ("none", "none", "round", "bar", "touch"))
    side, low = draws.choice("bezel", (0.3, 0.5)), draws.between("chin", 1.4, 1.9) if chin != "none" else 0.3
    top = low if chin != "none" else 0.3
    z = (low - top) / 2
    marks = [_frame(width - 2 * side, height - low - top, max(radius - side, 0.15)).translate((0, 0, z))]
    marks += _notch(
        draws.choice("notch", ("hole", "corner hole", "pill", "notch", "slot")), width, height, top, chin != "none"
    )
    foot = -height / 2 + low / 2
    if chin == "round":
        marks.append(s.plate(s.ellipse(1.1, 1.1, 24), 9, (0, 0, foot)))
    elif chin == "bar":
        marks.append(_window(1.9, 0.65, 0, foot, 0.3))
    elif chin == "touch":
        marks += [_window(0.7, 0.35, x, foot, 0.1) for x in (-1.8, 0, 1.8)]
    body = s.engrave(body, _front(s.union(marks), thickness), 0.08)
    body = _ends(draws, body, width, height)
    if draws.chance("rear line", 0.4):
        line = s.box(99, 9, SLIT, (0, 4.6, draws.choice("line height", (-0.32, 0.27)) * height))
        body = s.engrave(body, line, 0.08)
    return [Part(body), *_camera(draws, width, height, thickness)]


def _notch(kind: str, width: float, height: float, top: float, bezel: bool) -> list:
    """Front camera and earpiece: inside the screen, or above it where there is a ``bezel``."""
    if bezel:
        return [
            _window(1.6, 0.3, 0, (height - top) / 2, 0.14),
            s.plate(s.ellipse(0.4, 0.4, 16), 9, (1.7, 0, (height - top) / 2)),
        ]
    z = height / 2 - top - 0.75
    if kind in ("hole", "corner hole"):
        return [s.plate(s.ellipse(0.55, 0.55, 20), 9, (0 if kind == "hole" else 0.33 * width, 0, z))]
    if kind == "pill":
        return [_window(1.9, 0.55, 0, z, 0.27)]
    if kind == "notch":
        return [_window(0.45 * width, 1.4, 0, height / 2 - top - 0.1, 0.4)]
    return [_window(1.5, 0.25, 0, height / 2 - top - 0.5, 0.12)]


def _ends(draws: Draws, body, width: float, height: float):
    """Buttons on the right edge, socket and loudspeaker below."""
    low = draws.between("buttons", -0.1, 0.02) * height
    keys = [s.box(0.35, 0.4, 1.3, (width / 2, 0, low))]
    rocker = draws.choice("volume", ("right", "left", "split left"))
    if rocker == "split left":
        keys += [s.box(0.35, 0.4, 1.0, (-width / 2, 0, z)) for z in (low + 0.2, low + 1.7)]
    else:
        keys.append(s.box(0.35, 0.4, 2.4, (width / 2 if rocker == "right" else -width / 2, 0, low + 1.9)))
    holes = [s.box(1.1, 0.35, 9, (0, 0, -height / 2 - 4.5))]
    grille = draws.choice("grille", ("none", "one", "both"))
    xs = {"none": (), "one": (1.2, 1.8, 2.4), "both": (-2.4, -1.8, -1.2, 1.2, 1.8, 2.4)}[grille]
    holes += [s.cylinder(0.14, 9, (x, 0, -height / 2 - 4.5), segments=10) for x in xs]
    if draws.chance("jack", 0.35):
        holes.append(s.cylinder(0.22, 9, (-0.33 * width, 0, -height / 2 - 4.5), segments=16))
    return s.engrave(s.union([body, *keys]), s.union(holes), 0.2)


def _camera(draws: Draws, width: float, height: float, thickness: float) -> list[Part]:
    """Camera on the rear."""
    kind, high, y = draws.choice("camera", ("single", "column", "square", "bar", "disc", "row")), 0.22, thickness / 2
    rear = 1 if draws.chance("camera at the right", 0.7) else -1
    span, step = {"single": 1.2, "column": 1.8, "square": 3.0, "bar": 1.7, "disc": 3.4, "row": 1.5}[kind], 1.35
    corner, top = width / 2 - span / 2 - 0.65, height / 2 - 0.65
    count = draws.integer("lenses", 2, 3)
    if kind == "single":
        island, at, lenses = s.ellipse(1.2, 1.2, 24), (corner, top - 0.6), [(0, 0)]
    elif kind == "column":
        tall = 0.5 + step * count
        island, at = s.rectangle(1.8, tall, 0.8, 6), (corner, top - tall / 2)
        lenses = [(0, (k - (count - 1) / 2) * step) for k in range(count)]
    elif kind == "square":
        island, at = s.rectangle(3, 3, 0.8, 6), (corner, top - 1.5)
        lenses = [(-0.65, 0.65), (-0.65, -0.65), (0.7, 0), (0.7, 0.8)][: count + 1]
    elif kind == "disc":
        island, at = s.ellipse(3.4, 3.4, 40), (0, top - 1.9)
        lenses = [
            (0.85 * np.cos(a), 0.85 * np.sin(a)) for a in np.linspace(0.5, 2 * np.pi + 0.5, count, endpoint=False)
        ]
    else:
        wide = 0.94 * width if kind == "bar" else 0.5 + step * count
        island, at = s.rectangle(wide, span, 0.7 if kind == "row" else 0.1, 6), (0, top - 1.0 - (kind == "bar"))
        lenses = [((k - (count - 1) / 2) * step, 0) for k in range(count)]
    at = (rear * at[0], at[1])
    solids = [s.plate(island, 2 * high, (at[0], y, at[1]))]
    for x, z in lenses:
        solids.append(s.plate(s.ellipse(0.85, 0.85, 20), 2 * high, (at[0] + rear * x, y + high / 2, at[1] + z)))
    return [Part(s.union(solids), not draws.chance("unclaimed camera", 0.25))]


def _keys(draws: Draws, width: float, top: float, bottom: float) -> list:
    """Twelve keys below a navigation key, between the heights ``bottom`` and ``top``."""
    kind, shape = draws.choice("navigation", ("ring", "square", "bar")), draws.choice("keys", ("round", "box", "row"))
    size = 0.26 * (top - bottom)
    outline = {
        "ring": s.ellipse(size, size, 28),
        "square": s.rectangle(size, size, 0.2, 3),
        "bar": s.rectangle(0.5 * width, 0.55 * size, 0.25 * size, 4),
    }[kind]
    middle = top - 0.55 * size
    tools = [
        s.plate(outline, 9, (0, 0, middle)) - s.plate(0.92 * outline, 10, (0, 0, middle)),
        s.plate(0.42 * outline, 9, (0, 0, middle)),
    ]
    tools += [_window(0.17 * width, 0.45 * size, x, middle, 0.15) for x in (-0.36 * width, 0.36 * width)]
    zs = np.linspace(middle - 0.95 * size, bottom + 0.1 * size, 4)
    pitch = zs[0] - zs[1]
    if shape == "row":
        return [*tools, *(_window(0.84 * width, 0.62 * pitch, 0, z, 0.2) for z in zs)]
    for x, z in s.grid((-0.3 * width, 0, 0.3 * width), zs):
        key = s.ellipse(0.24 * width, 0.6 * pitch, 14) if shape == "round" else s.rectangle(0.24 * width, 0.6 * pitch)
        tools.append(s.plate(key, 9, (x, 0, z)))
    return tools


def _keypad_phone(draws: Draws) -> list[Part]:
    width, thickness = draws.between("width", 4.6, 5.8), draws.between("thickness", 1.3, 1.9)
    height = width * draws.between("aspect", 2.1, 2.6)
    body = _slab(
        width,
        height,
        draws.choice("corner", (0.7, 1.5)),
        thickness,
        draws.choice("edge", ("chamfer", "round", "curved back")),
    )
    share = draws.between("screen", 0.3, 0.42) * height
    screen = s.rectangle(0.8 * width, share, draws.choice("screen corner", (0.1, 0.6)), 5)
    z = height / 2 - 1.2 - share / 2
    tools = [s.plate(screen, 9, (0, 0, z)), _window(0.3 * width, 0.3, 0, height / 2 - 0.6, 0.14)]
    tools += _keys(draws, width, z - share / 2 - 0.2, -height / 2 + 0.9)
    body = s.engrave(body, _front(s.union(tools), thickness), 0.1)
    cover = _window(0.76 * width, 0.55 * height, 0, -0.12 * height, 0.3) - _window(
        0.76 * width - 0.08, 0.55 * height - 0.08, 0, -0.12 * height, 0.3
    )
    lens = s.plate(s.ellipse(0.9, 0.9, 24), 9, (0, 0, 0.33 * height))
    body = s.engrave(body, (cover + lens).trim_by_plane((0, 1, 0), 0.2 * thickness), 0.1)
    if not draws.chance("antenna", 0.45):
        return [Part(body)]
    mast = s.cylinder(
        0.42, draws.between("mast", 1.6, 3.2) + 1, (0.34 * width, 0, height / 2 - 1), top=0.34, segments=20
    )
    return [Part(body), Part(mast, not draws.chance("unclaimed antenna", 0.3))]


def _clamshell(draws: Draws) -> list[Part]:
    """Folding phone, open: keys below, the screen leaning back above the hinge."""
    width, thickness = draws.between("width", 4.6, 6.0), draws.between("thickness", 0.9, 1.3)
    half, corner = width * draws.between("aspect", 1.5, 1.95), draws.choice("corner", (0.6, 1.4, 2.1))
    edge = draws.choice("edge", ("square", "round", "chamfer"))
    leaves = [_slab(width, half, corner, thickness, edge) for _ in range(2)]
    lower = s.engrave(leaves[0], _front(s.union(_keys(draws, width, 0.44 * half, -0.42 * half)), thickness), 0.1)
    screen = s.rectangle(0.78 * width, 0.62 * half, draws.choice("screen corner", (0.1, 0.5)), 5)
    marks = [s.plate(screen, 9), _window(0.3 * width, 0.3, 0, 0.42 * half, 0.14)]
    upper = s.engrave(leaves[1], _front(s.union(marks), thickness), 0.1)
    outer = draws.choice("outer", ("window", "round", "strip"))
    size = {"window": (0.5 * width, 0.32 * half), "round": (2.4, 2.4), "strip": (0.7 * width, 0.8)}[outer]
    glass = s.ellipse(*size, 32) if outer == "round" else s.rectangle(*size, 0.25, 4)
    rear = [s.plate(glass, 9, (0, 0, -0.05 * half)), s.plate(s.ellipse(0.8, 0.8, 20), 9, (0, 0, 0.3 * half))]
    upper = s.engrave(upper, s.union(rear).trim_by_plane((0, 1, 0), 0.2 * thickness), 0.1)
    gap, tilt = half / 2 + 0.25, draws.between("opening", -28, -8)
    upper = upper.translate((0, 0, gap)).rotate((-tilt, 0, 0))
    barrel = s.cylinder(0.5 * thickness + 0.05, 0.86 * width, (0, 0, -0.43 * width), segments=28).rotate((0, 90, 0))
    return [Part(s.union([lower.translate((0, 0, -gap)), upper, barrel]))]
