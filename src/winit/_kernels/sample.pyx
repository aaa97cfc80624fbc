# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The door to the compiled loops of sample.h: a destination walked run by run, without the GIL.

A Fill is one law, one stream and one destination. Its positions 0, 1, ..., size - 1 are the destination's elements in
row-major order; run(lo, hi) fills positions lo..hi and may be called for disjoint ranges from any threads at once.
"""

from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint32_t, uint64_t

cdef extern from "sample_table.h" nogil:
    const winit_table *winit_table_plain()
    const winit_table *winit_table_avx2()
    const winit_table *winit_table_avx512()

cdef extern from "float_mode.h" nogil:
    ctypedef unsigned long winit_float_mode
    winit_float_mode winit_default_float_mode()
    void winit_restore_float_mode(winit_float_mode)

cdef enum:
    MAX_NDIM = 64
    STREAM_BYTES = 4194304  # fills of at least this many contiguous bytes go past the cache; see docs/design.md

cdef const winit_table *tables[3]
tables[0] = winit_table_plain()
tables[1] = winit_table_avx2()
tables[2] = winit_table_avx512()


def instruction_sets():
    """Return the instruction sets that this build has and this processor runs, widest last."""
    return tuple(tables[i].name.decode() for i in range(3) if tables[i] != NULL)


cdef dict rows = {tables[i].name.decode(): i for i in range(3) if tables[i] != NULL}


cdef const winit_table *table_named(str isa) except NULL:
    cdef object row = rows.get(isa)
    if row is None:
        raise ValueError(f"instruction set {isa!r} is not available here; these are: {', '.join(rows)}")
    return tables[<int> row]


cdef class Fill:
    """One law of one stream, bound to one destination.

    law, dtype: rows of the tables in winit._kernels. dest: a writable buffer of the box's shape, any strides.
    start, steps: flat index of its first element in the global tensor and, per axis, of the next one.
    """

    cdef winit_fill_fn *kernel
    cdef winit_key key
    cdef winit_mode mode
    cdef double scale
    cdef double params[9]
    cdef uint64_t start
    cdef readonly Py_ssize_t size
    cdef int ndim
    cdef Py_ssize_t shape[MAX_NDIM]
    cdef Py_ssize_t stride[MAX_NDIM]
    cdef uint64_t step[MAX_NDIM]
    cdef Py_buffer view
    cdef bint bound

    def __cinit__(self, str isa, int law, int dtype, tuple key, tuple params, dest, uint64_t start, tuple steps,
                  scale=None):
        cdef int axis, last
        cdef Py_ssize_t extent, itemsize
        cdef uint64_t step
        cdef const winit_table *table = table_named(isa)
        if not 0 <= law < WINIT_LAWS or not 0 <= dtype < WINIT_DTYPES or len(params) > WINIT_MAX_PARAMS:
            raise ValueError(f"no kernel for law {law}, dtype {dtype}, {len(params)} parameters")
        self.kernel = table.fill[law][dtype]
        self.key.k0, self.key.k1 = key
        for axis in range(len(params)):
            self.params[axis] = params[axis]
        self.start = start
        PyObject_GetBuffer(dest, &self.view, PyBUF_STRIDES | PyBUF_WRITABLE)
        self.bound = True
        if len(steps) != self.view.ndim or self.view.ndim > MAX_NDIM:
            raise ValueError(f"{len(steps)} steps for a destination of {self.view.ndim} axes")
        itemsize = self.view.itemsize

        # Axes of one element drop out, and an axis joins the one before it where the two run on in both the
        # destination and the stream: what is left has the longest runs there are.
        self.size = 1
        self.ndim = 0
        for axis in range(self.view.ndim):
            extent = self.view.shape[axis]
            self.size *= extent
            if extent == 1:
                continue
            step = steps[axis]
            last = self.ndim - 1
            if last >= 0 and self.step[last] == step * <uint64_t> extent and (
                self.stride[last] == self.view.strides[axis] * extent
            ):
                self.shape[last] *= extent
            else:
                last += 1
                self.ndim += 1
                self.shape[last] = extent
            self.step[last] = step
            self.stride[last] = self.view.strides[axis]
        if self.ndim == 0 or self.step[self.ndim - 1] != 1:  # innermost runs are of one element
            self.shape[self.ndim] = 1
            self.step[self.ndim] = 1
            self.stride[self.ndim] = itemsize
            self.ndim += 1

        if scale is not None:
            self.mode = WINIT_ADD
            self.scale = scale
        elif self.stride[self.ndim - 1] == itemsize and self.shape[self.ndim - 1] * itemsize >= STREAM_BYTES:
            self.mode = WINIT_STREAM
        else:
            self.mode = WINIT_STORE

    def __dealloc__(self):
        if self.bound:
            PyBuffer_Release(&self.view)

    def run(self, Py_ssize_t lo, Py_ssize_t hi):
        """Fill positions lo..hi of the destination."""
        if not 0 <= lo <= hi <= self.size:
            raise ValueError(f"range [{lo}, {hi}) outside [0, {self.size})")
        with nogil:
            self.run_nogil(lo, hi)

    cdef void run_nogil(self, Py_ssize_t lo, Py_ssize_t hi) noexcept nogil:
        cdef Py_ssize_t where[MAX_NDIM]
        cdef Py_ssize_t rest = lo, length = self.shape[self.ndim - 1], column, count
        cdef uint64_t flat = self.start
        cdef char *dest = <char *> self.view.buf
        cdef int axis
        if lo == hi:
            return
        column = rest % length
        rest //= length
        for axis in range(self.ndim - 2, -1, -1):
            where[axis] = rest % self.shape[axis]
            rest //= self.shape[axis]
            flat += <uint64_t> where[axis] * self.step[axis]
            dest += where[axis] * self.stride[axis]
        while True:
            count = min(length - column, hi - lo)
            self.kernel(
                self.key, flat + <uint64_t> column, flat + <uint64_t> (column + count),
                dest + column * self.stride[self.ndim - 1], self.stride[self.ndim - 1],
                self.params, self.mode, self.scale,
            )
            lo += count
            if lo == hi:
                return
            column = 0
            axis = self.ndim - 2
            while True:  # on to the next run: carry as an odometer does
                where[axis] += 1
                flat += self.step[axis]
                dest += self.stride[axis]
                if where[axis] < self.shape[axis]:
                    break
                flat -= <uint64_t> where[axis] * self.step[axis]
                dest -= where[axis] * self.stride[axis]
                where[axis] = 0
                axis -= 1


cdef class DefaultFloatMode:
    """A with block in this thread's default floating-point mode, for the arithmetic that Python and NumPy do."""

    cdef winit_float_mode saved

    def __enter__(self):
        self.saved = winit_default_float_mode()
        return self

    def __exit__(self, kind, error, trace):
        winit_restore_float_mode(self.saved)


def words(str isa, tuple key, uint32_t tag, uint64_t lo, uint32_t[::1] dest not None):
    """Write words lo, lo + 1, ... of the stream (key, tag) to dest."""
    cdef winit_key k
    cdef const winit_table *table = table_named(isa)
    k.k0, k.k1 = key
    if dest.shape[0] > 0:
        with nogil:
            table.words(k, tag, lo, dest.shape[0], &dest[0])
