/* The C interface: fastbn's kernels on plain pointers, for C, C++ and other languages.
 *
 * All functions are fields of one table, which the Python module fastbn._core exports as a capsule;
 * a caller shares the package's kernels, its choice of an instruction set and its threads:
 *
 *     const fastbn_capi* fastbn = (const fastbn_capi*)PyCapsule_Import(FASTBN_CAPI_CAPSULE, 0);
 *     if (!fastbn || fastbn->version < FASTBN_CAPI_VERSION) ... an older fastbn is installed
 *     int status = fastbn->sgemm(...);
 *
 * Arrays are C-contiguous but for the leading dimensions of the products, and begin where their element
 * type may: at a multiple of 4 or 8 bytes, as C asks of every pointer.  What is written must not
 * overlap what is read, unless it says so.  No function needs Python's global lock or raises; all
 * may be called from several threads at once.  Those that return int return FASTBN_OK or, with
 * nothing written, one of the errors.  The s functions are of float, the d functions of double.
 */
#ifndef FASTBN_CAPI_H
#define FASTBN_CAPI_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FASTBN_CAPI_CAPSULE "fastbn._core._C_API"
/* Grows when fields are added, at the end: a table of a higher version serves an older caller. */
#define FASTBN_CAPI_VERSION 1

enum {
  FASTBN_OK = 0,
  FASTBN_INVALID = -1,  /* a size, a leading dimension, a pointer or a number does not fit */
  FASTBN_NO_MEMORY = -2 /* no scratch memory */
};

/* Values of `saved` for each channel, between a forward and its backward. */
#define FASTBN_BATCHNORM_SAVED 6

typedef struct fastbn_capi {
  int version;

  /* C = alpha op(A) op(B) + beta C, all row-major: element (i, j) at [i * ld + j].  op(A) is m x k,
   * op(B) k x n, op the transpose if trans_* is not 0.  beta = 0 does not read C. */
  int (*sgemm)(int trans_a, int trans_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, float alpha,
               const float* a, ptrdiff_t lda, const float* b, ptrdiff_t ldb, float beta, float* c,
               ptrdiff_t ldc);
  int (*dgemm)(int trans_a, int trans_b, ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, double alpha,
               const double* a, ptrdiff_t lda, const double* b, ptrdiff_t ldb, double beta,
               double* c, ptrdiff_t ldc);

  /* Batch normalization of x of shape (outer, channels, inner): inner = 1 for (N, C) and NHWC with
   * outer = N or N * H * W; NCHW has outer = N and inner = H * W.
   *   y = (x - mean) / sqrt(var + eps) * gamma + beta, then max(y, 0) if relu is not 0
   * with the mean and biased variance of each channel, of at least 2 values.  gamma and beta may be
   * NULL, for 1 and 0.  running_mean and running_var, both or neither NULL, become
   * (1 - momentum) * running + momentum * batch, of the unbiased variance if unbiased is not 0.
   * saved, of 6 * channels values, is for the backward function. */
  int (*sbatchnorm_forward)(ptrdiff_t outer, ptrdiff_t channels, ptrdiff_t inner, const float* x,
                            const float* gamma, const float* beta, double eps, int relu,
                            double momentum, int unbiased, float* running_mean, float* running_var,
                            float* y, float* saved);
  int (*dbatchnorm_forward)(ptrdiff_t outer, ptrdiff_t channels, ptrdiff_t inner, const double* x,
                            const double* gamma, const double* beta, double eps, int relu,
                            double momentum, int unbiased, double* running_mean,
                            double* running_var, double* y, double* saved);

  /* Gradients of the forward of the same x, saved and relu.  dx may be dy. */
  int (*sbatchnorm_backward)(ptrdiff_t outer, ptrdiff_t channels, ptrdiff_t inner, const float* dy,
                             const float* x, const float* saved, int relu, float* dx, float* dgamma,
                             float* dbeta);
  int (*dbatchnorm_backward)(ptrdiff_t outer, ptrdiff_t channels, ptrdiff_t inner, const double* dy,
                             const double* x, const double* saved, int relu, double* dx,
                             double* dgamma, double* dbeta);

  /* The same equation with the given mean and var, of 1 or more values.  y may be x. */
  int (*sbatchnorm_inference)(ptrdiff_t outer, ptrdiff_t channels, ptrdiff_t inner, const float* x,
                              const float* gamma, const float* beta, double eps, int relu,
                              const float* mean, const float* var, float* y);
  int (*dbatchnorm_inference)(ptrdiff_t outer, ptrdiff_t channels, ptrdiff_t inner, const double* x,
                              const double* gamma, const double* beta, double eps, int relu,
                              const double* mean, const double* var, double* y);

  /* y = max(x, 0), NaN stays NaN; y may be x.  dx = dy where saved, which is x or y, is not <= 0,
   * else 0; dx may be dy. */
  int (*srelu)(ptrdiff_t n, const float* x, float* y);
  int (*drelu)(ptrdiff_t n, const double* x, double* y);
  int (*srelu_backward)(ptrdiff_t n, const float* dy, const float* saved, float* dx);
  int (*drelu_backward)(ptrdiff_t n, const double* dy, const double* saved, double* dx);

  /* Threads that one call may use, at least 1, for the whole process.  No result depends on it. */
  int (*set_num_threads)(int n);
  int (*get_num_threads)(void);
} fastbn_capi;

#ifdef __cplusplus
}
#endif

#endif /* FASTBN_CAPI_H */
