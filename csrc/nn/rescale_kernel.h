// Bytes, such as the pixels of images, to numbers:
//
//   y = x scale + offset,  rounded after the product and after the sum
//
// so that the bits are those of the same formula in NumPy.  A plain loop: Vec has no bytes, whose
// conversion compilers vectorize for every target, and with -ffp-contract=off they fuse nothing.
#pragma once

#include "nn/nn_args.h"

namespace fastbn {
namespace {

template <class T>
void rescale(index_t n, const unsigned char* x, T* __restrict y, T scale, T offset) {
  for (index_t i = 0; i < n; ++i) y[i] = static_cast<T>(x[i]) * scale + offset;
}

}  // namespace
}  // namespace fastbn
