/* The compiled kernels without Python: commands on standard input, what each instruction set of this build makes of them
 * on standard output, for tests/test_kernels_elsewhere.py to compare with the engine's.
 *
 * With the argument `flush` the process is in another floating-point mode than the usual one.
 *
 * A command is a line of words and numbers, and the bytes that it works on. What it makes is a line `isa name bytes` and
 * so many bytes, for each table of kernels that the processor runs; the reflections are the same for all, as `any`. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "dense_table.h"
#include "householder.h"
#include "sparse.h"

enum { TABLES = 4, LINE = 4096 };

static char line[LINE], *rest;

static void stop(const char *why)
{
    fprintf(stderr, "%s: %s\n", why, line);
    exit(2);
}

static const char *word(void)
{
    const char *found = strtok(rest, " \n");
    rest = NULL;
    if (found == NULL) stop("a number is missing");
    return found;
}

static int64_t whole(void) { return strtoll(word(), NULL, 10); }
static uint64_t natural(void) { return strtoull(word(), NULL, 10); }
static double real(void) { return strtod(word(), NULL); }

static winit_key key(void)
{
    winit_key k;
    k.k0 = (uint32_t)natural();
    k.k1 = (uint32_t)natural();
    return k;
}

/* No byte more than asked for, so that a checker of memory sees what reads or writes past it. */
static void *cleared(size_t bytes)
{
    void *data = NULL;
    if (posix_memalign(&data, 64, bytes ? bytes : 1) != 0) stop("no memory");
    memset(data, 0, bytes);
    return data;
}

static void *copied(const void *from, size_t bytes)
{
    void *copy = cleared(bytes);
    memcpy(copy, from, bytes);
    return copy;
}

static void *payload(size_t bytes)
{
    void *data = cleared(bytes);
    if (fread(data, 1, bytes, stdin) != bytes) stop("too little input");
    return data;
}

static void show(const char *isa, const char *name, const void *data, size_t bytes)
{
    printf("%s %s %zu\n", isa, name, bytes);
    fwrite(data, 1, bytes, stdout);
}

static const winit_table *tables[TABLES];
static const winit_dense_table *dense_tables[TABLES];
#define EACH(i)                                                                                                        \
    for (int i = 0; i < TABLES; i++)                                                                                   \
        if (tables[i] != NULL)

static const size_t sizes[WINIT_DTYPES] = {4, 8, 2, 2, 1, 1};

/* ---- sampling --------------------------------------------------------------------------------------------------- */

/* fill LAW DTYPE MODE LO COUNT AT STRIDE BYTES KEY SCALE PARAMS; the buffer, of which the first element is at byte AT */
static void fill(void)
{
    const int64_t law = whole(), dtype = whole(), mode = whole();
    const uint64_t lo = natural(), count = natural();
    const int64_t at = whole(), stride = whole(), bytes = whole();
    const winit_key k = key();
    const double scale = real();
    double params[WINIT_MAX_PARAMS];
    for (int i = 0; i < WINIT_MAX_PARAMS; i++) params[i] = real();
    char *before = payload((size_t)bytes);
    EACH(i)
    {
        char *dest = copied(before, (size_t)bytes);
        tables[i]->fill[law][dtype](k, lo, lo + count, dest + at, (ptrdiff_t)stride, params, (enum winit_mode)mode,
                                    scale);
        show(tables[i]->name, "fill", dest, (size_t)bytes);
        free(dest);
    }
    free(before);
}

/* words TAG LO COUNT KEY */
static void words(void)
{
    const uint32_t tag = (uint32_t)natural();
    const uint64_t lo = natural();
    const size_t count = (size_t)natural();
    const winit_key k = key();
    EACH(i)
    {
        uint32_t *dest = cleared(4 * count);
        tables[i]->words(k, tag, lo, count, dest);
        show(tables[i]->name, "words", dest, 4 * count);
        free(dest);
    }
}

/* sparse_write DTYPE KEY MEAN STD ROWS COLUMNS UNIT_AXIS KEEP ADDING SCALE LO COUNT; the matrix */
static void sparse_write(void)
{
    winit_sparse s;
    memset(&s, 0, sizeof s);
    s.dtype = (enum winit_dtype)whole();
    s.key = key();
    s.params[0] = real();
    s.params[1] = real();
    s.axes = 2;
    s.extent[0] = whole();
    s.extent[1] = whole();
    const int64_t unit_axis = whole();
    s.keep = whole();
    s.adding = (int)whole();
    s.scale = real();
    const int64_t lo = whole(), count = whole();
    const size_t size = sizes[s.dtype], bytes = size * (size_t)(s.extent[0] * s.extent[1]);
    s.unit[unit_axis] = 1;
    s.inputs = s.extent[1 - unit_axis];
    for (int axis = 0; axis < 2; axis++) {
        s.size[axis] = s.extent[axis];
        s.step[axis] = s.position[axis] = axis == 0 ? s.extent[1] : 1;
        s.stride[axis] = (size_t)s.step[axis] * size;
    }
    char *before = payload(bytes);
    EACH(i)
    {
        s.table = tables[i];
        s.dest = copied(before, bytes);
        if (winit_sparse_write(&s, lo, count) != 0) stop("no memory");
        show(tables[i]->name, "sparse", s.dest, bytes);
        free(s.dest);
    }
    free(before);
}

/* sparse_rows DTYPE KEY MEAN STD UNITS INPUTS KEEP FIRST LAST */
static void sparse_rows(void)
{
    winit_sparse s;
    memset(&s, 0, sizeof s);
    s.dtype = (enum winit_dtype)whole();
    s.key = key();
    s.params[0] = real();
    s.params[1] = real();
    s.axes = 2;
    s.extent[0] = whole();
    s.inputs = s.extent[1] = whole();
    s.unit[0] = 1;
    s.step[0] = s.extent[1];
    s.step[1] = 1;
    s.keep = whole();
    const int64_t first = whole(), last = whole();
    const size_t count = (size_t)((last - first) * s.keep);
    EACH(i)
    {
        int64_t *inputs = cleared(8 * count);
        void *values = cleared(sizes[s.dtype] * count);
        s.table = tables[i];
        if (winit_sparse_rows(&s, first, last, s.extent[1], 1, 1, inputs, values) != 0) stop("no memory");
        show(tables[i]->name, "inputs", inputs, 8 * count);
        show(tables[i]->name, "values", values, sizes[s.dtype] * count);
        free(inputs);
        free(values);
    }
}

/* ---- the dense pass --------------------------------------------------------------------------------------------- */

static winit_matrix stored(const void *data, int64_t rows, int64_t columns, int64_t transposed)
{
    winit_matrix m;
    memset(&m, 0, sizeof m);
    m.data = data;
    m.row = transposed ? 1 : (ptrdiff_t)columns;
    m.column = transposed ? (ptrdiff_t)rows : 1;
    return m;
}

static void run(winit_product *p, const winit_dense_table *table)
{
    winit_product_plan(p, table);
    if (winit_product_begin(p) != 0) stop("no memory");
    (void)table->run[p->type](p, INT64_MAX);
    winit_product_end(p);
}

/* product TYPE M N K A_TURNED B_TURNED C_TURNED ADDING STREAMING THREADS ACTIVATION PARAM BIAS MOMENTS SATURATED; a, b, c,
 * bias. An activation of -1 is none. */
static void product(void)
{
    winit_product p;
    winit_epilogue e;
    memset(&p, 0, sizeof p);
    memset(&e, 0, sizeof e);
    p.type = (enum winit_real)whole();
    p.m = (ptrdiff_t)whole();
    p.n = (ptrdiff_t)whole();
    p.k = (ptrdiff_t)whole();
    const int64_t a_turned = whole(), b_turned = whole(), c_turned = whole();
    p.adding = (int)whole();
    p.streaming = (int)whole();
    p.threads = (int)whole();
    const int64_t activation = whole();
    e.param = real();
    const int64_t bias = whole(), moments = whole();
    e.saturated = real();
    const size_t size = sizes[p.type], m = (size_t)p.m, n = (size_t)p.n, k = (size_t)p.k;
    char *a = payload(size * m * k), *b = payload(size * k * n), *c = payload(size * m * n);
    char *added = bias ? payload(size * n) : NULL;
    p.a = stored(a, p.m, p.k, a_turned);
    p.b = stored(b, p.k, p.n, b_turned);
    p.c_row = c_turned ? 1 : p.n;
    p.c_column = c_turned ? p.m : 1;
    if (activation >= 0) {
        p.epilogue = &e;
        e.activation = (enum winit_activation)activation;
        e.bias = added;
        e.groups = (p.n + WINIT_GROUP - 1) / WINIT_GROUP;
    }
    const int bits = activation == WINIT_RELU || activation == WINIT_LEAKY_RELU, inputs = activation >= WINIT_GELU;
    const size_t kept = bits ? m * ((n + 7) / 8) : inputs ? m * n * size : 0;
    const size_t sums = moments ? m * (size_t)e.groups * 2 * sizeof(double) : 0;
    EACH(i)
    {
        p.c = copied(c, size * m * n);
        e.kept = kept ? cleared(kept) : NULL;
        e.kept_row = bits ? (p.n + 7) / 8 : p.n;
        e.moments = moments ? cleared(sums) : NULL;
        atomic_init(&e.zeros, 0);
        atomic_init(&e.saturations, 0);
        run(&p, dense_tables[i]);
        const int64_t counted[2] = {atomic_load(&e.zeros), atomic_load(&e.saturations)};
        show(dense_tables[i]->name, "c", p.c, size * m * n);
        if (kept) show(dense_tables[i]->name, "kept", e.kept, kept);
        if (moments) show(dense_tables[i]->name, "moments", e.moments, sums);
        if (moments) show(dense_tables[i]->name, "counted", counted, sizeof counted);
        free(p.c);
        free(e.kept);
        free(e.moments);
    }
    free(a);
    free(b);
    free(c);
    free(added);
}

/* gradient TYPE BATCH OUT N ACTIVATION PARAM TURNED; grad, kept, b: (grad * f') b, or its transpose times b */
static void gradient(void)
{
    winit_product p;
    winit_gradient g;
    memset(&p, 0, sizeof p);
    memset(&g, 0, sizeof g);
    p.type = (enum winit_real)whole();
    const int64_t batch = whole(), out = whole();
    p.n = (ptrdiff_t)whole();
    g.activation = (enum winit_activation)whole();
    g.param = real();
    const int64_t turned = whole();
    const int bits = g.activation == WINIT_RELU || g.activation == WINIT_LEAKY_RELU;
    const size_t size = sizes[p.type], all = (size_t)(batch * out) * size;
    const size_t kept = bits ? (size_t)(batch * ((out + 7) / 8)) : g.activation == WINIT_IDENTITY ? 0 : all;
    const size_t sums = (size_t)((batch + WINIT_PIECE - 1) / WINIT_PIECE * out) * sizeof(double);
    p.m = (ptrdiff_t)(turned ? out : batch);
    p.k = (ptrdiff_t)(turned ? batch : out);
    char *grad = payload(all), *of = payload(kept), *b = payload((size_t)(p.k * p.n) * size);
    g.grad = grad;
    g.row = g.out = (ptrdiff_t)out;
    g.column = g.kept_column = 1;
    g.kept = kept ? of : NULL;
    g.kept_row = (ptrdiff_t)(bits ? (out + 7) / 8 : out);
    p.b = stored(b, p.k, p.n, 0);
    p.a.maker = &g;
    p.a.transposed = (int)turned;
    p.c_row = p.n;
    p.c_column = 1;
    p.threads = 2;
    const size_t bytes = (size_t)(p.m * p.n) * size;
    EACH(i)
    {
        p.c = cleared(bytes);
        g.sums = cleared(sums);
        p.a.make = dense_tables[i]->make_gradient[p.type];
        run(&p, dense_tables[i]);
        show(dense_tables[i]->name, "c", p.c, bytes);
        show(dense_tables[i]->name, "sums", g.sums, sums);
        free(p.c);
        free(g.sums);
    }
    free(grad);
    free(of);
    free(b);
}

/* sampled TYPE M N K TURNED LAW KEY PARAMS; a: a times weights that are drawn */
static void sampled(void)
{
    winit_product p;
    winit_sampled s;
    memset(&p, 0, sizeof p);
    memset(&s, 0, sizeof s);
    p.type = (enum winit_real)whole();
    p.m = (ptrdiff_t)whole();
    p.n = (ptrdiff_t)whole();
    p.k = (ptrdiff_t)whole();
    p.b.transposed = (int)whole();
    const int64_t law = whole();
    s.key = key();
    for (int i = 0; i < WINIT_MAX_PARAMS; i++) s.params[i] = real();
    s.step = p.b.transposed ? p.k : p.n;
    const size_t size = sizes[p.type], bytes = (size_t)(p.m * p.n) * size;
    char *a = payload((size_t)(p.m * p.k) * size);
    p.a = stored(a, p.m, p.k, 0);
    p.b.maker = &s;
    p.c_row = p.n;
    p.c_column = 1;
    p.threads = 1;
    EACH(i)
    {
        s.fill = tables[i]->fill[law][p.type == WINIT_REAL_F32 ? WINIT_F32 : WINIT_F64];
        p.b.make = dense_tables[i]->make_sampled[p.type];
        p.c = cleared(bytes);
        run(&p, dense_tables[i]);
        show(dense_tables[i]->name, "c", p.c, bytes);
        free(p.c);
    }
    free(a);
}

/* activate TYPE ACTIVATION PARAM COUNT DERIVE; from, to */
static void activate(void)
{
    const int64_t type = whole(), activation = whole();
    const double param = real();
    const size_t count = (size_t)whole(), bytes = count * sizes[type];
    const int64_t derive = whole();
    char *from = payload(bytes), *before = payload(bytes);
    EACH(i)
    {
        const winit_dense_table *t = dense_tables[i];
        char *to = copied(before, bytes);
        (derive ? t->derive : t->activate)[type]((enum winit_activation)activation, param, from, to, count);
        show(t->name, "to", to, bytes);
        free(to);
    }
    free(from);
    free(before);
}

/* measure TYPE ROWS UNITS; y */
static void measure(void)
{
    winit_piece p;
    memset(&p, 0, sizeof p);
    const int64_t type = whole();
    p.rows = (ptrdiff_t)whole();
    p.row = p.units = (ptrdiff_t)whole();
    const size_t units = (size_t)p.units, rows = (size_t)p.rows;
    void *y = payload(sizes[type] * rows * units);
    p.y = p.first = y;
    EACH(i)
    {
        double *sums = cleared(4 * units * sizeof *sums);
        p.lengths = cleared(rows * sizeof *p.lengths);
        p.sums = sums;
        p.squares = sums + units;
        p.nonzeros = sums + 2 * units;
        p.directions = sums + 3 * units;
        const int64_t blank = dense_tables[i]->measure[type](&p);
        show(dense_tables[i]->name, "lengths", p.lengths, rows * sizeof *p.lengths);
        show(dense_tables[i]->name, "sums", sums, 4 * units * sizeof *sums);
        show(dense_tables[i]->name, "blank", &blank, sizeof blank);
        free(p.lengths);
        free(sums);
    }
    free(y);
}

/* reflect TYPE COUNT LENGTH; v, gram */
static void reflect(void)
{
    const int64_t type = whole();
    const size_t count = (size_t)whole(), length = (size_t)whole(), size = sizes[type];
    void *v = payload(size * count * length), *gram = payload(size * count * count), *t = cleared(size * count * count);
    double *half = cleared(8 * count), *sign = cleared(8 * count), *work = cleared(8 * count * count);
    const ptrdiff_t n = (ptrdiff_t)count, l = (ptrdiff_t)length;
    if (type == WINIT_REAL_F32) {
        winit_reflectors_f32(v, l, n, l, half, sign);
        winit_triangle_f32(gram, n, half, t, work);
    } else {
        winit_reflectors_f64(v, l, n, l, half, sign);
        winit_triangle_f64(gram, n, half, t, work);
    }
    show("any", "v", v, size * count * length);
    show("any", "half", half, 8 * count);
    show("any", "sign", sign, 8 * count);
    show("any", "t", t, size * count * count);
    free(v);
    free(gram);
    free(t);
    free(half);
    free(sign);
    free(work);
}

static const struct {
    const char *name;
    void (*act)(void);
} commands[] = {
    {"fill", fill},       {"words", words},     {"sparse_write", sparse_write}, {"sparse_rows", sparse_rows},
    {"product", product}, {"gradient", gradient}, {"sampled", sampled},         {"activate", activate},
    {"measure", measure}, {"reflect", reflect},
};

/* Round down and flush subnormals, as a library may leave a process. */
static void flush(void)
{
#if defined(__aarch64__)
    const uint64_t mode = (uint64_t)1 << 24 | (uint64_t)2 << 22;
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#elif defined(__SSE2__)
    _mm_setcsr(0xBFC0u);
#else
    stop("no such mode here");
#endif
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "flush") == 0) flush();
    const winit_table *found[TABLES] = {winit_table_plain(), winit_table_neon(), winit_table_avx2(),
                                        winit_table_avx512()};
    const winit_dense_table *dense[TABLES] = {winit_dense_table_plain(), winit_dense_table_neon(),
                                              winit_dense_table_avx2(), winit_dense_table_avx512()};
    for (int i = 0; i < TABLES; i++) {
        if ((found[i] == NULL) != (dense[i] == NULL)) stop("an instruction set has one table of two");
        tables[i] = found[i];
        dense_tables[i] = dense[i];
    }
    while (fgets(line, LINE, stdin) != NULL) {
        size_t i = 0;
        rest = line;
        const char *name = word();
        while (i < sizeof commands / sizeof *commands && strcmp(commands[i].name, name) != 0) i++;
        if (i == sizeof commands / sizeof *commands) stop("no such command");
        commands[i].act();
        printf("end\n");
    }
    return 0;
}
