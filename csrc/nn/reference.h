// The specification of activations, losses and optimizers: plain loops in double.
#pragma once

#include "fastbn/nn.h"

namespace fastbn::reference {

template <class T>
void activation_forward(ActivationKind kind, index_t n, const T* x, T* y, T slope);
template <class T>
void activation_backward(ActivationKind kind, index_t n, const T* dy, const T* saved, T* dx,
                         T slope);
template <class T>
void softmax(index_t rows, index_t cols, const T* x, T* y);
template <class T>
void softmax_backward(index_t rows, index_t cols, const T* dy, const T* y, T* dx);
template <class T>
double cross_entropy(index_t rows, index_t cols, const T* logits, const index_t* labels,
                     double smoothing);
template <class T>
void cross_entropy_backward(index_t rows, index_t cols, const T* logits, const index_t* labels,
                            double smoothing, T* dlogits);
template <class T>
double squared_error(index_t n, const T* x, const T* t);
template <class T>
void sgd_update(index_t n, T* p, const T* g, T* velocity, const SgdOptions& options);
template <class T>
void adam_update(index_t n, T* p, const T* g, T* m, T* v, const AdamOptions& options);

}  // namespace fastbn::reference
