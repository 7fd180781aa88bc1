// The driver of optimizer updates: threads take equal pieces of each part.
//
//   near      a weight, two threads      far apart (handover.h)
//   +-----------+                        +-----+-----+
//   |     0     |   rows, in the order   |     |     |   columns, as a fused block shares them out: lines of a
//   +-----------+   in which they lie    |  0  |  1  |   weight that one thread has read forward, and of its
//   |     1     |                        |     |     |   gradient that it has written, stay with it
//   +-----------+                        +-----+-----+
//
// A plain Linear has its gradient shared out by rows all the same: far apart a step of 784-512-256-10 without batch
// norm takes 1.07 times as long at 8 samples as with rows, at 32 1.01 and at 96 0.92 times (two threads; more are not
// measured).
#include <algorithm>
#include <cmath>

#include "dispatch/dispatch.h"
#include "fastbn/nn.h"
#include "nn/split.h"
#include "nn/strips.h"
#include "runtime/handover.h"

namespace fastbn {
namespace {

template <class T>
SgdStep<T> step_of(const SgdOptions& o) {
  return {static_cast<T>(o.lr), static_cast<T>(o.momentum), static_cast<T>(o.weight_decay),
          o.nesterov};
}

// 1 - beta^t without cancellation: with beta2 = 0.999 the first steps would lose three digits.
double bias_correction(double beta, index_t step) {
  if (beta == 0) return 1;
  return -std::expm1(static_cast<double>(step) * std::log(beta));
}

template <class T>
AdamStep<T> step_of(const AdamOptions& o) {
  AdamStep<T> s;
  s.beta1 = static_cast<T>(o.beta1), s.one_minus_beta1 = static_cast<T>(1 - o.beta1);
  s.beta2 = static_cast<T>(o.beta2), s.one_minus_beta2 = static_cast<T>(1 - o.beta2);
  s.step_size = static_cast<T>(o.lr / bias_correction(o.beta1, o.step));
  s.inverse_root = static_cast<T>(1 / std::sqrt(bias_correction(o.beta2, o.step)));
  s.eps = static_cast<T>(o.eps);
  s.l2 = static_cast<T>(o.decoupled ? 0 : o.weight_decay);
  s.decay = static_cast<T>(o.decoupled ? 1 - o.lr * o.weight_decay : 1);
  return s;
}

// body(begin, strip) over what a thread updates.
template <class T, class Body>
void parallel_parts(index_t n, Parts parts, int streams, double bytes_per_thread,
                    const Body& body) {
  const double bytes = static_cast<double>(n) * sizeof(T) * streams;
  const int threads = threads_for((n + kGrain - 1) / kGrain, bytes, bytes_per_thread);
  const bool by_columns = parts.cols && far_apart(threads);
  parallel(threads, [=](int i) {
    index_t begin = 0;
    for (index_t q = 0; q < std::max<index_t>(parts.count, 1); ++q) {
      const index_t size = (parts.count ? parts.ends[q] : n) - begin;
      const index_t cols = by_columns ? parts.cols[q] : 0;
      if (cols > 0 && columns_for_each<T>(cols, threads)) {
        for_each_strip<T>(size / cols, cols, threads, i,
                          [&](index_t j, Strip strip) { body(begin + j, strip); });
      } else {
        const Range r = share(size, kGrain, threads, i);
        const index_t mine = r.end - r.begin;
        if (mine > 0) body(begin + r.begin, Strip{1, mine, mine, false});
      }
      begin += size;
    }
  });
}

}  // namespace

template <class T>
void sgd_update(index_t n, T* p, const T* g, T* velocity, const SgdOptions& options, Parts parts) {
  const auto kernel = kernels<T>().nn.sgd;
  const SgdStep<T> step = step_of<T>(options);
  const auto piece = [=](index_t begin, Strip strip) {
    kernel(strip, p + begin, g + begin, velocity ? velocity + begin : nullptr, step);
  };
  parallel_parts<T>(n, parts, velocity ? 5 : 3, kBytesPerThread, piece);
}

template <class T>
void adam_update(index_t n, T* p, const T* g, T* m, T* v, const AdamOptions& options, Parts parts) {
  const auto kernel = kernels<T>().nn.adam;
  const AdamStep<T> step = step_of<T>(options);
  // Its root and division take as long again as the memory in L2: half the bytes pay.
  const auto piece = [=](index_t begin, Strip strip) {
    kernel(strip, p + begin, g + begin, m + begin, v + begin, step);
  };
  parallel_parts<T>(n, parts, 7, kBytesPerThread / 2, piece);
}

#define FASTBN_INSTANTIATE(T)                                                       \
  template void sgd_update<T>(index_t, T*, const T*, T*, const SgdOptions&, Parts); \
  template void adam_update<T>(index_t, T*, const T*, T*, T*, const AdamOptions&, Parts);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
