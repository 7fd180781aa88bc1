#include "gemm/reference.h"

namespace fastbn::reference {
namespace {

template <class T>
T& at(const Matrix<T>& m, index_t i, index_t j) {
  return m.data[i * m.row_stride + j * m.col_stride];
}

}  // namespace

template <class T>
void gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& o) {
  for (index_t i = 0; i < c.rows; ++i) {
    for (index_t j = 0; j < c.cols; ++j) {
      double sum = 0;
      if (o.alpha != T(0)) {
        for (index_t p = 0; p < a.cols; ++p) sum += double(at(a, i, p)) * double(at(b, p, j));
        sum *= double(o.alpha);
      }
      if (o.beta != T(0)) sum += double(o.beta) * double(at(c, i, j));
      if (o.columns.bias) sum += double(o.columns.bias[j]);
      if (o.columns.scale) {
        sum = (sum - double(o.columns.mean[j])) * double(o.columns.scale[j]) +
              double(o.columns.shift[j]);
      }
      at(c, i, j) = static_cast<T>(o.relu && sum <= 0 ? 0.0 : sum);
    }
  }
}

template <class T>
void column_sums(Matrix<const T> x, T* sums) {
  for (index_t j = 0; j < x.cols; ++j) {
    double sum = 0;
    for (index_t i = 0; i < x.rows; ++i) sum += double(at(x, i, j));
    sums[j] = static_cast<T>(sum);
  }
}

#define FASTBN_INSTANTIATE(T)                                                                \
  template void gemm<T>(Matrix<const T>, Matrix<const T>, Matrix<T>, const GemmOptions<T>&); \
  template void column_sums<T>(Matrix<const T>, T*);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn::reference
