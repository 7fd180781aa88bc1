// Elementwise activations, softmax cross-entropy, optimizers: the public C++ operations.
//
// All arrays are contiguous; `n` counts elements.  Instantiated for float and double.
#pragma once

#include "fastbn/views.h"
#include "nn/nn_args.h"

namespace fastbn {

// y = f(x); y may be x.  `slope` is leaky_relu's alone.
template <class T>
void activation_forward(ActivationKind kind, index_t n, const T* x, T* y, T slope);
// dx = dy f'; `saved` is y for sigmoid and tanh, x for gelu, either for the relus (slope >= 0).  dx
// may be dy or saved.
template <class T>
void activation_backward(ActivationKind kind, index_t n, const T* dy, const T* saved, T* dx,
                         T slope);

// Over each row of (rows, cols), in place or not.
template <class T>
void softmax(index_t rows, index_t cols, const T* x, T* y);
template <class T>
void softmax_backward(index_t rows, index_t cols, const T* dy, const T* y, T* dx);

// Mean over the rows of -sum_j q_j log softmax(x)_j with q = (1 - smoothing) * onehot(label) +
// smoothing / cols; NaN for no rows.  Each row's maximum and the sum of exp(x - maximum) are left
// for the backward pass, whose result may take the place of the logits.
template <class T>
double cross_entropy(index_t rows, index_t cols, const T* logits, const index_t* labels,
                     double smoothing, T* maximum, T* exp_sum);
template <class T>
void cross_entropy_backward(index_t rows, index_t cols, const T* logits, const index_t* labels,
                            double smoothing, const T* maximum, const T* exp_sum, T* dlogits);

// The sum of (x - t)^2, and x - t for the gradient; y = x factor.
template <class T>
double squared_error(index_t n, const T* x, const T* t, T* difference);
template <class T>
void scale(index_t n, const T* x, T factor, T* y);

// How many rows, of one column at least, have their largest score at their label: the first of equal ones, as in
// numpy.argmax, to which NaN is the largest.
template <class T>
index_t count_right(index_t rows, index_t cols, const T* scores, const index_t* labels);

// Parts of an array, each of which threads share out anew: those that end where `ends` says, the last with the array.
// Of none the array is one part.
struct Parts {
  const index_t* ends = nullptr;
  index_t count = 0;
  const index_t* cols = nullptr;  // of a part that is a matrix, else 0; of none if null
};

// See optimizer_kernel.h for the formulas.  If the parts are a net's parameters, a thread updates those rows of a
// weight whose gradient it has computed, where threads shared its rows (up to 48 of a batch in a fused block): their
// lines need not come from another CPU.  A training step at 8, 16 and 32 rows 1.04, 1.03 to 1.07 and 1.01 times as
// fast; from 64 rows on no difference.  Where threads are far apart it updates columns instead (runtime/handover.h): a
// step at 8, 32, 64, 96, 256 and 512 rows 1.24, 1.18, 1.21, 1.14, 1.05 and 1.01 times as fast, at 1,024 0.985.  (Two
// threads of Zen 4.)
struct SgdOptions {
  double lr, momentum, weight_decay;
  bool nesterov;
};
template <class T>
void sgd_update(index_t n, T* p, const T* g, T* velocity, const SgdOptions& options,
                Parts parts = {});

struct AdamOptions {
  double lr, beta1, beta2, eps, weight_decay;
  bool decoupled;  // AdamW
  index_t step;    // from 1
};
template <class T>
void adam_update(index_t n, T* p, const T* g, T* m, T* v, const AdamOptions& options,
                 Parts parts = {});

// y = x * scale + offset of bytes, each operation rounded.
template <class T>
void rescale(index_t n, const unsigned char* x, T* y, T scale, T offset);

// Row i of `to` becomes row rows[i] of `from`, rows of `row_bytes` bytes one after the other; `to`
// overlaps neither `from` nor `rows`.
void gather_rows(const void* from, std::size_t row_bytes, const index_t* rows, index_t count,
                 void* to);

}  // namespace fastbn
