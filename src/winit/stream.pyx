# cython: language_level=3, cdivision=True
# cython: freethreading_compatible=True
"""The stream for compiled code: elements and fills with the bits of winit.draw, without the GIL and without Python.

Cython code writes `from winit.stream cimport fill_normal, key_of, normal_at`, and needs no directory of headers;
ctypes and Numba call the same functions by their addresses. winit/stream.pxd says what there is. Two functions
are for Python, which makes with them what the others are given:

>>> import winit.stream
>>> hex(winit.stream.key(0, "w"))
'0xc55ffec23c914d4e'
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from winit._kernels.sample cimport (
    STREAM_BYTES, WINIT_STORE, WINIT_STREAM, table_named, winit_fill_fn, winit_key, winit_table
)

from winit._kernels.sample import instruction_sets
from winit._core.keys import stream_key
from winit._core.laws import cut as _cut

__all__ = ["cut", "key"]

cdef extern from "winit.h" nogil:
    ctypedef struct winit_cut:
        double low, high, below, above, step, threshold, far
    uint32_t WINIT_TAG_VALUES
    winit_key winit_key_of(uint64_t, const char *, size_t)
    uint32_t winit_word_at(winit_key, uint32_t, uint64_t)
    float winit_uniform_at(winit_key, uint64_t)
    double winit_uniform64_at(winit_key, uint64_t)
    float winit_normal_at(winit_key, uint64_t)
    double winit_normal64_at(winit_key, uint64_t)
    float winit_truncated_normal_at(winit_key, uint64_t, const winit_cut *)
    double winit_truncated_normal64_at(winit_key, uint64_t, const winit_cut *)
    float winit_next_below_f32(float)
    double winit_next_below_f64(double)

cdef extern from "float_mode.h" nogil:
    ctypedef unsigned long winit_float_mode
    winit_float_mode winit_default_float_mode()
    void winit_restore_float_mode(winit_float_mode)

cdef extern from "sample_table.h" nogil:
    enum winit_law:
        WINIT_UNIFORM
        WINIT_NORMAL
        WINIT_TRUNCATED
    enum winit_dtype:
        WINIT_F32
        WINIT_F64
        WINIT_F16
        WINIT_BF16
        WINIT_F8E4M3
        WINIT_F8E5M2

cdef const winit_table *table = table_named(instruction_sets()[-1])


def key(seed, name=""):
    """Return the key of a tensor's stream, as compiled code takes it: k0 | k1 << 32.

    Parameters
    ----------
    seed : int, 0 <= seed < 2^64.
    name : str.

    Returns
    -------
    int : a number of 64 bits.

    Raises
    ------
    TypeError, ValueError : as winit.draw.

    >>> import winit.stream
    >>> hex(winit.stream.key(0))
    '0xfe620b30d5846071'
    """
    first, second = stream_key(seed, name)
    return first | second << 32


def cut(low=-2.0, high=2.0, dtype="float32"):
    """Return what truncated_normal_at and its like need to know of two cuts, worked out once: seven numbers.

    Parameters
    ----------
    low, high : float, low < high, in units of std.
    dtype : "float32" (for narrower types too) or "float64".

    Raises
    ------
    TypeError, ValueError : as winit.truncated_normal; another dtype.

    >>> import numpy as np, winit.stream
    >>> numbers = np.array(winit.stream.cut(-1, 3))  # a pointer to these is what compiled code is given
    >>> numbers[:2].tolist()
    [-1.0, 3.0]
    """
    return _cut(low, high, dtype)


cdef inline winit_key words_of(uint64_t key) noexcept nogil:
    cdef winit_key both
    both.k0 = <uint32_t> key
    both.k1 = <uint32_t> (key >> 32)
    return both


cdef uint64_t key_of(uint64_t seed, const char *name, size_t bytes) noexcept nogil:
    cdef winit_key both = winit_key_of(seed, name, bytes)
    return both.k0 | <uint64_t> both.k1 << 32


cdef uint32_t word_at(uint64_t key, uint64_t i) noexcept nogil:
    return winit_word_at(words_of(key), WINIT_TAG_VALUES, i)


cdef float uniform_at(uint64_t key, uint64_t i) noexcept nogil:
    return winit_uniform_at(words_of(key), i)


cdef double uniform64_at(uint64_t key, uint64_t i) noexcept nogil:
    return winit_uniform64_at(words_of(key), i)


cdef float normal_at(uint64_t key, uint64_t i) noexcept nogil:
    return winit_normal_at(words_of(key), i)


cdef double normal64_at(uint64_t key, uint64_t i) noexcept nogil:
    return winit_normal64_at(words_of(key), i)


cdef float truncated_normal_at(uint64_t key, uint64_t i, const double *cut) noexcept nogil:
    return winit_truncated_normal_at(words_of(key), i, <const winit_cut *> cut)


cdef double truncated_normal64_at(uint64_t key, uint64_t i, const double *cut) noexcept nogil:
    return winit_truncated_normal64_at(words_of(key), i, <const winit_cut *> cut)


cdef void words(uint64_t key, uint32_t tag, uint64_t lo, size_t count, uint32_t *out) noexcept nogil:
    table.words(words_of(key), tag, lo, count, out)


cdef inline void fill(winit_law law, winit_dtype dtype, uint64_t key, uint64_t lo, uint64_t hi, void *out,
                      Py_ssize_t size, const double *params) noexcept nogil:
    """Fill `out`, contiguous elements of `size` bytes."""
    cdef winit_fill_fn *kernel = table.fill[<int> law][<int> dtype]
    if lo < hi:
        kernel(words_of(key), lo, hi, <char *> out, size, params,
               WINIT_STREAM if hi - lo >= <uint64_t> (STREAM_BYTES // size) else WINIT_STORE, 0.0)


cdef inline void fill_mean_std(winit_dtype dtype, uint64_t key, uint64_t lo, uint64_t hi, void *out, Py_ssize_t size,
                               double mean, double std) noexcept nogil:
    cdef double[2] params = [mean, std]
    fill(WINIT_NORMAL, dtype, key, lo, hi, out, size, params)


cdef inline void fill_between(winit_dtype dtype, uint64_t key, uint64_t lo, uint64_t hi, void *out, Py_ssize_t size,
                              const double *cut, double mean, double std) noexcept nogil:
    cdef double[9] params
    cdef int j
    params[0], params[1] = mean, std
    for j in range(7):
        params[2 + j] = cut[j]
    fill(WINIT_TRUNCATED, dtype, key, lo, hi, out, size, params)


# The numbers of a uniform law are worked out in the default floating-point mode too. They are volatile: compilers move
# arithmetic across the setting of a mode, but neither reads nor writes of what is volatile.
cdef void fill_uniform(uint64_t key, uint64_t lo, uint64_t hi, float *out, double low, double high) noexcept nogil:
    cdef winit_float_mode saved = winit_default_float_mode()
    cdef volatile double first = low, last = high, span, cap
    cdef float start = <float> first, end = <float> last
    span = <float> (<double> end - <double> start)
    cap = winit_next_below_f32(end)
    first = start
    winit_restore_float_mode(saved)
    cdef double[3] params = [first, span, cap]
    fill(WINIT_UNIFORM, WINIT_F32, key, lo, hi, out, sizeof(float), params)


cdef void fill_uniform64(uint64_t key, uint64_t lo, uint64_t hi, double *out, double low, double high) noexcept nogil:
    cdef winit_float_mode saved = winit_default_float_mode()
    cdef volatile double first = low, last = high, span, cap
    span = last - first
    cap = winit_next_below_f64(last)
    winit_restore_float_mode(saved)
    cdef double[3] params = [low, span, cap]
    fill(WINIT_UNIFORM, WINIT_F64, key, lo, hi, out, sizeof(double), params)


cdef void fill_normal(uint64_t key, uint64_t lo, uint64_t hi, float *out, double mean, double std) noexcept nogil:
    fill_mean_std(WINIT_F32, key, lo, hi, out, sizeof(float), mean, std)


cdef void fill_normal64(uint64_t key, uint64_t lo, uint64_t hi, double *out, double mean, double std) noexcept nogil:
    fill_mean_std(WINIT_F64, key, lo, hi, out, sizeof(double), mean, std)


cdef void fill_normal_f16(
    uint64_t key, uint64_t lo, uint64_t hi, uint16_t *out, double mean, double std
) noexcept nogil:
    fill_mean_std(WINIT_F16, key, lo, hi, out, sizeof(uint16_t), mean, std)


cdef void fill_normal_bf16(
    uint64_t key, uint64_t lo, uint64_t hi, uint16_t *out, double mean, double std
) noexcept nogil:
    fill_mean_std(WINIT_BF16, key, lo, hi, out, sizeof(uint16_t), mean, std)


cdef void fill_normal_f8e4m3(
    uint64_t key, uint64_t lo, uint64_t hi, uint8_t *out, double mean, double std
) noexcept nogil:
    fill_mean_std(WINIT_F8E4M3, key, lo, hi, out, sizeof(uint8_t), mean, std)


cdef void fill_normal_f8e5m2(
    uint64_t key, uint64_t lo, uint64_t hi, uint8_t *out, double mean, double std
) noexcept nogil:
    fill_mean_std(WINIT_F8E5M2, key, lo, hi, out, sizeof(uint8_t), mean, std)


cdef void fill_truncated_normal(
    uint64_t key, uint64_t lo, uint64_t hi, float *out, const double *cut, double mean, double std
) noexcept nogil:
    fill_between(WINIT_F32, key, lo, hi, out, sizeof(float), cut, mean, std)


cdef void fill_truncated_normal64(
    uint64_t key, uint64_t lo, uint64_t hi, double *out, const double *cut, double mean, double std
) noexcept nogil:
    fill_between(WINIT_F64, key, lo, hi, out, sizeof(double), cut, mean, std)
