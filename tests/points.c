/* The point functions of the public headers over arrays, for tests. */
#include <stddef.h>

#include "winit/approx.h"
#include "winit/philox.h"

void philox(const uint32_t *counters, const uint32_t *keys, uint32_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        winit_block c;
        winit_key k;
        memcpy(c.word, counters + 4 * i, sizeof c.word);
        k.k0 = keys[2 * i];
        k.k1 = keys[2 * i + 1];
        c = winit_philox4x32(c, k);
        memcpy(out + 4 * i, c.word, sizeof c.word);
    }
}

void normal_pair_f32(const uint32_t *a, const uint32_t *b, float *z0, float *z1, size_t n)
{
    for (size_t i = 0; i < n; i++) winit_normal_pair_f32(a[i], b[i], z0 + i, z1 + i);
}

void normal_pair_f64(const uint64_t *a, const uint64_t *b, double *z0, double *z1, size_t n)
{
    for (size_t i = 0; i < n; i++) winit_normal_pair_f64(a[i], b[i], z0 + i, z1 + i);
}

void truncated_f32(const uint32_t *k, const double *p, float *z, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        z[i] = winit_truncated_f32(k[i], (float)p[0], (float)p[1], (float)p[2], (float)p[3], (float)p[4],
                                   (uint32_t)p[5], p[6] != 0.0);
    }
}

void truncated_f64(const uint64_t *k, const double *p, double *z, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        z[i] = winit_truncated_f64(k[i], p[0], p[1], p[2], p[3], p[4], (uint64_t)p[5], p[6] != 0.0);
    }
}

void float8(const float *x, uint8_t *e4m3, uint8_t *e5m2, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        e4m3[i] = winit_round_f8e4m3(x[i]);
        e5m2[i] = winit_round_f8e5m2(x[i]);
    }
}

void float8_finite(const float *x, uint8_t *e4m3, uint8_t *e5m2, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        e4m3[i] = winit_round_finite_f8e4m3(x[i]);
        e5m2[i] = winit_round_finite_f8e5m2(x[i]);
    }
}

void float8_widened(const uint8_t *h, float *e4m3, float *e5m2, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        e4m3[i] = winit_widen_f8e4m3(h[i]);
        e5m2[i] = winit_widen_f8e5m2(h[i]);
    }
}

void halves(const float *x, uint16_t *f16, uint16_t *bf16, float *wide16, float *widebf16, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        f16[i] = winit_round_f16(x[i]);
        bf16[i] = winit_round_bf16(x[i]);
        wide16[i] = winit_widen_f16(f16[i]);
        widebf16[i] = winit_widen_bf16(bf16[i]);
    }
}
