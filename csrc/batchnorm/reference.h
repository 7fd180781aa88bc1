// The specification of batch normalization: plain loops, double accumulation.
#pragma once

#include "fastbn/batchnorm.h"

namespace fastbn::reference {

template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& parameters,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& statistics,
                         const BatchNormCounting<T>& counting = {});
template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& parameters,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& statistics,
                          const BatchNormCounting<T>& counting = {});
template <class T>
void update_running(index_t channels, const double* n, index_t groups,
                    const BatchNormMomentum& momentum, const BatchNormStatistics<T>& statistics,
                    T* running_mean, T* running_var);
template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& statistics, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta,
                         const BatchNormCounting<T>& counting = {});

}  // namespace fastbn::reference
