# cython: language_level=3, freethreading_compatible=True
"""The kernels for Cython code, which cimports them; to Python there is nothing here to call.

``capi.pxd`` has the signatures.  Each function passes its arguments on to the table of functions
that ``fastbn._core`` exports, so that there is one copy of every kernel.
"""

from cpython.pycapsule cimport PyCapsule_Import


cdef extern from "fastbn/capi.h":
    const char* FASTBN_CAPI_CAPSULE
    ctypedef struct fastbn_capi:
        int (
            *sgemm)(int trans_a, int trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, float alpha,
            const float* a, Py_ssize_t lda, const float* b, Py_ssize_t ldb, float beta, float* c,
            Py_ssize_t ldc) noexcept nogil
        int (
            *dgemm)(int trans_a, int trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k,
            double alpha, const double* a, Py_ssize_t lda, const double* b, Py_ssize_t ldb,
            double beta, double* c, Py_ssize_t ldc) noexcept nogil
        int (
            *sbatchnorm_forward)(Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner,
            const float* x, const float* gamma, const float* beta, double eps, int relu,
            double momentum, int unbiased, float* running_mean, float* running_var, float* y,
            float* saved) noexcept nogil
        int (
            *dbatchnorm_forward)(Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner,
            const double* x, const double* gamma, const double* beta, double eps, int relu,
            double momentum, int unbiased, double* running_mean, double* running_var, double* y,
            double* saved) noexcept nogil
        int (
            *sbatchnorm_backward)(Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner,
            const float* dy, const float* x, const float* saved, int relu, float* dx, float* dgamma,
            float* dbeta) noexcept nogil
        int (
            *dbatchnorm_backward)(Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner,
            const double* dy, const double* x, const double* saved, int relu, double* dx,
            double* dgamma, double* dbeta) noexcept nogil
        int (
            *sbatchnorm_inference)(Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner,
            const float* x, const float* gamma, const float* beta, double eps, int relu,
            const float* mean, const float* var, float* y) noexcept nogil
        int (
            *dbatchnorm_inference)(Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner,
            const double* x, const double* gamma, const double* beta, double eps, int relu,
            const double* mean, const double* var, double* y) noexcept nogil
        int (*srelu)(Py_ssize_t n, const float* x, float* y) noexcept nogil
        int (*drelu)(Py_ssize_t n, const double* x, double* y) noexcept nogil
        int (*srelu_backward)(
            Py_ssize_t n, const float* dy, const float* saved, float* dx) noexcept nogil
        int (
            *drelu_backward)(Py_ssize_t n, const double* dy, const double* saved,
            double* dx) noexcept nogil
        int (*set_num_threads)(int n) noexcept nogil
        int (*get_num_threads)() noexcept nogil


cdef const fastbn_capi* table = <const fastbn_capi*>PyCapsule_Import(FASTBN_CAPI_CAPSULE, 0)


cdef int sgemm(
    int trans_a, int trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, float alpha, const float* a,
    Py_ssize_t lda, const float* b, Py_ssize_t ldb, float beta, float* c,
    Py_ssize_t ldc) noexcept nogil:
    return table.sgemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


cdef int dgemm(
    int trans_a, int trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, double alpha,
    const double* a, Py_ssize_t lda, const double* b, Py_ssize_t ldb, double beta, double* c,
    Py_ssize_t ldc) noexcept nogil:
    return table.dgemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)


cdef int sbatchnorm_forward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const float* x, const float* gamma,
    const float* beta, double eps, int relu, double momentum, int unbiased, float* running_mean,
    float* running_var, float* y, float* saved) noexcept nogil:
    return table.sbatchnorm_forward(
        outer, channels, inner, x, gamma, beta, eps, relu, momentum, unbiased, running_mean,
        running_var, y, saved)


cdef int dbatchnorm_forward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const double* x, const double* gamma,
    const double* beta, double eps, int relu, double momentum, int unbiased, double* running_mean,
    double* running_var, double* y, double* saved) noexcept nogil:
    return table.dbatchnorm_forward(
        outer, channels, inner, x, gamma, beta, eps, relu, momentum, unbiased, running_mean,
        running_var, y, saved)


cdef int sbatchnorm_backward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const float* dy, const float* x,
    const float* saved, int relu, float* dx, float* dgamma, float* dbeta) noexcept nogil:
    return table.sbatchnorm_backward(outer, channels, inner, dy, x, saved, relu, dx, dgamma, dbeta)


cdef int dbatchnorm_backward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const double* dy, const double* x,
    const double* saved, int relu, double* dx, double* dgamma, double* dbeta) noexcept nogil:
    return table.dbatchnorm_backward(outer, channels, inner, dy, x, saved, relu, dx, dgamma, dbeta)


cdef int sbatchnorm_inference(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const float* x, const float* gamma,
    const float* beta, double eps, int relu, const float* mean, const float* var,
    float* y) noexcept nogil:
    return table.sbatchnorm_inference(
        outer, channels, inner, x, gamma, beta, eps, relu, mean, var, y)


cdef int dbatchnorm_inference(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const double* x, const double* gamma,
    const double* beta, double eps, int relu, const double* mean, const double* var,
    double* y) noexcept nogil:
    return table.dbatchnorm_inference(
        outer, channels, inner, x, gamma, beta, eps, relu, mean, var, y)


cdef int srelu(Py_ssize_t n, const float* x, float* y) noexcept nogil:
    return table.srelu(n, x, y)


cdef int drelu(Py_ssize_t n, const double* x, double* y) noexcept nogil:
    return table.drelu(n, x, y)


cdef int srelu_backward(
    Py_ssize_t n, const float* dy, const float* saved, float* dx) noexcept nogil:
    return table.srelu_backward(n, dy, saved, dx)


cdef int drelu_backward(
    Py_ssize_t n, const double* dy, const double* saved, double* dx) noexcept nogil:
    return table.drelu_backward(n, dy, saved, dx)


cdef int set_num_threads(int n) noexcept nogil:
    return table.set_num_threads(n)


cdef int get_num_threads() noexcept nogil:
    return table.get_num_threads()
