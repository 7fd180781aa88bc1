// Batch norm of a panel of channels on the calling thread alone, with scratch of the caller's: for
// drivers of fused operations.  The bits are those of batch_norm_training and batch_norm_backward.
#pragma once

#include "fastbn/batchnorm.h"

namespace fastbn {

// Scratch for a panel of x's shape, in bytes.
template <class T>
std::size_t serial_batch_norm_bytes(const ChannelView<const T>& x);

template <class T>
void serial_batch_norm_training(const ChannelView<const T>& x,
                                const BatchNormParameters<T>& parameters, const ChannelView<T>& y,
                                const BatchNormStatistics<T>& statistics, void* scratch);

template <class T>
void serial_batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                                const BatchNormStatistics<T>& statistics, bool training, bool relu,
                                const ChannelView<T>& dx, T* dgamma, T* dbeta, void* scratch);

// scale and shift of given statistics, as batch_norm_inference has them; one value a channel each.
template <class T>
void fill_inference_statistics(index_t channels, const BatchNormParameters<T>& parameters,
                               const T* mean, const T* var,
                               const BatchNormStatistics<T>& statistics);

}  // namespace fastbn
