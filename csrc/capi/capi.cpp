// The C interface, on the public C++ operations: checks, views, and errors as numbers.
#include "capi/capi.h"

#include <cmath>
#include <new>
#include <vector>

#include "fastbn/batchnorm.h"
#include "fastbn/gemm.h"
#include "fastbn/nn.h"
#include "fastbn/runtime.h"

namespace fastbn {
namespace {

// No exception may cross into C.  Arguments are checked before: what is left is memory.
template <class F>
int guarded(F&& f) {
  try {
    f();
    return FASTBN_OK;
  } catch (const std::bad_alloc&) {
    return FASTBN_NO_MEMORY;
  } catch (...) {
    return FASTBN_INVALID;
  }
}

// --- products -----------------------------------------------------------------------------------

// op(X) of rows x cols; the stored matrix has `ld` elements a row.
template <class T>
Matrix<T> operand(T* data, bool transposed, index_t rows, index_t cols, index_t ld) {
  return transposed ? Matrix<T>{data, rows, cols, 1, ld} : Matrix<T>{data, rows, cols, ld, 1};
}

template <class T>
bool fits(const T* data, bool transposed, index_t rows, index_t cols, index_t ld) {
  return ld >= (transposed ? rows : cols) && (data || rows == 0 || cols == 0);
}

template <class T>
int product(int trans_a, int trans_b, index_t m, index_t n, index_t k, T alpha, const T* a,
            index_t lda, const T* b, index_t ldb, T beta, T* c, index_t ldc) {
  const bool ta = trans_a != 0, tb = trans_b != 0;
  if (m < 0 || n < 0 || k < 0 || !fits(a, ta, m, k, lda) || !fits(b, tb, k, n, ldb) ||
      !fits(c, false, m, n, ldc)) {
    return FASTBN_INVALID;
  }
  return guarded([&] {
    GemmOptions<T> options;
    options.alpha = alpha, options.beta = beta;
    gemm(operand(a, ta, m, k, lda), operand(b, tb, k, n, ldb), operand(c, false, m, n, ldc),
         options);
  });
}

// --- batch normalization ------------------------------------------------------------------------

bool are_sizes(index_t outer, index_t channels, index_t inner) {
  return outer >= 0 && channels >= 0 && inner >= 0;
}

template <class T>
ChannelView<T> view(T* data, index_t outer, index_t channels, index_t inner) {
  return {data, outer, channels, inner, channels * inner, inner};
}

template <class T>
BatchNormStatistics<T> statistics(T* saved, index_t c) {
  static_assert(FASTBN_BATCHNORM_SAVED == 6, "one array for each statistic");
  return {saved, saved + c, saved + 2 * c, saved + 3 * c, saved + 4 * c, saved + 5 * c};
}

template <class T>
int batchnorm_forward(index_t outer, index_t channels, index_t inner, const T* x, const T* gamma,
                      const T* beta, double eps, int relu, double momentum, int unbiased,
                      T* running_mean, T* running_var, T* y, T* saved) {
  if (!are_sizes(outer, channels, inner) || !(eps >= 0) || !(momentum >= 0 && momentum <= 1) ||
      (running_mean == nullptr) != (running_var == nullptr)) {
    return FASTBN_INVALID;
  }
  const index_t n = outer * inner;
  if (n == 0 || channels == 0) return FASTBN_OK;
  if (n == 1 || !x || !y || !saved) return FASTBN_INVALID;
  return guarded([&] {
    const auto s = statistics(saved, channels);
    batch_norm_training<T>(view(x, outer, channels, inner), {gamma, beta, eps, relu != 0},
                           view(y, outer, channels, inner), s);
    if (running_mean) {
      const double values = double(n);
      update_running<T>(channels, &values, 1, {momentum, unbiased != 0}, s, running_mean,
                        running_var);
    }
  });
}

template <class T>
int batchnorm_backward(index_t outer, index_t channels, index_t inner, const T* dy, const T* x,
                       const T* saved, int relu, T* dx, T* dgamma, T* dbeta) {
  if (!are_sizes(outer, channels, inner)) return FASTBN_INVALID;
  if (channels == 0) return FASTBN_OK;
  if (!dgamma || !dbeta) return FASTBN_INVALID;
  if (outer * inner == 0) {
    for (index_t i = 0; i < channels; ++i) dgamma[i] = dbeta[i] = T(0);
    return FASTBN_OK;
  }
  if (!dy || !x || !saved || !dx) return FASTBN_INVALID;
  return guarded([&] {
    const auto s = statistics(const_cast<T*>(saved), channels);  // read, as the backward's are
    constexpr bool training = true;
    batch_norm_backward<T>(view(dy, outer, channels, inner), view(x, outer, channels, inner), s,
                           training, relu != 0, view(dx, outer, channels, inner), dgamma, dbeta);
  });
}

template <class T>
int batchnorm_inference(index_t outer, index_t channels, index_t inner, const T* x, const T* gamma,
                        const T* beta, double eps, int relu, const T* mean, const T* var, T* y) {
  if (!are_sizes(outer, channels, inner) || !(eps >= 0)) return FASTBN_INVALID;
  if (outer * inner == 0 || channels == 0) return FASTBN_OK;
  if (!x || !mean || !var || !y) return FASTBN_INVALID;
  return guarded([&] {
    std::vector<T> unused(static_cast<std::size_t>(FASTBN_BATCHNORM_SAVED * channels));
    batch_norm_inference<T>(view(x, outer, channels, inner), {gamma, beta, eps, relu != 0}, mean,
                            var, view(y, outer, channels, inner),
                            statistics(unused.data(), channels));
  });
}

// --- ReLU, threads ------------------------------------------------------------------------------

template <class T>
int relu(index_t n, const T* x, T* y) {
  if (n < 0 || (n > 0 && (!x || !y))) return FASTBN_INVALID;
  return guarded([&] { activation_forward<T>(ActivationKind::relu, n, x, y, T(0)); });
}

template <class T>
int relu_backward(index_t n, const T* dy, const T* saved, T* dx) {
  if (n < 0 || (n > 0 && (!dy || !saved || !dx))) return FASTBN_INVALID;
  return guarded([&] { activation_backward<T>(ActivationKind::relu, n, dy, saved, dx, T(0)); });
}

int set_threads(int n) {
  return guarded([&] { set_num_threads(n); });  // throws for n < 1
}

int get_threads() {
  return num_threads();
}

}  // namespace

const fastbn_capi& capi() {
  static const fastbn_capi table = {
      FASTBN_CAPI_VERSION,
      product<float>,
      product<double>,
      batchnorm_forward<float>,
      batchnorm_forward<double>,
      batchnorm_backward<float>,
      batchnorm_backward<double>,
      batchnorm_inference<float>,
      batchnorm_inference<double>,
      relu<float>,
      relu<double>,
      relu_backward<float>,
      relu_backward<double>,
      set_threads,
      get_threads,
  };
  return table;
}

}  // namespace fastbn
