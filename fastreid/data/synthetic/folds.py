"""The outline of faceted surfaces: edges whose two triangles face different ways."""

import numpy as np

from fastreid.data.synthetic.contours import EDGE_ON
from fastreid.data.synthetic.projection import Projected
from fastreid.data.synthetic.surface import Chains, Folds, link


def folds(edges: Folds, seen: Projected) -> Chains:
    """Return polylines through vertices: edges between a triangle that faces the viewer and one that does not.

    Of edges within a smooth surface only those are taken whose triangles the contour misses.
    """
    positive = seen.facing > EDGE_ON
    crossed = positive.any(1) & ~positive.all(1)
    one, two = edges.faces.T
    chosen = (seen.front[one] != seen.front[two]) & (edges.split | ~crossed[one] & ~crossed[two])
    return link(edges.ends[chosen], edges.faces[chosen], np.zeros(chosen.sum(), bool))
