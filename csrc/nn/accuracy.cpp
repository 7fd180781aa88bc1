// Right answers: rows whose largest score is that of their label.
#include <atomic>

#include "fastbn/nn.h"
#include "nn/split.h"

namespace fastbn {
namespace {

// Whether x[label] is the largest as numpy.argmax finds it: of equal ones the first, and NaN is larger than any number.
// Comparisons that are counted, which compilers vectorize: the place of a maximum they find one by one.
template <class T>
bool is_largest(index_t n, const T* x, index_t label) {
  if (label < 0 || label >= n) return false;
  const T score = x[label];
  int larger = 0;
  if (score != score) {
    for (index_t j = 0; j < label; ++j) larger += x[j] != x[j];
    return larger == 0;
  }
  for (index_t j = 0; j < label; ++j) larger += !(x[j] < score);
  for (index_t j = label + 1; j < n; ++j) larger += !(x[j] <= score);
  return larger == 0;
}

}  // namespace

template <class T>
index_t count_right(index_t rows, index_t cols, const T* scores, const index_t* labels) {
  std::atomic<index_t> right{0};
  const double bytes = double(sizeof(T)) * double(cols);
  parallel_rows(rows, bytes, kBytesPerThread, [=, &right](index_t first, index_t count) {
    index_t some = 0;
    for (index_t i = first; i < first + count; ++i)
      some += is_largest(cols, scores + i * cols, labels[i]);
    right += some;
  });
  return right;
}

template index_t count_right<float>(index_t, index_t, const float*, const index_t*);
template index_t count_right<double>(index_t, index_t, const double*, const index_t*);

}  // namespace fastbn
