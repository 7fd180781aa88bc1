# fastbn's kernels for Cython: `from fastbn cimport capi`, then `capi.sgemm(...)`, without the GIL.
#
# The functions are those of fastbn/capi.h (in fastbn.get_include()), which says what each computes,
# and they are the package's own: one choice of an instruction set, one number of threads, the same
# bits.  All but get_num_threads return OK or, with nothing written, one of the two errors.

cdef enum:
    OK = 0
    INVALID = -1  # a size, a leading dimension, a pointer or a number does not fit
    NO_MEMORY = -2
    BATCHNORM_SAVED = 6  # values of `saved` for each channel

# C = alpha op(A) op(B) + beta C, row-major, op the transpose if trans_* is not 0.
cdef int sgemm(
    int trans_a, int trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, float alpha,
    const float* a, Py_ssize_t lda, const float* b, Py_ssize_t ldb, float beta,
    float* c, Py_ssize_t ldc) noexcept nogil
cdef int dgemm(
    int trans_a, int trans_b, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, double alpha,
    const double* a, Py_ssize_t lda, const double* b, Py_ssize_t ldb, double beta,
    double* c, Py_ssize_t ldc) noexcept nogil

# x of shape (outer, channels, inner).  gamma, beta and the running statistics may be NULL.
cdef int sbatchnorm_forward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const float* x,
    const float* gamma, const float* beta, double eps, int relu, double momentum, int unbiased,
    float* running_mean, float* running_var, float* y, float* saved) noexcept nogil
cdef int dbatchnorm_forward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const double* x,
    const double* gamma, const double* beta, double eps, int relu, double momentum, int unbiased,
    double* running_mean, double* running_var, double* y, double* saved) noexcept nogil
cdef int sbatchnorm_backward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const float* dy, const float* x,
    const float* saved, int relu, float* dx, float* dgamma, float* dbeta) noexcept nogil
cdef int dbatchnorm_backward(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const double* dy, const double* x,
    const double* saved, int relu, double* dx, double* dgamma, double* dbeta) noexcept nogil
cdef int sbatchnorm_inference(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const float* x,
    const float* gamma, const float* beta, double eps, int relu,
    const float* mean, const float* var, float* y) noexcept nogil
cdef int dbatchnorm_inference(
    Py_ssize_t outer, Py_ssize_t channels, Py_ssize_t inner, const double* x,
    const double* gamma, const double* beta, double eps, int relu,
    const double* mean, const double* var, double* y) noexcept nogil

# y = max(x, 0); dx = dy where saved, x or y, is not <= 0.
cdef int srelu(Py_ssize_t n, const float* x, float* y) noexcept nogil
cdef int drelu(Py_ssize_t n, const double* x, double* y) noexcept nogil
cdef int srelu_backward(
    Py_ssize_t n, const float* dy, const float* saved, float* dx) noexcept nogil
cdef int drelu_backward(
    Py_ssize_t n, const double* dy, const double* saved, double* dx) noexcept nogil

cdef int set_num_threads(int n) noexcept nogil
cdef int get_num_threads() noexcept nogil
