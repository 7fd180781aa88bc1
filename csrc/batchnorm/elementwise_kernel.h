// The elementwise passes of batch norm: y from x, and dx from dy and x.
//
// kStream: what is written goes past the caches.  A line that is written whole is then not read first, and what the
// caches hold of x and dy stays there: three trips to memory instead of four for an array each way.
#pragma once

#include "batchnorm/columns_kernel.h"

namespace fastbn {
namespace {

// Rows of a strip, channels last.  Four rows share each load of the coefficients; 32 rows a page apart would share few
// sets of L1 (16 x 1024: 7.2 us for inference, 4.9 with four).
constexpr index_t kStripRows = 4;

// Past the caches whole lines must follow one another: stores of half a line, which registers of 32 bytes make, wait in
// a buffer for the other half, and are written to memory as halves if other lines come first.  Row by row they do not.
// (Zen 3, two threads, 16 to 64 MiB of x: strips of four rows, whose pairs of registers are whole lines or halves of
// two, took 0.9 to 1.1 and 2 to 6 times as long as row by row, and of rows a page apart always 2 to 4 times.)
template <class T, bool kStream>
constexpr index_t kRowsAtOnce =
    kStream && Vec<T>::kWidth * index_t{sizeof(T)} < kLineBytes ? 1 : kStripRows;

// Whether V registers from a line's beginning on are whole lines.  What is less never goes past the caches: a line that
// is stored to in both ways goes to memory and back (Zen 3, rows of 1 KiB that begin 48 bytes past a line: 7 GB/s, on
// one 42).
template <class T, int V, class Lanes>
constexpr bool kWholeLines =
    Vec<T>::kWidth == kLineOf<T> || (V * Vec<T>::kWidth % kLineOf<T> == 0 && !Lanes::kPartial);

template <bool kStream, bool kWholeLine, class T, class Lanes>
FASTBN_INLINE void put(T* p, Vec<T> v, Lanes lanes) {
  if constexpr (kStream && kWholeLine) {
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
  template <bool kWholeLine, class Lanes>
  FASTBN_INLINE void element(index_t i, index_t j, Lanes lanes, const Channel& c) const {
    Vec<T> y = normalized(lanes.load(g.x + i * g.x_row + j), c.mean, c.scale, c.shift);
    if constexpr (kRelu) y = relu(y);
    if constexpr (kWeighted) y = where_counted(Layout::weight(g, i, j, lanes), y);
    put<kStream, kWholeLine>(g.out + i * g.out_row + j, y, lanes);
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
  template <bool kWholeLine, class Lanes>
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
    put<kStream, kWholeLine>(g.out + i * g.out_row + j, dx, lanes);
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
    constexpr bool kWholeLine = kWholeLines<T, V, Lanes>;
    typename Pass::Channel c[V];
    FASTBN_UNROLL
    for (int v = 0; v < V - 1; ++v) c[v] = pass.channel(j + v * w, AllLanes<T>{});
    c[V - 1] = pass.channel(j + (V - 1) * w, last);
    const BatchNormBlock<T>& g = pass.g;
    for (index_t i = begin; i < end; ++i) {
      if (g.ahead) {
        constexpr index_t kNext = kRowsAtOnce<T, Pass::kStreams>;
        if (Pass::kReadsX) ask_for<V>(g.x + (i + kNext) * g.x_row + j);
        if (Pass::kReadsGradient) ask_for<V>(g.dy + (i + kNext) * g.dy_row + j);
      }
      FASTBN_UNROLL
      for (int v = 0; v < V - 1; ++v)
        pass.template element<kWholeLine>(i, j + v * w, AllLanes<T>{}, c[v]);
      pass.template element<kWholeLine>(i, j + (V - 1) * w, last, c[V - 1]);
    }
  }
};

// Channels last: strips of a few rows, each from left to right, so that memory is walked through in
// order and the coefficients are loaded once for each strip.
template <class T, class Pass>
FASTBN_INLINE void elementwise_last(const BatchNormBlock<T>& g, const Pass& pass) {
  constexpr index_t kRows = kRowsAtOnce<T, Pass::kStreams>;
  const index_t peeled = columns_to_peel(g.out, g.out_row, g.cols, /*stores=*/true);
  for (index_t i = 0; i < g.rows; i += kRows) {
    const index_t end = g.rows - i < kRows ? g.rows : i + kRows;
    const index_t head = Pass::kStreams ? columns_to_line(g.out + i * g.out_row) : peeled;
    for_each_columns<T>(g.cols, head, ElementwiseStrip<T, Pass>{pass, i, end});
  }
}

// Columns [from, end) of a row of one channel, register by register.
template <class T, class Pass>
FASTBN_INLINE void elementwise_row(const Pass& pass, const typename Pass::Channel& c, index_t i,
                                   index_t from, index_t end) {
  for_each_vector<T>(end - from, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    pass.template element<kWholeLines<T, 1, decltype(lanes)>>(i, from + j, lanes, c);
  });
}

template <class T, class Pass>
FASTBN_INLINE void elementwise_first(const BatchNormBlock<T>& g, const Pass& pass) {
  constexpr index_t w = Vec<T>::kWidth, line = kLineOf<T>;
  for (index_t i = 0; i < g.rows; ++i) {
    const typename Pass::Channel c = pass.channel(i * g.channel_step, AllLanes<T>{});
    const T* const out = g.out + i * g.out_row;
    const index_t to_line = columns_to_line(out);
    index_t j = !Pass::kStreams    ? columns_to_peel(out, /*row=*/0, g.cols, /*stores=*/true)
                : to_line < g.cols ? to_line
                                   : g.cols;
    elementwise_row<T>(pass, c, i, 0, j);
    if constexpr (Pass::kStreams && w < line) {
      for (; j + line <= g.cols; j += line) {
        FASTBN_UNROLL
        for (index_t r = 0; r < line; r += w) {
          pass.template element<true>(i, j + r, AllLanes<T>{}, c);
        }
      }
    }
    elementwise_row<T>(pass, c, i, j, g.cols);
  }
}

}  // namespace
}  // namespace fastbn
