// The squared error of x beside t, and what its gradient is made of.
//
//   d = x - t     sum of d^2     dx = d factor
#pragma once

#include "nn/nn_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// Runs of so many registers are summed as T, in chains that hide the latency of an addition, and runs as doubles: the
// error is that of some tens of additions, of however many elements.
constexpr index_t kRunRegisters = 64;

template <class T>
double squared_error(index_t n, const T* x, const T* t, T* difference) {
  constexpr index_t w = Vec<T>::kWidth, kChains = 4, kRun = kRunRegisters * w;
  const auto square = [=](index_t i, auto lanes, Vec<T>& sum) FASTBN_INLINE_LAMBDA {
    const Vec<T> d = lanes.load(x + i) - lanes.load(t + i);
    lanes.store(difference + i, d);
    sum = fma(d, d, sum);
  };
  double total = 0;
  for (index_t begin = 0; begin < n; begin += kRun) {
    const index_t end = n - begin < kRun ? n : begin + kRun;
    Vec<T> sums[kChains];
    FASTBN_UNROLL
    for (int c = 0; c < kChains; ++c) sums[c] = Vec<T>::zero();
    index_t i = begin;
    for (; i + kChains * w <= end; i += kChains * w) {
      FASTBN_UNROLL
      for (int c = 0; c < kChains; ++c) square(i + c * w, AllLanes<T>{}, sums[c]);
    }
    for_each_vector<T>(end - i, [&](index_t j, auto lanes)
                                    FASTBN_INLINE_LAMBDA { square(i + j, lanes, sums[0]); });
    total += double(sum((sums[0] + sums[1]) + (sums[2] + sums[3])));
  }
  return total;
}

template <class T>
void scale(index_t n, const T* x, T factor, T* y) {
  const Vec<T> by = Vec<T>::broadcast(factor);
  for_each_vector<T>(n, [=](index_t i, auto lanes)
                            FASTBN_INLINE_LAMBDA { lanes.store(y + i, lanes.load(x + i) * by); });
}

}  // namespace
}  // namespace fastbn
