// What the driver tells the batch-norm kernels.
#pragma once

#include <cstddef>

namespace fastbn {

using index_t = std::ptrdiff_t;

// A block of rows of `cols` consecutive elements, in one of two layouts:
//
//   channels last   (N, C), NHWC: a row is one position, its elements are channels; the vectors
//                   below hold one value a column
//   channels first  NCHW: all rows belong to one channel, a row is one sample's H x W elements; the
//                   vectors below hold one value
//
// Forward   y = (x - mean) * scale + shift, then ReLU if asked for.  Never x * a + b: where |mean|
//           is large beside the deviation, that form loses the digits that the subtraction keeps.
// Backward  g = dy where y was not cut by ReLU, else 0 (y is recomputed from x: the same operations
//           give the same bits); dx = a * g + (b * (x - mean) + c), or a * g if b is null.
template <class T>
struct BatchNormBlock {
  index_t rows, cols;
  const T* x;
  index_t x_row;
  const T* dy;
  index_t dy_row;
  T* out;
  index_t out_row;
  const T *mean, *scale, *shift;
  const T *a, *b, *c;
  bool relu;
};

template <class T>
struct BatchNormLayoutKernels {
  // sum[j] = sum of (x - center), over a channel
  void (*sums)(const BatchNormBlock<T>& block, const T* center, double* sum);
  // the same, and squares[j] = sum of (x - center)^2
  void (*sums_of_squares)(const BatchNormBlock<T>& block, const T* center, double* sum,
                          double* squares);
  void (*apply)(const BatchNormBlock<T>& block);
  // sum[j] = sum of g, products[j] = sum of g * (x - mean)
  void (*backward_sums)(const BatchNormBlock<T>& block, double* sum, double* products);
  void (*backward_apply)(const BatchNormBlock<T>& block);
};

template <class T>
struct BatchNormKernels {
  BatchNormLayoutKernels<T> channels_last, channels_first;
};

}  // namespace fastbn
