/* Fused multiply-adds in registers, nothing else: what the processor can do at most. Built by benchmarks/peak.py. */
#include <immintrin.h>

#define REPEAT(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11)
#if defined(__AVX512F__)
typedef __m512 vector;
#define FMA(i) a##i = _mm512_fmadd_ps(a##i, x, y);
#define SET(v) _mm512_set1_ps(v)
#elif defined(__FMA__)
typedef __m256 vector;
#define FMA(i) a##i = _mm256_fmadd_ps(a##i, x, y);
#define SET(v) _mm256_set1_ps(v)
#else
typedef __m128 vector;
#define FMA(i) a##i = _mm_add_ps(_mm_mul_ps(a##i, x), y);
#define SET(v) _mm_set1_ps(v)
#endif
#define START(i) vector a##i = SET(i);
#define HOLD(i) __asm__ volatile("" : "+x"(a##i));

/* Twelve independent chains, `rounds` times; returns the operations done. */
double peak(long rounds)
{
    const vector x = SET(0.999f), y = SET(1e-3f);
    REPEAT(START)
    for (long n = 0; n < rounds; n++) {
        REPEAT(FMA)
        REPEAT(HOLD)
    }
    return (double)rounds * 12 * 2 * sizeof(vector) / sizeof(float);
}
