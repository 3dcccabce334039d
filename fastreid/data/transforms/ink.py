"""Where the drawing is on a page: groups of ink, and which of them are dust, frames or figure labels."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

CELLS = 400  # along the longer side of a page; groups are made of cells, so that a page of 8 megapixels is cheap
REACH = 3  # cells; ink up to twice as far apart is one group: dashes, stipples, the letters of a label
FRAME_BAND = 0.015  # width of the band along the border in which a frame lies, as a share of the longer side
EIGHT = np.ones((3, 3), bool)  # diagonal neighbours are connected
# A figure label: one line of text, read from any side. CAP is the height of its tallest sign.
LABEL_CAP = (0.006, 0.1)  # share of the longer side of the page
LABEL_LENGTH = (1.8, 9.0)  # of the line, in CAP
LABEL_SIGNS = (3, 14)  # separate pieces of ink, without
LABEL_DUST = 0.1  # ... those below this, in CAP
LABEL_TALL = 0.7  # at least three signs have this share of CAP (F, G, the digit) ...
LABEL_OVERLAP = 0.4  # ... that overlap no more than this along the line, in the width of the narrower one ...
LABEL_WIDE = 1.3  # ... and no sign is wider than this, in CAP, but lines below the text
LABEL_LINE = 1.45  # no more than this, in CAP, from the top of the highest to the foot of the lowest sign
SLANT = 0.25  # of italics: 14 degrees
UPRIGHT_LENGTH = 1.5  # of "FIG." in italics, once upright, in CAP
NUMBER_AWAY = 5.0  # a number may stand apart from "FIG." by this, in heights of the line ...
NUMBER_LENGTH = 2.5  # ... and be as long as this


@dataclass(frozen=True)
class InkGroups:
    """Ink that belongs together.

    Attributes:
        ink: (H, W) bool, the pixels of the page that are dark.
        cell: side of a cell in pixels.
        numbers: (h, w) int, the group of each cell, from 1; 0: no ink.
        boxes: per group its (rows, columns), slices of cells.
    """

    ink: np.ndarray
    cell: int
    numbers: np.ndarray
    boxes: list[tuple[slice, slice]]

    @classmethod
    def of(cls, ink: np.ndarray, reach: int = REACH) -> "InkGroups":
        cell = -(-max(ink.shape) // CELLS)
        inked = cells_with_ink(ink, cell)
        near = ndimage.maximum_filter(inked, 2 * reach + 1, mode="constant")
        numbers, _ = ndimage.label(near, EIGHT)
        numbers = np.where(inked, numbers, 0)
        return cls(ink, cell, numbers, ndimage.find_objects(numbers))

    def __iter__(self) -> Iterable[int]:
        return iter(range(1, len(self.boxes) + 1))

    def sides_of(self, group: int) -> list[int]:
        """The shorter and the longer side of its box of cells, in pixels; those of its ink: up to two cells less."""
        return sorted(self.cell * (part.stop - part.start) for part in self.boxes[group - 1])

    def pixels_of(self, groups: Iterable[int]) -> np.ndarray:
        """(H, W) bool: the cells of these groups."""
        chosen = np.isin(self.numbers, list(groups))
        return chosen.repeat(self.cell, 0).repeat(self.cell, 1)[: self.ink.shape[0], : self.ink.shape[1]]

    def ink_of(self, group: int) -> np.ndarray:
        """The ink of one group, (height, width) bool of its own box."""
        rows, columns = self.boxes[group - 1]
        own = (self.numbers[rows, columns] == group).repeat(self.cell, 0).repeat(self.cell, 1)
        part = self.ink[rows.start * self.cell :, columns.start * self.cell :][: own.shape[0], : own.shape[1]]
        return part & own[: part.shape[0], : part.shape[1]]

    def spans_of(self, group: int) -> np.ndarray:
        """((top, bottom), (left, right)) of the ink of one group, in pixels."""
        ink, corner = self.ink_of(group), [part.start * self.cell for part in self.boxes[group - 1]]
        inked = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
        return np.array([[start + at[0], start + at[-1] + 1] for start, at in zip(corner, inked, strict=True)])

    def box_of(self, groups: Iterable[int]) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the ink of these groups, in pixels."""
        spans = np.array([self.spans_of(group) for group in groups])
        (top, left), (bottom, right) = spans[:, :, 0].min(0).tolist(), spans[:, :, 1].max(0).tolist()
        return left, top, right, bottom


def cells_with_ink(ink: np.ndarray, cell: int) -> np.ndarray:
    """Reduce (H, W) bool to (ceil(H / cell), ceil(W / cell)): whether there is any ink in a cell."""
    for _axis in (0, 1):
        reduced = ink[::cell].copy()
        for start in range(1, cell):
            rows = ink[start::cell]
            reduced[: len(rows)] |= rows
        ink = reduced.T
    return ink


def find_specks(groups: InkGroups, share: float) -> set[int]:
    """Groups whose longer side is below ``share`` of the page's longer side."""
    limit = share * max(groups.ink.shape)
    small = {group for group in groups if groups.sides_of(group)[1] - 2 * groups.cell < limit}
    return {group for group in small if np.ptp(groups.spans_of(group), axis=1).max() < limit}


def find_frames(groups: InkGroups, among: set[int]) -> set[int]:
    """Groups of ``among`` that run along the border of them all: frames, rules, the shadow of a scanned edge.

    Such a group lies wholly in a narrow band along the border and is at least half as long as one of the sides; inside
    the band there must be something else. What lies within a frame is looked at again.
    """
    found: set[int] = set()
    while outer := _outermost(groups, among - found):
        found |= outer
    return found


def _outermost(groups: InkGroups, among: set[int]) -> set[int]:
    if len(among) < 2:
        return set()
    numbers = np.where(np.isin(groups.numbers, list(among)), groups.numbers, 0)
    rows, columns = np.flatnonzero(numbers.any(1)), np.flatnonzero(numbers.any(0))
    numbers = numbers[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    band = int(np.ceil(FRAME_BAND * max(numbers.shape)))
    inside = set(np.unique(numbers[band:-band, band:-band]).tolist()) - {0}
    long = {group for group in among - inside if _is_long(groups.boxes[group - 1], numbers.shape)}
    return long if inside else set()


def _is_long(box: tuple[slice, slice], shape: tuple[int, int]) -> bool:
    return any(2 * (part.stop - part.start) >= side for part, side in zip(box, shape, strict=True))


def find_labels(groups: InkGroups, slanted: bool = False) -> set[int]:
    """Groups that look like one line of a few letters and digits ("FIG. 3", "Fig. 10A"), upright or turned.

    Args:
        slanted: also those in italics, or printed in dots.
    """
    page = max(groups.ink.shape)
    most = [LABEL_CAP[1] * page * factor + 2 * groups.cell for factor in (LABEL_LINE, LABEL_LENGTH[1])]
    small = {g for g in groups if all(side <= limit for side, limit in zip(groups.sides_of(g), most, strict=True))}
    found = {group for group in small if is_label(groups.ink_of(group), page)}
    if slanted:
        found |= {group for group in small - found if _is_slanted_label(groups.ink_of(group), page)}
    lines = [groups.spans_of(group) for group in found]
    return found | {g for g in small - found if any(_is_number_of(line, groups.spans_of(g)) for line in lines)}


def is_label(ink: np.ndarray, page: int, shortest: float = LABEL_LENGTH[0]) -> bool:
    """Whether ``ink`` (height, width) is a line of text.

    Args:
        page: longer side of the page in pixels.
        shortest: of the line, in heights of its tallest sign.
    """
    boxes = ndimage.find_objects(ndimage.label(ink, EIGHT)[0])
    spans = np.array([[[part.start, part.stop] for part in box] for box in boxes])  # (signs, axis, start and end)
    return any(_is_line(spans[:, across], spans[:, 1 - across], page, shortest) for across in (0, 1))


def _is_slanted_label(ink: np.ndarray, page: int) -> bool:
    """The same for ``ink`` once its dots are joined and its letters set upright."""
    if not (LABEL_CAP[0] * page <= min(ink.shape) and UPRIGHT_LENGTH * min(ink.shape) <= max(ink.shape)):
        return False
    reach = -(-page // CELLS)
    closed = ndimage.binary_closing(np.pad(ink, reach), EIGHT, iterations=reach // 2 + 1)
    upright = closed if closed.shape[1] >= closed.shape[0] else closed.T
    return any(is_label(_sheared(upright, slant), page, UPRIGHT_LENGTH) for slant in (0, SLANT, -SLANT))


def _sheared(ink: np.ndarray, slant: float) -> np.ndarray:
    """Move each row of (height, width) bool to the right by ``slant`` times its number (from the foot for < 0)."""
    height, width = ink.shape
    far = round(abs(slant) * height)
    moved = np.zeros((height, width + far), bool)
    for row, values in enumerate(ink):
        start = round(slant * row) + (far if slant < 0 else 0)
        moved[row, start : start + width] = values
    return moved


def _is_line(across: np.ndarray, along: np.ndarray, page: int, shortest: float) -> bool:
    """The same for signs with these (start, end) across and along the line."""
    cap = np.ptp(across, axis=1).max()
    signs = np.maximum(np.ptp(across, axis=1), np.ptp(along, axis=1)) > LABEL_DUST * cap
    across, along = across[signs], along[signs]
    heights, widths = np.ptp(across, axis=1), np.ptp(along, axis=1)
    tall = along[heights >= LABEL_TALL * cap]
    return bool(
        LABEL_SIGNS[0] <= len(heights) <= LABEL_SIGNS[1]
        and LABEL_CAP[0] * page <= cap <= LABEL_CAP[1] * page
        and shortest * cap <= np.ptp(along) <= LABEL_LENGTH[1] * cap
        and len(tall) >= 3
        and not _overlap(tall[np.argsort(tall[:, 0])])
        and widths[heights > cap / 3].max() <= LABEL_WIDE * cap
        and np.ptp(across) <= LABEL_LINE * cap
    )


def _overlap(signs: np.ndarray) -> bool:
    """Whether any of these (start, end), in order, overlaps the next more than letters do (parallel strokes)."""
    narrower = np.ptp(signs, axis=1)
    narrower = np.minimum(narrower[:-1], narrower[1:])
    return bool((signs[:-1, 1] - signs[1:, 0] > LABEL_OVERLAP * narrower).any())


def _is_number_of(line: np.ndarray, other: np.ndarray) -> bool:
    """Whether ``other`` continues a ``line`` of text; both are spans (axis, start and end)."""
    across = int(np.ptp(line[1]) < np.ptp(line[0]))
    height, along = np.ptp(line[across]), 1 - across
    gap = max(other[along, 0] - line[along, 1], line[along, 0] - other[along, 1])
    return bool(
        gap <= NUMBER_AWAY * height
        and np.ptp(other[along]) <= NUMBER_LENGTH * height
        and 0.6 * height <= np.ptp(other[across]) <= 1.25 * height
        and abs(other[across].mean() - line[across].mean()) <= 0.3 * height
    )


def first_contour_box(white: np.ndarray) -> tuple[int, int, int, int] | None:
    """Box (left, top, right, bottom) of ``cv2.findContours(white, RETR_EXTERNAL, ...)[0][0]``; ``None`` without any.

    OpenCV gives the outer contours of white areas in reverse order of their first pixels (row by row), and only those
    of areas that no other white area surrounds. So this is the box of the area that begins last. White areas are
    connected over corners, black ones are not; beyond the page all is black (Suzuki and Abe, CVGIP 1985).

    Args:
        white: (H, W) bool.
    """
    height, width = white.shape
    if white[0].all() and white[-1].all() and white[:, 0].all() and white[:, -1].all():
        return 0, 0, width, height  # a white border surrounds everything: the only outer contour is the page
    padded = np.pad(white, 1)
    outside, _ = ndimage.label(~padded)
    areas, _ = ndimage.label(padded, EIGHT)
    # the pixel to the left of the first one of an area belongs to the black area around it
    beside_outside = padded & (np.roll(outside, 1, axis=1) == outside[0, 0])
    boxes = ndimage.find_objects(areas)
    for row in sorted({rows.start for rows, _ in boxes}, reverse=True):
        begun = [number for number, (rows, _) in enumerate(boxes, 1) if rows.start == row]
        starts = {int(np.argmax(areas[row] == number)): boxes[number - 1] for number in begun}
        outer = [column for column in starts if beside_outside[row, column]]
        if outer:
            rows, columns = starts[max(outer)]
            return columns.start - 1, rows.start - 1, columns.stop - 1, rows.stop - 1
    return None
