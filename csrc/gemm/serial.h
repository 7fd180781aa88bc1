// A product on the calling thread alone, with scratch of the caller's: for drivers of fused
// operations, whose own regions share the work out.  The bits are those of gemm().
#pragma once

#include "fastbn/gemm.h"

namespace fastbn {

// Scratch that is enough for a product of this A and of C, or of fewer columns of it, with any B and any
// options whose beta is 0.
template <class T>
std::size_t serial_gemm_bytes(Matrix<const T> a, Matrix<T> c);

// `beside`: how many threads compute ranges of columns of the whole that C is one of.
template <class T>
void serial_gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& options,
                 int beside, void* scratch);

}  // namespace fastbn
