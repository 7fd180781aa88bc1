// The driver of the squared error: chunks whose sums are added in order, so that threads do not show in the bits.
#include <numeric>
#include <vector>

#include "dispatch/dispatch.h"
#include "fastbn/nn.h"
#include "nn/split.h"

namespace fastbn {
namespace {

constexpr index_t kChunk = 16 * 1024;  // elements: 192 KiB of three floats, some 3 us

}  // namespace

template <class T>
double squared_error(index_t n, const T* x, const T* t, T* difference) {
  const auto kernel = kernels<T>().nn.squared_error;
  const index_t chunks = (n + kChunk - 1) / kChunk;
  if (chunks <= 1) return kernel(n, x, t, difference);
  std::vector<double> sums(static_cast<std::size_t>(chunks));
  double* const to = sums.data();
  parallel_rows(chunks, 3.0 * sizeof(T) * kChunk, kBytesPerThread,
                [=](index_t first, index_t count) {
                  for (index_t c = first; c < first + count; ++c) {
                    const index_t at = c * kChunk, size = n - at < kChunk ? n - at : kChunk;
                    to[c] = kernel(size, x + at, t + at, difference + at);
                  }
                });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

template <class T>
void scale(index_t n, const T* x, T factor, T* y) {
  const auto kernel = kernels<T>().nn.scale;
  parallel_elements(n, 2 * sizeof(T), kBytesPerThread, [=](index_t begin, index_t size) {
    kernel(size, x + begin, factor, y + begin);
  });
}

#define FASTBN_INSTANTIATE(T)                                        \
  template double squared_error<T>(index_t, const T*, const T*, T*); \
  template void scale<T>(index_t, const T*, T, T*);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
