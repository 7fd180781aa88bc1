// The sums of batch norm over the positions of a channel: moments forward, sums of gradients backward.
//
// Moments in one pass: a block's values are taken relative to a center, the mean of its first values,
// and their sum and sum of squares say where the mean is and what the squares are about it.  The
// center is near the mean of the block, so nothing cancels (docs/batchnorm.md bounds it); a second
// pass over the block, for the exact mean first, would read it from L2 once more.
//
// Sums: at most 32 terms are added in T, then the partial sum goes on in double.  The error of a
// sum is then that of 32 additions however many rows there are, and a conversion every 32 rows
// costs little beside the rows; a conversion of every element would halve the speed in float.  The
// order is fixed by the shape alone.
#pragma once

#include "batchnorm/columns_kernel.h"
#include "batchnorm/statistics_kernel.h"

namespace fastbn {
namespace {

constexpr index_t kBatchNormGroup = 32;

// total += v, lane by lane, of `n` lanes.
template <class T>
FASTBN_INLINE void add_lanes(double* total, Vec<T> v, index_t n = Vec<T>::kWidth) {
  T lane[Vec<T>::kWidth];
  Vec<T>::store(lane, v);
  for_each_vector<double>(n, [&](index_t l, auto lanes) FASTBN_INLINE_LAMBDA {
    lanes.store(total + l, lanes.load(total + l) + lanes.load(lane + l));
  });
}

// ---- the terms that a pass adds up for each element ----------------------------------------------

// The lines of a row of the next channel, on their way to L2.
template <class T>
FASTBN_INLINE void ask_for_row(const T* row, index_t cols) {
  for (index_t j = 0; j < cols; j += kLineBytes / index_t{sizeof(T)}) {
    __builtin_prefetch(row + j, /*write=*/0, /*locality=*/2);
  }
}

template <class T, class Layout, bool kWeighted>
struct Deviations {  // d = x - center: w * d and w * d^2
  const BatchNormBlock<T> g;
  const T* center;
  struct Channel {
    Vec<T> center;
  };
  FASTBN_INLINE void ask_for_next(index_t i) const {
    ask_for_row(g.x + i * g.x_row + g.x_next, g.cols);
  }
  template <class Lanes>
  FASTBN_INLINE Channel channel(index_t j, Lanes lanes) const {
    return {Layout::coefficient(center, j, lanes)};
  }
  template <class Lanes>
  FASTBN_INLINE void add(index_t i, index_t j, Lanes lanes, const Channel& c, Vec<T>& sum,
                         Vec<T>& second) const {
    // A partial register's other lanes hold 0 - center: keep() makes them 0.
    Vec<T> d = lanes.keep(lanes.load(g.x + i * g.x_row + j) - c.center);
    if constexpr (kWeighted) {
      const Vec<T> w = Layout::weight(g, i, j, lanes);
      d = where_counted(w, d);
      sum = fma(w, d, sum);
      second = fma(w * d, d, second);
    } else {
      sum = sum + d;
      second = fma(d, d, second);
    }
  }
};

template <class T, class Layout, bool kWeighted, bool kRelu>
struct Gradients {  // g and g * (x - mean)
  const BatchNormBlock<T> g;
  struct Channel {
    Vec<T> mean, scale, shift;
  };
  FASTBN_INLINE void ask_for_next(index_t i) const {
    ask_for_row(g.x + i * g.x_row + g.x_next, g.cols);
    ask_for_row(g.dy + i * g.dy_row + g.dy_next, g.cols);
  }
  template <class Lanes>
  FASTBN_INLINE Channel channel(index_t j, Lanes lanes) const {
    Channel c{};
    c.mean = Layout::coefficient(g.mean, j, lanes);
    if constexpr (kRelu) {
      c.scale = Layout::coefficient(g.scale, j, lanes);
      c.shift = Layout::coefficient(g.shift, j, lanes);
    }
    return c;
  }
  template <class Lanes>
  FASTBN_INLINE void add(index_t i, index_t j, Lanes lanes, const Channel& c, Vec<T>& sum,
                         Vec<T>& second) const {
    const Vec<T> x = lanes.load(g.x + i * g.x_row + j);
    const Vec<T> dy = lanes.load(g.dy + i * g.dy_row + j);  // 0 in a partial register's other lanes
    Vec<T> masked = lanes.keep(gradient<T, kRelu>(dy, x, c.mean, c.scale, c.shift));
    Vec<T> d = lanes.keep(x - c.mean);
    if constexpr (kWeighted) {
      const Vec<T> w = Layout::weight(g, i, j, lanes);
      masked = where_counted(w, masked), d = where_counted(w, d);
    }
    sum = sum + masked;
    second = fma(masked, d, second);
  }
};

// ---- sums, channels last: registers hold channels, rows are added one after the other ------------

// sum and second of rows [begin, end) of V registers of columns.
template <class T, int V, class Terms, class Lanes>
FASTBN_INLINE void add_rows(const Terms& terms, index_t begin, index_t end, index_t j, Lanes last,
                            Vec<T> (&s)[V], Vec<T> (&t)[V]) {
  constexpr index_t w = Vec<T>::kWidth;
  typename Terms::Channel c[V];
  FASTBN_UNROLL
  for (int v = 0; v < V - 1; ++v) c[v] = terms.channel(j + v * w, AllLanes<T>{});
  c[V - 1] = terms.channel(j + (V - 1) * w, last);
  FASTBN_UNROLL
  for (int v = 0; v < V; ++v) s[v] = t[v] = Vec<T>::zero();
  for (index_t i = begin; i < end; ++i) {
    FASTBN_UNROLL
    for (int v = 0; v < V - 1; ++v) terms.add(i, j + v * w, AllLanes<T>{}, c[v], s[v], t[v]);
    terms.add(i, j + (V - 1) * w, last, c[V - 1], s[V - 1], t[V - 1]);
  }
}

// The sums of one strip, added to those of the strips before it.
template <class T, class Terms>
struct SumStrip {
  const Terms& terms;
  index_t begin, end;
  double *sum, *second;
  template <int V, class Lanes>
  FASTBN_INLINE void run(index_t j, Lanes last) const {
    Vec<T> s[V], t[V];
    add_rows<T, V>(terms, begin, end, j, last, s, t);
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) {
      const index_t n = v < V - 1 ? index_t{Vec<T>::kWidth} : last.count();
      add_lanes(sum + j + v * Vec<T>::kWidth, s[v], n);
      add_lanes(second + j + v * Vec<T>::kWidth, t[v], n);
    }
  }
};

FASTBN_INLINE void clear(double* p, index_t n) {
  for (index_t j = 0; j < n; ++j) p[j] = 0;
}
FASTBN_INLINE index_t padded(index_t channels) {
  return (channels + kChannelPadding - 1) / kChannelPadding * kChannelPadding;
}

template <class T, class Terms>
FASTBN_INLINE void sums_last(const BatchNormBlock<T>& g, const Terms& terms, double* sum,
                             double* second) {
  clear(sum, padded(g.cols)), clear(second, padded(g.cols));
  const index_t head = columns_to_peel(g.x, g.x_row, g.cols, /*stores=*/false);
  for (index_t i = 0; i < g.rows; i += kBatchNormGroup) {
    const index_t end = g.rows - i < kBatchNormGroup ? g.rows : i + kBatchNormGroup;
    for_each_columns<T>(g.cols, head, SumStrip<T, Terms>{terms, i, end, sum, second});
  }
}

// The mean of the first strip, from deviations from the first row, which are small where the values
// are large and alike, and exactly 0 where they are all the same.
template <class T, class Terms>
struct CenterStrip {
  const Terms& from_first;
  index_t rows;
  Vec<T> n;
  T* center;
  template <int V, class Lanes>
  FASTBN_INLINE void run(index_t j, Lanes last) const {
    constexpr index_t w = Vec<T>::kWidth;
    Vec<T> s[V], t[V];
    add_rows<T, V>(from_first, 0, rows, j, last, s, t);
    const auto set = [&](int v, auto lanes) FASTBN_INLINE_LAMBDA {
      const Vec<T> first = from_first.channel(j + v * w, lanes).center;
      lanes.store(center + j + v * w, first + s[v] / n);
    };
    FASTBN_UNROLL
    for (int v = 0; v < V - 1; ++v) set(v, AllLanes<T>{});
    set(V - 1, last);
  }
};

// From sums about the center to moments.
template <class T>
FASTBN_INLINE void about_the_mean(index_t channels, double n, const BatchNormMoments<T>& m) {
  const Doubles values = Doubles::broadcast(n);
  for_each_vector<double>(channels, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    const Doubles sum = lanes.load(m.offset + j), offset = sum / values;
    lanes.store(m.offset + j, offset);
    lanes.store(m.squares + j, lanes.load(m.squares + j) - sum * offset);
  });
}

template <class T>
FASTBN_INLINE double sum_of_weights(const BatchNormBlock<T>& g, index_t rows, index_t cols) {
  double total = 0;
  for (index_t i = 0; i < rows; ++i) {
    for (index_t j = 0; j < cols; ++j) total += static_cast<double>(g.weight[i * g.weight_row + j]);
  }
  return total;
}

template <class T, bool kWeighted>
void moments_last_as(const BatchNormBlock<T>& g, const T* first, double n,
                     const BatchNormMoments<T>& m) {
  using Terms = Deviations<T, ChannelsLast<T>, kWeighted>;
  // With weights, all rows: the first strip may weigh next to nothing, and lie far from the rest.
  const index_t rows = kWeighted || g.rows < kBatchNormGroup ? g.rows : kBatchNormGroup;
  const double values = kWeighted ? sum_of_weights(g, rows, 1) : static_cast<double>(rows);
  const Vec<T> of = Vec<T>::broadcast(static_cast<T>(values));
  for_each_columns<T>(g.cols, columns_to_peel(g.x, g.x_row, g.cols, /*stores=*/false),
                      CenterStrip<T, Terms>{Terms{g, first}, rows, of, m.center});
  sums_last(g, Terms{g, m.center}, m.offset, m.squares);
  about_the_mean(g.cols, n, m);
}

// ---- sums, channels first: registers hold positions of one channel, lanes are added at the end ---

template <class T>
struct LaneTotals {
  static constexpr int kChains = 4;  // as many chains of additions as their latency asks for
  Vec<T> s[kChains], t[kChains];
  double sum[kChannelPadding] = {}, second[kChannelPadding] = {};

  FASTBN_INLINE void clear() {
    for (int v = 0; v < kChains; ++v) s[v] = t[v] = Vec<T>::zero();
  }
  FASTBN_INLINE void flush() {
    add_lanes(sum, (s[0] + s[1]) + (s[2] + s[3]));
    add_lanes(second, (t[0] + t[1]) + (t[2] + t[3]));
    clear();
  }
};

FASTBN_INLINE double lane_sum(const double* lane, int n) {
  double total = 0;
  for (int l = 0; l < n; ++l) total += lane[l];
  return total;
}

template <class T, class Terms>
FASTBN_INLINE void sums_first(const Terms& terms, index_t rows, index_t cols, bool ahead,
                              double* sum, double* second) {
  constexpr index_t w = Vec<T>::kWidth, step = w * LaneTotals<T>::kChains;
  const typename Terms::Channel channel = terms.channel(0, AllLanes<T>{});
  LaneTotals<T> total;
  total.clear();
  index_t pending = 0;  // additions in each chain since the last flush
  for (index_t i = 0; i < rows; ++i) {
    if (ahead) terms.ask_for_next(i);
    index_t j = 0;
    for (; j + step <= cols; j += step) {
      FASTBN_UNROLL
      for (int v = 0; v < LaneTotals<T>::kChains; ++v) {
        terms.add(i, j + v * w, AllLanes<T>{}, channel, total.s[v], total.t[v]);
      }
      if (++pending == kBatchNormGroup) total.flush(), pending = 0;
    }
    if (j == cols) continue;
    int v = 0;
    for_each_vector<T>(cols - j, [&](index_t k, auto lanes) FASTBN_INLINE_LAMBDA {
      terms.add(i, j + k, lanes, channel, total.s[v], total.t[v]);
      ++v;
    });
    if (++pending == kBatchNormGroup) total.flush(), pending = 0;
  }
  total.flush();
  *sum = lane_sum(total.sum, Vec<T>::kWidth);
  *second = lane_sum(total.second, Vec<T>::kWidth);
}

template <class T, bool kWeighted>
void moments_first_as(const BatchNormBlock<T>& g, const T* first, double n,
                      const BatchNormMoments<T>& m) {
  using Terms = Deviations<T, ChannelsFirst<T>, kWeighted>;
  // As many values as fill 32 rows of four registers: they stay in L1 between the two passes.  An
  // even number, if not all: of values in pairs about their mean, the center is then exact.
  constexpr index_t kFirst = kBatchNormGroup * LaneTotals<T>::kChains * Vec<T>::kWidth;
  const index_t cols = kWeighted || g.cols < kFirst ? g.cols : kFirst;
  const index_t most = kFirst < 2 * cols ? 1 + cols % 2 : kFirst / cols / 2 * 2;
  const index_t rows = kWeighted || g.rows < most ? g.rows : most;
  const double values =
      kWeighted ? sum_of_weights(g, rows, cols) : static_cast<double>(rows * cols);
  double sum, squares;
  sums_first<T>(Terms{g, first}, rows, cols, /*ahead=*/false, &sum, &squares);
  *m.center = static_cast<T>(static_cast<double>(*first) + sum / values);
  sums_first<T>(Terms{g, m.center}, g.rows, g.cols, g.ahead, &sum, &squares);
  *m.offset = sum / n;
  *m.squares = squares - sum * *m.offset;
}

}  // namespace
}  // namespace fastbn
