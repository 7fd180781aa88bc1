// Kernels of elementwise activations, softmax cross-entropy and optimizers.
#pragma once

#include <cstddef>

namespace fastbn {

using index_t = std::ptrdiff_t;

enum class ActivationKind : int { relu, leaky_relu, sigmoid, tanh, gelu };
constexpr int kActivationKinds = 5;

template <class T>
struct SgdStep {  // one step's constants
  T lr, momentum, weight_decay;
  bool nesterov;
};

template <class T>
struct AdamStep {
  T lr, beta1, beta2, eps, weight_decay;
  T bias1, bias2;  // 1 - beta1^step, 1 - beta2^step
  bool decoupled;
};

template <class T>
struct NNKernels {
  // y[i] = f(x[i]); x and y may be the same.
  void (*activation[kActivationKinds])(index_t n, const T* x, T* y, T slope);
  // dx[i] = dy[i] * f'; saved is y for sigmoid and tanh, x for gelu, either for the relus.
  void (*activation_backward[kActivationKinds])(index_t n, const T* dy, const T* saved, T* dx,
                                                T slope);
  // Rows of n consecutive elements.
  void (*softmax)(index_t n, const T* x, T* y);
  void (*softmax_backward)(index_t n, const T* dy, const T* y, T* dx);
  // log(sum(exp(x))), and the sum of x, for the loss and its smoothing.
  void (*log_sum_exp)(index_t n, const T* x, T* log_sum_exp, double* sum);
  // dx = (exp(x - log_sum_exp) - target) * scale, target = off everywhere but on at the label.
  void (*cross_entropy_backward)(index_t n, const T* x, T log_sum_exp, index_t label, T on, T off,
                                 T scale, T* dx);
  void (*sgd)(index_t n, T* p, const T* g, T* velocity, SgdStep<T> step);  // velocity may be null
  void (*adam)(index_t n, T* p, const T* g, T* m, T* v, AdamStep<T> step);
};

}  // namespace fastbn
