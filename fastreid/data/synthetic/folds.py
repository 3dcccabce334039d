"""The outline of faceted surfaces: edges whose two triangles face different ways."""

import numpy as np

from fastreid.data.synthetic.projection import EDGE_ON, Projected
from fastreid.data.synthetic.surface import Chains, Folds, link


def folds(edges: Folds, seen: Projected) -> tuple[Chains, Chains]:
    """Return polylines through vertices: edges between a triangle that faces the viewer and one that does not; rims.

    Of edges within a smooth surface only those are taken whose triangles the contour misses. Whether a rim is part of
    the outline or a crack in the middle of a surface is for the depth buffer to tell.
    """
    positive = seen.facing > EDGE_ON
    crossed = positive.any(1) & ~positive.all(1)
    one, two = edges.faces.T
    rim = two < 0
    chosen = ~rim & (seen.front[one] != seen.front[two]) & (edges.split | ~crossed[one] & ~crossed[two])
    return _linked(edges, chosen), _linked(edges, rim)


def _linked(edges: Folds, chosen: np.ndarray) -> Chains:
    return link(edges.ends[chosen], edges.faces[chosen], np.zeros(chosen.sum(), bool))
