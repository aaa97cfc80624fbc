/* Threads over the kernel tables, for the thread sanitizer: ranges of fills and of sparse tensors that touch, and products
 * whose tasks, packed blocks and kept memory several threads share. There is no Python in it, so whatever the sanitizer
 * reports is winit's. Every result is compared with that of one thread; what is printed is a hash of all of them for each
 * instruction set, which is the same from every compiler and C library.
 *
 *     races            what winit promises: no report, status 0
 *     races overlap    two threads fill the same elements, which it does not: a report, or the sanitizer sees nothing */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dense_table.h"
#include "float_mode.h"
#include "sparse.h"

enum { THREADS = 4, ELEMENTS = 20011, STEP = 337, M = 150, N = 70, K = 2000 };

static const winit_key KEY = {0x01234567, 0x89abcdef};
static int failed;
static uint64_t hash;

/* FNV-1a */
static void take(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3u;
}

static void together(void *(*work)(void *), void *what, int threads)
{
    pthread_t started[2 * THREADS];
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&started[i], NULL, work, what) != 0) abort();
    }
    for (int i = 0; i < threads; i++) pthread_join(started[i], NULL);
}

static void check(int same, const char *what, const char *isa)
{
    if (!same) {
        failed = 1;
        printf("%s on %s differs from one thread's\n", what, isa);
    }
}

/* ---- ranges */

typedef struct {
    const winit_table *table;
    enum winit_law law;
    enum winit_dtype dtype;
    enum winit_mode mode;
    const winit_sparse *sparse; /* or NULL */
    int stride, overlap;
    char *dest;
    _Atomic int64_t next;
} ranges;

static const double PARAMS[WINIT_LAWS][WINIT_MAX_PARAMS] = {
    {0.5}, {-1, 2, 0.9999}, {0, 0.02}, {0, 0.02, -2, 2, 0.02275, 0.97725, 0.9545, 0.5, 0}};
static const int SIZES[WINIT_DTYPES] = {4, 8, 2, 2, 1, 1};

static void *fill_ranges(void *given)
{
    ranges *r = given;
    for (;;) {
        const int64_t taken = atomic_fetch_add_explicit(&r->next, STEP, memory_order_relaxed);
        const int64_t lo = r->overlap ? taken % STEP : taken, hi = lo + STEP < ELEMENTS ? lo + STEP : ELEMENTS;
        if (taken >= ELEMENTS) return NULL;
        if (r->sparse != NULL) {
            if (winit_sparse_write(r->sparse, lo, hi - lo) != 0) abort();
        } else {
            r->table->fill[r->law][r->dtype](KEY, (uint64_t)lo, (uint64_t)hi, r->dest + lo * r->stride, r->stride,
                                             PARAMS[r->law], r->mode, 0.5);
        }
    }
}

static void fills(const winit_table *table, int overlap)
{
    static char one[ELEMENTS * 16], many[ELEMENTS * 16];
    for (int law = 0; law < WINIT_LAWS; law++) {
        for (int dtype = 0; dtype < WINIT_DTYPES; dtype++) {
            for (int mode = 0; mode < 4; mode++) { /* the fourth: stored with gaps */
                ranges r = {table, law, dtype, mode == 3 ? WINIT_STORE : mode, NULL, SIZES[dtype], overlap, one, 0};
                if (mode == 3) r.stride *= 2;
                memset(one, 0, sizeof one);
                memset(many, 0, sizeof many);
                fill_ranges(&r);
                r.dest = many;
                r.next = 0;
                together(fill_ranges, &r, THREADS);
                check(memcmp(one, many, sizeof one) == 0, "a fill", table->name);
                take(one, sizeof one);
            }
        }
    }
}

static void connections(const winit_table *table)
{
    static float one[ELEMENTS], many[ELEMENTS];
    winit_sparse s = {.table = table, .key = KEY, .params = {0, 1}, .dtype = WINIT_F32, .axes = 2, .inputs = 233, .keep = 10};
    const int64_t extent[2] = {ELEMENTS / 233 + 1, 233};
    for (int axis = 0; axis < 2; axis++) {
        s.extent[axis] = s.size[axis] = extent[axis];
        s.step[axis] = s.position[axis] = axis == 0 ? 233 : 1;
        s.stride[axis] = sizeof(float) * (size_t)s.step[axis];
        s.unit[axis] = axis == 0;
    }
    ranges r = {.table = table, .sparse = &s};
    s.dest = (char *)one;
    fill_ranges(&r);
    s.dest = (char *)many;
    r.next = 0;
    together(fill_ranges, &r, THREADS);
    check(memcmp(one, many, sizeof one) == 0, "a sparse tensor", table->name);
    take(one, sizeof one);
}

/* ---- products */

typedef struct {
    const winit_dense_table *table;
    winit_product product[2];
    int type;
    _Atomic int member;
} products;

static void *run_tasks(void *given)
{
    products *p = given;
    const int member = atomic_fetch_add(&p->member, 1);
    winit_product *mine = &p->product[member & 1];
    const int64_t limit = 1 + member; /* as the door does: a few tasks, then back to see whether to stop */
    const winit_float_mode saved = winit_default_float_mode();
    while (p->table->run[p->type](mine, limit) == limit) {
    }
    winit_restore_float_mode(saved);
    return NULL;
}

/* Two products that run at once, each with an operand of every kind and what the dense pass does after it: x W of a
 * sampled W, with bias, gelu and statistics; and the transposed gradient times x, with the gradient's own sums. */
typedef struct {
    double y[M * N], kept[M * N], moments[M * ((N + 63) / 64) * 2], weight_gradient[N * K], sums[(M + 63) / 64 * N];
    int64_t zeros, saturations;
} results;

static void pass(const winit_table *sampling, const winit_dense_table *table, int type, int threads, results *to)
{
    static double x[M * K], grad[M * N], bias[N], input[M * N];
    const size_t real = type == WINIT_REAL_F32 ? 4 : 8;
    const enum winit_dtype dtype = type == WINIT_REAL_F32 ? WINIT_F32 : WINIT_F64;
    winit_fill_fn *normal = sampling->fill[WINIT_NORMAL][dtype];
    const double unit[2] = {0, 1};
    normal(KEY, 0, M * K, (char *)x, (ptrdiff_t)real, unit, WINIT_STORE, 0);
    normal(KEY, 1, M * N + 1, (char *)grad, (ptrdiff_t)real, unit, WINIT_STORE, 0);
    normal(KEY, 2, N + 2, (char *)bias, (ptrdiff_t)real, unit, WINIT_STORE, 0);
    normal(KEY, 3, M * N + 3, (char *)input, (ptrdiff_t)real, unit, WINIT_STORE, 0);
    winit_sampled sampled = {.fill = normal, .key = KEY, .params = {0, 0.03}, .step = N};
    winit_gradient gradient = {.grad = grad, .row = N, .column = 1, .activation = WINIT_GELU, .kept = input, .kept_row = N,
                               .kept_column = 1, .sums = to->sums, .out = N};
    winit_epilogue after = {.activation = WINIT_GELU, .saturated = 0.1, .bias = bias, .kept = to->kept, .kept_row = N,
                            .moments = to->moments, .groups = (N + 63) / 64};
    products p = {.table = table, .type = type};
    winit_product *forward = &p.product[0], *backward = &p.product[1];
    *forward = (winit_product){.m = M, .n = N, .k = K, .type = type, .c = (char *)to->y, .c_row = N, .c_column = 1,
                               .a = {.data = x, .row = K, .column = 1},
                               .b = {.make = table->make_sampled[type], .maker = &sampled},
                               .epilogue = &after, .threads = threads};
    *backward = (winit_product){.m = N, .n = K, .k = M, .type = type, .c = (char *)to->weight_gradient, .c_row = K,
                                .c_column = 1,
                                .a = {.make = table->make_gradient[type], .maker = &gradient, .transposed = 1},
                                .b = {.data = x, .row = K, .column = 1}, .threads = threads};
    for (int i = 0; i < 2; i++) {
        winit_product_plan(&p.product[i], table);
        if (winit_product_begin(&p.product[i]) != 0) abort();
    }
    if (threads == 1) {
        run_tasks(&p);
        run_tasks(&p);
    } else {
        together(run_tasks, &p, 2 * threads);
    }
    for (int i = 0; i < 2; i++) winit_product_end(&p.product[i]);
    to->zeros = after.zeros;
    to->saturations = after.saturations;
}

/* Whole passes in several threads, which take and leave the memory that is kept between products. */
typedef struct {
    const winit_table *sampling;
    const winit_dense_table *table;
} tables;

static void *hold_memory(void *given)
{
    const tables *t = given;
    for (int i = 0; i < 20; i++) {
        winit_product p = {.m = 3, .n = 5, .k = 7 + i, .type = WINIT_REAL_F32, .threads = 1};
        winit_product_plan(&p, t->table);
        if (winit_product_begin(&p) != 0) abort();
        memset(p.slab, i, p.slab_bytes);
        winit_product_end(&p);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const winit_table *sampling[] = {winit_table_plain(), winit_table_avx2(), winit_table_avx512(), winit_table_neon()};
    const winit_dense_table *dense[] = {winit_dense_table_plain(), winit_dense_table_avx2(), winit_dense_table_avx512(),
                                        winit_dense_table_neon()};
    if (argc > 1 && strcmp(argv[1], "overlap") == 0) {
        fills(sampling[0], 1);
        return 0;
    }
    for (size_t i = 0; i < sizeof sampling / sizeof *sampling; i++) {
        if (sampling[i] == NULL || dense[i] == NULL) continue;
        hash = 0xcbf29ce484222325u;
        fills(sampling[i], 0);
        connections(sampling[i]);
        for (int type = 0; type < WINIT_REALS; type++) {
            static results one, many;
            memset(&one, 0, sizeof one);
            memset(&many, 0, sizeof many);
            pass(sampling[i], dense[i], type, 1, &one);
            take(&one, sizeof one);
            for (int times = 0; times < 5; times++) {
                memset(&many, 0, sizeof many);
                pass(sampling[i], dense[i], type, THREADS, &many);
                check(memcmp(&one, &many, sizeof one) == 0, "a product", dense[i]->name);
            }
        }
        tables t = {sampling[i], dense[i]};
        together(hold_memory, &t, THREADS);
        printf("%s %016llx\n", sampling[i]->name, (unsigned long long)hash);
    }
    return failed;
}
