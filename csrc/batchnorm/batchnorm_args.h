// What the driver tells the batch-norm kernels.
#pragma once

#include <cstddef>

namespace fastbn {

using index_t = std::ptrdiff_t;

// Sums of channels are kept in double, in arrays whose length is a multiple of this many channels:
// the widest register of floats.
constexpr index_t kChannelPadding = 16;

constexpr index_t kLineBytes = 64;  // of a cache line

// A block of rows of `cols` consecutive elements, in one of two layouts:
//
//   channels last   (N, C), NHWC: a row is one position, its elements are channels; the vectors
//                   below hold one value a column, `weight` one value a row
//   channels first  NCHW: a row is the H x W elements of a channel of a sample.  All rows belong to one
//                   channel, the vectors below hold one value (channel_step 0); or, for `apply`, each row
//                   to the channel after that of the row above (1).  `weight`: rows like those of x
//
// Forward   y = (x - mean) * scale + shift, then ReLU if asked for.  Never x * a + b: where |mean|
//           is large beside the deviation, that form loses the digits that the subtraction keeps.
// Backward  g = dy where y was not cut by ReLU, else 0 (y is recomputed from x: the same operations
//           give the same bits); dx = scale * g + w * (slope * (x - mean) + constant), or scale * g
//           if slope is null.
// Weights   w is 1 if `weight` is null.  Where w is 0, y and dx are 0 and x, dy count for nothing.
template <class T>
struct BatchNormBlock {
  index_t rows, cols;
  const T* x;
  index_t x_row;
  const T* dy;
  index_t dy_row;
  T* out;
  index_t out_row;
  const T* weight;
  index_t weight_row;
  const T *mean, *scale, *shift;
  const T *slope, *constant;
  index_t channel_step;
  bool relu;
  // x and dy lie in memory: ask for them ahead.  Channels first, that is for the row of the channel after this one,
  // x_next and dy_next from each row.
  bool ahead;
  index_t x_next, dy_next;
  bool stream;  // out may be written past the caches
};

// Moments of a channel over n values (n: the sum of their weights):
//   mean = center + offset,  squares = sum of w * (x - mean)^2
template <class T>
struct BatchNormMoments {
  T* center;
  double *offset, *squares;
};

template <class T>
struct BatchNormLayoutKernels {
  // The moments of a block; n: its weights' sum, not 0.  `first`: a row of x whose weight is not 0.
  void (*moments)(const BatchNormBlock<T>& block, const T* first, double n,
                  const BatchNormMoments<T>& moments);
  void (*apply)(const BatchNormBlock<T>& block);
  // sum[j] = sum of g, products[j] = sum of g * (x - mean)
  void (*backward_sums)(const BatchNormBlock<T>& block, double* sum, double* products);
  void (*backward_apply)(const BatchNormBlock<T>& block);
};

// From moments to the statistics, channel by channel; fields as in fastbn/batchnorm.h.
template <class T>
struct BatchNormFinish {
  index_t channels;
  double n, eps;
  const T *gamma, *beta;  // null: 1, 0
  BatchNormMoments<T> moments;
  T *mean, *mean_low, *var, *invstd, *scale, *shift;
};

// From the sums of a backward pass to dgamma, dbeta and the coefficients of dx.
template <class T>
struct BatchNormBackwardFinish {
  index_t channels;
  double n;
  const double *sum, *products;
  const T *mean_low, *invstd, *scale;
  T *dgamma, *dbeta, *slope, *constant;
};

// running = keep * running + add * batch, the variance times `correction`.
template <class T>
struct BatchNormRunning {
  index_t channels;
  double keep, add, correction;
  const T *mean, *mean_low, *var;
  T *running_mean, *running_var;
};

template <class T>
struct BatchNormKernels {
  BatchNormLayoutKernels<T> channels_last, channels_first;
  // The moments of n and of `more` values together.
  void (*merge)(index_t channels, const BatchNormMoments<T>& into, double n,
                const BatchNormMoments<T>& from, double more);
  // Whether a variance is infinite, as it is where the squares of floats have overflown.
  bool (*finish)(const BatchNormFinish<T>& f);
  void (*affine)(const BatchNormFinish<T>& f);  // the last three from mean, mean_low and var
  void (*finish_backward)(const BatchNormBackwardFinish<T>& f);
  void (*update_running)(const BatchNormRunning<T>& r);
};

}  // namespace fastbn
