// A product on the calling thread alone, with scratch of the caller's: for drivers of fused
// operations, whose own regions share the work out.  The bits are those of gemm().
#pragma once

#include "fastbn/gemm.h"

namespace fastbn {

// Scratch that a product of these shapes and strides needs, or one of fewer columns of B and C.
template <class T>
std::size_t serial_gemm_bytes(Matrix<const T> a, Matrix<const T> b, Matrix<T> c,
                              const GemmOptions<T>& options);

template <class T>
void serial_gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& options,
                 void* scratch);

}  // namespace fastbn
