# The stream for compiled code: elements and fills with the bits of winit.draw, without the GIL and without Python.
#
#     from winit.stream cimport fill_normal, key_of, normal_at
#
# A key is one number, the words k0 | k1 << 32: winit.stream.key(seed, name) in Python, key_of in compiled code. A range
# [lo, hi) counts elements; a fill writes out[0], ..., out[hi - lo - 1], is a pure function of its arguments and may run
# in any threads at once. Everything here takes plain numbers and pointers, so that ctypes and Numba can call it by the
# addresses in winit.stream.__pyx_capi__, whose signatures are frozen. Nothing is checked: that low < high, std >= 0,
# all are finite and no value leaves the range of the type (normal: |mean| + 6.77 std, float64 8.66) is the caller's
# part. `cut` points to the seven numbers of winit.stream.cut(low, high, dtype), of the type that is made.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

# The key of the stream (seed, name), the name as `bytes` bytes of UTF-8.
cdef uint64_t key_of(uint64_t seed, const char *name, size_t bytes) noexcept nogil

# One element of a standard law, in the caller's floating-point mode: the stream is that of the default one, rounding to
# nearest, subnormals kept. Of another law it is mean + std * z, the product rounded and then the sum.
cdef uint32_t word_at(uint64_t key, uint64_t i) noexcept nogil
cdef float uniform_at(uint64_t key, uint64_t i) noexcept nogil
cdef double uniform64_at(uint64_t key, uint64_t i) noexcept nogil
cdef float normal_at(uint64_t key, uint64_t i) noexcept nogil
cdef double normal64_at(uint64_t key, uint64_t i) noexcept nogil
cdef float truncated_normal_at(uint64_t key, uint64_t i, const double *cut) noexcept nogil
cdef double truncated_normal64_at(uint64_t key, uint64_t i, const double *cut) noexcept nogil

# Words lo, ..., lo + count - 1 of the stream (key, tag); tag 0 has the values' words.
cdef void words(uint64_t key, uint32_t tag, uint64_t lo, size_t count, uint32_t *out) noexcept nogil

# Elements [lo, hi) of a law, on this processor's widest instruction set, in any floating-point mode. The law's numbers
# are rounded to float32 where that is its arithmetic type. A large fill goes past the cache.
cdef void fill_uniform(uint64_t key, uint64_t lo, uint64_t hi, float *out, double low, double high) noexcept nogil
cdef void fill_uniform64(uint64_t key, uint64_t lo, uint64_t hi, double *out, double low, double high) noexcept nogil
cdef void fill_normal(uint64_t key, uint64_t lo, uint64_t hi, float *out, double mean, double std) noexcept nogil
cdef void fill_normal64(uint64_t key, uint64_t lo, uint64_t hi, double *out, double mean, double std) noexcept nogil
cdef void fill_normal_f16(
    uint64_t key, uint64_t lo, uint64_t hi, uint16_t *out, double mean, double std
) noexcept nogil
cdef void fill_normal_bf16(
    uint64_t key, uint64_t lo, uint64_t hi, uint16_t *out, double mean, double std
) noexcept nogil
cdef void fill_normal_f8e4m3(
    uint64_t key, uint64_t lo, uint64_t hi, uint8_t *out, double mean, double std
) noexcept nogil
cdef void fill_normal_f8e5m2(
    uint64_t key, uint64_t lo, uint64_t hi, uint8_t *out, double mean, double std
) noexcept nogil
cdef void fill_truncated_normal(
    uint64_t key, uint64_t lo, uint64_t hi, float *out, const double *cut, double mean, double std
) noexcept nogil
cdef void fill_truncated_normal64(
    uint64_t key, uint64_t lo, uint64_t hi, double *out, const double *cut, double mean, double std
) noexcept nogil
