// Matrix products: the public C++ operations.  Instantiated for float and double.
#pragma once

#include "fastbn/gemm_columns.h"
#include "fastbn/views.h"

namespace fastbn {

template <class T>
struct GemmOptions {
  T alpha = T(1);
  T beta = T(0);
  GemmColumns<T> columns = {};
  bool relu = false;
};

// C = activation(columns(alpha * A B + beta * C)).  A is (m, k), B (k, n), C (m, n), any strides; a
// transposed operand is a view with its strides exchanged.  C must overlap no input.
// beta == 0 does not read C; alpha == 0 does not read A and B.  Throws std::bad_alloc, with C
// untouched, if scratch memory cannot be had.
template <class T>
void gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& options);

// sums[j] = sum over i of x(i, j); x has unit column stride.
template <class T>
void column_sums(Matrix<const T> x, T* sums);

}  // namespace fastbn
