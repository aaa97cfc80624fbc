/* Statistics of a batch in memory, samples by units, for one element type: two sweeps over a piece of rows that the
 * second-level cache holds, all sums float64. A template, as gemm.h, after dense.h.
 *
 * a) lengths     of each row the sum of squares, in 16 lanes that are added in one order
 * b) columns     of each unit sums about its first sample, so that units that hardly vary lose nothing to rounding
 * c) measure     a piece, a block of columns at a time */

#ifndef WINIT_STATISTICS_ONCE
#define WINIT_STATISTICS_ONCE
enum {
    WINIT_SUM_LANES = 16,
    WINIT_SUM_COLUMNS = 512 /* numbers of each of at most six arrays that are added to: 18 KiB of the first-level cache */
};
#endif

/* ---- a) lengths ------------------------------------------------------------------------------------------------- */

/* A power of two that brings a row's largest number to about 1: squares of float64 overflow and vanish, those of float32
 * in float64 do not. */
WINIT_GEMM_NOINLINE double T(scale_of)(const real *y, ptrdiff_t units)
{
    double most = 0;
    int exponent = 0;
    if (!PRECISE) return 1.0;
    for (ptrdiff_t j = 0; j < units; j++) {
        const double size = fabs((double)y[j]);
        most = size > most ? size : most;
    }
    if (most == 0 || !(most <= 1.7976931348623157e308)) return 1.0;
    (void)frexp(most, &exponent);
    return ldexp(1.0, exponent < -1000 ? 1000 : -exponent);
}

WINIT_GEMM_NOINLINE double T(length_of)(const real *restrict y, ptrdiff_t units, double scale)
{
    double lane[WINIT_SUM_LANES] = {0};
    ptrdiff_t j = 0;
    for (; j + WINIT_SUM_LANES <= units; j += WINIT_SUM_LANES) {
        for (int l = 0; l < WINIT_SUM_LANES; l++) {
            const double v = (double)y[j + l] * scale;
            lane[l] += v * v;
        }
    }
    for (int l = 0; j + l < units; l++) {
        const double v = (double)y[j + l] * scale;
        lane[l] += v * v;
    }
    for (int half = WINIT_SUM_LANES / 2; half; half /= 2) {
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    }
    return lane[0];
}

/* ---- b) columns ------------------------------------------------------------------------------------------------- */

WINIT_GEMM_NOINLINE void T(add_columns)(const real *restrict y, const real *restrict first, ptrdiff_t count,
                                        double *restrict sums, double *restrict squares)
{
    for (ptrdiff_t j = 0; j < count; j++) {
        const double apart = (double)y[j] - (double)first[j];
        sums[j] += apart;
        squares[j] += apart * apart;
    }
}

WINIT_GEMM_NOINLINE void T(add_directions)(const real *restrict y, ptrdiff_t count, double scale, double inverse,
                                           double *restrict nonzeros, double *restrict directions)
{
    for (ptrdiff_t j = 0; j < count; j++) {
        nonzeros[j] += y[j] != 0 ? 1.0 : 0.0;
        directions[j] += (double)y[j] * scale * inverse;
    }
}

/* ---- c) measure ------------------------------------------------------------------------------------------------- */

static int64_t T(measure)(const winit_piece *p)
{
    const winit_float_mode saved = winit_default_float_mode();
    double scale[WINIT_PIECE], inverse[WINIT_PIECE];
    int64_t blank = 0;
    for (ptrdiff_t r = 0; r < p->rows; r++) {
        const real *y = (const real *)p->y + r * p->row;
        scale[r] = T(scale_of)(y, p->units);
        const double length = T(length_of)(y, p->units, scale[r]);
        p->lengths[r] = length / (scale[r] * scale[r]);
        blank += length == 0;
        inverse[r] = length == 0 ? 0.0 : 1.0 / sqrt(length);
    }
    for (ptrdiff_t at = 0; at < p->units; at += WINIT_SUM_COLUMNS) {
        const ptrdiff_t count = T(least)(WINIT_SUM_COLUMNS, p->units - at);
        for (ptrdiff_t r = 0; r < p->rows; r++) {
            const real *y = (const real *)p->y + r * p->row + at;
            T(add_columns)(y, (const real *)p->first + at, count, p->sums + at, p->squares + at);
            if (p->directions != NULL) {
                T(add_directions)(y, count, scale[r], inverse[r], p->nonzeros + at, p->directions + at);
            }
        }
    }
    winit_restore_float_mode(saved);
    return blank;
}
