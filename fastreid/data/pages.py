"""Where the figures are on a sheet that holds several."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from fastreid.data.transforms.ink import EIGHT, InkGroups, find_frames, find_labels, find_specks

INK, FAINT = 128, 56  # pixels darker than INK are ink, and on light paper those darker than it by FAINT
SPECK = 0.005  # as of the ink crop
SPECKS = 150  # more of them are no dust
MANY = 300  # groups; with more a page is not looked at so closely
CLOSE = (1, 0)  # cells, over which ink is joined to find labels that stand close to a drawing
# distances and lengths below are shares of the page's longer side
NEAR = 0.024  # groups that are nearer to each other are one figure
PART = 0.06  # ... or than this, if one of them is
SMALL = 0.09  # ... shorter than this
STRAY = 0.03  # what is shorter than this and near nothing is no figure
OVERLAP = 0.08  # boxes that share more than this of the smaller one are one figure
HIGHER = 2.0  # times the height of most labels; what is higher is none
HEADER = 0.1  # height of the strip at the top in which a printed header may stand
TEXT_HEIGHT = (0.005, 0.03)  # of a line of text there
ROW = 0.5  # figures overlap by more than this of the lower one's height where they stand in one row


@dataclass(frozen=True)
class Region:
    """A figure on a page.

    Attributes:
        box: (left, top, right, bottom) of its ink in pixels, without its label unless that lies inside.
        labelled: whether a figure label ("FIG. 3") belongs to it.
    """

    box: tuple[int, int, int, int]
    labelled: bool = False


def split_page(image: Image.Image) -> list[Region]:
    """Find the figures of a page, in reading order: rows from top to bottom, each from left to right.

    Ink that lies close together is one figure, more so where only one label stands beside it. Dust, frames, the
    printed line at the top of a sheet and labels are none. An empty page has no figure.

    Args:
        image: of any size, mode L or RGB.
    """
    page = max(image.size)
    groups, marks = _without_labels(_without_dust(ink_of(image)))
    kept = set(groups) - find_specks(groups, SPECK)
    boxes = _boxes(groups, kept - find_frames(groups, kept))
    if not len(boxes):  # nothing but a label: it is what there is
        boxes, marks = marks, boxes
    boxes = _join_parts(_few(_join_overlapping(boxes), page), marks, page)
    lengths = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    if (lengths >= STRAY * page).any():
        boxes = boxes[lengths >= STRAY * page]
    owners = _owners(boxes, marks)
    regions = [Region(tuple(box), place in owners) for place, box in enumerate(boxes.tolist())]
    return in_reading_order(regions)


def ink_of(image: Image.Image) -> np.ndarray:
    """(H, W) bool: the ink, faint lines of a reduced drawing included. Most of a page is paper."""
    grey = np.asarray(image.convert("L"))
    paper = int(np.searchsorted(np.cumsum(np.bincount(grey.ravel(), minlength=256)), grey.size / 2))
    return grey < max(INK, paper - FAINT)


def _without_dust(ink: np.ndarray) -> np.ndarray:
    """Erase frames that touch nothing else, and dust: it must not make a box larger, or a frame a part of the drawing.

    Many specks are a manner of drawing, and stay.
    """
    touching = InkGroups.of(ink, reach=0)
    large = {group for group in touching if touching.sides_of(group)[1] - touching.cell >= SPECK * max(ink.shape)}
    ink = ink & ~touching.pixels_of(find_frames(touching, large))
    close = InkGroups.of(ink, reach=1)
    small = {group for group in close if close.sides_of(group)[1] - 2 * close.cell < SPECK * max(ink.shape)}
    return ink & ~close.pixels_of(find_specks(close, SPECK)) if len(small) <= SPECKS else ink


def _without_labels(ink: np.ndarray) -> tuple[InkGroups, np.ndarray]:
    """Return the groups of what is neither label nor header, and the boxes of the labels, (n, 4).

    A label that stands close to a drawing is seen when ink is joined over a shorter distance; what looks like one
    within a drawing is a part of it.
    """
    groups = InkGroups.of(ink)
    header = _header(groups)
    labels = _of_one_size(groups, find_labels(groups, slanted=True) - header)
    marks, ink = [_boxes(groups, _lines(groups, labels))], ink & ~groups.pixels_of(labels | header)
    for reach in CLOSE:
        close = InkGroups.of(ink, reach)
        if len(close.boxes) > MANY:  # noise, or a drawing of dots
            break
        outer = _outside(close, find_labels(close), groups)
        marks.append(_boxes(close, _lines(close, outer)))
        ink = ink & ~close.pixels_of(outer)
    return InkGroups.of(ink), np.concatenate(marks)


def _of_one_size(groups: InkGroups, labels: set[int]) -> set[int]:
    """Those of ``labels`` that are not far higher than most: letters have one size, and a figure may look like some."""
    heights = {label: np.ptp(groups.spans_of(label), axis=1).min() for label in _lines(groups, labels)}
    middle = sorted(heights.values())[(len(heights) - 1) // 2] if heights else 0
    return labels - {label for label, height in heights.items() if height > HIGHER * middle}


def _outside(close: InkGroups, labels: set[int], groups: InkGroups) -> set[int]:
    """Those of ``labels`` that stand beside the rest of the drawing to which ``groups`` joins them."""
    found = set()
    if labels:
        parents = [0, *ndimage.maximum(groups.numbers, close.numbers, list(close)).tolist()]
        for label in labels:
            rest = _boxes(close, {g for g in close if parents[g] == parents[label]} - labels)
            own = _boxes(close, {label})
            found |= set() if len(rest) and _overlaps(own, _around(rest)[None])[0, 0] > 0.5 else {label}
    return found


def _lines(groups: InkGroups, labels: set[int]) -> set[int]:
    """Those of ``labels`` that are not merely the number behind another one."""
    return {label for label in labels if ndimage.label(groups.ink_of(label), EIGHT)[1] >= 3}


def in_reading_order(regions: Iterable[Region]) -> list[Region]:
    """Sort by rows from top to bottom, each from left to right; the highest one left begins a row."""
    left, ordered = sorted(regions, key=lambda region: (region.box[1], region.box[0])), []
    while left:
        top, bottom = left[0].box[1], left[0].box[3]
        row = [
            region for region in left
            if min(bottom, region.box[3]) - max(top, region.box[1])
            > ROW * min(bottom - top, region.box[3] - region.box[1])
        ]  # fmt: skip
        ordered += sorted(row, key=lambda region: region.box[0])
        left = [region for region in left if region not in row]
    return ordered


def _boxes(groups: InkGroups, chosen: Iterable[int]) -> np.ndarray:
    """(left, top, right, bottom) of the ink of each group, int64 (n, 4)."""
    spans = [groups.spans_of(group) for group in sorted(chosen)]
    return np.array([[s[1, 0], s[0, 0], s[1, 1], s[0, 1]] for s in spans], np.int64).reshape(-1, 4)


def _gaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances between boxes, (n, m) pixels; 0 where they meet."""
    before = boxes[:, None, :2] - others[None, :, 2:]
    behind = others[None, :, :2] - boxes[:, None, 2:]
    return np.linalg.norm(np.maximum(np.maximum(before, behind), 0), axis=2)


def _overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """What two boxes share, as a share of the smaller one, (n, m)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (boxes, others)]
    return np.prod(np.maximum(high - low, 0), axis=2) / np.minimum(areas[0][:, None], areas[1][None, :])


def _join_overlapping(boxes: np.ndarray) -> np.ndarray:
    """Join boxes that overlap until none do, (m, 4)."""
    while len(boxes):
        count, numbers = connected_components(_overlaps(boxes, boxes) > OVERLAP, directed=False)
        if count == len(boxes):
            break
        boxes = np.array([_around(boxes[numbers == number]) for number in range(count)])
    return boxes


def _few(boxes: np.ndarray, page: int) -> np.ndarray:
    """Of a page with very many boxes: join what is near, labels or not, and keep the longest; (m, 4), m <= MANY."""
    if len(boxes) > MANY:
        _, numbers = connected_components(_gaps(boxes, boxes) <= PART * page, directed=False)
        boxes = _join_overlapping(np.array([_around(boxes[numbers == number]) for number in range(numbers.max() + 1)]))
        boxes = boxes[np.argsort(-(boxes[:, 2:] - boxes[:, :2]).max(axis=1), kind="stable")[:MANY]]
    return boxes


def _around(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _join_parts(boxes: np.ndarray, marks: np.ndarray, page: int) -> np.ndarray:
    """Join what is near to each other, and what is too small to be a figure to what is near; nearest first.

    Two that have a label each stay apart.
    """
    while len(boxes) > 1:
        owned = np.zeros(len(boxes), bool)
        owned[list(_owners(boxes, marks))] = True
        part = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) < SMALL * page
        reach = np.where(part[:, None] | part[None, :], PART, NEAR) * page
        gaps = _gaps(boxes, boxes)
        gaps[(gaps > reach) | (owned[:, None] & owned[None, :]) | np.eye(len(boxes), dtype=bool)] = np.inf
        first, second = np.unravel_index(np.argmin(gaps), gaps.shape)
        if np.isinf(gaps[first, second]):
            break
        rest = np.delete(boxes, [first, second], axis=0)
        boxes = _join_overlapping(np.concatenate([rest, [_around(boxes[[first, second]])]]))
    return boxes


def _owners(boxes: np.ndarray, marks: np.ndarray) -> set[int]:
    """The places of the boxes that have a label: each label has one box, so that all together are nearest."""
    if not len(boxes) or not len(marks):
        return set()
    return set(linear_sum_assignment(_gaps(boxes, marks))[0].tolist())


def _header(groups: InkGroups) -> set[int]:
    """The line of texts that an office prints across the top of a sheet: three groups or more, half as wide as it."""
    page, width, lines = max(groups.ink.shape), groups.ink.shape[1], {}
    for group in groups:
        if groups.sides_of(group)[0] > TEXT_HEIGHT[1] * page + 2 * groups.cell:
            continue
        (top, bottom), (left, right) = groups.spans_of(group)
        low = bottom <= HEADER * page and bottom - top <= min(TEXT_HEIGHT[1] * page, right - left)
        if low and _is_text(groups.ink_of(group), page):
            lines[group] = (top + bottom) / 2, left, right
    for middle, _, _ in lines.values():
        row = {group: line for group, line in lines.items() if abs(line[0] - middle) <= TEXT_HEIGHT[1] * page / 2}
        if len(row) >= 3 and max(line[2] for line in row.values()) - min(line[1] for line in row.values()) >= width / 2:
            return set(row)
    return set()


def _is_text(ink: np.ndarray, page: int) -> bool:
    """Whether most pieces of ``ink`` (height, width) have one height, that of letters, and stand side by side."""
    pieces = ndimage.find_objects(ndimage.label(ink, EIGHT)[0])
    heights = np.array([rows.stop - rows.start for rows, _ in pieces])
    widths = np.array([columns.stop - columns.start for _, columns in pieces])
    tall = heights >= 0.6 * heights.max()
    return bool(
        tall.sum() >= 3
        and TEXT_HEIGHT[0] * page <= np.median(heights[tall])
        and widths[tall].max() <= 2 * heights.max()
        and np.ptp(np.array([[rows.start, rows.stop] for rows, _ in pieces])) <= 1.6 * heights.max()
    )
