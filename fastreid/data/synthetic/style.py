"""The draughtsman's manner: line widths, broken lines, shading. Drawn from few values, one set per patent."""

from dataclasses import dataclass

from fastreid.data.synthetic.draws import Draws
from fastreid.utils.errors import require_choice

STYLES = ("mixed", "fixed")
SHADINGS = ("none", "hatch", "stipple", "glass", "contour")
LABELS = ("FIG. {}", "Fig. {}", "FIG.{}")


@dataclass(frozen=True)
class Style:
    """Lengths are pixels of a 512 px canvas.

    A continuous width or spacing per patent would be a fingerprint that solves the retrieval task without looking at
    the shape; hence few discrete values.

    Args:
        stroke: width of the lines.
        outline: width of the outer contour in strokes.
        dash: lengths (on, off) of broken lines.
        shading: one of ``SHADINGS``; "contour" are lines along rounded surfaces.
        spacing: distance between hatching lines, and 1 / 0.6 of that between places of stipple dots.
        angle: of the hatching, degrees.
        threshold: cosine to the light below which a surface is shaded.
        label: text under a figure with ``{}`` for its number, one of ``LABELS``; empty: none.
        scanned: lines waver a little and the page has specks, as printed and scanned bilevel sheets do.
    """

    stroke: float = 1.8
    outline: float = 1.0
    dash: tuple[float, float] = (9, 5)
    shading: str = "none"
    spacing: float = 10
    angle: float = 45
    threshold: float = 0.5
    label: str = ""
    scanned: bool = False

    def __post_init__(self):
        require_choice("shading of Style", self.shading, SHADINGS)


def draw_style(draws: Draws, style: str) -> Style:
    """Return the style of a patent; ``style`` "fixed" gives every patent the same one (a control experiment)."""
    require_choice("style of MiniPatent", style, STYLES)
    if style == "fixed":
        return Style()
    return Style(
        stroke=draws.choice("stroke", (1.3, 1.8, 2.4)),
        outline=draws.choice("outline", (1.0, 1.0, 1.7)),
        dash=draws.choice("dash", ((7, 4), (9, 5), (11, 6))),
        shading=draws.choice("shading", SHADINGS, (4, 1, 1, 1, 1)),
        spacing=draws.choice("spacing", (8, 10, 13)),
        angle=draws.choice("angle", (45, -45, 60, 30)),
        threshold=draws.choice("threshold", (0.45, 0.6)),
        label=draws.choice("label", ("", *LABELS), (7, 1, 1, 1)),
        scanned=draws.chance("scanned", 0.2),
    )
