/* See householder.h. */
#include "householder.h"

#include <math.h>
#include <string.h>

#define WINIT_HOUSEHOLDER(real, reflectors, triangle)                                                                  \
    void reflectors(real *v, ptrdiff_t row, ptrdiff_t count, ptrdiff_t length, double *half, double *sign)             \
    {                                                                                                                  \
        for (ptrdiff_t i = 0; i < count; i++) {                                                                        \
            real *const x = v + i * row + i;                                                                           \
            const ptrdiff_t n = length - i;                                                                            \
            double sums[WINIT_PARTIAL_SUMS] = {0}, square = 0;                                                         \
            ptrdiff_t k = 0;                                                                                           \
            for (; k + WINIT_PARTIAL_SUMS <= n; k += WINIT_PARTIAL_SUMS) {                                             \
                for (int q = 0; q < WINIT_PARTIAL_SUMS; q++) sums[q] += (double)x[k + q] * (double)x[k + q];           \
            }                                                                                                          \
            for (int q = 0; k < n; k++, q++) sums[q] += (double)x[k] * (double)x[k];                                   \
            for (int q = 0; q < WINIT_PARTIAL_SUMS; q++) square += sums[q];                                            \
            const double first = (double)x[0], towards = first < 0 ? -1.0 : 1.0;                                       \
            x[0] = square > 0 ? (real)(first + towards * sqrt(square)) : (real)1;                                      \
            half[i] = ((square - first * first) + (double)x[0] * (double)x[0]) * 0.5;                                  \
            sign[i] = -towards;                                                                                        \
            memset(v + i * row, 0, (size_t)i * sizeof *v);                                                             \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    /* Row i of inv(u) is (e_i - sum over k > i of u[i][k] times row k) / u[i][i]. */                                  \
    void triangle(const real *gram, ptrdiff_t count, const double *half, real *t, double *work)                        \
    {                                                                                                                  \
        for (ptrdiff_t i = count - 1; i >= 0; i--) {                                                                   \
            double *restrict const to = work + i * count;                                                              \
            for (ptrdiff_t j = 0; j < count; j++) to[j] = 0;                                                           \
            to[i] = 1;                                                                                                 \
            for (ptrdiff_t k = i + 1; k < count; k++) {                                                                \
                const double u = (double)gram[i * count + k], *restrict const from = work + k * count;                 \
                for (ptrdiff_t j = k; j < count; j++) to[j] -= u * from[j];                                            \
            }                                                                                                          \
            for (ptrdiff_t j = i; j < count; j++) to[j] /= half[i];                                                    \
            for (ptrdiff_t j = 0; j < count; j++) t[i * count + j] = (real)-to[j];                                     \
        }                                                                                                              \
    }

WINIT_HOUSEHOLDER(float, winit_reflectors_f32, winit_triangle_f32)
WINIT_HOUSEHOLDER(double, winit_reflectors_f64, winit_triangle_f64)
