# cython: boundscheck=False, wraparound=False
# Calls of winit.stream from somebody else's compiled code.
from libc.stdint cimport uint64_t

from winit.stream cimport fill_normal


def calls(float[::1] out, uint64_t key, Py_ssize_t count):
    cdef Py_ssize_t i
    with nogil:
        for i in range(count):
            fill_normal(key, 16 * i, 16 * i + out.shape[0], &out[0], 0.0, 1.0)
