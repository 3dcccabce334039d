# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Ranks of the matches without sorting the gallery; same results as `_rank_py`.

Only the R matches of a query are sorted. Each other permitted item is placed among them by bisection, and the
number of items ahead of a match then follows from a running sum: G log R steps per query, not G log G.
"""

import numpy as np

from libc.stdlib cimport free, malloc, qsort

ctypedef fused real:
    float
    double

cdef struct Match:
    double distance
    Py_ssize_t row


cdef int compare(const void *left, const void *right) noexcept nogil:
    cdef const Match *a = <const Match *> left
    cdef const Match *b = <const Match *> right
    if a.distance != b.distance:
        return -1 if a.distance < b.distance else 1
    return (a.row > b.row) - (a.row < b.row)


cdef inline Py_ssize_t matches_ahead(
    const Match *matches, Py_ssize_t count, double distance, Py_ssize_t row
) noexcept nogil:
    """Number of sorted matches that come before the item (distance, row)."""
    cdef Py_ssize_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if matches[middle].distance < distance or (
            matches[middle].distance == distance and matches[middle].row < row
        ):
            low = middle + 1
        else:
            high = middle
    return low


cdef void rank_one(
    const real *distances, const unsigned char *relevant, const unsigned char *permitted,
    Py_ssize_t num_gallery, Match *matches, Py_ssize_t count, long long *ranks,
) noexcept nogil:
    """Write the ``count`` ranks of one query; ``ranks`` first counts the items just ahead of each match."""
    cdef Py_ssize_t j, n = 0
    cdef long long ahead = 0
    for j in range(num_gallery):
        if relevant[j] and (permitted == NULL or permitted[j]):
            matches[n].distance = distances[j]
            matches[n].row = j
            ranks[n] = 0
            n += 1
    qsort(matches, count, sizeof(Match), compare)
    for j in range(num_gallery):
        if relevant[j] or (permitted != NULL and not permitted[j]):
            continue
        if distances[j] > matches[count - 1].distance:
            continue
        n = matches_ahead(matches, count, distances[j], j)
        if n < count:
            ranks[n] += 1
    for n in range(count):
        ahead += ranks[n]
        ranks[n] = ahead + n + 1


def relevant_ranks(const real[:, ::1] distances, relevant, permitted=None):
    """As `_rank_py.relevant_ranks`: counts int64 (q,) and ranks int64 (sum of counts,)."""
    shape = (distances.shape[0], distances.shape[1])
    for name, mask in (("relevant", relevant), ("permitted", permitted)):
        if mask is not None and mask.shape != shape:
            raise ValueError(f"{name} must have the shape {shape} of the distances; got {mask.shape}")
    matches_of = relevant if permitted is None else relevant & permitted
    counts = np.count_nonzero(matches_of, axis=1).astype(np.int64)
    ranks = np.empty(counts.sum(), dtype=np.int64)
    if not len(ranks):
        return counts, ranks

    cdef const unsigned char[:, ::1] is_relevant = np.ascontiguousarray(relevant, dtype=bool).view(np.uint8)
    cdef const unsigned char[:, ::1] is_permitted = is_relevant
    cdef bint masked = permitted is not None
    if masked:
        is_permitted = np.ascontiguousarray(permitted, dtype=bool).view(np.uint8)
    cdef const long long[::1] count = counts
    cdef long long[::1] out = ranks
    cdef Py_ssize_t i, start = 0, num_gallery = distances.shape[1]
    cdef Match *matches = <Match *> malloc(counts.max() * sizeof(Match))
    if matches == NULL:
        raise MemoryError(f"no memory for {counts.max()} matches of one query")
    try:
        with nogil:
            for i in range(distances.shape[0]):
                if count[i] == 0:
                    continue
                rank_one(
                    &distances[i, 0], &is_relevant[i, 0], &is_permitted[i, 0] if masked else NULL,
                    num_gallery, matches, count[i], &out[start],
                )
                start += count[i]
    finally:
        free(matches)
    return counts, ranks
