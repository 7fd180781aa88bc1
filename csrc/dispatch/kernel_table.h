// The kernels of one target, as data: a table per target and type of element, one target's in force.
//
// A kernel is serial and works on raw pointers; blocking, scratch and threads belong to the
// drivers. Argument structs live beside their kernels' operation (gemm/gemm_args.h and so on):
// plain data without member functions, since this header is compiled into every target and an
// inline function of it could be kept by the linker in a copy that only the newest CPU can run.
#pragma once

#include "batchnorm/batchnorm_args.h"
#include "gemm/gemm_args.h"
#include "nn/nn_args.h"
#include "probe/probe_args.h"

namespace fastbn {

template <class T>
struct Kernels {
  GemmKernels<T> gemm;
  BatchNormKernels<T> batchnorm;
  NNKernels<T> nn;
  ProbeKernels<T> probe;
};

}  // namespace fastbn
