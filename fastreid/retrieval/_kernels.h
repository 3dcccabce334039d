/* Inner loops of the scan. Plain C that compilers vectorise; GCC on glibc builds one version per instruction set and
 * chooses at run time. Built with -ffp-contract=off (setup.py), so that every version gives the same bits. */
#ifndef FASTREID_KERNELS_H
#define FASTREID_KERNELS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
#define FASTREID_CLONES __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define FASTREID_CLONES
#endif

#define CHUNK 64
#define LANES 16

enum { COSINE = 0, EUCLIDEAN = 1, TABLE = 2 };

/* Where exact scores come from: two feature arrays, or a table of distances. */
typedef struct {
    int kind;
    int is_double;          /* of features or table; else float */
    const char *queries;    /* TABLE: the distances */
    const char *gallery;
    int64_t dim;            /* TABLE: number of columns */
    const double *query_norms;
    const double *gallery_norms;
} Exact;

#define DEFINE_DOT(name, real)                                                                     \
    FASTREID_CLONES static double dot_##name(const real *x, const real *y, int64_t n)              \
    {                                                                                              \
        double lane[LANES] = {0}, sum = 0;                                                         \
        int64_t i = 0;                                                                             \
        for (; i + LANES <= n; i += LANES)                                                         \
            for (int j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * (double)y[i + j];        \
        for (int j = 0; i < n; i++, j++) lane[j] += (double)x[i] * (double)y[i];                   \
        for (int j = 0; j < LANES; j++) sum += lane[j];                                            \
        return sum;                                                                                \
    }                                                                                              \
    FASTREID_CLONES static double gap_##name(const real *x, const real *y, int64_t n)              \
    {                                                                                              \
        double lane[LANES] = {0}, sum = 0;                                                         \
        int64_t i = 0;                                                                             \
        for (; i + LANES <= n; i += LANES)                                                         \
            for (int j = 0; j < LANES; j++) {                                                      \
                double d = (double)x[i + j] - (double)y[i + j];                                    \
                lane[j] += d * d;                                                                  \
            }                                                                                      \
        for (int j = 0; i < n; i++, j++) {                                                         \
            double d = (double)x[i] - (double)y[i];                                                \
            lane[j] += d * d;                                                                      \
        }                                                                                          \
        for (int j = 0; j < LANES; j++) sum += lane[j];                                            \
        return sum;                                                                                \
    }

DEFINE_DOT(float, float)
DEFINE_DOT(double, double)

/* Exact float64 score of (query row, gallery row): cosine, or minus the squared distance, or minus the table's. */
static inline double exact_score(const Exact *e, int64_t query, int64_t item)
{
    const int64_t width = e->is_double ? sizeof(double) : sizeof(float);
    const char *q = e->queries + query * e->dim * width;
    if (e->kind == TABLE) return e->is_double ? -((const double *)q)[item] : -(double)((const float *)q)[item];
    const char *g = e->gallery + item * e->dim * width;
    if (e->kind == EUCLIDEAN)
        return e->is_double ? -gap_double((const double *)q, (const double *)g, e->dim)
                            : -gap_float((const float *)q, (const float *)g, e->dim);
    const double norms = e->query_norms[query] * e->gallery_norms[item];
    if (norms == 0) return 0;
    return (e->is_double ? dot_double((const double *)q, (const double *)g, e->dim)
                         : dot_float((const float *)q, (const float *)g, e->dim)) / norms;
}

/* Keep the items of a row whose approximate score (value + bias) is not below `lowest`; returns how many.
 * A NaN is kept: whoever rechecks it decides. */
#define KEEP_CHUNK(load, size)                                                                     \
    {                                                                                              \
        int count = 0;                                                                             \
        for (int j = 0; j < (size); j++) v[j] = (load) + bias[start + j];                          \
        for (int j = 0; j < (size); j++) count += !(v[j] < lowest);                                \
        if (count)                                                                                 \
            for (int j = 0; j < (size); j++) {                                                     \
                value[kept] = v[j];                                                                \
                position[kept] = (int32_t)(start + j);                                             \
                kept += !(v[j] < lowest);                                                          \
            }                                                                                      \
    }

FASTREID_CLONES static int64_t keep_float(
    const float *row, const float *bias, int64_t n, float lowest, float *value, int32_t *position)
{
    int64_t kept = 0, start = 0;
    float v[CHUNK];
    for (; start + CHUNK <= n; start += CHUNK) KEEP_CHUNK(row[start + j], CHUNK)
    if (start < n) KEEP_CHUNK(row[start + j], n - start)
    return kept;
}

static inline float widen(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

FASTREID_CLONES static int64_t keep_bfloat16(
    const uint16_t *row, const float *bias, int64_t n, float lowest, float *value, int32_t *position)
{
    int64_t kept = 0, start = 0;
    float v[CHUNK];
    for (; start + CHUNK <= n; start += CHUNK) KEEP_CHUNK(widen(row[start + j]), CHUNK)
    if (start < n) KEEP_CHUNK(widen(row[start + j]), n - start)
    return kept;
}

/* Thresholds of one query: the scores of its matches, by (score descending, row ascending), each with the band of
 * approximate scores [lower, upper] that do not decide which side an item is on. */
typedef struct {
    int64_t count;
    const float *lower;
    const float *upper;
    const double *score;
    const int64_t *row;
    int64_t *before;      /* items that come after threshold i-1 and before threshold i */
    int64_t *tied_before; /* items of equal score and lower row; NULL: not asked for */
    int64_t *tied_after;
} Thresholds;

/* First threshold that `value` is above, in descending thresholds; `count` when there is none. */
static inline int64_t first_below(const float *thresholds, int64_t low, int64_t high, float value)
{
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (value > thresholds[middle]) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* Place one item; returns 1 when its exact score was needed. */
static inline int place(const Thresholds *t, const Exact *e, int64_t query, int64_t item, float value)
{
    const int64_t last = first_below(t->upper, 0, t->count, value);
    int64_t first = last; /* thresholds in [first, last) are undecided */
    while (first > 0 && !(value < t->lower[first - 1])) first--;
    if (first == last) {
        if (last < t->count) t->before[last]++;
        return 0;
    }
    const double score = exact_score(e, query, item);
    int64_t i = first;
    while (i < last && (t->score[i] > score || (t->score[i] == score && t->row[i] < item))) i++;
    if (i < t->count) t->before[i]++;
    if (t->tied_before != NULL)
        for (int64_t j = first; j < last; j++)
            if (t->score[j] == score) {
                if (t->row[j] > item) t->tied_before[j]++;
                else t->tied_after[j]++;
            }
    return 1;
}

/* k-th largest (k from 1) of n values, which are reordered. */
static inline float kth_largest(float *x, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const float pivot = x[(low + high) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i <= j) {
                const float other = x[i];
                x[i++] = x[j];
                x[j--] = other;
            }
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else break;
    }
    return x[k - 1];
}

typedef struct {
    double score;
    int64_t row;
} Scored;

/* Nearest first, ties by row. */
static int nearer(const void *left, const void *right)
{
    const Scored *a = (const Scored *)left, *b = (const Scored *)right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

#endif
