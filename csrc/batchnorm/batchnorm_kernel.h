// The batch-norm kernels as a table: the passes over x for each layout, with and without weights and ReLU.
#pragma once

#include "batchnorm/batchnorm_args.h"
#include "batchnorm/elementwise_kernel.h"
#include "batchnorm/statistics_kernel.h"
#include "batchnorm/sums_kernel.h"

namespace fastbn {
namespace {

template <class T, bool kWeighted>
FASTBN_INLINE void moments(ChannelsLast<T>, const BatchNormBlock<T>& g, const T* first, double n,
                           const BatchNormMoments<T>& m) {
  moments_last_as<T, kWeighted>(g, first, n, m);
}
template <class T, bool kWeighted>
FASTBN_INLINE void moments(ChannelsFirst<T>, const BatchNormBlock<T>& g, const T* first, double n,
                           const BatchNormMoments<T>& m) {
  moments_first_as<T, kWeighted>(g, first, n, m);
}
template <class T, class Pass>
FASTBN_INLINE void elementwise(ChannelsLast<T>, const BatchNormBlock<T>& g, const Pass& pass) {
  elementwise_last(g, pass);
}
template <class T, class Pass>
FASTBN_INLINE void elementwise(ChannelsFirst<T>, const BatchNormBlock<T>& g, const Pass& pass) {
  elementwise_first(g, pass);
}
template <class T, class Terms>
FASTBN_INLINE void sums(ChannelsLast<T>, const BatchNormBlock<T>& g, const Terms& terms,
                        double* sum, double* second) {
  sums_last(g, terms, sum, second);
}
template <class T, class Terms>
FASTBN_INLINE void sums(ChannelsFirst<T>, const BatchNormBlock<T>& g, const Terms& terms,
                        double* sum, double* second) {
  sums_first<T>(terms, g.rows, g.cols, g.ahead, sum, second);
}

template <class T, class Layout, bool kWeighted, bool kStream>
FASTBN_INLINE void apply_as(const BatchNormBlock<T>& g) {
  if (g.relu) {
    elementwise(Layout{}, g, Normalize<T, Layout, kWeighted, kStream, true>{g});
  } else {
    elementwise(Layout{}, g, Normalize<T, Layout, kWeighted, kStream, false>{g});
  }
}

template <class T, class Layout, bool kWeighted>
FASTBN_INLINE void backward_sums_as(const BatchNormBlock<T>& g, double* sum, double* products) {
  if (g.relu) {
    sums(Layout{}, g, Gradients<T, Layout, kWeighted, true>{g}, sum, products);
  } else {
    sums(Layout{}, g, Gradients<T, Layout, kWeighted, false>{g}, sum, products);
  }
}

template <class T, class Layout, bool kWeighted, bool kStream, bool kRelu>
FASTBN_INLINE void backward_apply_as(const BatchNormBlock<T>& g) {
  if (g.slope) {
    elementwise(Layout{}, g, Differentiate<T, Layout, kWeighted, kStream, kRelu, true>{g});
  } else {
    elementwise(Layout{}, g, Differentiate<T, Layout, kWeighted, kStream, kRelu, false>{g});
  }
}

template <class T, class Layout, bool kWeighted, bool kStream>
FASTBN_INLINE void backward_apply_with(const BatchNormBlock<T>& g) {
  g.relu ? backward_apply_as<T, Layout, kWeighted, kStream, true>(g)
         : backward_apply_as<T, Layout, kWeighted, kStream, false>(g);
}

// Whether `out` is written past the caches: whole lines of it.  What two rows share of a line is read before it is
// written: rows that do not begin and end with lines must not be short.  Where one head serves the rows of a strip they
// must begin alike.  With weights it never is: instances the fewer for what is rarely so large.
constexpr index_t kLeastRow = 8;  // lines

template <class T>
FASTBN_INLINE bool streams(const BatchNormBlock<T>& g, bool head_of_each_row) {
  if constexpr (!kStreamsPastCaches) return false;
  constexpr index_t line = kLineOf<T>;
  const bool alike = g.out_row % line == 0;
  const bool whole = alike && g.cols % line == 0 && columns_to_line(g.out) == 0;
  return g.stream && (whole || ((alike || head_of_each_row) && g.cols >= kLeastRow * line));
}
template <class T>
FASTBN_INLINE bool streams(ChannelsLast<T>, const BatchNormBlock<T>& g) {
  return streams(g, kRowsAtOnce<T, true> == 1);
}
template <class T>
FASTBN_INLINE bool streams(ChannelsFirst<T>, const BatchNormBlock<T>& g) {
  return streams(g, true);
}

template <class T, class Layout>
void block_moments(const BatchNormBlock<T>& g, const T* first, double n,
                   const BatchNormMoments<T>& m) {
  g.weight ? moments<T, true>(Layout{}, g, first, n, m)
           : moments<T, false>(Layout{}, g, first, n, m);
}

template <class T, class Layout>
void block_apply(const BatchNormBlock<T>& g) {
  if (g.weight) return apply_as<T, Layout, true, false>(g);
  if (!streams(Layout{}, g)) return apply_as<T, Layout, false, false>(g);
  apply_as<T, Layout, false, true>(g);
  stream_fence();
}

template <class T, class Layout>
void block_backward_sums(const BatchNormBlock<T>& g, double* sum, double* products) {
  g.weight ? backward_sums_as<T, Layout, true>(g, sum, products)
           : backward_sums_as<T, Layout, false>(g, sum, products);
}

template <class T, class Layout>
void block_backward_apply(const BatchNormBlock<T>& g) {
  if (g.weight) return backward_apply_with<T, Layout, true, false>(g);
  if (!streams(Layout{}, g)) return backward_apply_with<T, Layout, false, false>(g);
  backward_apply_with<T, Layout, false, true>(g);
  stream_fence();
}

template <class T, class Layout>
constexpr BatchNormLayoutKernels<T> layout_kernels() {
  return {&block_moments<T, Layout>, &block_apply<T, Layout>, &block_backward_sums<T, Layout>,
          &block_backward_apply<T, Layout>};
}

template <class T>
constexpr BatchNormKernels<T> batchnorm_kernels() {
  return {layout_kernels<T, ChannelsLast<T>>(),
          layout_kernels<T, ChannelsFirst<T>>(),
          &merge_moments<T>,
          &finish_statistics<T>,
          &finish_affine<T>,
          &finish_backward<T>,
          &update_running_statistics<T>};
}

}  // namespace
}  // namespace fastbn
