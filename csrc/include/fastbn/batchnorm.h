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
};

template <class T>
struct BatchNormParameters {
  const T* gamma;  // null: 1
  const T* beta;   // null: 0
  double eps;
  bool relu;
};

// Statistics of x, then y.  Needs outer * inner >= 1.  y may not overlap x, except that y may be x.
template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& parameters,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& statistics);

// y from given statistics (running_mean, running_var); fills `statistics` for the backward pass.
template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& parameters,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& statistics);

// running = (1 - momentum) * running + momentum * batch.  n > 1 with `unbiased` takes the variance
// times n / (n - 1), as PyTorch does; else as it is, as Keras, ONNX and the papers' code do.
template <class T>
void update_running(index_t channels, index_t n, double momentum, bool unbiased,
                    const BatchNormStatistics<T>& statistics, T* running_mean, T* running_var);

// dx, dgamma, dbeta.  `training`: the statistics were x's own and depend on it; else they were
// constants.
template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& statistics, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta);

}  // namespace fastbn
