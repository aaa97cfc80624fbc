/* Householder reflections as rows of a matrix, and the triangular factor of their product: what an orthogonal tensor is
 * made of besides matrix products (Stewart 1980; Schreiber and Van Loan 1989).
 *
 * Sums are taken in float64 in a fixed order, so that the bits are the same everywhere. */
#ifndef WINIT_HOUSEHOLDER_H
#define WINIT_HOUSEHOLDER_H

#include <stddef.h>

enum { WINIT_PARTIAL_SUMS = 16 };

/* Row i of `count` rows of `length` numbers, `row` apart, becomes v = x + sign(x_i) |x| e_i, x being what it holds from
 * column i on; 0 before. half[i] = |v|^2 / 2, and sign[i] = -sign(x_i), for which (I - v v' / half) x = sign |x| e_i. */
void winit_reflectors_f32(float *v, ptrdiff_t row, ptrdiff_t count, ptrdiff_t length, double *half, double *sign);
void winit_reflectors_f64(double *v, ptrdiff_t row, ptrdiff_t count, ptrdiff_t length, double *half, double *sign);

/* t = -(inverse of u), u being the upper triangle of `gram` (count x count, the products of rows v) with `half` on its
 * diagonal: the product of the reflections is I - V' inv(u) V. `work` has room for count^2 numbers. */
void winit_triangle_f32(const float *gram, ptrdiff_t count, const double *half, float *t, double *work);
void winit_triangle_f64(const double *gram, ptrdiff_t count, const double *half, double *t, double *work);

#endif
