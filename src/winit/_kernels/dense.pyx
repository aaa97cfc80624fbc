# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=True
"""The door to the compiled dense pass of dense.h: operands, products and activations, without the GIL.

A Product is C = A B bound to its matrices: a number of `tasks`, of which run(limit) does up to `limit` that are left, in
any threads at once. Operands are two-dimensional buffers, Sampled or Gradient.
"""

from cpython.buffer cimport PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t
from libc.string cimport memset

from winit._kernels.sample cimport begin_range, end_range, table_named, winit_fill_fn, winit_key, winit_start

cdef extern from "dense_table.h" nogil:
    enum winit_real:
        WINIT_REAL_F32
        WINIT_REAL_F64
    enum winit_activation:
        WINIT_RELU
        WINIT_LEAKY_RELU
        WINIT_ACTIVATIONS
    ctypedef struct winit_matrix
    ctypedef void winit_make_fn(
        const winit_matrix *, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t, int, void *
    ) noexcept nogil
    ctypedef struct winit_matrix:
        const void *data
        Py_ssize_t row
        Py_ssize_t column
        winit_make_fn *make
        const void *maker
        bint transposed
    ctypedef struct winit_sampled:
        winit_fill_fn *fill
        winit_key key
        double params[9]
        Py_ssize_t step
    ctypedef struct winit_gradient:
        const void *grad
        Py_ssize_t row
        Py_ssize_t column
        winit_activation activation
        double param
        const void *kept
        Py_ssize_t kept_row
        Py_ssize_t kept_column
        double *sums
        Py_ssize_t out
    ctypedef struct winit_epilogue:
        winit_activation activation
        double param
        double saturated
        const void *bias
        void *kept
        Py_ssize_t kept_row
        double *moments
        Py_ssize_t groups
        int64_t zeros
        int64_t saturations
    ctypedef struct winit_product:
        Py_ssize_t m
        Py_ssize_t n
        Py_ssize_t k
        winit_real type
        winit_matrix a
        winit_matrix b
        char *c
        Py_ssize_t c_row
        Py_ssize_t c_column
        bint adding
        bint streaming
        winit_epilogue *epilogue
        int threads
        int64_t tasks
    ctypedef int64_t winit_product_fn(winit_product *, int64_t) noexcept nogil
    ctypedef void winit_activate_fn(winit_activation, double, const void *, void *, size_t) noexcept nogil
    ctypedef struct winit_piece:
        const void *y
        const void *first
        Py_ssize_t row
        Py_ssize_t rows
        Py_ssize_t units
        double *lengths
        double *sums
        double *squares
        double *nonzeros
        double *directions
    ctypedef int64_t winit_measure_fn(const winit_piece *) noexcept nogil
    ctypedef struct winit_dense_table:
        const char *name
        winit_product_fn *run[2]
        winit_activate_fn *activate[2]
        winit_activate_fn *derive[2]
        winit_make_fn *make_gradient[2]
        winit_make_fn *make_sampled[2]
        winit_measure_fn *measure[2]
    const winit_dense_table *winit_dense_table_plain()
    const winit_dense_table *winit_dense_table_neon()
    const winit_dense_table *winit_dense_table_avx2()
    const winit_dense_table *winit_dense_table_avx512()
    void winit_product_plan(winit_product *, const winit_dense_table *)
    int winit_product_begin(winit_product *)
    void winit_product_end(winit_product *)

cdef extern from "householder.h" nogil:
    void winit_reflectors_f32(float *, Py_ssize_t row, Py_ssize_t count, Py_ssize_t length, double *, double *)
    void winit_reflectors_f64(double *, Py_ssize_t row, Py_ssize_t count, Py_ssize_t length, double *, double *)
    void winit_triangle_f32(const float *, Py_ssize_t count, const double *, float *, double *work)
    void winit_triangle_f64(const double *, Py_ssize_t count, const double *, double *, double *work)

cdef extern from "float_mode.h" nogil:
    ctypedef unsigned long winit_float_mode
    winit_float_mode winit_default_float_mode()
    void winit_restore_float_mode(winit_float_mode)

cdef enum:
    STREAM_BYTES = 4194304  # results of at least this size are not read again from the cache; see docs/design.md
    TABLES = 4

cdef const winit_dense_table *tables[TABLES]
tables[0] = winit_dense_table_plain()
tables[1] = winit_dense_table_neon()
tables[2] = winit_dense_table_avx2()
tables[3] = winit_dense_table_avx512()
cdef dict rows = {tables[i].name.decode(): i for i in range(TABLES) if tables[i] != NULL}


cdef const winit_dense_table *dense_table_named(str isa) except NULL:
    cdef object row = rows.get(isa)
    if row is None:
        raise ValueError(f"instruction set {isa!r} is not available here; these are: {', '.join(rows)}")
    return tables[<int> row]


cdef class _Matrix:
    """A two-dimensional buffer: its address, and its strides in elements."""

    cdef Py_buffer view
    cdef bint bound

    def __cinit__(self, array, bint writable):
        PyObject_GetBuffer(array, &self.view, PyBUF_STRIDES | (PyBUF_WRITABLE if writable else 0))
        self.bound = True
        if self.view.ndim != 2 or self.view.itemsize not in (1, 4, 8):
            raise ValueError(f"a matrix has 2 axes of 1, 4 or 8 bytes, not {self.view.ndim} of {self.view.itemsize}")

    def __dealloc__(self):
        if self.bound:
            PyBuffer_Release(&self.view)

    cdef Py_ssize_t stride(self, int axis) noexcept:
        if self.view.shape[axis] == 1:  # never used to step; 1 marks an axis that runs on
            return 1
        return self.view.strides[axis] // self.view.itemsize


cdef class Sampled:
    """Weights of a stream, of `shape` and float32 or float64, drawn while they are packed.

    law, dtype: rows of the tables in winit._kernels; key, params: as of Fill.
    """

    cdef winit_sampled spec
    cdef bint transposed
    cdef winit_real type
    cdef readonly tuple shape

    def __cinit__(self, str isa, int law, int dtype, tuple key, tuple params, tuple shape, bint transposed=False):
        cdef int i
        if not 0 <= law < 4 or not 0 <= dtype < 2 or len(params) > 9:
            raise ValueError(f"no kernel for law {law}, dtype {dtype}, {len(params)} parameters")
        self.spec.fill = table_named(isa).fill[law][dtype]
        self.spec.key.k0, self.spec.key.k1 = key
        for i in range(len(params)):
            self.spec.params[i] = params[i]
        self.spec.step = shape[1]
        self.type = <winit_real> dtype
        self.transposed = transposed
        self.shape = shape[::-1] if transposed else shape


cdef class Gradient:
    """grad * f', of batch x out, multiplied while it is packed.

    kept: what winit_kept says of the activation, any strides, bits contiguous; or None. sums: float64 of
    (batch + 63) // 64 x out for the sums over each 64 rows, or None.
    """

    cdef winit_gradient spec
    cdef winit_make_fn *make
    cdef bint transposed
    cdef _Matrix grad, kept, sums
    cdef readonly tuple shape

    def __cinit__(self, str isa, grad, int activation, double param, kept, sums, bint transposed=False):
        cdef const winit_dense_table *table = dense_table_named(isa)
        if not 0 <= activation < WINIT_ACTIVATIONS:
            raise ValueError(f"no activation {activation}")
        self.grad = _Matrix(grad, False)
        self.spec.grad = self.grad.view.buf
        self.spec.row, self.spec.column = self.grad.stride(0), self.grad.stride(1)
        self.spec.activation = <winit_activation> activation
        self.spec.param = param
        if kept is not None:
            self.kept = _Matrix(kept, False)
            self.spec.kept = self.kept.view.buf
            self.spec.kept_row, self.spec.kept_column = self.kept.stride(0), self.kept.stride(1)
        bits = activation in (WINIT_RELU, WINIT_LEAKY_RELU)
        expected = None if activation == 0 else (
            self.grad.view.shape[0],
            (self.grad.view.shape[1] + 7) // 8 if bits else self.grad.view.shape[1],
            1 if bits else self.grad.view.itemsize,
        )
        given = None if kept is None else (
            self.kept.view.shape[0], self.kept.view.shape[1], self.kept.view.itemsize
        )
        if given != expected:
            raise ValueError(f"kept for backward is {given} (rows, columns, bytes), expected {expected}")
        if sums is not None:
            self.sums = _Matrix(sums, True)
            self.spec.sums = <double *> self.sums.view.buf
        self.spec.out = self.grad.view.shape[1]
        self.make = table.make_gradient[1 if self.grad.view.itemsize == 8 else 0]
        self.transposed = transposed
        shape = (self.grad.view.shape[0], self.grad.view.shape[1])
        self.shape = shape[::-1] if transposed else shape

    def add_up(self, Py_ssize_t i):
        """Sum rows 64 i and on, 64 at most, without multiplying them by anything."""
        cdef winit_matrix m
        cdef double scratch[64 * 64]
        cdef Py_ssize_t column, rows = min(64, self.grad.view.shape[0] - 64 * i), out = self.spec.out
        if rows <= 0 or i < 0 or self.spec.sums == NULL:
            raise ValueError(f"no rows {64 * i} and on to sum")
        memset(&m, 0, sizeof(m))
        m.maker = &self.spec
        cdef winit_float_mode saved
        with nogil:
            saved = winit_default_float_mode()
            for column in range(0, out, 64):
                self.make(&m, 64 * i, rows, column, min(64, out - column), 1, scratch)
            winit_restore_float_mode(saved)


cdef class Product:
    """C = A B, or with `add` C = C + A B, and what the dense pass does with it while it is in the cache.

    c: a writable matrix. threads: how many may call run at once. epilogue, where activation is not None: C becomes
    f(C + bias); kept is filled as backward needs it, moments (batch x groups x 2, groups of 64 units) with sums of y
    and of squares about their mean, and zeros and saturations counted where |f'| < saturated.
    """

    cdef winit_product spec
    cdef winit_epilogue after
    cdef winit_product_fn *kernel
    cdef object a, b
    cdef _Matrix c, kept
    cdef _Matrix moments, bias
    cdef readonly int64_t tasks
    cdef readonly int threads
    cdef bint begun

    def __cinit__(self, str isa, a, b, c, int threads, *, bint exact=False, bint add=False, activation=None,
                  double param=0.0, bias=None, kept=None, moments=None, double saturated=0.0):
        cdef const winit_dense_table *table = dense_table_named(isa)
        memset(&self.spec, 0, sizeof(self.spec))
        memset(&self.after, 0, sizeof(self.after))
        self.c = _Matrix(c, True)
        self.spec.c = <char *> self.c.view.buf
        self.spec.m, self.spec.n = self.c.view.shape[0], self.c.view.shape[1]
        self.spec.c_row, self.spec.c_column = self.c.stride(0), self.c.stride(1)
        self.spec.type = WINIT_REAL_F32 if self.c.view.itemsize == 4 else WINIT_REAL_F64
        self.a = self._operand(table, a, &self.spec.a)
        self.b = self._operand(table, b, &self.spec.b)
        self.spec.k = a.shape[1]
        if (a.shape[0], b.shape[0], b.shape[1]) != (self.spec.m, self.spec.k, self.spec.n) or 0 in (*c.shape, *a.shape):
            raise ValueError(f"no product of {a.shape} and {b.shape} into {c.shape}")
        self.spec.streaming = self.spec.m * self.spec.n * self.c.view.itemsize >= STREAM_BYTES
        self.spec.threads = self.threads = threads
        self.spec.adding = add
        if activation is not None:
            if not 0 <= <int> activation < WINIT_ACTIVATIONS:
                raise ValueError(f"no activation {activation}")
            self.spec.epilogue = &self.after
            self.after.activation = <winit_activation> <int> activation
            self.after.param = param
            self.after.saturated = saturated
            if bias is not None:
                self.bias = _Matrix(bias, False)
                self.after.bias = self.bias.view.buf
            if kept is not None:
                self.kept = _Matrix(kept, True)
                self.after.kept = self.kept.view.buf
                self.after.kept_row = self.kept.view.shape[1]
            if moments is not None:
                self.moments = _Matrix(moments, True)
                self.after.moments = <double *> self.moments.view.buf
                self.after.groups = self.moments.view.shape[1] // 2
        self.kernel = table.run[<int> self.spec.type]
        winit_product_plan(&self.spec, table)
        if winit_product_begin(&self.spec) != 0:
            raise MemoryError("no memory for the packed blocks of a matrix product")
        self.begun = True
        self.tasks = self.spec.tasks

    cdef object _operand(self, const winit_dense_table *table, given, winit_matrix *to):
        cdef int type = <int> self.spec.type
        cdef Sampled sampled
        cdef Gradient gradient
        cdef _Matrix stored
        if isinstance(given, Sampled):
            sampled = given
            if <int> sampled.type != type:
                raise ValueError("sampled weights and C differ in type")
            to.make = table.make_sampled[type]
            to.maker = &sampled.spec
            to.transposed = sampled.transposed
            return sampled
        if isinstance(given, Gradient):
            gradient = given
            if gradient.grad.view.itemsize != self.c.view.itemsize:
                raise ValueError("gradient and C differ in type")
            to.make = table.make_gradient[type]
            to.maker = &gradient.spec
            to.transposed = gradient.transposed
            return gradient
        stored = _Matrix(given, False)
        if stored.view.itemsize != self.c.view.itemsize:
            raise ValueError("operands and C differ in type")
        to.data = stored.view.buf
        to.row, to.column = stored.stride(0), stored.stride(1)
        return stored

    def __dealloc__(self):
        if self.begun:
            winit_product_end(&self.spec)

    def run(self, int64_t limit):
        """Do up to `limit` of the tasks that are left; returns how many it did."""
        cdef int64_t done
        cdef winit_start *start
        with nogil:
            start = begin_range()
            done = self.kernel(&self.spec, limit)
            end_range(start)
        return done

    @property
    def zeros(self):
        return self.after.zeros

    @property
    def saturations(self):
        return self.after.saturations


def activate(str isa, int activation, double param, const unsigned char[::1] src not None,
             unsigned char[::1] dest not None, bint wide, bint derive):
    """Write f of float32 (wide: float64) numbers, given as bytes, to dest; with derive, multiply dest by f'.

    f' is told from the inputs of gelu, gelu_tanh, silu and mish and from the outputs of the others.
    """
    cdef const winit_dense_table *table = dense_table_named(isa)
    cdef size_t count = dest.shape[0] // (8 if wide else 4)
    cdef winit_activate_fn *loop
    if not 0 <= activation < WINIT_ACTIVATIONS or src.shape[0] != dest.shape[0]:
        raise ValueError("no such activation, or sizes that differ")
    if count:
        loop = table.derive[wide] if derive else table.activate[wide]
        with nogil:
            loop(<winit_activation> activation, param, &src[0], &dest[0], count)


ctypedef fused number:
    float
    double


def measure(str isa, const number[:, ::1] y not None, Py_ssize_t start, double[::1] lengths not None,
            double[:, ::1] sums not None):
    """Take the statistics of rows `start` and on of a batch, 64 at most; returns how many of them are all 0.

    lengths: of the whole batch, of which those of these rows are written. sums: added to, (2 or 4, units): of y - y[0],
    of its square, of numbers that are not 0, of y where rows have length 1.
    """
    cdef const winit_dense_table *table = dense_table_named(isa)
    cdef winit_piece piece
    cdef Py_ssize_t batch = y.shape[0], units = y.shape[1]
    cdef int64_t blank
    if not 0 <= start < batch or not units or lengths.shape[0] != batch or sums.shape[1] != units \
            or sums.shape[0] not in (2, 4):
        raise ValueError(f"no statistics of rows {start} and on of {batch} x {units}")
    piece.y, piece.first = &y[start, 0], &y[0, 0]
    piece.row, piece.rows, piece.units = units, min(64, batch - start), units
    piece.lengths = &lengths[start]
    piece.sums, piece.squares = &sums[0, 0], &sums[1, 0]
    piece.nonzeros = piece.directions = NULL
    if sums.shape[0] == 4:
        piece.nonzeros, piece.directions = &sums[2, 0], &sums[3, 0]
    with nogil:
        blank = table.measure[0 if number is float else 1](&piece)
    return blank


def reflectors(number[:, ::1] v not None, double[::1] half not None, double[::1] sign not None):
    """Make Householder vectors of rows, from the diagonal on, in place; see householder.h."""
    cdef Py_ssize_t count = v.shape[0], length = v.shape[1]
    if half.shape[0] != count or sign.shape[0] != count or length < count:
        raise ValueError(f"no {count} reflectors of {length} numbers with {half.shape[0]} halves, {sign.shape[0]} signs")
    cdef winit_float_mode saved
    if count == 0:
        return
    with nogil:
        saved = winit_default_float_mode()
        if number is float:
            winit_reflectors_f32(&v[0, 0], length, count, length, &half[0], &sign[0])
        else:
            winit_reflectors_f64(&v[0, 0], length, count, length, &half[0], &sign[0])
        winit_restore_float_mode(saved)


def triangle(const number[:, ::1] gram not None, const double[::1] half not None, number[:, ::1] to not None,
             double[:, ::1] work not None):
    """Write minus the triangular factor of a product of reflections; see householder.h."""
    cdef Py_ssize_t count = gram.shape[0]
    if not count == gram.shape[1] == to.shape[0] == to.shape[1] == work.shape[0] == work.shape[1] == half.shape[0]:
        raise ValueError(f"the factor of {half.shape[0]} reflectors takes squares of that size, not {count}")
    cdef winit_float_mode saved
    if count == 0:
        return
    with nogil:
        saved = winit_default_float_mode()
        if number is float:
            winit_triangle_f32(&gram[0, 0], count, &half[0], &to[0, 0], &work[0, 0])
        else:
            winit_triangle_f64(&gram[0, 0], count, &half[0], &to[0, 0], &work[0, 0])
        winit_restore_float_mode(saved)
