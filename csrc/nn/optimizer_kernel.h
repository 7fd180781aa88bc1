// Updates of parameters in place, in the conventions of torch.optim.
//
// SGD (Sutskever et al. 2013, with the learning rate outside of the velocity):
//   g += weight_decay p     v = momentum v + g     p -= lr (nesterov ? g + momentum v : v)
//
// Adam (Kingma and Ba, arXiv 1412.6980) and AdamW (Loshchilov and Hutter, arXiv 1711.05101):
//   AdamW: p *= 1 - lr weight_decay     Adam: g += weight_decay p
//   m = beta1 m + (1 - beta1) g     v = beta2 v + (1 - beta2) g^2
//   p -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// All are limited by memory: 5 (SGD) and 7 (Adam) streams of the parameters' size, in one pass.
#pragma once

#include <cstdint>

#include "nn/nn_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// body(i, lanes) for every register of a strip; of one of four cache lines in the order 0 2 1 3, or 3 1 2 0 (strips.h).
template <class T, class Body>
FASTBN_INLINE void for_each_of_strip(Strip s, Body body) {
  constexpr index_t w = Vec<T>::kWidth, line = kLineOf<T>;
  if (s.cols != kStripLines * line) {
    for (index_t r = 0; r < s.rows; ++r) {
      for_each_vector<T>(
          s.cols, [=](index_t j, auto lanes) FASTBN_INLINE_LAMBDA { body(r * s.row + j, lanes); });
    }
    return;
  }
  const index_t first = s.from_right ? 3 * line : 0, third = s.from_right ? 2 * line : line;
  const index_t offsets[kStripLines] = {first, 3 * line - third, third, 3 * line - first};
  for (index_t r = 0; r < s.rows; ++r) {
    FASTBN_UNROLL
    for (index_t q = 0; q < kStripLines; ++q) {
      FASTBN_UNROLL
      for (index_t j = 0; j < line; j += w) body(r * s.row + offsets[q] + j, AllLanes<T>{});
    }
  }
}

// Forward and for dx, threads read parameters that others update: a line of them is then in two caches, of which a load
// gives one, and a store must ask the other to give its up, some ten at a time.  So what is to be written is asked for
// before it is read, to own.  (784 x 512 on two threads of Emerald Rapids, after a forward pass and a gradient of 8,
// 16, 32 and 64 rows: 173, 208, 216 and 137 us without, 79, 95, 109 and 98 with it; 8 to 32 lines ahead are alike, and
// the optimizer's state, which nobody else reads, needs none.)  Strips down rows ask for the line itself.
constexpr index_t kOwnedAhead = 16;  // lines

template <class T>
index_t owned_ahead(Strip s) {
  return s.rows == 1 ? kOwnedAhead * kLineOf<T> : 0;
}

// p[i], which may lie behind the end: no pointer to it is formed.
template <class T>
FASTBN_INLINE void ask_to_own(const T* p, index_t i) {
  const auto address =
      reinterpret_cast<std::uintptr_t>(p) + static_cast<std::uintptr_t>(i) * sizeof(T);
  __builtin_prefetch(reinterpret_cast<const void*>(address), /*for writing=*/1);
}

template <class T>
void sgd(Strip s, T* p, const T* g, T* velocity, SgdStep<T> step) {
  const Vec<T> minus_lr = Vec<T>::broadcast(-step.lr), momentum = Vec<T>::broadcast(step.momentum);
  const Vec<T> weight_decay = Vec<T>::broadcast(step.weight_decay);
  const bool decays = step.weight_decay != T(0), nesterov = step.nesterov;
  const index_t ahead = owned_ahead<T>(s);
  for_each_of_strip<T>(s, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
    ask_to_own(p, i + ahead);
    const Vec<T> old = lanes.load(p + i);
    Vec<T> direction = lanes.load(g + i);
    if (decays) direction = fma(weight_decay, old, direction);
    if (velocity) {
      const Vec<T> v = fma(momentum, lanes.load(velocity + i), direction);
      lanes.store(velocity + i, v);
      direction = nesterov ? fma(momentum, v, direction) : v;
    }
    lanes.store(p + i, fma(minus_lr, direction, old));
  });
}

template <class T>
void adam(Strip s, T* p, const T* g, T* m, T* v, AdamStep<T> step) {
  const Vec<T> beta1 = Vec<T>::broadcast(step.beta1), beta2 = Vec<T>::broadcast(step.beta2);
  const Vec<T> rest1 = Vec<T>::broadcast(step.one_minus_beta1);
  const Vec<T> rest2 = Vec<T>::broadcast(step.one_minus_beta2);
  const Vec<T> minus_step = Vec<T>::broadcast(-step.step_size), eps = Vec<T>::broadcast(step.eps);
  const Vec<T> inverse_root = Vec<T>::broadcast(step.inverse_root);
  const Vec<T> l2 = Vec<T>::broadcast(step.l2), decay = Vec<T>::broadcast(step.decay);
  const bool has_l2 = step.l2 != T(0);
  const index_t ahead = owned_ahead<T>(s);
  for_each_of_strip<T>(s, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
    ask_to_own(p, i + ahead);
    const Vec<T> old = lanes.load(p + i);
    Vec<T> gradient = lanes.load(g + i);
    if (has_l2) gradient = fma(l2, old, gradient);
    const Vec<T> first = fma(beta1, lanes.load(m + i), rest1 * gradient);
    const Vec<T> second = fma(beta2, lanes.load(v + i), rest2 * gradient * gradient);
    lanes.store(m + i, first);
    lanes.store(v + i, second);
    const Vec<T> denominator = fma(sqrt(second), inverse_root, eps);
    lanes.store(p + i, fma(minus_step, first / denominator, old * decay));
  });
}

}  // namespace
}  // namespace fastbn
