// The elementwise passes of batch norm: y from x, and dx from dy and x.
//
// kStream: what is written goes past the caches.  A line that is written whole is then not read first, and what the
// caches hold of x and dy stays there: three trips to memory instead of four for an array each way.
#pragma once

#include <algorithm>

#include "batchnorm/columns_kernel.h"

namespace fastbn {
namespace {

// Rows of a strip, channels last.  Four rows share each load of the coefficients; 32 rows a page apart would share few
// sets of L1 (16 x 1024: 7.2 us for inference, 4.9 with four).
constexpr index_t kStripRows = 4;

template <bool kStream, class T, class Lanes>
FASTBN_INLINE void put(T* p, Vec<T> v, Lanes lanes) {
  if constexpr (kStream) {
    lanes.stream(p, v);
  } else {
    lanes.store(p, v);
  }
}

template <class T, class Layout, bool kWeighted, bool kStream, bool kRelu>
struct Normalize {
  static constexpr bool kStreams = kStream, kReadsX = true, kReadsGradient = false;
  const BatchNormBlock<T> g;
  struct Channel {
    Vec<T> mean, scale, shift;
  };
  template <class Lanes>
  FASTBN_INLINE Channel channel(index_t j, Lanes lanes) const {
    return {Layout::coefficient(g.mean, j, lanes), Layout::coefficient(g.scale, j, lanes),
            Layout::coefficient(g.shift, j, lanes)};
  }
  template <class Lanes>
  FASTBN_INLINE void element(index_t i, index_t j, Lanes lanes, const Channel& c) const {
    Vec<T> y = normalized(lanes.load(g.x + i * g.x_row + j), c.mean, c.scale, c.shift);
    if constexpr (kRelu) y = relu(y);
    if constexpr (kWeighted) y = where_counted(Layout::weight(g, i, j, lanes), y);
    put<kStream>(g.out + i * g.out_row + j, y, lanes);
  }
};

// kStatistics: the statistics came from x itself and passed a gradient on, so dx has all terms.
template <class T, class Layout, bool kWeighted, bool kStream, bool kRelu, bool kStatistics>
struct Differentiate {
  static constexpr bool kStreams = kStream, kReadsX = kRelu || kStatistics, kReadsGradient = true;
  const BatchNormBlock<T> g;
  struct Channel {
    Vec<T> mean, scale, shift, slope, constant;
  };
  template <class Lanes>
  FASTBN_INLINE Channel channel(index_t j, Lanes lanes) const {
    Channel c{};
    c.scale = Layout::coefficient(g.scale, j, lanes);
    if constexpr (kReadsX) c.mean = Layout::coefficient(g.mean, j, lanes);
    if constexpr (kRelu) c.shift = Layout::coefficient(g.shift, j, lanes);
    if constexpr (kStatistics) {
      c.slope = Layout::coefficient(g.slope, j, lanes);
      c.constant = Layout::coefficient(g.constant, j, lanes);
    }
    return c;
  }
  template <class Lanes>
  FASTBN_INLINE void element(index_t i, index_t j, Lanes lanes, const Channel& c) const {
    const Vec<T> dy = lanes.load(g.dy + i * g.dy_row + j);
    Vec<T> x = Vec<T>::zero();
    if constexpr (kReadsX) x = lanes.load(g.x + i * g.x_row + j);
    const Vec<T> masked = gradient<T, kRelu>(dy, x, c.mean, c.scale, c.shift);
    Vec<T> dx;
    if constexpr (kStatistics) {
      Vec<T> shared = fma(c.slope, x - c.mean, c.constant);
      if constexpr (kWeighted) shared = shared * Layout::weight(g, i, j, lanes);
      dx = fma(c.scale, masked, shared);
    } else {
      dx = c.scale * masked;
    }
    if constexpr (kWeighted) dx = where_counted(Layout::weight(g, i, j, lanes), dx);
    put<kStream>(g.out + i * g.out_row + j, dx, lanes);
  }
};

// V registers from here on are asked for.
template <int V, class T>
FASTBN_INLINE void ask_for(const T* row) {
  FASTBN_UNROLL
  for (int v = 0; v < V; ++v) __builtin_prefetch(row + v * Vec<T>::kWidth);
}

// Rows [begin, end) of V registers of columns.
template <class T, class Pass>
struct ElementwiseStrip {
  const Pass& pass;
  index_t begin, end;
  template <int V, class Lanes>
  FASTBN_INLINE void run(index_t j, Lanes last) const {
    constexpr index_t w = Vec<T>::kWidth;
    typename Pass::Channel c[V];
    FASTBN_UNROLL
    for (int v = 0; v < V - 1; ++v) c[v] = pass.channel(j + v * w, AllLanes<T>{});
    c[V - 1] = pass.channel(j + (V - 1) * w, last);
    const BatchNormBlock<T>& g = pass.g;
    for (index_t i = begin; i < end; ++i) {
      if (g.ahead) {
        if (Pass::kReadsX) ask_for<V>(g.x + (i + kStripRows) * g.x_row + j);
        if (Pass::kReadsGradient) ask_for<V>(g.dy + (i + kStripRows) * g.dy_row + j);
      }
      FASTBN_UNROLL
      for (int v = 0; v < V - 1; ++v) pass.element(i, j + v * w, AllLanes<T>{}, c[v]);
      pass.element(i, j + (V - 1) * w, last, c[V - 1]);
    }
  }
};

// Channels last: strips of a few rows, each from left to right, so that memory is walked through in
// order and the coefficients are loaded once for each strip.
template <class T, class Pass>
FASTBN_INLINE void elementwise_last(const BatchNormBlock<T>& g, const Pass& pass) {
  const index_t head =
      Pass::kStreams ? columns_to_register(g.out) : columns_to_line(g.out, g.out_row, g.cols);
  for (index_t i = 0; i < g.rows; i += kStripRows) {
    const index_t end = std::min(g.rows, i + kStripRows);
    for_each_columns<T>(g.cols, head, ElementwiseStrip<T, Pass>{pass, i, end});
  }
}

template <class T, class Pass>
FASTBN_INLINE void elementwise_first(const BatchNormBlock<T>& g, const Pass& pass) {
  for (index_t i = 0; i < g.rows; ++i) {
    const typename Pass::Channel c = pass.channel(i * g.channel_step, AllLanes<T>{});
    const T* const out = g.out + i * g.out_row;
    const index_t head = Pass::kStreams ? std::min(columns_to_register(out), g.cols)
                                        : columns_to_line(out, /*row=*/0, g.cols);
    if (head > 0) pass.element(i, 0, FirstLanes<T>{static_cast<int>(head)}, c);
    for_each_vector<T>(g.cols - head, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
      pass.element(i, head + j, lanes, c);
    });
  }
}

}  // namespace
}  // namespace fastbn
