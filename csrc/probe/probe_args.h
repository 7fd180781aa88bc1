// What the driver asks of the kernels that measure the machine.
#pragma once

#include <cstddef>

namespace fastbn {

using index_t = std::ptrdiff_t;

template <class T>
struct ProbeKernels {
  // `fma_chains` chains of `steps` fused multiply-adds on registers of `width` elements.  Their sum
  // is returned, so that no compiler leaves them out.
  int fma_chains, width;
  T (*fma)(index_t steps);
  // y[i] = x[i], by loads and stores of whole registers
  void (*copy)(index_t n, const T* x, T* y);
};

}  // namespace fastbn
