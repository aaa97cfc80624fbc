/* What a program that includes winit.h alone gets: values of a stream as bits, one line for each function, for
 * tests/test_embedding_headers.py to compare with winit.draw. C99 and C++.
 *
 *     values check
 *     values cuts
 *     values SEED LO COUNT LOW HIGH LOW64 HIGH64 MEAN STD NAME CUT...
 *
 * NAME as hexadecimal bytes, CUT as the seven numbers of a float32 cut and the seven of a float64 one. */
#include <winit.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 4096 };

static void line_8(const char *what, const uint8_t *v, size_t count)
{
    printf("%s", what);
    for (size_t i = 0; i < count; i++) printf(" %02x", (unsigned)v[i]);
    printf("\n");
}

static void line_16(const char *what, const uint16_t *v, size_t count)
{
    printf("%s", what);
    for (size_t i = 0; i < count; i++) printf(" %04x", (unsigned)v[i]);
    printf("\n");
}

static void line_32(const char *what, const float *v, size_t count)
{
    printf("%s", what);
    for (size_t i = 0; i < count; i++) printf(" %08lx", (unsigned long)winit_bits_f32(v[i]));
    printf("\n");
}

static void line_64(const char *what, const double *v, size_t count)
{
    printf("%s", what);
    for (size_t i = 0; i < count; i++) printf(" %016llx", (unsigned long long)winit_bits_f64(v[i]));
    printf("\n");
}

/* Room for the values and a guard on either side, which fills must leave alone. */
static float f[MOST + 2];
static double d[MOST + 2];
static uint16_t h[MOST + 2];
static uint8_t b[MOST + 2];

static void line_cut(const char *what, const winit_cut *c)
{
    printf("%s %a %a %a %a %a %a %a\n", what, c->low, c->high, c->below, c->above, c->step, c->threshold, c->far);
}

static winit_cut cut_of(char **numbers)
{
    winit_cut c;
    c.low = strtod(numbers[0], NULL);
    c.high = strtod(numbers[1], NULL);
    c.below = strtod(numbers[2], NULL);
    c.above = strtod(numbers[3], NULL);
    c.step = strtod(numbers[4], NULL);
    c.threshold = strtod(numbers[5], NULL);
    c.far = strtod(numbers[6], NULL);
    return c;
}

static int guarded(size_t count)
{
    return f[0] == -99.0f && f[count + 1] == -99.0f && d[0] == -99.0 && d[count + 1] == -99.0 && h[0] == 0x5555u &&
           h[count + 1] == 0x5555u && b[0] == 0x55u && b[count + 1] == 0x55u;
}

int main(int argc, char **argv)
{
    char name[MOST];
    if (argc == 2 && strcmp(argv[1], "check") == 0) {
        printf("%d\n", winit_check());
        return 0;
    }
    if (argc == 2 && strcmp(argv[1], "cuts") == 0) {
        line_cut("float32", &winit_cut_2_f32);
        line_cut("float64", &winit_cut_2_f64);
        return 0;
    }
    if (argc != 25 || strlen(argv[10]) > 2 * sizeof name) return 2;
    const uint64_t seed = strtoull(argv[1], NULL, 0), lo = strtoull(argv[2], NULL, 0);
    const size_t count = (size_t)strtoull(argv[3], NULL, 0), bytes = strlen(argv[10]) / 2;
    const double low = strtod(argv[4], NULL), high = strtod(argv[5], NULL);
    const double low64 = strtod(argv[6], NULL), high64 = strtod(argv[7], NULL);
    const double mean = strtod(argv[8], NULL), std = strtod(argv[9], NULL);
    if (count > MOST) return 2;
    for (size_t i = 0; i < bytes; i++) {
        const char digits[3] = {argv[10][2 * i], argv[10][2 * i + 1], 0};
        name[i] = (char)strtoul(digits, NULL, 16);
    }
    const winit_cut cut = cut_of(argv + 11), cut64 = cut_of(argv + 18);
    const winit_key key = winit_key_of(seed, name, bytes);
    const uint64_t hi = lo + count;
    printf("key %08lx %08lx\n", (unsigned long)key.k0, (unsigned long)key.k1);

    f[0] = f[count + 1] = -99.0f;
    d[0] = d[count + 1] = -99.0;
    h[0] = h[count + 1] = 0x5555u;
    b[0] = b[count + 1] = 0x55u;
    for (size_t i = 0; i < count; i++) f[i + 1] = winit_uniform_at(key, lo + i);
    line_32("uniform_at", f + 1, count);
    for (size_t i = 0; i < count; i++) d[i + 1] = winit_uniform64_at(key, lo + i);
    line_64("uniform64_at", d + 1, count);
    for (size_t i = 0; i < count; i++) f[i + 1] = winit_normal_at(key, lo + i);
    line_32("normal_at", f + 1, count);
    for (size_t i = 0; i < count; i++) d[i + 1] = winit_normal64_at(key, lo + i);
    line_64("normal64_at", d + 1, count);
    for (size_t i = 0; i < count; i++) f[i + 1] = winit_truncated_normal_at(key, lo + i, &cut);
    line_32("truncated_normal_at", f + 1, count);
    for (size_t i = 0; i < count; i++) d[i + 1] = winit_truncated_normal64_at(key, lo + i, &cut64);
    line_64("truncated_normal64_at", d + 1, count);

    winit_fill_uniform(key, lo, hi, f + 1, low, high);
    line_32("fill_uniform", f + 1, count);
    winit_fill_uniform64(key, lo, hi, d + 1, low64, high64);
    line_64("fill_uniform64", d + 1, count);
    winit_fill_normal(key, lo, hi, f + 1, mean, std);
    line_32("fill_normal", f + 1, count);
    winit_fill_normal64(key, lo, hi, d + 1, mean, std);
    line_64("fill_normal64", d + 1, count);
    winit_fill_normal_f16(key, lo, hi, h + 1, mean, std);
    line_16("fill_normal_f16", h + 1, count);
    winit_fill_normal_bf16(key, lo, hi, h + 1, mean, std);
    line_16("fill_normal_bf16", h + 1, count);
    winit_fill_normal_f8e4m3(key, lo, hi, b + 1, mean, std);
    line_8("fill_normal_f8e4m3", b + 1, count);
    winit_fill_normal_f8e5m2(key, lo, hi, b + 1, mean, std);
    line_8("fill_normal_f8e5m2", b + 1, count);
    winit_fill_truncated_normal(key, lo, hi, f + 1, &cut, mean, std);
    line_32("fill_truncated_normal", f + 1, count);
    winit_fill_truncated_normal64(key, lo, hi, d + 1, &cut64, mean, std);
    line_64("fill_truncated_normal64", d + 1, count);
    printf("guards %d\n", guarded(count));
    return 0;
}
