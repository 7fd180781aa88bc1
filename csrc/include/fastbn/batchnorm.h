// Batch normalization: the public C++ operations.  Instantiated for float and double.
//
// Ioffe and Szegedy, arXiv 1502.03167.  Over the n = outer * inner values of each channel:
//   y = (x - mean) / sqrt(var + eps) * gamma + beta,  var the biased variance (division by n)
#pragma once

#include "fastbn/views.h"

namespace fastbn {

// Element (o, c, i) at data[o * outer_stride + c * channel_stride + i].  inner == 1 is channels
// last, (N, C) and NHWC with outer = N * H * W: channel_stride must be 1.  Else channels first,
// NCHW with inner = H * W.
template <class T>
struct ChannelView {
  T* data;
  index_t outer, channels, inner;
  index_t outer_stride, channel_stride;
};

// What a forward pass leaves for the backward pass: one value a channel each.  The mean is kept as
// mean + mean_low, since a float mean of large values is off by up to half a unit in its last
// place, which may be more than the standard deviation.
//   y = (x - mean) * scale + shift,  scale = gamma * invstd,  shift = beta - mean_low * scale
template <class T>
struct BatchNormStatistics {
  T *mean, *mean_low, *var, *invstd, *scale, *shift;
  index_t next = 0;  // from the statistics of one group to those of the next
};

template <class T>
struct BatchNormParameters {
  const T* gamma;  // null: 1
  const T* beta;   // null: 0
  double eps;
  bool relu;
};

// What some of the values count.  `weights`: null, or one value >= 0 for each of outer * inner
// positions, without gaps; the mean is sum(w x) / sum(w), the variance sum(w (x - mean)^2) / sum(w),
// and where w is 0, y and dx are 0 and x and dy are never used: padding.
//
// Groups: the `samples` (of outer / samples rows each) are cut into so many near-equal groups of
// consecutive samples, each with statistics of its own: ghost batches (Hoffer et al., arXiv
// 1705.08741).
template <class T>
struct BatchNormCounting {
  const T* weights = nullptr;
  index_t groups = 1, samples = 1;

  // The groups' sizes differ by one at most; the larger ones come first.
  index_t first_sample(index_t group) const {
    const index_t larger = samples % groups;
    return samples / groups * group + (group < larger ? group : larger);
  }
};

// Statistics of x, then y.  Each group needs a sum of weights above 0.  y may not overlap x.
template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& parameters,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& statistics,
                         const BatchNormCounting<T>& counting = {});

// y from given statistics (running_mean, running_var); fills `statistics` for the backward pass.
// y may be x.
template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& parameters,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& statistics,
                          const BatchNormCounting<T>& counting = {});

// How the running statistics take up new ones.
struct BatchNormMomentum {
  double momentum;  // the weight of the new value, but for `batches`
  bool unbiased;    // the variance times n / (n - 1), as PyTorch does; else as Keras, ONNX and the
                    // papers' code do
  // Not negative: the average of all batches, of which so many are in the running statistics
  // already; the weight of the new value is 1 / (batches + 1).
  index_t batches = -1;
};

// running = (1 - momentum) * running + momentum * batch, group by group.  `n`: the values a channel of
// each group, or the sums of their weights.
template <class T>
void update_running(index_t channels, const double* n, index_t groups,
                    const BatchNormMomentum& momentum, const BatchNormStatistics<T>& statistics,
                    T* running_mean, T* running_var);

// The number of values a channel, or the sum of their weights, of each group.
template <class T>
void values_of_groups(const ChannelView<const T>& x, const BatchNormCounting<T>& counting,
                      double* n);

// dx, dgamma, dbeta.  `training`: the statistics were x's own and depend on it; else they were
// constants.  dx may be dy.
template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& statistics, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta,
                         const BatchNormCounting<T>& counting = {});

}  // namespace fastbn
