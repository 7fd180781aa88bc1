// Softmax and softmax cross-entropy over rows of `cols` consecutive elements.
//
//   m = max_j x_j     S = sum_j e^(x_j - m)     softmax(x)_j = e^(x_j - m) / S
//
// The loss of a row with targets q = off + (on at the label), which sum to 1, is
//
//   -sum_j q_j log softmax(x)_j = log S + on (m - x_label) + off sum_j (m - x_j)
//
// m and S are kept apart instead of as m + log S: with logits near 10^4 the sum would round away
// three digits of every probability.
//
// A NaN, an infinity, or nothing but -infinity in a row make S a NaN, and with it all results of
// the row and of no other; -infinity beside finite elements has probability 0.
#pragma once

#include "nn/math_kernel.h"
#include "nn/nn_args.h"

namespace fastbn {
namespace {

// The lanes beyond a partial register become `other`.
template <class T>
FASTBN_INLINE Vec<T> fill(AllLanes<T>, Vec<T> v, Vec<T>) {
  return v;
}
template <class T>
FASTBN_INLINE Vec<T> fill(FirstLanes<T> lanes, Vec<T> v, Vec<T> other) {
  const Vec<T> inside = lanes.keep(Vec<T>::broadcast(T(1)));
  return select(less(Vec<T>::zero(), inside), v, other);
}

template <class T>
FASTBN_INLINE T row_max(index_t n, const T* x) {
  const Vec<T> first = Vec<T>::broadcast(x[0]);
  Vec<T> m = first;
  for_each_vector<T>(n, [&](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
    m = max(m, fill(lanes, lanes.load(x + i), first));
  });
  return max_lane(m);
}

// sum of term(i, lanes), in double over blocks of 256 elements each summed in a register: an error
// that does not grow with the row, for one reduction of a register in 256 / kWidth terms.
template <class T, class Term>
FASTBN_INLINE double row_sum(index_t n, Term term) {
  constexpr index_t kBlock = 256;
  double total = 0;
  for (index_t begin = 0; begin < n; begin += kBlock) {
    const index_t size = n - begin < kBlock ? n - begin : kBlock;
    Vec<T> block = Vec<T>::zero();
    for_each_vector<T>(size, [&](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
      block = block + lanes.keep(term(begin + i, lanes));
    });
    total += static_cast<double>(sum(block));
  }
  return total;
}

template <class T>
void softmax(index_t rows, index_t cols, const T* x, T* y) {
  for (index_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const Vec<T> m = Vec<T>::broadcast(row_max(cols, x));
    const double total = row_sum<T>(cols, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
      const Vec<T> e = exp_of_negative(lanes.load(x + i) - m);
      lanes.store(y + i, e);
      return e;
    });
    const Vec<T> inverse = Vec<T>::broadcast(static_cast<T>(1 / total));
    for_each_vector<T>(cols, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
      lanes.store(y + i, lanes.load(y + i) * inverse);
    });
  }
}

// dx_j = y_j (dy_j - sum_k dy_k y_k)
template <class T>
void softmax_backward(index_t rows, index_t cols, const T* dy, const T* y, T* dx) {
  for (index_t r = 0; r < rows; ++r, dy += cols, y += cols, dx += cols) {
    const double total = row_sum<T>(cols, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
      return lanes.load(dy + i) * lanes.load(y + i);
    });
    const Vec<T> dot = Vec<T>::broadcast(static_cast<T>(total));
    for_each_vector<T>(cols, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
      lanes.store(dx + i, lanes.load(y + i) * (lanes.load(dy + i) - dot));
    });
  }
}

// on (m - x_label) + off sum_j (m - x_j).  A weight of 0 leaves its term out, lest an infinite
// logit make it NaN.
template <class T>
FASTBN_INLINE T target_loss(index_t n, const T* x, T maximum, index_t label, T on, T off) {
  T loss = on != T(0) ? on * (maximum - x[label]) : T(0);
  if (off == T(0)) return loss;
  const Vec<T> m = Vec<T>::broadcast(maximum);
  const double below = row_sum<T>(
      n, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA { return m - lanes.load(x + i); });
  return loss + off * static_cast<T>(below);
}

template <class T>
void cross_entropy(index_t rows, index_t cols, const T* x, CrossEntropyTargets<T> targets,
                   T* maximum, T* exp_sum, T* loss) {
  for (index_t r = 0; r < rows; ++r, x += cols) {
    maximum[r] = row_max(cols, x);
    const Vec<T> m = Vec<T>::broadcast(maximum[r]);
    exp_sum[r] = static_cast<T>(row_sum<T>(cols, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
      return exp_of_negative(lanes.load(x + i) - m);
    }));
    loss[r] = target_loss(cols, x, maximum[r], targets.labels[r], targets.on, targets.off);
  }
  for_each_vector<T>(rows, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
    lanes.store(loss + i, lanes.load(loss + i) + log(lanes.load(exp_sum + i)));
  });
}

template <class T>
void cross_entropy_backward(index_t rows, index_t cols, const T* x, CrossEntropyTargets<T> targets,
                            const T* maximum, const T* exp_sum, double scale, T* dx) {
  const T on = static_cast<T>(targets.on * scale);
  const Vec<T> minus_off = Vec<T>::broadcast(static_cast<T>(-targets.off * scale));
  for (index_t r = 0; r < rows; ++r, x += cols, dx += cols) {
    const Vec<T> m = Vec<T>::broadcast(maximum[r]);
    const Vec<T> factor = Vec<T>::broadcast(static_cast<T>(scale / exp_sum[r]));
    for_each_vector<T>(cols, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
      lanes.store(dx + i, fma(exp_of_negative(lanes.load(x + i) - m), factor, minus_off));
    });
    dx[targets.labels[r]] -= on;
  }
}

}  // namespace
}  // namespace fastbn
