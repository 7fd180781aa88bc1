// Right answers: rows whose largest score is that of their label.
#include "fastbn/nn.h"

namespace fastbn {
namespace {

// As numpy.argmax: of equal ones the first, and NaN is larger than any number.
template <class T>
index_t argmax(index_t n, const T* x) {
  index_t best = 0;
  for (index_t j = 1; j < n; ++j) {
    const bool first_nan = x[j] != x[j] && x[best] == x[best];
    if (x[j] > x[best] || first_nan) best = j;
  }
  return best;
}

}  // namespace

template <class T>
index_t count_right(index_t rows, index_t cols, const T* scores, const index_t* labels) {
  index_t right = 0;
  for (index_t i = 0; i < rows; ++i) right += argmax(cols, scores + i * cols) == labels[i];
  return right;
}

template index_t count_right<float>(index_t, index_t, const float*, const index_t*);
template index_t count_right<double>(index_t, index_t, const double*, const index_t*);

}  // namespace fastbn
