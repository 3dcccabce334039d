# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Images reduced to means over areas while they are decoded; the loops are in `_area.h`. See `fastreid.data.area`."""

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

cdef extern from "_area.h" nogil:
    ctypedef struct Area:
        int64_t width, height, out_width, out_height, row, out_row
        uint32_t *sums
        uint8_t *out
        int inverted
    void area_feed_values(Area *, const uint8_t *)
    void png_unfilter_paeth_twice(uint8_t *, uint8_t *, const uint8_t *, int64_t)
    int png_unfilter(int, uint8_t *, const uint8_t *, int64_t)
    int g4_feed(Area *, const uint8_t *, int64_t, int64_t, int32_t *, const int32_t *, const int32_t *, const int32_t *)


cdef class Reduction:
    """Takes the rows of an image one after the other; ``result`` is uint8 (out_height, out_width) once all were fed."""

    cdef Area area
    cdef uint32_t[::1] sums
    cdef readonly object result

    def __init__(self, int64_t height, int64_t width, int64_t out_height, int64_t out_width, bint inverted=False):
        if not (0 < out_height <= height < 1 << 23 and 0 < out_width <= width < 1 << 23):
            raise ValueError(f"cannot reduce {height} x {width} pixels to {out_height} x {out_width}")
        self.result = np.zeros((out_height, out_width), np.uint8)
        self.sums = np.zeros(width + 1, np.uint32)
        cdef uint8_t[:, ::1] out = self.result
        self.area = Area(width, height, out_width, out_height, 0, 0, &self.sums[0], &out[0, 0], inverted)

    def feed(self, const uint8_t[:, :] values):
        """Take rows of grey values, (n, width), each row without gaps."""
        cdef int64_t row
        self._require(values.shape[0])
        if values.shape[1] != self.area.width or values.strides[1] != 1:
            raise ValueError("rows have another width, or gaps")
        with nogil:
            for row in range(values.shape[0]):
                area_feed_values(&self.area, &values[row, 0])

    def feed_png(self, uint8_t[:, ::1] rows):
        """Take all rows of a PNG of 8 grey bits, each behind the number of its filter, (height, 1 + width).

        They are changed. Returns whether all filters are known.
        """
        cdef int64_t row, width = self.area.width
        cdef const uint8_t[::1] above = np.zeros(width, np.uint8)
        cdef const uint8_t *last = &above[0]
        cdef bint known = True, undone = False  # the latter: the next row was done with the last one
        self._require(rows.shape[0])
        if rows.shape[1] != width + 1:
            raise ValueError("rows have another width")
        with nogil:
            for row in range(rows.shape[0]):
                if undone:
                    undone = False
                elif rows[row, 0] == 4 and row + 1 < rows.shape[0] and rows[row + 1, 0] == 4:
                    png_unfilter_paeth_twice(&rows[row, 1], &rows[row + 1, 1], last, width)
                    undone = True
                else:
                    known = png_unfilter(rows[row, 0], &rows[row, 1], last, width)
                    if not known:
                        break
                last = &rows[row, 1]
                area_feed_values(&self.area, last)
        return known

    def feed_group4(self, const uint8_t[::1] data, int64_t rows, tables):
        """Take a strip of ``rows`` rows in ITU-T T.6.

        ``tables``: int32 arrays of the modes, and of the runs of white and black (see `fastreid.data.group4`). Returns
        whether the strip is whole and of a known kind.
        """
        cdef const int32_t[::1] modes = tables[0], white = tables[1], black = tables[2]
        cdef int32_t[::1] lines = np.zeros(2 * (self.area.width + 8), np.int32)
        cdef bint whole
        self._require(rows)
        if not data.shape[0]:
            return False
        with nogil:
            whole = g4_feed(
                &self.area, &data[0], data.shape[0], rows, &lines[0], &modes[0], &white[0], &black[0]
            )
        return whole

    cdef _require(self, int64_t rows):
        if self.area.row + rows > self.area.height:
            raise ValueError(f"{self.area.row} rows and {rows} more are more than {self.area.height}")
