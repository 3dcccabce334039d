"""Maps of embeddings as a page to explore: one HTML file without outside requests."""

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from fastreid.evaluation.color_groups import Groups
from fastreid.evaluation.map_figure import MapFigure
from fastreid.evaluation.map_picture import PANEL, Panel, mark_radius, panel_height, placed
from fastreid.evaluation.markers import mark_of, outline
from fastreid.evaluation.thumbnails import thumbnail

THUMBNAIL = 128  # pixels; some 2 kB each
RING = 14


def map_page(
    figure: MapFigure, cards: Sequence[Sequence[str]], paths: Sequence[str], title: str
) -> tuple[str, set[str]]:
    """Return the page, and the paths of the images that could not be read.

    Args:
        cards: lines of text about each point.
        paths: the image of each point, shown as a thumbnail.
    """
    folder = Path(__file__).parent
    images = [thumbnail(path, THUMBNAIL) for path in paths]
    legend, height = figure.groups.legend(), panel_height(figure.panels)
    rows = [[image, *lines] for image, lines in zip(images, cards, strict=True)]
    values = {
        "style": (folder / "report.css").read_text(encoding="utf-8"),
        "title": escape(title),
        "caption": escape(figure.caption),
        "heading": escape(figure.heading),
        "marks": "".join(_symbol(code, len(paths)) for code, *_ in legend),
        "panels": "".join(_panel(panel, figure.groups, height) for panel in figure.panels),
        "legend": "".join(_button(*entry) for entry in legend),
        "data": json.dumps(rows, ensure_ascii=False).replace("</", "<\\/"),
    }
    template = (folder / "embedding_map.html").read_text(encoding="utf-8")
    page = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)  # one pass: values are not looked into
    return page, {path for path, image in zip(paths, images, strict=True) if image is None}


def _symbol(code: int, count: int) -> str:
    color, shape, size = mark_of(code)
    radius = mark_radius(count) * size
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in outline(shape, (0, 0), radius))
    return f'<g id="{_name(code)}"><polygon class="mark" points="{points}" fill="rgb{color}"/></g>'


def _panel(panel: Panel, groups: Groups, height: float) -> str:
    places = placed(panel.points, (PANEL, height), 2 * RING)
    order = np.argsort(groups.codes >= 0, kind="stable").tolist()  # grey ones below
    marks = "".join(_use(groups.codes[row], *places[row], f' data-row="{row}"') for row in order)
    notes = "".join(f"<p>{escape(note)}</p>" for note in panel.notes)
    return (
        f'<figure class="card"><figcaption>{escape(panel.name)}</figcaption>'
        f'<svg viewBox="0 0 {PANEL} {height:.0f}" role="img" aria-label="map of {escape(panel.name)}">{marks}'
        f'<circle class="ring" r="{RING}" style="display:none"/></svg>{notes}</figure>'
    )


def _use(code: int, x: float, y: float, more: str = "") -> str:
    name = _name(code)
    return f'<use href="#{name}" class="{name}" x="{x:.1f}" y="{y:.1f}"{more}/>'


def _button(code: int, name: str, count: int) -> str:
    return (
        f'<button type="button" aria-pressed="true" data-mark="{_name(code)}"><svg viewBox="-10 -10 20 20">'
        f"{_use(code, 0, 0)}</svg><span>{escape(name)}</span><small>{count:,}</small></button>"
    )


def _name(code: int) -> str:
    return f"mark{code}" if code >= 0 else f"grey{-code}"
