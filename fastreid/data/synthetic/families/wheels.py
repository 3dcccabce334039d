"""Road wheels, shared by cars and toys."""

import numpy as np

from fastreid.data.synthetic import solids as s


def wheel(kind: str, radius: float, width: float, count: int = 5, segments: int = 24):
    """Wheel about the x axis whose outer face lies at x = 0 and looks to the right.

    ``kind``: "disc" (a sunk hub cap), "spokes", "holes", "star" (spokes that taper) or "plain" (a hub and no rim);
    ``count``: of spokes or holes.
    """
    tyre = s.cylinder(radius, width, (0, 0, -width), segments=segments)
    hub, deep = s.cylinder(0.22 * radius, width, (0, 0, -width), segments=16), 0.3 * width
    rim = s.cylinder(0.7 * radius, 2 * deep, (0, 0, -deep), segments=segments)
    if kind == "plain":
        return _lay(tyre + s.cylinder(0.3 * radius, 1.2 * width, (0, 0, -width), segments=16))
    if kind == "disc":
        return _lay(tyre - (rim - s.cylinder(0.42 * radius, 9, (0, 0, -5), segments=16)))
    if kind == "holes":
        hole = s.cylinder(1.1 * radius / (count + 1), 2 * deep, (0.46 * radius, 0, -deep), segments=12)
        return _lay(tyre - s.union([hole.rotate((0, 0, 360 * k / count)) for k in range(count)]))
    taper = 0.45 if kind == "star" else 1.0
    w = 0.16 * radius
    spoke = s.prism(np.array([(0, -w), (radius, -w * taper), (radius, w * taper), (0, w)]), 9, (0, 0, -5))
    spokes = s.union([hub, *(spoke.rotate((0, 0, 360 * k / count)) for k in range(count))])
    return _lay(tyre - (rim - spokes))


def _lay(upright):
    """Turn the axis from z to x, with one spoke upright."""
    return upright.rotate((0, 90, 0))
