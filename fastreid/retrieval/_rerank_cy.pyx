# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Loops of k-reciprocal re-ranking over a range of rows; `_rerank_cpu` calls them from several threads.

Every function releases the GIL and writes only what belongs to its rows. Sparse rows are (counts or starts
int64, items int32, weights float32).
"""

import numpy as np

from libc.math cimport exp
from libc.stdint cimport int32_t, int64_t

ctypedef fused real:
    float
    double


def positions(const int64_t[:, ::1] lists, Py_ssize_t start, Py_ssize_t stop, int32_t[:, ::1] out):
    """Write to ``out[i, p]`` where item i stands in the list of its p-th neighbour; the width if it does not."""
    cdef Py_ssize_t width = lists.shape[1], i, p, place
    cdef const int64_t *other
    with nogil:
        for i in range(start, stop):
            for p in range(width):
                other = &lists[lists[i, p], 0]
                place = 0
                while place < width and other[place] != i:
                    place += 1
                out[i, p] = <int32_t> place


def expanded_sets(
    const int64_t[:, ::1] lists, const int32_t[:, ::1] places,
    Py_ssize_t width, Py_ssize_t half, Py_ssize_t start, Py_ssize_t stop,
):
    """Return counts int64 (stop - start,) and items int32 of the expanded reciprocal sets R* of some rows."""
    cdef Py_ssize_t bound = min(width * (1 + half), lists.shape[0])
    counts, items = np.empty(stop - start, dtype=np.int64), np.empty((stop - start) * bound, dtype=np.int32)
    marks = np.zeros(lists.shape[0], dtype=np.int32)
    cdef int64_t[::1] count = counts
    cdef int32_t[::1] item = items, mark = marks
    cdef Py_ssize_t i, p, h, first, members, filled = 0, size, shared
    cdef int64_t candidate, other
    cdef int32_t inside
    with nogil:
        for i in range(start, stop):
            first = filled
            inside = <int32_t> (2 * (i - start) + 1)  # mark of R; one more: joined by the expansion
            for p in range(width):
                if places[i, p] < width:
                    mark[lists[i, p]] = inside
                    item[filled] = <int32_t> lists[i, p]
                    filled += 1
            members = filled
            for p in range(first, members):
                candidate = item[p]
                size = shared = 0
                for h in range(half):
                    if places[candidate, h] < half:
                        size += 1
                        shared += mark[lists[candidate, h]] == inside
                if 3 * shared <= 2 * size:
                    continue
                for h in range(half):
                    other = lists[candidate, h]
                    if places[candidate, h] < half and mark[other] < inside:
                        mark[other] = inside + 1
                        item[filled] = <int32_t> other
                        filled += 1
            count[i - start] = filled - first
    return counts, items[:filled].copy()


cdef inline real squared_distance(const real *a, const real *b, Py_ssize_t length) noexcept nogil:
    """Sum of squared differences; eight partial sums, which the compiler may keep in vector registers."""
    cdef real sums[8]
    cdef real difference, total = 0
    cdef Py_ssize_t j, lane, whole = length - length % 8
    for lane in range(8):
        sums[lane] = 0
    for j in range(0, whole, 8):
        for lane in range(8):
            difference = a[j + lane] - b[j + lane]
            sums[lane] += difference * difference
    for j in range(whole, length):
        difference = a[j] - b[j]
        total += difference * difference
    for lane in range(8):
        total += sums[lane]
    return total


def squared_distances(const real[:, ::1] features, const int64_t[::1] rows, const int32_t[::1] items):
    """Return the squared L2 distances float32 (n,) of pairs of rows of ``features``."""
    distances = np.empty(rows.shape[0], dtype=np.float32)
    cdef float[::1] out = distances
    cdef Py_ssize_t n
    if features.shape[1] == 0:
        distances[:] = 0
        return distances
    with nogil:
        for n in range(rows.shape[0]):
            out[n] = <float> squared_distance(&features[rows[n], 0], &features[items[n], 0], features.shape[1])
    return distances


def softmax(const int64_t[::1] counts, float[::1] values):
    """Replace the distances of each row by ``exp(-distance)`` over its sum."""
    cdef Py_ssize_t row, n, start = 0
    cdef double lowest, total
    with nogil:
        for row in range(counts.shape[0]):
            if counts[row] == 0:
                continue
            lowest = values[start]
            for n in range(start, start + counts[row]):
                lowest = min(lowest, values[n])
            total = 0
            for n in range(start, start + counts[row]):
                values[n] = <float> exp(lowest - values[n])
                total += values[n]
            for n in range(start, start + counts[row]):
                values[n] = <float> (values[n] / total)
            start += counts[row]


def average(
    const int64_t[::1] starts, const int32_t[::1] items, const float[::1] weights,
    const int64_t[:, ::1] lists, Py_ssize_t k2, Py_ssize_t start, Py_ssize_t stop,
):
    """Return (counts, items, weights): each row becomes the mean of the rows of its first ``k2`` neighbours."""
    cdef Py_ssize_t i, p, n, first, filled = 0, bound = 0
    for i in range(start, stop):
        for p in range(k2):
            bound += starts[lists[i, p] + 1] - starts[lists[i, p]]
    counts, out_items = np.empty(stop - start, dtype=np.int64), np.empty(bound, dtype=np.int32)
    out_weights, sums = np.empty(bound, dtype=np.float32), np.zeros(lists.shape[0])
    cdef int64_t[::1] count = counts
    cdef int32_t[::1] item = out_items
    cdef float[::1] weight = out_weights
    cdef double[::1] total = sums
    cdef int64_t member
    with nogil:
        for i in range(start, stop):
            first = filled
            for p in range(k2):
                member = lists[i, p]
                for n in range(starts[member], starts[member + 1]):
                    if weights[n] == 0:  # a weight that underflowed
                        continue
                    if total[items[n]] == 0:
                        item[filled] = items[n]
                        filled += 1
                    total[items[n]] += weights[n]
            for n in range(first, filled):
                weight[n] = <float> (total[item[n]] / k2)
                total[item[n]] = 0
            count[i - start] = filled - first
    return counts, out_items[:filled].copy(), out_weights[:filled].copy()


def invert(const int64_t[::1] starts, const int32_t[::1] items, const float[::1] weights, Py_ssize_t num_columns):
    """Return the columns (starts, items, weights) of sparse rows; ``items`` are row numbers, ascending."""
    column_starts = np.zeros(num_columns + 1, dtype=np.int64)
    column_items, column_weights = np.empty(items.shape[0], dtype=np.int32), np.empty(items.shape[0], dtype=np.float32)
    cdef int64_t[::1] place = column_starts
    cdef int32_t[::1] item = column_items
    cdef float[::1] weight = column_weights
    cdef Py_ssize_t row, n, column
    with nogil:
        for n in range(items.shape[0]):
            place[items[n] + 1] += 1
        for column in range(num_columns):
            place[column + 1] += place[column]
        for row in range(starts.shape[0] - 1):
            for n in range(starts[row], starts[row + 1]):
                column = items[n]
                item[place[column]] = <int32_t> row
                weight[place[column]] = weights[n]
                place[column] += 1
        for column in range(num_columns, 0, -1):  # each start has moved to the next one's place
            place[column] = place[column - 1]
        place[0] = 0
    return column_starts, column_items, column_weights


def blend(
    const int64_t[::1] starts, const int32_t[::1] items, const float[::1] weights,
    const int64_t[::1] column_starts, const int32_t[::1] column_items, const float[::1] column_weights,
    real[:, ::1] distances, Py_ssize_t first_row, double share, Py_ssize_t start, Py_ssize_t stop,
):
    """Turn rows ``start:stop`` of ``distances`` (b, G) into ``(1 - share) * jaccard + share * distance``.

    Row 0 of the block is query ``first_row``. Only items that share a column with the query are visited singly.
    """
    cdef Py_ssize_t num_gallery = distances.shape[1], i, n, m, count
    sums, found = np.zeros(num_gallery), np.empty(num_gallery, dtype=np.int32)
    cdef double[::1] shared = sums
    cdef int32_t[::1] touched = found
    cdef int32_t j
    cdef double weight, overlap
    cdef real scale = <real> share, apart = <real> (1 - share)
    with nogil:
        for i in range(start, stop):
            count = 0
            for n in range(starts[first_row + i], starts[first_row + i + 1]):
                weight = weights[n]
                for m in range(column_starts[items[n]], column_starts[items[n] + 1]):
                    j = column_items[m]
                    overlap = min(weight, <double> column_weights[m])
                    if shared[j] == 0 and overlap > 0:
                        touched[count] = j
                        count += 1
                    shared[j] += overlap
            for n in range(count):
                overlap = shared[touched[n]]
                overlap = (1 - share) * max(1 - overlap / (2 - overlap), 0)
                shared[touched[n]] = overlap + share * distances[i, touched[n]]
            for n in range(num_gallery):
                distances[i, n] = scale * distances[i, n] + apart
            for n in range(count):
                distances[i, touched[n]] = <real> shared[touched[n]]
                shared[touched[n]] = 0


def smallest(const float[:, ::1] values, int64_t[:, ::1] out, Py_ssize_t start, Py_ssize_t stop):
    """Write to ``out`` (b, k) the columns of the ``k`` smallest values of some rows, by (value, column)."""
    cdef Py_ssize_t k = out.shape[1], i, j, place, filled
    kept = np.empty(k, dtype=np.float32)
    cdef float[::1] best = kept
    cdef float value
    with nogil:
        for i in range(start, stop):
            filled = 0
            for j in range(values.shape[1]):
                value = values[i, j]
                if filled == k:
                    if value >= best[k - 1]:
                        continue
                    place = k - 1
                else:
                    place = filled
                    filled += 1
                while place > 0 and best[place - 1] > value:
                    best[place] = best[place - 1]
                    out[i, place] = out[i, place - 1]
                    place -= 1
                best[place] = value
                out[i, place] = j
