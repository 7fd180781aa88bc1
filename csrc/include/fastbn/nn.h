// Elementwise activations, softmax cross-entropy, optimizers: the public C++ operations.
//
// All arrays are contiguous; `n` counts elements.  Instantiated for float and double.
#pragma once

#include "fastbn/views.h"
#include "nn/nn_args.h"

namespace fastbn {

template <class T>
void activation_forward(ActivationKind kind, index_t n, const T* x, T* y, T slope);
template <class T>
void activation_backward(ActivationKind kind, index_t n, const T* dy, const T* saved, T* dx,
                         T slope);

// Over each row of (rows, cols).
template <class T>
void softmax(index_t rows, index_t cols, const T* x, T* y);
template <class T>
void softmax_backward(index_t rows, index_t cols, const T* dy, const T* y, T* dx);

// Mean over the rows of -sum_j q_j log softmax(x)_j with q = (1 - smoothing) * onehot(label) +
// smoothing / cols.  log_sum_exp receives one value a row for the backward pass.
template <class T>
double cross_entropy(index_t rows, index_t cols, const T* logits, const index_t* labels,
                     double smoothing, T* log_sum_exp);
template <class T>
void cross_entropy_backward(index_t rows, index_t cols, const T* logits, const index_t* labels,
                            double smoothing, const T* log_sum_exp, T* dlogits);

template <class T>
void sgd_update(index_t n, T* p, const T* g, T* velocity, SgdStep<T> step);
template <class T>
void adam_update(index_t n, T* p, const T* g, T* m, T* v, AdamStep<T> step);

}  // namespace fastbn
