// The kernels of this folder, as one part of a target's table.
#pragma once

#include "nn/activation_kernel.h"
#include "nn/nn_args.h"
#include "nn/optimizer_kernel.h"
#include "nn/rescale_kernel.h"
#include "nn/softmax_kernel.h"
#include "nn/squared_error_kernel.h"

namespace fastbn {
namespace {

template <class T>
constexpr NNKernels<T> nn_kernels() {
  return {
      // in the order of ActivationKind
      {activation<Relu, T>, activation<LeakyRelu, T>, activation<Sigmoid, T>, activation<Tanh, T>,
       activation<Gelu, T>},
      {activation_backward<Relu, T>, activation_backward<LeakyRelu, T>,
       activation_backward<Sigmoid, T>, activation_backward<Tanh, T>, activation_backward<Gelu, T>},
      softmax<T>,
      softmax_backward<T>,
      cross_entropy<T>,
      cross_entropy_backward<T>,
      squared_error<T>,
      scale<T>,
      sgd<T>,
      adam<T>,
      rescale<T>,
  };
}

}  // namespace
}  // namespace fastbn
