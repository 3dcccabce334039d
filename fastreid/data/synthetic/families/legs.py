"""Legs, stretchers and pedestals shared by the furniture."""

from collections.abc import Sequence

import numpy as np

from fastreid.data.synthetic import solids as s
from fastreid.data.synthetic.draws import Draws

LEG_KINDS = ("square", "round", "tapered", "turned", "block")
Corner = tuple[float, float]


def leg(kind: str, radius: float, height: float):
    """One upright leg on the origin."""
    if kind == "square":
        return s.box(1.7 * radius, 1.7 * radius, height)
    if kind == "round":
        return s.cylinder(radius, height, segments=24)
    if kind == "tapered":
        return s.cylinder(0.6 * radius, height, top=1.15 * radius, segments=24)
    if kind == "turned":
        shape = [
            (0.7, 0),
            (0.6, 0.05),
            (1.0, 0.3),
            (1.15, 0.45),
            (0.75, 0.6),
            (1.1, 0.66),
            (0.8, 0.72),
            (1.0, 0.8),
            (1.0, 1),
        ]
        return s.lathe(s.spline([(r * radius, z * height) for r, z in shape], 36), 24)
    return s.prism(s.rectangle(2.1 * radius, 2.1 * radius), height, scale_top=(1.3, 1.3))


def legs(kind: str, corners: Sequence[Corner], radius: float, height: float, splay: float = 0.0) -> list:
    """Legs whose tops stand at ``corners`` at ``height`` and whose feet are further out by the share ``splay``."""
    upright = leg(kind, radius, height)
    placed = []
    for x, y in corners:
        lean = np.array(
            [[1, 0, -splay * x / height, x * (1 + splay)], [0, 1, -splay * y / height, y * (1 + splay)], [0, 0, 1, 0]]
        )
        placed.append(upright.transform(lean))
    return placed


def along_leg(corner: Corner, height: float, splay: float, z: float) -> tuple[float, float, float]:
    """Centre of a leg of ``legs`` at the height ``z``."""
    share = 1 + splay * (1 - z / height)
    return corner[0] * share, corner[1] * share, z


def stretchers(kind: str, corners: Sequence[Corner], radius: float, height: float, splay: float, z: float) -> list:
    """Bars between legs at ``z``; corners in the order of ``grid``: left front, left rear, right front, right rear."""
    at = [along_leg(corner, height, splay, z) for corner in corners]
    if kind == "box":
        pairs = [(0, 1), (2, 3), (0, 2), (1, 3)]
    elif kind == "sides":
        pairs = [(0, 1), (2, 3)]
    elif kind == "h":
        middle = [tuple((np.array(at[a]) + at[b]) / 2) for a, b in ((0, 1), (2, 3))]
        return [s.rod(at[0], at[1], radius), s.rod(at[2], at[3], radius), s.rod(middle[0], middle[1], radius)]
    elif kind == "cross":
        pairs = [(0, 3), (1, 2)]
    else:
        return []
    return [s.rod(at[a], at[b], radius) for a, b in pairs]


def pedestal(draws: Draws, height: float, reach: float, radius: float) -> list:
    """A column with a foot: disc, dome, star or cross."""
    foot = draws.choice("foot", ("disc", "dome", "star", "cross"))
    column = draws.choice("column", ("plain", "tapered", "turned"))
    parts = [leg({"plain": "round"}.get(column, column), radius, height)]
    if foot == "disc":
        return [*parts, s.cylinder(reach, 0.05 * height)]
    if foot == "dome":
        profile = s.spline(
            [(reach, 0), (0.95 * reach, 0.03 * height), (0.4 * reach, 0.1 * height), (0.5 * radius, 0.18 * height)], 16
        )
        return [*parts, s.lathe([(reach, 0), *profile[1:]])]
    arms, first = (5, 0.25) if foot == "star" else (4, 0.5)  # left and right alike
    for k in range(arms):
        angle = 2 * np.pi * (k + first) / arms
        tip = (reach * np.cos(angle), reach * np.sin(angle), 0.035 * height)
        parts.append(s.rod((0, 0, 0.09 * height), tip, 0.7 * radius, 0.45 * radius, 4 if foot == "cross" else 16))
        parts.append(s.sphere(0.035 * height, tip))
    return parts


def drop(solid, z: float = 0.0):
    """Cut away everything below ``z``."""
    return solid.trim_by_plane((0, 0, 1), z)
