// The fused block: a product, batch norm of its columns, and ReLU if asked for.  Instantiated for
// float and double.  The bits are those of gemm, batch_norm and their backward passes one by one.
#pragma once

#include "fastbn/batchnorm.h"
#include "fastbn/gemm.h"

namespace fastbn {

// z = x weight + bias; y = batch_norm(z), with the statistics of z.  x is (n, in), weight (in, out),
// z and y (n, out) with unit column stride; bias may be null.  n >= 1.  z is what the backward pass
// needs.
template <class T>
void linear_batch_norm_training(const Matrix<const T>& x, const Matrix<const T>& weight,
                                const T* bias, const BatchNormParameters<T>& parameters,
                                const Matrix<T>& z, const Matrix<T>& y,
                                const BatchNormStatistics<T>& statistics);

// y = batch_norm(x weight + bias) with given statistics: an epilogue of the product, which is stored
// once.
template <class T>
void linear_batch_norm_inference(const Matrix<const T>& x, const Matrix<const T>& weight,
                                 const T* bias, const BatchNormParameters<T>& parameters,
                                 const T* mean, const T* var, const Matrix<T>& y);

// Where the gradients go.  dx.data null: not computed.  dbias null: there is no bias.
template <class T>
struct LinearBatchNormGradients {
  Matrix<T> dx;
  Matrix<T> dz;  // as z; scratch, needed only for dx
  Matrix<T> dweight;
  T *dbias, *dgamma, *dbeta;
};

template <class T>
void linear_batch_norm_backward(const Matrix<const T>& dy, const Matrix<const T>& x,
                                const Matrix<const T>& weight, const Matrix<const T>& z,
                                const BatchNormStatistics<T>& statistics, bool training, bool relu,
                                const LinearBatchNormGradients<T>& gradients);

}  // namespace fastbn
