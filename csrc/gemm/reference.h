// The specification of gemm: plain loops, double accumulation.
#pragma once

#include "fastbn/gemm.h"

namespace fastbn::reference {

template <class T>
void gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& options);
template <class T>
void column_sums(Matrix<const T> x, T* sums);

}  // namespace fastbn::reference
