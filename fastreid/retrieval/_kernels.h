/* Inner loops of the scan. Plain C that compilers vectorise; GCC on glibc builds one version per instruction set and
 * chooses at run time. Built with -ffp-contract=off (setup.py), so that every version gives the same bits. */
#ifndef FASTREID_KERNELS_H
#define FASTREID_KERNELS_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
#define FASTREID_CLONES __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define FASTREID_CLONES
#endif

#define CHUNK 64
#define LANES 16

enum { COSINE = 0, EUCLIDEAN = 1, TABLE = 2 };

/* Round x * scale - mean to bfloat16 (nearest, ties to even); the squared lengths of what is rounded and of what
 * rounding takes away. */
#define DEFINE_ROUND(name, real)                                                                   \
    FASTREID_CLONES static void round_##name(                                                      \
        const real *x, double scale, const float *mean, int64_t n, uint16_t *out, float *length, float *lost) \
    {                                                                                              \
        float sums[LANES] = {0}, losses[LANES] = {0};                                              \
        for (int64_t start = 0; start < n; start += LANES) {                                       \
            float v[LANES] = {0}, near[LANES];                                                     \
            uint32_t bits[LANES];                                                                  \
            if (n - start >= LANES)                                                                \
                for (int j = 0; j < LANES; j++) v[j] = (float)(x[start + j] * (real)scale) - mean[start + j]; \
            else                                                                                   \
                for (int j = 0; j < n - start; j++) v[j] = (float)(x[start + j] * (real)scale) - mean[start + j]; \
            memcpy(bits, v, sizeof bits);                                                          \
            for (int j = 0; j < LANES; j++) bits[j] = (bits[j] + 0x7fff + (bits[j] >> 16 & 1)) & 0xffff0000; \
            memcpy(near, bits, sizeof near);                                                       \
            for (int j = 0; j < LANES; j++) sums[j] += v[j] * v[j];                                \
            for (int j = 0; j < LANES; j++) losses[j] += (v[j] - near[j]) * (v[j] - near[j]);      \
            if (n - start >= LANES)                                                                \
                for (int j = 0; j < LANES; j++) out[start + j] = (uint16_t)(bits[j] >> 16);        \
            else                                                                                   \
                for (int j = 0; j < n - start; j++) out[start + j] = (uint16_t)(bits[j] >> 16);    \
        }                                                                                          \
        *length = *lost = 0;                                                                       \
        for (int j = 0; j < LANES; j++) *length += sums[j];                                        \
        for (int j = 0; j < LANES; j++) *lost += losses[j];                                        \
    }

DEFINE_ROUND(float, float)
DEFINE_ROUND(double, double)

/* Ask for a row that is read soon. */
static inline void prefetch(const char *row, int64_t bytes)
{
#if defined(__GNUC__) || defined(__clang__)
    for (int64_t at = 0; at < bytes && at < 4096; at += 64) __builtin_prefetch(row + at);
#endif
}

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

/* Bit j of the result: v[j] + bias[j] is not below `lowest` (a NaN is not: whoever rechecks it decides). 64 items, whose
 * sums go to `sum`. SSE2 is in every x86-64; elsewhere the compiler does what it can. */
#ifdef __SSE2__
static inline uint64_t not_below(__m128 v, const float *bias, __m128 lowest, float *sum)
{
    v = _mm_add_ps(v, _mm_loadu_ps(bias));
    _mm_storeu_ps(sum, v);
    return (uint64_t)_mm_movemask_ps(_mm_cmpnlt_ps(v, lowest));
}

FASTREID_CLONES static uint64_t bits_float(const float *v, const float *bias, float lowest, float *sum)
{
    const __m128 low = _mm_set1_ps(lowest);
    uint64_t bits = 0;
    for (int j = 0; j < CHUNK; j += 4) bits |= not_below(_mm_loadu_ps(v + j), bias + j, low, sum + j) << j;
    return bits;
}

FASTREID_CLONES static uint64_t bits_bfloat16(const uint16_t *v, const float *bias, float lowest, float *sum)
{
    const __m128 low = _mm_set1_ps(lowest);
    const __m128i zero = _mm_setzero_si128();
    uint64_t bits = 0;
    for (int j = 0; j < CHUNK; j += 8) {
        const __m128i eight = _mm_loadu_si128((const __m128i *)(v + j));
        bits |= not_below(_mm_castsi128_ps(_mm_unpacklo_epi16(zero, eight)), bias + j, low, sum + j) << j;
        bits |= not_below(_mm_castsi128_ps(_mm_unpackhi_epi16(zero, eight)), bias + j + 4, low, sum + j + 4) << (j + 4);
    }
    return bits;
}
#else
static inline float widen(uint16_t bits)
{
    const uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

#define DEFINE_BITS(name, type, load)                                                              \
    static uint64_t name(const type *v, const float *bias, float lowest, float *sum)               \
    {                                                                                              \
        uint64_t bits = 0;                                                                         \
        int any = 0;                                                                               \
        for (int j = 0; j < CHUNK; j++) sum[j] = load(v[j]) + bias[j];                             \
        for (int j = 0; j < CHUNK; j++) any += !(sum[j] < lowest);                                 \
        if (any)                                                                                   \
            for (int j = 0; j < CHUNK; j++) bits |= (uint64_t)!(sum[j] < lowest) << j;             \
        return bits;                                                                               \
    }

DEFINE_BITS(bits_float, float, )
DEFINE_BITS(bits_bfloat16, uint16_t, widen)
#endif

static inline int lowest_bit(uint64_t bits)
{
#if defined(__GNUC__) || defined(__clang__)
    return __builtin_ctzll(bits);
#else
    int at = 0;
    while (!(bits >> at & 1)) at++;
    return at;
#endif
}

/* Keep the items of a row whose approximate score (value + bias) is not below `lowest`; returns how many. */
#define DEFINE_KEEP(name, type, bits_of)                                                           \
    static int64_t name(                                                                           \
        const type *row, const float *bias, int64_t n, float lowest, float *value, int32_t *position) \
    {                                                                                              \
        int64_t kept = 0;                                                                          \
        float sum[CHUNK], padded_bias[CHUNK] = {0};                                                \
        type padded[CHUNK] = {0};                                                                  \
        for (int64_t start = 0; start < n; start += CHUNK) {                                       \
            const int64_t left = n - start;                                                        \
            const type *v = row + start;                                                           \
            const float *b = bias + start;                                                         \
            uint64_t bits;                                                                         \
            if (left < CHUNK) {                                                                    \
                v = memcpy(padded, v, left * sizeof(type));                                        \
                b = memcpy(padded_bias, b, left * sizeof(float));                                  \
            }                                                                                      \
            bits = bits_of(v, b, lowest, sum);                                                     \
            if (left < CHUNK) bits &= ((uint64_t)1 << left) - 1;                                   \
            for (; bits; bits &= bits - 1) {                                                       \
                const int j = lowest_bit(bits);                                                    \
                value[kept] = sum[j];                                                              \
                position[kept++] = (int32_t)(start + j);                                           \
            }                                                                                      \
        }                                                                                          \
        return kept;                                                                               \
    }

DEFINE_KEEP(keep_float, float, bits_float)
DEFINE_KEEP(keep_bfloat16, uint16_t, bits_bfloat16)

/* Ask for the gallery row of a pair that is scored soon. */
static inline void prefetch_item(const Exact *e, int64_t item)
{
    if (e->kind == TABLE) return;
    const int64_t bytes = e->dim * (e->is_double ? sizeof(double) : sizeof(float));
    prefetch(e->gallery + item * bytes, bytes);
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

/* The thresholds in [first, last) on whose side of an item its value does not decide; the item is after those before
 * `first`, and ahead of `last` and the following. */
typedef struct {
    int64_t first;
    int64_t last;
} Band;

static inline Band undecided(const Thresholds *t, float value)
{
    Band band;
    band.first = band.last = first_below(t->upper, 0, t->count, value);
    while (band.first > 0 && !(value < t->lower[band.first - 1])) band.first--;
    return band;
}

/* Place an item by its value; returns 0 when that does not decide. */
static inline int place_by_value(const Thresholds *t, float value)
{
    const Band band = undecided(t, value);
    if (band.first != band.last) return 0;
    if (band.last < t->count) t->before[band.last]++;
    return 1;
}

/* Place an item whose value does not decide by its exact score. */
static inline void place_by_score(const Thresholds *t, float value, double score, int64_t item)
{
    const Band band = undecided(t, value);
    int64_t i = band.first;
    while (i < band.last && (t->score[i] > score || (t->score[i] == score && t->row[i] < item))) i++;
    if (i < t->count) t->before[i]++;
    if (t->tied_before != NULL)
        for (int64_t j = band.first; j < band.last; j++)
            if (t->score[j] == score) {
                if (t->row[j] > item) t->tied_before[j]++;
                else t->tied_after[j]++;
            }
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
    float value;
    int32_t position;
} Scored;

/* Nearest first, ties by row. */
static int nearer(const void *left, const void *right)
{
    const Scored *a = (const Scored *)left, *b = (const Scored *)right;
    if (a->score != b->score) return a->score > b->score ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

#endif
