/* Inner loops of `_area.pyx`: means over areas of an image that is fed row by row, as grey values or as runs of black.
 *
 * Reducing `width` columns to `out_width`, a column covers out_width units of a line of width * out_width units, and a
 * pixel of the result covers `width` of them; so all weights are whole numbers, and so are the sums. */
#ifndef FASTREID_AREA_H
#define FASTREID_AREA_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 9
#define FASTREID_CLONES __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define FASTREID_CLONES
#endif

typedef struct {
    int64_t width, height, out_width, out_height;
    int64_t row, out_row; /* the next of each */
    uint32_t *sums;       /* per column (and one more), of the rows of one row of the result; of runs: differences */
    uint8_t *out;         /* the next row of the result */
    int inverted;         /* runs: what was called black is white */
} Area;

FASTREID_CLONES static void area_add_values(uint32_t *sums, const uint8_t *values, int64_t n, uint32_t weight)
{
    for (int64_t x = 0; x < n; x++)
        sums[x] += weight * values[x];
}

/* Sum the columns into a row of pixels; sums of `runs` count black. */
static void area_write(Area *area, int runs)
{
    const int64_t n = area->width, m = area->out_width;
    const uint64_t full = (uint64_t)n * area->height;
    uint64_t total = 0;
    int64_t done = 0; /* units of the present pixel */
    for (int64_t x = 0; x < n; x++) {
        const uint64_t sum = area->sums[x];
        int64_t left = m;
        if (done + left >= n) {
            const int64_t first = n - done;
            total += sum * first;
            if (runs) {
                const uint64_t white = area->inverted ? total : full - total;
                *area->out++ = (uint8_t)((2 * 255 * white + full) / (2 * full));
            } else {
                *area->out++ = (uint8_t)((2 * total + full) / (2 * full));
            }
            left -= first;
            total = done = 0;
        }
        total += sum * left;
        done += left;
    }
    area->out_row++;
    memset(area->sums, 0, (n + 1) * sizeof(uint32_t));
}

/* The parts of the next row in rows of the result: at most two, because the result is not higher than the image. */
static inline int64_t area_first_part(const Area *area)
{
    const int64_t begin = area->row * area->out_height, end = (area->out_row + 1) * area->height;
    return end - begin < area->out_height ? end - begin : area->out_height;
}

static void area_feed_values(Area *area, const uint8_t *values)
{
    const int64_t first = area_first_part(area);
    area_add_values(area->sums, values, area->width, (uint32_t)first);
    area->row++;
    if (area->row * area->out_height >= (area->out_row + 1) * area->height) {
        area_write(area, 0);
        if (first < area->out_height)
            area_add_values(area->sums, values, area->width, (uint32_t)(area->out_height - first));
    }
}

static void area_add_runs(uint32_t *sums, const int32_t *edges, int64_t count, uint32_t weight)
{
    for (int64_t i = 0; i + 1 < count; i += 2) {
        sums[edges[i]] += weight;
        sums[edges[i + 1]] -= weight;
    }
}

/* `edges`: where black begins and ends, in turn; `count` is even. */
static void area_feed_runs(Area *area, const int32_t *edges, int64_t count)
{
    const int64_t first = area_first_part(area);
    area_add_runs(area->sums, edges, count, (uint32_t)first);
    area->row++;
    if (area->row * area->out_height >= (area->out_row + 1) * area->height) {
        for (int64_t x = 1; x < area->width; x++)
            area->sums[x] += area->sums[x - 1];
        area_write(area, 1);
        if (first < area->out_height)
            area_add_runs(area->sums, edges, count, (uint32_t)(area->out_height - first));
    }
}

/* Which of left, above and corner is nearest to left + above - corner. */
static inline uint8_t png_paeth(int a, int b, int c)
{
    int pa = b - c, pb = a - c, pc = pa + pb;
    pa = pa < 0 ? -pa : pa;
    pb = pb < 0 ? -pb : pb;
    pc = pc < 0 ? -pc : pc;
    const int ab = pa <= pb ? a : b, least = pa <= pb ? pa : pb;
    return (uint8_t)(least <= pc ? ab : c);
}

/* Undo the filter of a PNG row of one byte per pixel, in place; returns 0 for an unknown filter. */
FASTREID_CLONES static int png_unfilter(int filter, uint8_t *row, const uint8_t *above, int64_t n)
{
    int64_t x;
    uint8_t left = 0, corner = 0;
    switch (filter) {
    case 0:
        return 1;
    case 1:
        for (x = 0; x < n; x++)
            row[x] = left = (uint8_t)(row[x] + left);
        return 1;
    case 2:
        for (x = 0; x < n; x++)
            row[x] = (uint8_t)(row[x] + above[x]);
        return 1;
    case 3:
        for (x = 0; x < n; x++)
            row[x] = left = (uint8_t)(row[x] + ((left + above[x]) >> 1));
        return 1;
    case 4:
        for (x = 0; x < n; x++) {
            row[x] = left = (uint8_t)(row[x] + png_paeth(left, above[x], corner));
            corner = above[x];
        }
        return 1;
    }
    return 0;
}

/* Undo filter 4 of two rows that follow each other, the second a pixel behind the first: each waits for its own last
 * pixel alone, so that a processor does both in the time of one. */
static void png_unfilter_paeth_twice(uint8_t *row, uint8_t *second, const uint8_t *above, int64_t n)
{
    uint8_t left = (uint8_t)(row[0] + above[0]), second_left = 0, second_corner = 0;
    row[0] = left;
    for (int64_t x = 1; x < n; x++) {
        const uint8_t behind = left;
        row[x] = left = (uint8_t)(row[x] + png_paeth(left, above[x], above[x - 1]));
        second[x - 1] = second_left = (uint8_t)(second[x - 1] + png_paeth(second_left, behind, second_corner));
        second_corner = behind;
    }
    second[n - 1] = (uint8_t)(second[n - 1] + png_paeth(second_left, left, second_corner));
}

/* ITU-T T.6 (Group 4). Tables are indexed by the next bits; an entry is 0 (no code) or value << 8 | bits of its code. */
enum { MODE_BITS = 7, RUN_BITS = 13, PASS = 8, HORIZONTAL = 9, VERTICAL = 3 /* VERTICAL + d, d in -3..3 */ };

typedef struct {
    const uint8_t *next, *end;
    uint64_t bits; /* the next ones from the top */
    int count;
} Bits;

static inline void bits_fill(Bits *bits)
{
    while (bits->count <= 56) { /* beyond the end come zeros, which are no code */
        const uint64_t byte = bits->next < bits->end ? *bits->next : 0;
        bits->next++;
        bits->bits |= byte << (56 - bits->count);
        bits->count += 8;
    }
}

static inline int64_t bits_take(Bits *bits, const int32_t *table, int width)
{
    bits_fill(bits);
    const int32_t entry = table[bits->bits >> (64 - width)];
    if (!entry)
        return -1;
    bits->bits <<= entry & 255;
    bits->count -= entry & 255;
    return entry >> 8;
}

static inline int64_t bits_run(Bits *bits, const int32_t *table)
{
    int64_t run = 0, part;
    do {
        part = bits_take(bits, table, RUN_BITS);
        if (part < 0)
            return -1;
        run += part;
    } while (part >= 64);
    return run;
}

/* Decode `rows` rows of a strip into `area`; returns 0 where the code is damaged or of a kind not known here.
 * `lines`: room for twice width + 8 numbers. */
static int g4_feed(Area *area, const uint8_t *data, int64_t size, int64_t rows, int32_t *lines, const int32_t *modes,
                   const int32_t *white, const int32_t *black)
{
    const int64_t n = area->width;
    int32_t *above = lines, *line = lines + n + 8, *swap;
    Bits bits = {data, data + size, 0, 0};
    for (int i = 0; i < 4; i++)
        above[i] = (int32_t)n;
    for (int64_t row = 0; row < rows; row++) {
        int64_t at = -1, count = 0, b = 0; /* -1: before the first pixel */
        int color = 0;
        while (at < n) {
            const int64_t mode = bits_take(&bits, modes, MODE_BITS);
            if (mode == PASS) {
                at = above[b + 1];
            } else if (mode == HORIZONTAL) {
                const int64_t first = bits_run(&bits, color ? black : white);
                const int64_t second = bits_run(&bits, color ? white : black);
                const int64_t start = at < 0 ? 0 : at;
                if (first < 0 || second < 0 || (first == 0 && start > 0)
                    || (second == 0 && start + first < n) || start + first + second > n)
                    return 0;
                line[count++] = (int32_t)(start + first);
                line[count++] = (int32_t)(at = start + first + second);
            } else if (mode >= 0) {
                const int64_t to = above[b] + mode - VERTICAL;
                if (to <= at || to > n)
                    return 0;
                line[count++] = (int32_t)(at = to);
                color ^= 1;
                b += b > 0 ? -1 : 1;
            } else {
                return 0;
            }
            while (above[b] <= at && above[b] < n)
                b += 2;
            if (count > n + 2)
                return 0;
        }
        for (int i = 0; i < 4; i++)
            line[count + i] = (int32_t)n;
        area_feed_runs(area, line, (count + 1) & ~(int64_t)1);
        swap = above, above = line, line = swap;
    }
    return bits.next - bits.count / 8 <= bits.end;
}

#endif
