// Elementwise activations and their gradients.
//
//   relu        x <= 0 ? 0 : x                gradient  saved <= 0 ? 0 : dy
//   leaky_relu  x <= 0 ? slope x : x                    saved <= 0 ? slope dy : dy
//   sigmoid     1 / (1 + e^-x)                          dy y (1 - y)
//   tanh                                                dy (1 - y^2)
//   gelu        x Phi(x)                                dy (Phi(x) + x phi(x))
//
// gelu is the exact form of Hendrycks and Gimpel (arXiv 1606.08415), not its tanh approximation.
// The comparisons are false for NaN, which therefore passes.
#pragma once

#include "nn/math_kernel.h"
#include "nn/nn_args.h"

namespace fastbn {
namespace {

struct Relu {
  template <class T>
  static FASTBN_INLINE Vec<T> forward(Vec<T> x, Vec<T>) {
    return relu(x);
  }
  template <class T>
  static FASTBN_INLINE Vec<T> backward(Vec<T> dy, Vec<T> saved, Vec<T>) {
    return select(less_equal(saved, Vec<T>::zero()), Vec<T>::zero(), dy);
  }
};

struct LeakyRelu {
  template <class T>
  static FASTBN_INLINE Vec<T> forward(Vec<T> x, Vec<T> slope) {
    return select(less_equal(x, Vec<T>::zero()), x * slope, x);
  }
  template <class T>
  static FASTBN_INLINE Vec<T> backward(Vec<T> dy, Vec<T> saved, Vec<T> slope) {
    return select(less_equal(saved, Vec<T>::zero()), dy * slope, dy);
  }
};

struct Sigmoid {
  template <class T>
  static FASTBN_INLINE Vec<T> forward(Vec<T> x, Vec<T>) {
    return logistic(x);
  }
  template <class T>
  static FASTBN_INLINE Vec<T> backward(Vec<T> dy, Vec<T> y, Vec<T>) {
    return dy * (y * (Vec<T>::broadcast(T(1)) - y));
  }
};

struct Tanh {
  template <class T>
  static FASTBN_INLINE Vec<T> forward(Vec<T> x, Vec<T>) {
    return tanh(x);
  }
  // As a product: 1 - y^2 would lose its digits where y is near 1.
  template <class T>
  static FASTBN_INLINE Vec<T> backward(Vec<T> dy, Vec<T> y, Vec<T>) {
    const Vec<T> one = Vec<T>::broadcast(T(1));
    return dy * ((one - y) * (one + y));
  }
};

struct Gelu {
  template <class T>
  static FASTBN_INLINE Vec<T> forward(Vec<T> x, Vec<T>) {
    return gelu(x);
  }
  template <class T>
  static FASTBN_INLINE Vec<T> backward(Vec<T> dy, Vec<T> x, Vec<T>) {
    return dy * gelu_gradient(x);
  }
};

template <class F, class T>
void activation(index_t n, const T* x, T* y, T slope) {
  const Vec<T> s = Vec<T>::broadcast(slope);
  for_each_vector<T>(n, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
    lanes.store(y + i, F::forward(lanes.load(x + i), s));
  });
}

template <class F, class T>
void activation_backward(index_t n, const T* dy, const T* saved, T* dx, T slope) {
  const Vec<T> s = Vec<T>::broadcast(slope);
  for_each_vector<T>(n, [=](index_t i, auto lanes) FASTBN_INLINE_LAMBDA {
    lanes.store(dx + i, F::backward(lanes.load(dy + i), lanes.load(saved + i), s));
  });
}

}  // namespace
}  // namespace fastbn
