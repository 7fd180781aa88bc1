// What the drivers tell the kernels of elementwise activations, softmax cross-entropy and
// optimizers.
#pragma once

#include <cstddef>

namespace fastbn {

using index_t = std::ptrdiff_t;

enum class ActivationKind : int { relu, leaky_relu, sigmoid, tanh, gelu };
constexpr int kActivationKinds = 5;

// The targets of cross-entropy: `off` everywhere, and `on` more at the label of the row.
template <class T>
struct CrossEntropyTargets {
  const index_t* labels;
  T on, off;
};

// One step's constants, each computed in double and rounded once.
template <class T>
struct SgdStep {
  T lr, momentum, weight_decay;
  bool nesterov;
};

template <class T>
struct AdamStep {
  T beta1, one_minus_beta1;  // 1 - beta of the exact beta, not of the rounded one
  T beta2, one_minus_beta2;
  T step_size;     // lr / (1 - beta1^step)
  T inverse_root;  // 1 / sqrt(1 - beta2^step)
  T eps;
  T l2;     // added to the gradient, times p
  T decay;  // p is multiplied by it first: 1, or 1 - lr * weight_decay where decoupled
};

template <class T>
constexpr index_t kLineOf = 64 / sizeof(T);  // elements of a cache line
constexpr index_t kStripLines = 4;

// What is updated at once: `rows` pieces of `cols` elements, each `row` elements after the one before.
struct Strip {
  index_t rows, cols, row;
  bool from_right;  // of kStripLines cache lines: whether the last comes first; see strips.h
};

template <class T>
struct NNKernels {
  // y[i] = f(x[i]); x and y may be the same.  `slope` is leaky_relu's.
  void (*activation[kActivationKinds])(index_t n, const T* x, T* y, T slope);
  // dx[i] = dy[i] * f'; saved is y for sigmoid and tanh, x for gelu, either for the relus.  dx may
  // be dy or saved.
  void (*activation_backward[kActivationKinds])(index_t n, const T* dy, const T* saved, T* dx,
                                                T slope);
  // Rows of `cols` >= 1 consecutive elements, one after the other.  A result may be an operand.
  void (*softmax)(index_t rows, index_t cols, const T* x, T* y);
  void (*softmax_backward)(index_t rows, index_t cols, const T* dy, const T* y, T* dx);
  // Of each row: its maximum, the sum of exp(x - maximum), and the loss.
  void (*cross_entropy)(index_t rows, index_t cols, const T* x, CrossEntropyTargets<T> targets,
                        T* maximum, T* exp_sum, T* loss);
  // dx = (exp(x - maximum) / exp_sum - target) * scale
  void (*cross_entropy_backward)(index_t rows, index_t cols, const T* x,
                                 CrossEntropyTargets<T> targets, const T* maximum, const T* exp_sum,
                                 double scale, T* dx);
  // The sum of (x - t)^2; x - t goes to `difference`, which may be x or t.
  double (*squared_error)(index_t n, const T* x, const T* t, T* difference);
  void (*scale)(index_t n, const T* x, T factor, T* y);  // y = x factor; they may be the same
  void (*sgd)(Strip s, T* p, const T* g, T* velocity, SgdStep<T> step);  // velocity may be null
  void (*adam)(Strip s, T* p, const T* g, T* m, T* v, AdamStep<T> step);
  void (*rescale)(index_t n, const unsigned char* x, T* y, T scale, T offset);
};

}  // namespace fastbn
