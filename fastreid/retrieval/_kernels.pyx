# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Kernels of the streaming scan; the loops themselves are in `_kernels.h`. Same results as `_kernels_torch`.

Every function works on a range of rows without the GIL, so that threads share a tile.
"""

import numpy as np

from libc.float cimport FLT_MAX
from libc.math cimport INFINITY, nextafterf, sqrt
from libc.stdint cimport int32_t, int64_t, uint16_t, uint8_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcpy

cdef extern from "_kernels.h" nogil:
    enum: COSINE, EUCLIDEAN, TABLE
    ctypedef struct Exact:
        int kind
        int is_double
        const char *queries
        const char *gallery
        int64_t dim
        const double *query_norms
        const double *gallery_norms
    ctypedef struct Thresholds:
        int64_t count
        const float *lower
        const float *upper
        const double *score
        const int64_t *row
        int64_t *before
        int64_t *tied_before
        int64_t *tied_after
    ctypedef struct Scored:
        double score
        int64_t row
        float value
        int32_t position
    double dot_float(const float *, const float *, int64_t)
    double dot_double(const double *, const double *, int64_t)
    void round_float(const float *, double, const float *, int64_t, uint16_t *, float *, float *)
    void round_double(const double *, double, const float *, int64_t, uint16_t *, float *, float *)
    void prefetch(const char *, int64_t)
    void prefetch_item(const Exact *, int64_t)
    double exact_score(const Exact *, int64_t, int64_t)
    int64_t keep_float(const float *, const float *, int64_t, float, float *, int32_t *)
    int64_t keep_bfloat16(const uint16_t *, const float *, int64_t, float, float *, int32_t *)
    int place_by_value(const Thresholds *, float)
    void place_by_score(const Thresholds *, float, double, int64_t)
    float kth_largest(float *, int64_t, int64_t)
    int nearer(const void *, const void *)


cdef enum:
    AHEAD = 4  # pairs between the request for a row and its use

ctypedef fused real:
    float
    double


def row_norms(const real[:, ::1] features, double[::1] norms, Py_ssize_t begin, Py_ssize_t end):
    """Write the lengths of rows ``begin`` to ``end`` of float features (N, D) into ``norms``."""
    cdef Py_ssize_t i
    cdef int64_t dim = features.shape[1]
    with nogil:
        for i in range(begin, end):
            if i + AHEAD < end and dim:
                prefetch(<const char *> &features[i + AHEAD, 0], dim * sizeof(real))
            if real is float:
                norms[i] = sqrt(dot_float(&features[i, 0], &features[i, 0], dim) if dim else 0)
            else:
                norms[i] = sqrt(dot_double(&features[i, 0], &features[i, 0], dim) if dim else 0)


def round_rows(
    const real[:, ::1] features, const int64_t[::1] rows, const double[::1] norms, const float[::1] mean,
    uint16_t[:, ::1] out, float[::1] length, float[::1] lost, Py_ssize_t begin, Py_ssize_t end,
):
    """Write ``features[rows] / norms - mean`` rounded to bfloat16, as bits, for entries ``begin`` to ``end``.

    ``length`` and ``lost``, float32 (n,), get the squared lengths of each row before rounding, and of its error.
    """
    cdef Py_ssize_t i
    cdef int64_t row, dim = features.shape[1]
    with nogil:
        for i in range(begin, end if dim else begin):
            row = rows[i]
            if i + AHEAD < end:
                prefetch(<const char *> &features[rows[i + AHEAD], 0], dim * sizeof(real))
            if real is float:
                round_float(&features[row, 0], 1 / norms[i], &mean[0], dim, &out[i, 0], &length[i], &lost[i])
            else:
                round_double(&features[row, 0], 1 / norms[i], &mean[0], dim, &out[i, 0], &length[i], &lost[i])


cdef class Pairs:
    """Exact float64 scores of (query, gallery row) pairs: features under a metric, or a table of distances."""

    cdef Exact exact
    cdef object keep  # the arrays that the pointers look into

    def __init__(self, queries, gallery=None, metric="table", query_norms=None, gallery_norms=None):
        arrays = [queries, queries if gallery is None else gallery]
        if {array.dtype for array in arrays} not in ({np.dtype("f4")}, {np.dtype("f8")}):
            raise TypeError("features must all be float32 or all be float64")
        if not all(array.flags.c_contiguous and array.ndim == 2 for array in arrays):
            raise ValueError("features must be contiguous arrays of two dimensions")
        self.exact.kind = {"cosine": COSINE, "euclidean": EUCLIDEAN, "table": TABLE}[metric]
        self.exact.is_double = queries.dtype == np.float64
        self.exact.dim = queries.shape[1]
        self.exact.queries = <const char *> <size_t> arrays[0].ctypes.data
        self.exact.gallery = <const char *> <size_t> arrays[1].ctypes.data
        norms = [np.ascontiguousarray(n, dtype=np.float64) for n in (query_norms, gallery_norms) if n is not None]
        if norms:
            self.exact.query_norms = <const double *> <size_t> norms[0].ctypes.data
            self.exact.gallery_norms = <const double *> <size_t> norms[1].ctypes.data
        self.keep = (arrays, norms)

    def scores(self, const int64_t[::1] q_rows, const int64_t[::1] g_rows, double[::1] out, Py_ssize_t begin, Py_ssize_t end):
        """Write the scores of pairs ``begin`` to ``end`` into ``out``."""
        cdef Py_ssize_t i
        with nogil:
            for i in range(begin, end):
                if i + AHEAD < end:
                    prefetch_item(&self.exact, g_rows[i + AHEAD])
                out[i] = exact_score(&self.exact, q_rows[i], g_rows[i])


cdef class Tile:
    """Approximate scores (r, c) of one block of queries and one block of the gallery, and who takes part.

    Args:
        scores: float32, or bfloat16 as uint16 bits.
        bias: float32 (c,), added to every row.
        query_rows: int64 (r,), query row of each tile row.
        gallery_rows: int64 (c,), gallery row of each column.
        start: scanning position of the first column.
        limits: int64 (r,) or None: only positions below take part.
        mask: uint8 (r, c) or None: only non-zero pairs take part.
        excluded: int64 starts (r + 1,) and scanning positions, ascending per row, which do not take part.
    """

    cdef object keep
    cdef bint is_float
    cdef const char *data
    cdef Py_ssize_t rows, columns, stride
    cdef int64_t start
    cdef const float[::1] bias
    cdef const int64_t[::1] query_rows, gallery_rows, limits, excluded_starts, excluded
    cdef const uint8_t[:, ::1] mask
    cdef bint limited, masked

    def __init__(self, scores, bias, query_rows, gallery_rows, start, limits, mask, excluded):
        self.keep = scores
        self.is_float = scores.dtype == np.float32
        if not self.is_float and scores.dtype != np.uint16:
            raise TypeError(f"a tile is float32 or uint16 (bfloat16 bits); got {scores.dtype}")
        if scores.size and scores.strides[1] != scores.itemsize:
            raise ValueError("the rows of a tile must be contiguous")
        self.data = <const char *> <size_t> scores.ctypes.data
        self.rows, self.columns, self.stride = scores.shape[0], scores.shape[1], scores.strides[0]
        self.bias, self.query_rows, self.gallery_rows, self.start = bias, query_rows, gallery_rows, start
        self.limited, self.masked = limits is not None, mask is not None
        if self.limited:
            self.limits = limits
        if self.masked:
            self.mask = mask
        self.excluded_starts, self.excluded = excluded
        expected = (self.columns, self.rows, self.columns, self.rows + 1)
        given = (len(bias), len(query_rows), len(gallery_rows), len(excluded[0]))
        if given != expected:
            raise ValueError(f"parts of a tile of {self.rows} x {self.columns} have lengths {given}; expected {expected}")
        if self.limited and len(limits) != self.rows or self.masked and mask.shape != scores.shape:
            raise ValueError("limits or mask do not fit the tile")

    cdef int64_t keep_row(
        self, Py_ssize_t row, int64_t begin, int64_t end, float lowest, float *value, int32_t *position
    ) noexcept nogil:
        """Values and columns of the items of a row, from ``begin`` to ``end``, that take part and are not below ``lowest``."""
        cdef int64_t kept, out = 0, i, e, stop
        cdef const char *data = self.data + row * self.stride
        if self.limited:
            end = min(end, self.limits[row] - self.start)
        if end <= begin:
            return 0
        if self.is_float:
            kept = keep_float(<const float *> data + begin, &self.bias[begin], end - begin, lowest, value, position)
        else:
            kept = keep_bfloat16(<const uint16_t *> data + begin, &self.bias[begin], end - begin, lowest, value, position)
        if begin:
            for i in range(kept):
                position[i] += <int32_t> begin
        e, stop = self.excluded_starts[row], self.excluded_starts[row + 1]
        if e == stop and not self.masked:
            return kept
        e = self.first_excluded(e, stop)
        for i in range(kept):
            while e < stop and self.excluded[e] < self.start + position[i]:
                e += 1
            if e < stop and self.excluded[e] == self.start + position[i]:
                continue
            if self.masked and not self.mask[row, position[i]]:
                continue
            value[out] = value[i]
            position[out] = position[i]
            out += 1
        return out

    cdef int64_t first_excluded(self, int64_t low, int64_t high) noexcept nogil:
        cdef int64_t middle
        while low < high:
            middle = (low + high) // 2
            if self.excluded[middle] < self.start:
                low = middle + 1
            else:
                high = middle
        return low


cdef class RowBuffer:
    """Room for the values and columns of the items of a row that are kept."""

    cdef float *value
    cdef int32_t *position

    def __cinit__(self, Py_ssize_t columns):
        self.value = <float *> malloc(max(columns, 1) * sizeof(float))
        self.position = <int32_t *> malloc(max(columns, 1) * sizeof(int32_t))
        if self.value == NULL or self.position == NULL:
            raise MemoryError(f"no memory for a row of {columns} items")

    def __dealloc__(self):
        free(self.value)
        free(self.position)


def count_ahead(
    Tile tile, Pairs pairs, const int64_t[::1] starts, const float[::1] lower, const float[::1] upper,
    const double[::1] score, const int64_t[::1] row, int64_t[::1] before, ties, Py_ssize_t begin, Py_ssize_t end,
):
    """Add the items of the tile to the counts between the thresholds of rows ``begin`` to ``end``.

    Args:
        starts: int64 (r + 1,), where the thresholds of each tile row begin in the arrays that follow; per row
            by (score descending, gallery row ascending).
        lower, upper: float32, the band of approximate scores that is undecided.
        score, row: float64 exact score and gallery row of each threshold.
        before: int64, items between the previous threshold of the query and this one.
        ties: ``None``, or two int64 arrays: items of equal score with a lower, and with a higher, row.

    Returns:
        Number of items whose exact score was needed.
    """
    cdef int64_t[::1] tied_before, tied_after
    cdef bint with_ties = ties is not None
    if with_ties:
        tied_before, tied_after = ties
    cdef int64_t i, j, item, kept, open_items, n, rechecked = 0
    cdef Thresholds t
    cdef RowBuffer buffer = RowBuffer(tile.columns)
    cdef float *value = buffer.value
    cdef int32_t *position = buffer.position
    with nogil:
        for i in range(begin, end):
            n = starts[i]
            t.count = starts[i + 1] - n
            if t.count == 0:
                continue
            t.lower, t.upper, t.score, t.row, t.before = &lower[n], &upper[n], &score[n], &row[n], &before[n]
            t.tied_before = &tied_before[n] if with_ties else NULL
            t.tied_after = &tied_after[n] if with_ties else NULL
            kept, open_items = tile.keep_row(i, 0, tile.columns, t.lower[t.count - 1], value, position), 0
            for j in range(kept):
                if not place_by_value(&t, value[j]):
                    value[open_items], position[open_items] = value[j], position[j]
                    open_items += 1
            for j in range(open_items):
                if j + AHEAD < open_items:
                    prefetch_item(&pairs.exact, tile.gallery_rows[position[j + AHEAD]])
                item = tile.gallery_rows[position[j]]
                place_by_score(&t, value[j], exact_score(&pairs.exact, tile.query_rows[i], item), item)
            rechecked += open_items
    return rechecked


cdef struct Best:
    float *value
    int32_t *position
    int64_t count
    int64_t capacity
    float bound       # no item whose true score is below can be among the k best
    double error      # largest error of the values kept


cdef class Selection:
    """The candidates for the ``k`` best items of each row of a block of queries, and in the end the k best.

    An item is dropped only when k others are proven to be better; `finish` ranks the rest by exact score.

    Args:
        pairs: gives the exact scores.
        query_rows: int64 (r,), query row of each row.
        gallery_rows: int64 (G,), gallery row of each scanning position, or ``None`` when they are the same.
    """

    cdef Best *best
    cdef readonly Py_ssize_t rows
    cdef readonly int64_t k, most  # items of a row that are wanted; that are kept from tile to tile
    cdef Pairs pairs
    cdef const int64_t[::1] query_rows, row_of
    cdef bint mapped

    def __cinit__(self, Pairs pairs, const int64_t[::1] query_rows, gallery_rows, int64_t k):
        cdef Py_ssize_t i, rows = len(query_rows)
        self.rows, self.k, self.most = rows, k, max(4 * k, 256)
        self.pairs, self.query_rows, self.mapped = pairs, query_rows, gallery_rows is not None
        if self.mapped:
            self.row_of = gallery_rows
        self.best = <Best *> calloc(max(rows, 1), sizeof(Best))
        if self.best == NULL:
            raise MemoryError(f"no memory for {rows} lists")
        for i in range(rows):
            self.best[i].bound = -INFINITY

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.best != NULL:
            for i in range(self.rows):
                free(self.best[i].value)
                free(self.best[i].position)
            free(self.best)

    def see(self, Tile tile, Py_ssize_t first, const double[::1] error, double rounding, double largest_bias, Py_ssize_t begin, Py_ssize_t end):
        """Offer rows ``begin`` to ``end`` of a tile; its row 0 is row ``first`` of this block.

        Args:
            error: float64 (r,), bound of the error of the tile's values before their final rounding.
            rounding: relative error of that rounding (0 for float32).
        """
        cdef int64_t i, kept, start, stop
        cdef bint enough = True
        cdef double slack
        cdef float lowest
        cdef Best *best
        cdef RowBuffer buffer = RowBuffer(tile.columns)
        cdef float *value = buffer.value
        cdef int32_t *position = buffer.position
        with nogil:
            for i in range(begin, end):
                best = &self.best[first + i]
                best.error = max(best.error, error[i])
                start = 0
                while start < tile.columns and enough:
                    # the first few items give a bound that spares most of the others
                    stop = tile.columns if best.bound > -FLT_MAX or start else min(tile.columns, self.most)
                    slack = error[i] + 1.02 * rounding * (abs(best.bound) + largest_bias + error[i])
                    lowest = nextafterf(<float> (best.bound - slack), -INFINITY) if best.bound > -FLT_MAX else -INFINITY
                    kept = tile.keep_row(i, start, stop, lowest, value, position)
                    enough = self.append(best, value, position, kept, tile.start)
                    if enough and stop < tile.columns:
                        enough = self.prune(best, rounding, largest_bias)
                    elif enough and best.count > self.most:
                        enough = self.prune(best, rounding, largest_bias)
                        if enough and best.count > self.most // 2:
                            enough = self.settle(best, first + i)
                    start = stop
        if not enough:
            raise MemoryError("no memory for the candidates of a top-k search")

    cdef bint append(self, Best *best, const float *value, const int32_t *position, int64_t count, int64_t start) noexcept nogil:
        cdef int64_t j, capacity = best.capacity
        cdef void *grown
        if best.count + count > capacity:
            capacity = max(best.count + count, min(2 * capacity, capacity + 4096))
            grown = realloc(best.value, capacity * sizeof(float))
            if grown == NULL:
                return False
            best.value = <float *> grown
            grown = realloc(best.position, capacity * sizeof(int32_t))
            if grown == NULL:
                return False
            best.position = <int32_t *> grown
            best.capacity = capacity
        memcpy(best.value + best.count, value, count * sizeof(float))
        for j in range(count):
            best.position[best.count + j] = <int32_t> (start + position[j])
        best.count += count
        return True

    cdef bint prune(self, Best *best, double rounding, double largest_bias) noexcept nogil:
        """Raise the bound to what the k-th best value proves, and drop what is below it."""
        cdef int64_t j, out = 0
        cdef double proven, slack
        cdef float kth, lowest
        cdef float *scratch
        if best.count <= self.k:
            return True
        scratch = <float *> malloc(best.count * sizeof(float))
        if scratch == NULL:
            return False
        memcpy(scratch, best.value, best.count * sizeof(float))
        kth = kth_largest(scratch, best.count, self.k)
        free(scratch)
        proven = kth - best.error - 1.02 * rounding * (abs(kth) + largest_bias + 2 * best.error)
        best.bound = max(best.bound, nextafterf(<float> proven, -INFINITY))
        slack = best.error + 1.02 * rounding * (abs(best.bound) + largest_bias + best.error)
        lowest = nextafterf(<float> (best.bound - slack), -INFINITY)
        for j in range(best.count):
            if not best.value[j] < lowest:
                best.value[out] = best.value[j]
                best.position[out] = best.position[j]
                out += 1
        best.count = out
        return True

    cdef bint settle(self, Best *best, Py_ssize_t row) noexcept nogil:
        """Leave the k best by exact score: more are tied, or nearly, than there is room for."""
        cdef int64_t j
        cdef void *smaller
        cdef Scored *scored = self.ranked(best, row)
        if scored == NULL:
            return False
        best.count = min(self.k, best.count)
        for j in range(best.count):
            best.value[j] = scored[j].value
            best.position[j] = scored[j].position
        free(scored)
        if best.capacity > 2 * self.most:
            best.capacity = 2 * self.most
            smaller = realloc(best.value, best.capacity * sizeof(float))
            best.value = <float *> smaller if smaller != NULL else best.value
            smaller = realloc(best.position, best.capacity * sizeof(int32_t))
            best.position = <int32_t *> smaller if smaller != NULL else best.position
        return True

    cdef Scored *ranked(self, Best *best, Py_ssize_t row) noexcept nogil:
        """The candidates of a row, nearest first; to be freed. ``NULL``: no memory."""
        cdef int64_t j
        cdef Scored *scored = <Scored *> malloc(max(best.count, 1) * sizeof(Scored))
        if scored == NULL:
            return NULL
        for j in range(best.count):
            scored[j].position, scored[j].value = best.position[j], best.value[j]
            scored[j].row = self.row_of[best.position[j]] if self.mapped else best.position[j]
        for j in range(best.count):
            if j + AHEAD < best.count:
                prefetch_item(&self.pairs.exact, scored[j + AHEAD].row)
            scored[j].score = exact_score(&self.pairs.exact, self.query_rows[row], scored[j].row)
        qsort(scored, best.count, sizeof(Scored), nearer)
        return scored

    def finish(
        self, double rounding, double largest_bias, int64_t[:, ::1] indices, double[:, ::1] scores,
        Py_ssize_t begin, Py_ssize_t end,
    ):
        """Write the k best of rows ``begin`` to ``end`` and their exact scores; returns how many were scored."""
        cdef int64_t i, j, scored_pairs = 0
        cdef bint enough = True
        cdef Best *best
        cdef Scored *scored
        with nogil:
            for i in range(begin, end):
                best = &self.best[i]
                scored = self.ranked(best, i) if self.prune(best, rounding, largest_bias) else NULL
                if scored == NULL:
                    enough = False
                    break
                for j in range(min(self.k, best.count)):
                    indices[i, j] = scored[j].row
                    scores[i, j] = scored[j].score
                scored_pairs += best.count
                free(scored)
        if not enough:
            raise MemoryError("no memory for the candidates of a top-k search")
        return scored_pairs
