// The driver of softmax and softmax cross-entropy: threads split the rows; the losses of the rows
// are added by one, in order.
#include <algorithm>
#include <cmath>

#include "dispatch/dispatch.h"
#include "fastbn/nn.h"
#include "nn/split.h"
#include "runtime/workspace.h"

namespace fastbn {
namespace {

template <class T>
CrossEntropyTargets<T> targets_of(const index_t* labels, double smoothing, index_t cols) {
  return {labels, static_cast<T>(1 - smoothing),
          static_cast<T>(smoothing / static_cast<double>(cols))};
}

// A short row costs as much as one of so many values: its maximum and sum are taken across lanes.  (10 classes,
// cross-entropy of 1,024 rows on Zen 5: forward 13 us on one thread and 7.5 on two, backward 7 and 3.6; softmax on
// Zen 3: forward of 256 rows 13 and 7, backward of 1,024 rows 22 and 11.)
constexpr index_t kLeastRow = 64;

template <class T>
double row_bytes(index_t cols, int streams) {
  return static_cast<double>(std::max(cols, kLeastRow)) * static_cast<double>(sizeof(T)) * streams;
}

}  // namespace

template <class T>
void softmax(index_t rows, index_t cols, const T* x, T* y) {
  if (cols == 0) return;
  const auto kernel = kernels<T>().nn.softmax;
  parallel_rows(rows, row_bytes<T>(cols, 2), kBytesPerThreadOfExp,
                [=](index_t r, index_t count) { kernel(count, cols, x + r * cols, y + r * cols); });
}

template <class T>
void softmax_backward(index_t rows, index_t cols, const T* dy, const T* y, T* dx) {
  if (cols == 0) return;
  const auto kernel = kernels<T>().nn.softmax_backward;
  parallel_rows(rows, row_bytes<T>(cols, 3), kBytesPerThread, [=](index_t r, index_t count) {
    kernel(count, cols, dy + r * cols, y + r * cols, dx + r * cols);
  });
}

template <class T>
double cross_entropy(index_t rows, index_t cols, const T* logits, const index_t* labels,
                     double smoothing, T* maximum, T* exp_sum) {
  if (rows == 0 || cols == 0) return std::nan("");
  const auto kernel = kernels<T>().nn.cross_entropy;
  const auto targets = targets_of<T>(labels, smoothing, cols);
  const Workspace workspace(static_cast<std::size_t>(rows) * sizeof(T));
  T* const losses = workspace.as<T>();
  parallel_rows(rows, row_bytes<T>(cols, 2), kBytesPerThreadOfExp, [=](index_t r, index_t count) {
    kernel(count, cols, logits + r * cols, {labels + r, targets.on, targets.off}, maximum + r,
           exp_sum + r, losses + r);
  });
  double total = 0;
  for (index_t r = 0; r < rows; ++r) total += static_cast<double>(losses[r]);
  return total / static_cast<double>(rows);
}

template <class T>
void cross_entropy_backward(index_t rows, index_t cols, const T* logits, const index_t* labels,
                            double smoothing, const T* maximum, const T* exp_sum, T* dlogits) {
  if (rows == 0 || cols == 0) return;
  const auto kernel = kernels<T>().nn.cross_entropy_backward;
  const auto targets = targets_of<T>(labels, smoothing, cols);
  const double scale = 1 / static_cast<double>(rows);
  parallel_rows(rows, row_bytes<T>(cols, 2), kBytesPerThreadOfExp, [=](index_t r, index_t count) {
    kernel(count, cols, logits + r * cols, {labels + r, targets.on, targets.off}, maximum + r,
           exp_sum + r, scale, dlogits + r * cols);
  });
}

#define FASTBN_INSTANTIATE(T)                                                                   \
  template void softmax<T>(index_t, index_t, const T*, T*);                                     \
  template void softmax_backward<T>(index_t, index_t, const T*, const T*, T*);                  \
  template double cross_entropy<T>(index_t, index_t, const T*, const index_t*, double, T*, T*); \
  template void cross_entropy_backward<T>(index_t, index_t, const T*, const index_t*, double,   \
                                          const T*, const T*, T*);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
