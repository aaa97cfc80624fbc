cdef double noisy(int n, double *x) noexcept nogil
