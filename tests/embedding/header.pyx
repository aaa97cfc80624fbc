# cython: language_level=3
# Somebody else's Cython extension on winit.h alone: winit is needed where it is built, not where it runs.
from libc.stdint cimport uint64_t

cdef extern from "winit.h" nogil:
    ctypedef struct winit_key:
        pass
    winit_key winit_key_of(uint64_t, const char *, size_t)
    void winit_fill_normal(winit_key, uint64_t, uint64_t, float *, double, double)
    int winit_check()


def check():
    return winit_check()


def normals(uint64_t seed, bytes name, uint64_t lo, float[::1] out, double mean, double std):
    cdef winit_key key = winit_key_of(seed, name, len(name))
    with nogil:
        winit_fill_normal(key, lo, lo + <uint64_t> out.shape[0], &out[0], mean, std)
