# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The door to the compiled loops of sample.h: a destination walked run by run, without the GIL.

A Fill is one law, one stream and one destination. Its positions 0, 1, ..., size - 1 are the destination's elements in
row-major order; run(lo, hi) fills positions lo..hi and may be called for disjoint ranges from any threads at once.
"""

from cpython.buffer cimport PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "sample_table.h" nogil:
    const winit_table *winit_table_plain()
    const winit_table *winit_table_neon()
    const winit_table *winit_table_avx2()
    const winit_table *winit_table_avx512()

cdef extern from "sparse.h" nogil:
    ctypedef struct winit_sparse:
        const winit_table *table
        winit_key key
        double params[2]
        int dtype
        bint adding
        double scale
        int axes
        int64_t extent[64]
        int64_t step[64]
        int64_t begin[64]
        int64_t size[64]
        int64_t position[64]
        size_t stride[64]
        bint unit[64]
        int64_t inputs
        int64_t keep
        char *dest
    int winit_sparse_write(const winit_sparse *, int64_t, int64_t)
    int winit_sparse_rows(const winit_sparse *, int64_t, int64_t, int64_t, int64_t, int, void *, void *)

cdef extern from "float_mode.h" nogil:
    ctypedef unsigned long winit_float_mode
    winit_float_mode winit_default_float_mode()
    void winit_restore_float_mode(winit_float_mode)

cdef extern from "processors.h" nogil:
    void winit_start_init(winit_start *, int room)
    int winit_start_join(winit_start *)
    void winit_take_place(winit_start *, bint helping, int place)
    void winit_leave_place(winit_start *, int place)

cdef extern from *:
    """
    static WINIT_THREAD_LOCAL winit_start *winit_starting; /* until this thread's first range of a call ends */
    static WINIT_THREAD_LOCAL int winit_helping, winit_place, winit_calls; /* calls: one within the other */
    """
    winit_start *winit_starting
    int winit_helping
    int winit_place
    int winit_calls

cdef enum:
    MAX_NDIM = 64
    TABLES = 4

cdef const winit_table *tables[TABLES]
tables[0] = winit_table_plain()
tables[1] = winit_table_neon()
tables[2] = winit_table_avx2()
tables[3] = winit_table_avx512()


def instruction_sets():
    """Return the instruction sets that this build has and this processor runs, widest last."""
    return tuple(tables[i].name.decode() for i in range(TABLES) if tables[i] != NULL)


cdef class Start:
    """Keeps the threads of one call apart while they start (processors.h).

    Each calls begin before its ranges, with whether it is a helper of the thread that made this, and end after them.
    A call within a range of another leaves the thread's place to that one. room: how many threads of the machine may be
    able to run, for one to be sent elsewhere; 0 stands for the processors that the caller may use.
    """

    cdef winit_start spec

    def __cinit__(self, int room=0):
        winit_start_init(&self.spec, room)

    def begin(self, bint helper):
        global winit_starting, winit_helping, winit_place, winit_calls
        winit_calls += 1
        if winit_calls == 1:
            winit_place = winit_start_join(&self.spec) if helper else -1
            winit_helping = helper
            winit_starting = &self.spec

    def end(self):
        global winit_starting, winit_calls
        if winit_calls > 0:
            winit_calls -= 1
        if winit_calls == 0:
            winit_starting = NULL
            winit_leave_place(&self.spec, winit_place)

    def __dealloc__(self):
        global winit_starting, winit_calls
        if winit_starting == &self.spec:  # of a thread that never came to end
            winit_starting = NULL
            winit_calls = 0


cdef winit_start *begin_range() noexcept nogil:
    """Begin a range of work that a thread may be busy with for a while; returns what end_range takes."""
    global winit_starting
    cdef winit_start *start = winit_starting
    if start != NULL:
        winit_starting = NULL
        winit_take_place(start, winit_helping, winit_place)
    return start


cdef void end_range(winit_start *start) noexcept nogil:
    if start != NULL:
        winit_leave_place(start, winit_place)


cdef dict rows = {tables[i].name.decode(): i for i in range(TABLES) if tables[i] != NULL}


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
        cdef winit_start *start
        with nogil:
            start = begin_range()
            self.run_nogil(lo, hi)
            end_range(start)

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


cdef Py_ssize_t[6] ITEMSIZES = [4, 8, 2, 2, 1, 1]  # of the rows of winit._kernels.DTYPES


def fill_memory(str isa, int law, int dtype, tuple key, tuple params, size_t address, Py_ssize_t size):
    """Fill `size` elements of memory, one after the other, with elements 0.. of a stream: a Fill without an object."""
    cdef const winit_table *table = table_named(isa)
    cdef winit_key words
    cdef double numbers[9]
    cdef Py_ssize_t itemsize, i
    if not 0 <= law < WINIT_LAWS or not 0 <= dtype < WINIT_DTYPES or len(params) > WINIT_MAX_PARAMS or size < 0:
        raise ValueError(f"no kernel for law {law}, dtype {dtype}, {len(params)} parameters, {size} elements")
    words.k0, words.k1 = key
    for i in range(len(params)):
        numbers[i] = params[i]
    itemsize = ITEMSIZES[dtype]
    if size:
        with nogil:
            table.fill[law][dtype](
                words, 0, <uint64_t> size, <char *> address, itemsize, numbers,
                WINIT_STREAM if size * itemsize >= STREAM_BYTES else WINIT_STORE, 0.0,
            )


cdef class Sparse:
    """Sparse connections of one stream, bound to one destination.

    dtype, key, dest, scale: as of Fill. params: mean and std. shape: the global tensor's; units: of each axis, whether
    it counts units rather than inputs; keep: inputs of each unit. begin: where in the tensor the destination begins, by
    axis; or the flat index at which a destination of one axis begins. dest None: for `rows` alone.
    """

    cdef winit_sparse spec
    cdef Py_buffer view
    cdef bint bound
    cdef Fill clear
    cdef int64_t first  # position of the destination's first element in the walk
    cdef readonly Py_ssize_t size
    cdef readonly bint by_units  # whether a range of positions meets few units: else each range asks all of them

    def __cinit__(self, str isa, int dtype, tuple key, tuple params, tuple shape, tuple units, int64_t keep, dest=None,
                  begin=None, scale=None):
        cdef int axis, axes = len(shape)
        cdef int64_t position = 1
        cdef uint64_t step = 1  # of the last axis it may be 2^63, which nothing steps by
        cdef bint flat = not isinstance(begin, tuple)
        cdef list steps = []
        if not 0 <= dtype < WINIT_DTYPES or axes > MAX_NDIM or len(units) != axes or len(params) != 2:
            raise ValueError(f"no sparse kernel for dtype {dtype}, shape {shape}, units {units}")
        self.spec.table = table_named(isa)
        self.spec.key.k0, self.spec.key.k1 = key
        self.spec.params[0], self.spec.params[1] = params
        self.spec.dtype = dtype
        self.spec.axes = axes
        self.spec.keep = keep
        self.spec.inputs = 1
        for axis in range(axes - 1, -1, -1):
            self.spec.extent[axis] = shape[axis]
            self.spec.step[axis] = <int64_t> step
            self.spec.unit[axis] = units[axis]
            if not units[axis]:
                self.spec.inputs *= shape[axis]
            step *= <uint64_t> shape[axis]
        self.by_units = axes == 0 or units[0]
        if not 0 <= keep <= self.spec.inputs:
            raise ValueError(f"{keep} of {self.spec.inputs} inputs")
        if dest is None:
            return
        PyObject_GetBuffer(dest, &self.view, PyBUF_STRIDES | PyBUF_WRITABLE)
        self.bound = True
        self.spec.dest = <char *> self.view.buf
        self.size = 1
        for axis in range(self.view.ndim - 1, -1, -1):
            steps.append(self.size)
            self.size *= self.view.shape[axis]
        if self.view.ndim != (1 if flat else axes):
            raise ValueError(f"a destination of {self.view.ndim} axes for a box of {1 if flat else axes}")
        if flat:
            self.first = begin
        for axis in range(axes - 1, -1, -1):
            if flat:
                self.spec.begin[axis] = 0
                self.spec.size[axis] = shape[axis]
                self.spec.position[axis] = self.spec.step[axis]
                self.spec.stride[axis] = <size_t> self.spec.step[axis] * <size_t> self.view.strides[0]
            else:
                self.spec.begin[axis] = begin[axis]
                self.spec.size[axis] = self.view.shape[axis]
                self.spec.position[axis] = position
                self.spec.stride[axis] = <size_t> self.view.strides[axis]
                position *= self.view.shape[axis]
        if flat:
            self.spec.dest = <char *> (
                <size_t> self.spec.dest - <size_t> self.first * <size_t> self.view.strides[0]
            )
        if scale is not None:
            self.spec.adding = True
            self.spec.scale = scale
        else:
            self.clear = Fill(isa, 0, dtype, key, (0.0,), dest, 0, tuple(steps[::-1]))

    def __dealloc__(self):
        if self.bound:
            PyBuffer_Release(&self.view)

    def run(self, Py_ssize_t lo, Py_ssize_t hi):
        """Fill positions lo..hi of the destination: zeros, and the connections among them."""
        cdef int failed
        cdef winit_float_mode saved
        cdef winit_start *start
        if not 0 <= lo <= hi <= self.size:
            raise ValueError(f"range [{lo}, {hi}) outside [0, {self.size})")
        with nogil:
            start = begin_range()
            saved = winit_default_float_mode()
            if not self.spec.adding:
                self.clear.run_nogil(lo, hi)
            failed = winit_sparse_write(&self.spec, self.first + lo, hi - lo)
            winit_restore_float_mode(saved)
            end_range(start)
        if failed:
            raise MemoryError("no memory for the inputs of a unit")

    def rows(self, int64_t first, int64_t last, int64_t unit_step, int64_t input_step, inputs, values):
        """Write the inputs of units first..last, ascending, and the values there; element = unit and input by steps.

        inputs: int32 or int64.
        """
        cdef Py_buffer places, to
        cdef int failed = 0
        cdef Py_ssize_t size = 8 if self.spec.dtype == 1 else 4, count
        if self.spec.dtype > 1:
            raise ValueError(f"rows are of float32 or float64, not of dtype {self.spec.dtype}")
        PyObject_GetBuffer(inputs, &places, PyBUF_ND | PyBUF_WRITABLE)
        try:
            PyObject_GetBuffer(values, &to, PyBUF_SIMPLE | PyBUF_WRITABLE)
            try:
                count = (last - first) * self.spec.keep
                if not 0 <= first <= last or places.itemsize not in (4, 8) or places.len != count * places.itemsize or (
                    to.len != count * size
                ):
                    raise ValueError(f"no room for units {first} to {last}")
                if count > 0:
                    with nogil:
                        failed = winit_sparse_rows(&self.spec, first, last, unit_step, input_step, places.itemsize == 8,
                                                   places.buf, to.buf)
            finally:
                PyBuffer_Release(&to)
        finally:
            PyBuffer_Release(&places)
        if failed:
            raise MemoryError("no memory for the inputs of a unit")


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
