/* The kernel contract in C: what every instruction set's build of sample.h offers. */
#ifndef WINIT_SAMPLE_TABLE_H
#define WINIT_SAMPLE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "winit/philox.h"

enum winit_law { WINIT_CONSTANT, WINIT_UNIFORM, WINIT_NORMAL, WINIT_TRUNCATED, WINIT_LAWS };
enum winit_dtype { WINIT_F32, WINIT_F64, WINIT_F16, WINIT_BF16, WINIT_F8E4M3, WINIT_F8E5M2, WINIT_DTYPES };
enum winit_mode {
    WINIT_STORE,  /* dest = value */
    WINIT_STREAM, /* the same past the cache, for contiguous fills larger than it */
    WINIT_ADD     /* dest = dest + scale * value, rounded once more for half types and float8 */
};

/* Numbers of each law, as doubles that the law's arithmetic type holds exactly:
 *   constant    value
 *   uniform     low, span, cap                   (cap: the largest result, below high)
 *   normal      mean, std
 *   truncated   mean, std, low, high, below, above, step, threshold, far   (winit_truncated_f32) */
enum { WINIT_MAX_PARAMS = 9 };

/* Fill dest with elements [lo, hi) of the stream's tensor, the first at dest, each `stride` bytes from the last. */
typedef void winit_fill_fn(winit_key key,        /* IN */
                           uint64_t lo,          /* IN  elements */
                           uint64_t hi,          /* IN  elements */
                           char *dest,           /* OUT (IN too with WINIT_ADD) */
                           ptrdiff_t stride,     /* IN  bytes */
                           const double *params, /* IN */
                           enum winit_mode mode, /* IN */
                           double scale);        /* IN  of WINIT_ADD */

/* Words lo, lo + 1, ... of the stream (key, tag) into dest. */
typedef void winit_words_fn(winit_key key, uint32_t tag, uint64_t lo, size_t count, uint32_t *dest);

/* mean + std z (params) at any elements of a normal tensor, up to WINIT_SCATTER of them: float32, or float64 where wide.
 * flat has room for WINIT_SCATTER. */
enum { WINIT_SCATTER = 256 };
typedef void winit_normals_at_fn(winit_key key, const uint64_t *flat, size_t count, const double *params, int wide,
                                 void *values);

typedef struct winit_table {
    const char *name;
    winit_fill_fn *fill[WINIT_LAWS][WINIT_DTYPES];
    winit_words_fn *words;
    winit_normals_at_fn *normals_at;
} winit_table;

/* Builds of this extension, best last; NULL where this processor or this build lacks it. */
const winit_table *winit_table_plain(void);
const winit_table *winit_table_neon(void);
const winit_table *winit_table_avx2(void);
const winit_table *winit_table_avx512(void);

#endif
