# What other extensions of this package use of the sampling kernels.
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "sample_table.h" nogil:
    ctypedef struct winit_key:
        uint32_t k0
        uint32_t k1
    enum winit_mode:
        WINIT_STORE
        WINIT_STREAM
        WINIT_ADD
    int WINIT_LAWS
    int WINIT_DTYPES
    int WINIT_MAX_PARAMS
    ctypedef void winit_fill_fn(
        winit_key, uint64_t, uint64_t, char *, Py_ssize_t, const double *, winit_mode, double
    ) noexcept nogil
    ctypedef void winit_words_fn(winit_key, uint32_t, uint64_t, size_t, uint32_t *) noexcept nogil
    ctypedef void winit_normals_at_fn(
        winit_key, const uint64_t *, size_t, const double *, int, void *
    ) noexcept nogil
    ctypedef struct winit_table:
        const char *name
        winit_fill_fn *fill[4][6]
        winit_words_fn *words
        winit_normals_at_fn *normals_at

cdef enum:
    STREAM_BYTES = 4194304  # fills of at least this many contiguous bytes go past the cache; see docs/design.md

cdef const winit_table *table_named(str isa) except NULL
cdef extern from "processors.h" nogil:
    ctypedef struct winit_start:
        pass

cdef winit_start *begin_range() noexcept nogil
cdef void end_range(winit_start *) noexcept nogil
