# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""A position in a stream, and over it the functions that NumPy's bitgen_t points to.

Words come in order: a draw of 32 bits takes the next one, a draw of 64 bits the next two, the lower half first. They are
made SIZE at a time by the widest kernel, from multiples of SIZE on, so that no position needs more than itself to be
told. NumPy's Generator holds the lock of its bit generator while it draws.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport uint32_t, uint64_t

from winit._kernels.sample cimport table_named, winit_key, winit_table

cdef enum:
    SIZE = 256

cdef struct Position:
    const winit_table *table
    winit_key key
    uint64_t next  # number of a word
    uint32_t word[SIZE]  # of the words around it, where `next` is not their first

cdef struct bitgen_t:  # numpy/random/bitgen.h
    void *state
    uint64_t (*next_uint64)(void *) noexcept nogil
    uint32_t (*next_uint32)(void *) noexcept nogil
    double (*next_double)(void *) noexcept nogil
    uint64_t (*next_raw)(void *) noexcept nogil


cdef void refill(Position *at) noexcept nogil:
    at.table.words(at.key, 0, at.next & ~<uint64_t> (SIZE - 1), SIZE, at.word)


cdef uint32_t next_uint32(void *state) noexcept nogil:
    cdef Position *at = <Position *> state
    cdef uint64_t i = at.next & (SIZE - 1)
    if i == 0:
        refill(at)
    at.next += 1
    return at.word[i]


cdef uint64_t next_uint64(void *state) noexcept nogil:
    cdef Position *at = <Position *> state
    cdef uint64_t i = at.next & (SIZE - 1), low
    if i == SIZE - 1:
        low = next_uint32(state)
        return <uint64_t> next_uint32(state) << 32 | low
    if i == 0:
        refill(at)
    at.next += 2
    return <uint64_t> at.word[i + 1] << 32 | at.word[i]


cdef double next_double(void *state) noexcept nogil:
    return <double> (next_uint64(state) >> 11) * (1.0 / 9007199254740992.0)


cdef class Words:
    """The words of one stream, from a position on. It stays where it is in memory: what was told its address goes on."""

    cdef Position at

    def __cinit__(self, str isa, tuple key):
        self.at.table = table_named(isa)
        self.move(key, 0)

    @property
    def position(self):
        return self.at.next

    def move(self, tuple key, uint64_t position):
        """Go to a position of a stream."""
        self.at.key.k0, self.at.key.k1 = key
        self.at.next = position
        if position & (SIZE - 1):
            refill(&self.at)

    def serve(self, capsule):
        """Point the functions of a bit generator's capsule here."""
        cdef bitgen_t *bitgen = <bitgen_t *> PyCapsule_GetPointer(capsule, "BitGenerator")
        bitgen.state = &self.at
        bitgen.next_uint64 = next_uint64
        bitgen.next_uint32 = next_uint32
        bitgen.next_double = next_double
        bitgen.next_raw = next_uint64
