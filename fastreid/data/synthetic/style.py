"""The draughtsman's manner: line widths, broken lines, shading. Drawn from few values, one set per patent."""

from dataclasses import dataclass

from fastreid.data.synthetic.draws import Draws
from fastreid.utils.errors import require_choice

STYLES = ("mixed", "fixed")
SHADINGS = ("none", "hatch", "stipple", "glass")


@dataclass(frozen=True)
class Style:
    """Lengths are pixels of a 512 px canvas.

    A continuous width or spacing per patent would be a fingerprint that solves the retrieval task without looking at
    the shape; hence few discrete values.
    """

    stroke: float = 1.8
    dash: tuple[float, float] = (9, 5)
    shading: str = "none"
    spacing: float = 10
    angle: float = 45
    threshold: float = 0.5
    label: bool = False

    def __post_init__(self):
        require_choice("shading of Style", self.shading, SHADINGS)


def draw_style(draws: Draws, style: str) -> Style:
    """Return the style of a patent; ``style`` "fixed" gives every patent the same one (a control experiment)."""
    require_choice("style of MiniPatent", style, STYLES)
    if style == "fixed":
        return Style()
    return Style(
        stroke=draws.choice("stroke", (1.3, 1.8, 2.4)),
        dash=draws.choice("dash", ((7, 4), (9, 5), (11, 6))),
        shading=draws.choice("shading", SHADINGS, (3, 1, 1, 1)),
        spacing=draws.choice("spacing", (8, 10, 13)),
        angle=draws.choice("angle", (45, -45, 60, 30)),
        threshold=draws.choice("threshold", (0.45, 0.6)),
        label=draws.chance("label", 0.3),
    )
