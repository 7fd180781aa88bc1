// Loops that do nothing but what is measured.
#pragma once

#include "probe/probe_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// Two units of latency 4 need 8 chains to be busy, four of them 16.  Two operands that all chains
// share leave room for three quarters of the registers.
constexpr int kFmaChains = kVectorRegisters * 3 / 4;

template <class T>
T fma_chains(index_t steps) {
  // x -> x / 2 + 1 tends to 2: no overflow and no subnormal number, which some CPUs are slow at.
  const Vec<T> half = Vec<T>::broadcast(T(0.5)), one = Vec<T>::broadcast(T(1));
  Vec<T> chain[kFmaChains];
  FASTBN_UNROLL
  for (int i = 0; i < kFmaChains; ++i) chain[i] = Vec<T>::broadcast(static_cast<T>(i));
  for (index_t s = 0; s < steps; ++s) {
    FASTBN_UNROLL
    for (int i = 0; i < kFmaChains; ++i) chain[i] = fma(chain[i], half, one);
  }
  Vec<T> total = Vec<T>::zero();
  FASTBN_UNROLL
  for (int i = 0; i < kFmaChains; ++i) total = total + chain[i];
  return sum(total);
}

template <class T>
void copy_elements(index_t n, const T* x, T* y) {
  constexpr index_t w = Vec<T>::kWidth;
  index_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    const Vec<T> a = Vec<T>::load(x + i), b = Vec<T>::load(x + i + w),
                 c = Vec<T>::load(x + i + 2 * w), d = Vec<T>::load(x + i + 3 * w);
    Vec<T>::store(y + i, a);
    Vec<T>::store(y + i + w, b);
    Vec<T>::store(y + i + 2 * w, c);
    Vec<T>::store(y + i + 3 * w, d);
  }
  for_each_vector<T>(n - i, [=](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    lanes.store(y + i + j, lanes.load(x + i + j));
  });
}

template <class T>
constexpr ProbeKernels<T> probe_kernels() {
  return {kFmaChains, Vec<T>::kWidth, fma_chains<T>, copy_elements<T>};
}

}  // namespace
}  // namespace fastbn
