# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The peer: product and batch normalization in typed memoryviews, as one writes them in Cython.

Straightforward but not careless: the inner loops run along rows, so that the compiler vectorizes
them and memory is read in order.
"""

from libc.math cimport sqrt


def product(const float[:, ::1] a, const float[:, ::1] b, float[:, ::1] c):
    """C = A B."""
    cdef Py_ssize_t i, j, p
    cdef float value
    with nogil:
        for i in range(a.shape[0]):
            for j in range(b.shape[1]):
                c[i, j] = 0
            for p in range(a.shape[1]):
                value = a[i, p]
                for j in range(b.shape[1]):
                    c[i, j] += value * b[p, j]


def batch_norm(
    const float[:, ::1] x, const float[::1] gamma, const float[::1] beta, float[:, ::1] y,
    float[::1] mean, float[::1] var):
    """Batch normalization over the rows, in two passes over x for the statistics."""
    cdef Py_ssize_t i, j, n = x.shape[0], c = x.shape[1]
    cdef float deviation
    with nogil:
        for j in range(c):
            mean[j] = var[j] = 0
        for i in range(n):
            for j in range(c):
                mean[j] += x[i, j]
        for j in range(c):
            mean[j] /= n
        for i in range(n):
            for j in range(c):
                deviation = x[i, j] - mean[j]
                var[j] += deviation * deviation
        for j in range(c):
            var[j] = gamma[j] / sqrt(var[j] / n + <float>1e-5)
        for i in range(n):
            for j in range(c):
                y[i, j] = (x[i, j] - mean[j]) * var[j] + beta[j]
