// The driver of optimizer updates: threads take equal pieces of each part.
#include <cmath>

#include "dispatch/dispatch.h"
#include "fastbn/nn.h"
#include "nn/split.h"

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

// body(begin, size) over the pieces of a thread.
template <class Body>
void parallel_parts(index_t n, Parts parts, double bytes_per_element, double bytes_per_thread,
                    const Body& body) {
  if (parts.count < 2) return parallel_elements(n, bytes_per_element, bytes_per_thread, body);
  const double bytes = static_cast<double>(n) * bytes_per_element;
  const int threads = threads_for((n + kGrain - 1) / kGrain, bytes, bytes_per_thread);
  parallel(threads, [=](int i) {
    index_t begin = 0;
    for (index_t q = 0; q < parts.count; begin = parts.ends[q++]) {
      const Range r = share(parts.ends[q] - begin, kGrain, threads, i);
      if (r.begin < r.end) body(begin + r.begin, r.end - r.begin);
    }
  });
}

}  // namespace

template <class T>
void sgd_update(index_t n, T* p, const T* g, T* velocity, const SgdOptions& options, Parts parts) {
  const auto kernel = kernels<T>().nn.sgd;
  const SgdStep<T> step = step_of<T>(options);
  const double streams = velocity ? 5 : 3;
  const auto piece = [=](index_t begin, index_t size) {
    kernel(size, p + begin, g + begin, velocity ? velocity + begin : nullptr, step);
  };
  parallel_parts(n, parts, streams * sizeof(T), kBytesPerThread, piece);
}

template <class T>
void adam_update(index_t n, T* p, const T* g, T* m, T* v, const AdamOptions& options, Parts parts) {
  const auto kernel = kernels<T>().nn.adam;
  const AdamStep<T> step = step_of<T>(options);
  // Its root and division take as long again as the memory in L2: half the bytes pay.
  const auto piece = [=](index_t begin, index_t size) {
    kernel(size, p + begin, g + begin, m + begin, v + begin, step);
  };
  parallel_parts(n, parts, 7 * sizeof(T), kBytesPerThread / 2, piece);
}

#define FASTBN_INSTANTIATE(T)                                                       \
  template void sgd_update<T>(index_t, T*, const T*, T*, const SgdOptions&, Parts); \
  template void adam_update<T>(index_t, T*, const T*, T*, T*, const AdamOptions&, Parts);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
