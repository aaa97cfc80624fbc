# cython: language_level=3, boundscheck=False, wraparound=False
# Somebody else's Cython extension on winit.stream, built by tests/test_embedding_native.py outside of winit's tree.
from cython.parallel cimport prange
from libc.stdint cimport uint8_t, uint16_t, uint64_t

from winit cimport stream
from winit.stream cimport fill_normal, key_of, normal64_at, normal_at


def key_from(uint64_t seed, bytes name):
    return key_of(seed, name, len(name))


def elements(uint64_t key, uint64_t lo, const double[::1] cut, const double[::1] cut64, words, list single, list double):
    """Every element function over a range, out[0] from lo on: three float32 laws and three float64 ones."""
    cdef unsigned int[::1] w = words
    cdef float[::1] u = single[0], z = single[1], t = single[2]
    cdef double[::1] u64 = double[0], z64 = double[1], t64 = double[2]
    cdef Py_ssize_t i
    with nogil:
        for i in range(w.shape[0]):
            w[i] = stream.word_at(key, lo + <uint64_t> i)
            u[i] = stream.uniform_at(key, lo + <uint64_t> i)
            z[i] = normal_at(key, lo + <uint64_t> i)
            t[i] = stream.truncated_normal_at(key, lo + <uint64_t> i, &cut[0])
            u64[i] = stream.uniform64_at(key, lo + <uint64_t> i)
            z64[i] = normal64_at(key, lo + <uint64_t> i)
            t64[i] = stream.truncated_normal64_at(key, lo + <uint64_t> i, &cut64[0])


def fills(uint64_t key, uint64_t lo, const double[::1] cut, const double[::1] cut64, words, list single, list double,
          list half, list byte):
    """Every fill, over the numbers of the test."""
    cdef unsigned int[::1] w = words
    cdef float[::1] u = single[0], z = single[1], t = single[2]
    cdef double[::1] u64 = double[0], z64 = double[1], t64 = double[2]
    cdef uint16_t[::1] f16 = half[0], bf16 = half[1]
    cdef uint8_t[::1] e4m3 = byte[0], e5m2 = byte[1]
    cdef uint64_t hi = lo + <uint64_t> w.shape[0]
    with nogil:
        stream.words(key, 0, lo, w.shape[0], &w[0])
        stream.fill_uniform(key, lo, hi, &u[0], -0.1, 0.3)
        fill_normal(key, lo, hi, &z[0], 0.5, 0.02)
        stream.fill_truncated_normal(key, lo, hi, &t[0], &cut[0], 0.5, 0.02)
        stream.fill_uniform64(key, lo, hi, &u64[0], -0.1, 0.3)
        stream.fill_normal64(key, lo, hi, &z64[0], 0.5, 0.02)
        stream.fill_truncated_normal64(key, lo, hi, &t64[0], &cut64[0], 0.5, 0.02)
        stream.fill_normal_f16(key, lo, hi, &f16[0], 0.5, 0.02)
        stream.fill_normal_bf16(key, lo, hi, &bf16[0], 0.5, 0.02)
        stream.fill_normal_f8e4m3(key, lo, hi, &e4m3[0], 0.5, 0.02)
        stream.fill_normal_f8e5m2(key, lo, hi, &e5m2[0], 0.5, 0.02)


def in_parallel(uint64_t key, uint64_t lo, float[::1] by_range, float[::1] by_element, Py_ssize_t part, int threads):
    """Ranges of `part` elements, and single elements, from several threads at once."""
    cdef Py_ssize_t i, first, last, n = by_range.shape[0]
    for i in prange((n + part - 1) // part, nogil=True, num_threads=threads, schedule="dynamic"):
        first = i * part
        last = min(first + part, n)
        fill_normal(key, lo + <uint64_t> first, lo + <uint64_t> last, &by_range[first], 0.0, 1.0)
    for i in prange(n, nogil=True, num_threads=threads):
        by_element[i] = normal_at(key, lo + <uint64_t> i)


# A callback of scipy's signature, which calls the stream: noise on a line, x[0] along it, x[1] its key's number.
cdef double noisy(int n, double *x) noexcept nogil:
    return x[0] + normal64_at(<uint64_t> x[1], <uint64_t> (x[0] * 1024.0))


__all__ = ["elements", "fills", "in_parallel", "key_from"]
