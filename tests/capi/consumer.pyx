# cython: language_level=3, boundscheck=False, wraparound=False
"""What a user's extension module looks like: kernels by cimport, called from a prange of threads."""

from cpython.pycapsule cimport PyCapsule_Import
from cython.parallel cimport prange

from fastbn cimport capi

cdef extern from "fastbn/capi.h":
    const char* FASTBN_CAPI_CAPSULE
    int FASTBN_CAPI_VERSION
    ctypedef struct fastbn_capi:
        int version
        int (*get_num_threads)() noexcept nogil


def table_version():
    """Version of the table by way of the C header, and that of the header."""
    cdef const fastbn_capi* table
    table = <const fastbn_capi*>PyCapsule_Import(FASTBN_CAPI_CAPSULE, 0)
    return table.version, FASTBN_CAPI_VERSION


def gemm(bint trans_a, bint trans_b, double alpha, a, b, double beta, c):
    m, n = c.shape
    k = a.shape[0] if trans_a else a.shape[1]
    if c.dtype == "float32":
        return sgemm_of(trans_a, trans_b, m, n, k, <float>alpha, a, b, <float>beta, c)
    return dgemm_of(trans_a, trans_b, m, n, k, alpha, a, b, beta, c)


cdef int sgemm_of(
    bint ta, bint tb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, float alpha,
    const float[:, ::1] a, const float[:, ::1] b, float beta, float[:, ::1] c):
    with nogil:
        return capi.sgemm(ta, tb, m, n, k, alpha, &a[0, 0], a.shape[1], &b[0, 0], b.shape[1],
                          beta, &c[0, 0], c.shape[1])


cdef int dgemm_of(
    bint ta, bint tb, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, double alpha,
    const double[:, ::1] a, const double[:, ::1] b, double beta, double[:, ::1] c):
    with nogil:
        return capi.dgemm(ta, tb, m, n, k, alpha, &a[0, 0], a.shape[1], &b[0, 0], b.shape[1],
                          beta, &c[0, 0], c.shape[1])


ctypedef fused real:
    float
    double


def batchnorm_forward(
    real[:, :, ::1] x, real[::1] gamma, real[::1] beta, real[::1] mean, real[::1] var,
    real[:, :, ::1] y, real[::1] saved, double eps, bint relu, double momentum, bint unbiased):
    assert saved.shape[0] == capi.BATCHNORM_SAVED * x.shape[1]
    if real is float:
        return capi.sbatchnorm_forward(
            x.shape[0], x.shape[1], x.shape[2], &x[0, 0, 0], &gamma[0], &beta[0], eps, relu,
            momentum, unbiased, &mean[0], &var[0], &y[0, 0, 0], &saved[0])
    else:
        return capi.dbatchnorm_forward(
            x.shape[0], x.shape[1], x.shape[2], &x[0, 0, 0], &gamma[0], &beta[0], eps, relu,
            momentum, unbiased, &mean[0], &var[0], &y[0, 0, 0], &saved[0])


def batchnorm_backward(
    real[:, :, ::1] dy, real[:, :, ::1] x, real[::1] saved, bint relu,
    real[:, :, ::1] dx, real[::1] dgamma, real[::1] dbeta):
    if real is float:
        return capi.sbatchnorm_backward(
            x.shape[0], x.shape[1], x.shape[2], &dy[0, 0, 0], &x[0, 0, 0], &saved[0], relu,
            &dx[0, 0, 0], &dgamma[0], &dbeta[0])
    else:
        return capi.dbatchnorm_backward(
            x.shape[0], x.shape[1], x.shape[2], &dy[0, 0, 0], &x[0, 0, 0], &saved[0], relu,
            &dx[0, 0, 0], &dgamma[0], &dbeta[0])


def batchnorm_inference(
    real[:, :, ::1] x, real[::1] gamma, real[::1] beta, real[::1] mean, real[::1] var,
    real[:, :, ::1] y, double eps, bint relu):
    if real is float:
        return capi.sbatchnorm_inference(
            x.shape[0], x.shape[1], x.shape[2], &x[0, 0, 0], &gamma[0], &beta[0], eps, relu,
            &mean[0], &var[0], &y[0, 0, 0])
    else:
        return capi.dbatchnorm_inference(
            x.shape[0], x.shape[1], x.shape[2], &x[0, 0, 0], &gamma[0], &beta[0], eps, relu,
            &mean[0], &var[0], &y[0, 0, 0])


def relu(real[::1] x, real[::1] y):
    if real is float:
        return capi.srelu(x.shape[0], &x[0], &y[0])
    else:
        return capi.drelu(x.shape[0], &x[0], &y[0])


def relu_backward(real[::1] dy, real[::1] saved, real[::1] dx):
    if real is float:
        return capi.srelu_backward(dy.shape[0], &dy[0], &saved[0], &dx[0])
    else:
        return capi.drelu_backward(dy.shape[0], &dy[0], &saved[0], &dx[0])


def threads(int n):
    """Status of the call, and the number in force after it."""
    return capi.set_num_threads(n), capi.get_num_threads()


def products_in_parallel(
    const float[:, :, ::1] a, const float[:, :, ::1] b, float[:, :, ::1] c, int num_threads):
    """A stack of products, each by one thread of a prange; how many reported an error."""
    cdef Py_ssize_t i
    cdef int errors = 0
    for i in prange(a.shape[0], nogil=True, schedule="dynamic", num_threads=num_threads):
        errors += capi.sgemm(
            0, 0, c.shape[1], c.shape[2], a.shape[2], 1, &a[i, 0, 0], a.shape[2],
            &b[i, 0, 0], b.shape[2], 0, &c[i, 0, 0], c.shape[2]) != capi.OK
    return errors


def refusals():
    """Statuses of calls that must not touch memory: every pointer is NULL or leads to one value."""
    cdef float x = 1
    return [
        capi.sgemm(0, 0, -1, 1, 1, 1, &x, 1, &x, 1, 0, &x, 1),
        capi.sgemm(0, 0, 2, 3, 4, 1, &x, 3, &x, 3, 0, &x, 3),  # lda < k
        capi.sgemm(0, 0, 1, 1, 1, 1, NULL, 1, &x, 1, 0, &x, 1),
        capi.sbatchnorm_forward(1, 1, 1, &x, NULL, NULL, 1e-5, 0, 0.1, 1, NULL, NULL, &x, &x),
        capi.sbatchnorm_forward(2, 1, 1, &x, NULL, NULL, -1, 0, 0.1, 1, NULL, NULL, &x, &x),
        capi.sbatchnorm_forward(2, 1, 1, &x, NULL, NULL, 1e-5, 0, 2, 1, NULL, NULL, &x, &x),
        capi.sbatchnorm_forward(2, 1, 1, &x, NULL, NULL, 1e-5, 0, 0.1, 1, &x, NULL, &x, &x),
        capi.sbatchnorm_backward(2, 1, 1, &x, &x, NULL, 0, &x, &x, &x),
        capi.sbatchnorm_inference(2, 1, -1, &x, NULL, NULL, 1e-5, 0, &x, &x, &x),
        capi.srelu(-1, &x, &x),
        capi.srelu_backward(1, NULL, &x, &x),
        capi.set_num_threads(0),
    ], x


def empty():
    """Statuses of calls without a single value."""
    cdef double g = 5
    return [
        capi.dgemm(0, 0, 0, 3, 0, 1, NULL, 0, NULL, 3, 0, NULL, 3),
        capi.dbatchnorm_forward(0, 1, 1, NULL, NULL, NULL, 0, 0, 0, 0, NULL, NULL, NULL, NULL),
        capi.dbatchnorm_inference(0, 1, 1, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL),
        capi.drelu(0, NULL, NULL),
        capi.dbatchnorm_backward(0, 1, 1, NULL, NULL, NULL, 0, NULL, &g, &g),
    ], g
