# cython: boundscheck=False, wraparound=False
# Calls of winit.stream and of winit.h from somebody else's compiled code.
from libc.stdint cimport uint64_t

from winit.stream cimport fill_normal

cdef extern from "winit.h" nogil:
    ctypedef struct winit_key:
        pass
    winit_key winit_key_of(uint64_t, const void *, size_t)
    void winit_fill_normal(winit_key, uint64_t, uint64_t, float *, double, double)


def calls(float[::1] out, uint64_t key, Py_ssize_t count):
    cdef Py_ssize_t i
    with nogil:
        for i in range(count):
            fill_normal(key, 16 * i, 16 * i + out.shape[0], &out[0], 0.0, 1.0)


def header_calls(float[::1] out, uint64_t seed, bytes name, Py_ssize_t count):
    cdef Py_ssize_t i
    cdef winit_key key = winit_key_of(seed, <const char *> name, len(name))
    with nogil:
        for i in range(count):
            winit_fill_normal(key, 16 * i, 16 * i + out.shape[0], &out[0], 0.0, 1.0)
