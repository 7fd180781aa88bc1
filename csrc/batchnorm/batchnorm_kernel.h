// Batch-norm kernels for both layouts.  Equations and layouts: batchnorm_args.h.
//
// Sums: at most 32 terms are added in T, then the partial sum goes on in double.  The error of a
// sum is then that of 32 additions however many rows there are, and a conversion every 32 rows
// costs little beside the rows; a conversion of every element would halve the speed in float.  The
// order is fixed by the shape alone.
#pragma once

#include "batchnorm/batchnorm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr index_t kBatchNormGroup = 32;

template <class T>
FASTBN_INLINE Vec<T> normalized(Vec<T> x, Vec<T> mean, Vec<T> scale, Vec<T> shift) {
  return fma(x - mean, scale, shift);
}

// dy where ReLU let y through: not (y <= 0) instead of y > 0, so that NaN passes as it did before.
template <class T, bool kRelu>
FASTBN_INLINE Vec<T> gradient(Vec<T> dy, Vec<T> x, Vec<T> mean, Vec<T> scale, Vec<T> shift) {
  if constexpr (kRelu) {
    const Vec<T> y = normalized(x, mean, scale, shift);
    return select(less_equal(y, Vec<T>::zero()), Vec<T>::zero(), dy);
  }
  return dy;
}

template <class T>
FASTBN_INLINE void add_lanes(double* total, Vec<T> v) {
  T lane[Vec<T>::kWidth];
  Vec<T>::store(lane, v);
  for (int l = 0; l < Vec<T>::kWidth; ++l) total[l] += static_cast<double>(lane[l]);
}

// The two terms that a pass adds up for each element.
template <class T, bool kSquares>
struct Deviations {  // x - center and its square
  static constexpr bool kSecond = kSquares;
  const BatchNormBlock<T>& g;
  const T* center;
  struct Channel {
    Vec<T> center;
  };
  template <class Lanes>
  FASTBN_INLINE Channel channel(index_t j, Lanes lanes) const {
    return {lanes.load(center + j)};
  }
  FASTBN_INLINE Channel channel() const { return {Vec<T>::broadcast(*center)}; }
  template <class Lanes>
  FASTBN_INLINE void add(index_t i, index_t j, Lanes lanes, const Channel& c, Vec<T>& sum,
                         Vec<T>& second) const {
    // A partial register's other lanes hold 0 - center: keep() makes them 0.
    const Vec<T> d = lanes.keep(lanes.load(g.x + i * g.x_row + j) - c.center);
    sum = sum + d;
    if constexpr (kSquares) second = fma(d, d, second);
  }
};

template <class T, bool kRelu>
struct Gradients {  // g and g * (x - mean)
  static constexpr bool kSecond = true;
  const BatchNormBlock<T>& g;
  struct Channel {
    Vec<T> mean, scale, shift;
  };
  template <class Lanes>
  FASTBN_INLINE Channel channel(index_t j, Lanes lanes) const {
    return {lanes.load(g.mean + j), lanes.load(g.scale + j), lanes.load(g.shift + j)};
  }
  FASTBN_INLINE Channel channel() const {
    return {Vec<T>::broadcast(*g.mean), Vec<T>::broadcast(*g.scale), Vec<T>::broadcast(*g.shift)};
  }
  template <class Lanes>
  FASTBN_INLINE void add(index_t i, index_t j, Lanes lanes, const Channel& c, Vec<T>& sum,
                         Vec<T>& second) const {
    const Vec<T> x = lanes.load(g.x + i * g.x_row + j);
    const Vec<T> dy = lanes.load(g.dy + i * g.dy_row + j);  // 0 in a partial register's other lanes
    const Vec<T> masked = lanes.keep(gradient<T, kRelu>(dy, x, c.mean, c.scale, c.shift));
    sum = sum + masked;
    second = fma(masked, lanes.keep(x - c.mean), second);
  }
};

// ---- channels last: registers hold channels, rows are added one after the other ----------------

// V registers of columns from j on, the last in whole or in part.
template <class T, int V, class Terms, class Lanes>
FASTBN_INLINE void column_totals(const Terms& terms, index_t rows, index_t j, Lanes last,
                                 double* sum, double* second) {
  constexpr int w = Vec<T>::kWidth;
  constexpr AllLanes<T> all;
  typename Terms::Channel channel[V];
  for (int v = 0; v < V - 1; ++v) channel[v] = terms.channel(j + v * w, all);
  channel[V - 1] = terms.channel(j + (V - 1) * w, last);
  double totals[2][V * w] = {};
  for (index_t i0 = 0; i0 < rows; i0 += kBatchNormGroup) {
    const index_t end = rows - i0 < kBatchNormGroup ? rows : i0 + kBatchNormGroup;
    Vec<T> s[V], t[V];
    for (int v = 0; v < V; ++v) s[v] = t[v] = Vec<T>::zero();
    for (index_t i = i0; i < end; ++i) {
      for (int v = 0; v < V - 1; ++v) terms.add(i, j + v * w, all, channel[v], s[v], t[v]);
      terms.add(i, j + (V - 1) * w, last, channel[V - 1], s[V - 1], t[V - 1]);
    }
    for (int v = 0; v < V; ++v) {
      add_lanes(totals[0] + v * w, s[v]);
      if constexpr (Terms::kSecond) add_lanes(totals[1] + v * w, t[v]);
    }
  }
  int count = V * w;
  if constexpr (Lanes::kPartial) count = (V - 1) * w + last.n;
  for (int l = 0; l < count; ++l) sum[j + l] = totals[0][l];
  if constexpr (Terms::kSecond) {
    for (int l = 0; l < count; ++l) second[j + l] = totals[1][l];
  }
}

// Four registers of columns at once: eight chains of additions hide the latency of each.
template <class T, class Terms>
FASTBN_INLINE void all_column_totals(const Terms& terms, const BatchNormBlock<T>& g, double* sum,
                                     double* second) {
  constexpr index_t w = Vec<T>::kWidth;
  index_t j = 0;
  for (; j + 4 * w <= g.cols; j += 4 * w) {
    column_totals<T, 4>(terms, g.rows, j, AllLanes<T>{}, sum, second);
  }
  for_each_vector<T>(g.cols - j, [&](index_t k, auto lanes) FASTBN_INLINE_LAMBDA {
    column_totals<T, 1>(terms, g.rows, j + k, lanes, sum, second);
  });
}

template <class T>
void last_sums(const BatchNormBlock<T>& g, const T* center, double* sum) {
  all_column_totals(Deviations<T, false>{g, center}, g, sum, nullptr);
}

template <class T>
void last_sums_of_squares(const BatchNormBlock<T>& g, const T* center, double* sum,
                          double* squares) {
  all_column_totals(Deviations<T, true>{g, center}, g, sum, squares);
}

template <class T>
void last_backward_sums(const BatchNormBlock<T>& g, double* sum, double* products) {
  if (g.relu) {
    all_column_totals(Gradients<T, true>{g}, g, sum, products);
  } else {
    all_column_totals(Gradients<T, false>{g}, g, sum, products);
  }
}

template <class T, bool kRelu, class Lanes>
FASTBN_INLINE void apply_element(const BatchNormBlock<T>& g, index_t i, index_t j, Lanes lanes,
                                 Vec<T> mean, Vec<T> scale, Vec<T> shift) {
  Vec<T> y = normalized(lanes.load(g.x + i * g.x_row + j), mean, scale, shift);
  if constexpr (kRelu) y = relu(y);
  lanes.store(g.out + i * g.out_row + j, y);
}

template <class T, bool kRelu>
void last_apply_as(const BatchNormBlock<T>& g) {
  for_each_vector<T>(g.cols, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    const Vec<T> mean = lanes.load(g.mean + j), scale = lanes.load(g.scale + j),
                 shift = lanes.load(g.shift + j);
    for (index_t i = 0; i < g.rows; ++i)
      apply_element<T, kRelu>(g, i, j, lanes, mean, scale, shift);
  });
}

template <class T>
void last_apply(const BatchNormBlock<T>& g) {
  g.relu ? last_apply_as<T, true>(g) : last_apply_as<T, false>(g);
}

template <class T>
struct BackwardChannel {
  Vec<T> mean, scale, shift, a, b, c;
};

// kStatistics: the statistics came from x itself and passed a gradient on, so dx has all three
// terms.
template <class T, bool kRelu, bool kStatistics, class Lanes>
FASTBN_INLINE void backward_element(const BatchNormBlock<T>& g, index_t i, index_t j, Lanes lanes,
                                    const BackwardChannel<T>& k) {
  const Vec<T> dy = lanes.load(g.dy + i * g.dy_row + j);
  Vec<T> x = Vec<T>::zero();
  if constexpr (kRelu || kStatistics) x = lanes.load(g.x + i * g.x_row + j);
  const Vec<T> masked = gradient<T, kRelu>(dy, x, k.mean, k.scale, k.shift);
  if constexpr (kStatistics) {
    lanes.store(g.out + i * g.out_row + j, fma(k.a, masked, fma(k.b, x - k.mean, k.c)));
  } else {
    lanes.store(g.out + i * g.out_row + j, k.a * masked);
  }
}

template <class T, bool kRelu, bool kStatistics>
void last_backward_apply_as(const BatchNormBlock<T>& g) {
  for_each_vector<T>(g.cols, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    BackwardChannel<T> k{lanes.load(g.mean + j), lanes.load(g.scale + j), lanes.load(g.shift + j),
                         lanes.load(g.a + j),    Vec<T>::zero(),          Vec<T>::zero()};
    if constexpr (kStatistics) k.b = lanes.load(g.b + j), k.c = lanes.load(g.c + j);
    for (index_t i = 0; i < g.rows; ++i) backward_element<T, kRelu, kStatistics>(g, i, j, lanes, k);
  });
}

template <class T>
void last_backward_apply(const BatchNormBlock<T>& g) {
  if (g.b) {
    g.relu ? last_backward_apply_as<T, true, true>(g) : last_backward_apply_as<T, false, true>(g);
  } else {
    g.relu ? last_backward_apply_as<T, true, false>(g) : last_backward_apply_as<T, false, false>(g);
  }
}

// ---- channels first: registers hold positions of one channel, lanes are added at the end ---------

template <class T>
struct LaneTotals {
  static constexpr int kChains = 4;  // as many chains of additions as their latency asks for
  Vec<T> s[kChains], t[kChains];
  double sum[Vec<T>::kWidth] = {}, second[Vec<T>::kWidth] = {};

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
FASTBN_INLINE void channel_totals(const Terms& terms, const BatchNormBlock<T>& g, double* sum,
                                  double* second) {
  constexpr index_t w = Vec<T>::kWidth, step = w * LaneTotals<T>::kChains;
  const typename Terms::Channel channel = terms.channel();
  LaneTotals<T> total;
  total.clear();
  index_t pending = 0;  // additions in each chain since the last flush
  for (index_t i = 0; i < g.rows; ++i) {
    index_t j = 0;
    for (; j + step <= g.cols; j += step) {
      for (int v = 0; v < LaneTotals<T>::kChains; ++v) {
        terms.add(i, j + v * w, AllLanes<T>{}, channel, total.s[v], total.t[v]);
      }
      if (++pending == kBatchNormGroup) total.flush(), pending = 0;
    }
    int v = 0;
    for_each_vector<T>(g.cols - j, [&](index_t k, auto lanes) FASTBN_INLINE_LAMBDA {
      terms.add(i, j + k, lanes, channel, total.s[v], total.t[v]);
      ++v;
    });
    if (v > 0 && ++pending == kBatchNormGroup) total.flush(), pending = 0;
  }
  total.flush();
  *sum = lane_sum(total.sum, Vec<T>::kWidth);
  if constexpr (Terms::kSecond) *second = lane_sum(total.second, Vec<T>::kWidth);
}

template <class T>
void first_sums(const BatchNormBlock<T>& g, const T* center, double* sum) {
  channel_totals(Deviations<T, false>{g, center}, g, sum, nullptr);
}

template <class T>
void first_sums_of_squares(const BatchNormBlock<T>& g, const T* center, double* sum,
                           double* squares) {
  channel_totals(Deviations<T, true>{g, center}, g, sum, squares);
}

template <class T>
void first_backward_sums(const BatchNormBlock<T>& g, double* sum, double* products) {
  if (g.relu) {
    channel_totals(Gradients<T, true>{g}, g, sum, products);
  } else {
    channel_totals(Gradients<T, false>{g}, g, sum, products);
  }
}

template <class T, bool kRelu>
void first_apply_as(const BatchNormBlock<T>& g) {
  const Vec<T> mean = Vec<T>::broadcast(*g.mean), scale = Vec<T>::broadcast(*g.scale),
               shift = Vec<T>::broadcast(*g.shift);
  for (index_t i = 0; i < g.rows; ++i) {
    for_each_vector<T>(g.cols, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
      apply_element<T, kRelu>(g, i, j, lanes, mean, scale, shift);
    });
  }
}

template <class T>
void first_apply(const BatchNormBlock<T>& g) {
  g.relu ? first_apply_as<T, true>(g) : first_apply_as<T, false>(g);
}

template <class T, bool kRelu, bool kStatistics>
void first_backward_apply_as(const BatchNormBlock<T>& g) {
  BackwardChannel<T> k{Vec<T>::broadcast(*g.mean),
                       Vec<T>::broadcast(*g.scale),
                       Vec<T>::broadcast(*g.shift),
                       Vec<T>::broadcast(*g.a),
                       Vec<T>::zero(),
                       Vec<T>::zero()};
  if constexpr (kStatistics) k.b = Vec<T>::broadcast(*g.b), k.c = Vec<T>::broadcast(*g.c);
  for (index_t i = 0; i < g.rows; ++i) {
    for_each_vector<T>(g.cols, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
      backward_element<T, kRelu, kStatistics>(g, i, j, lanes, k);
    });
  }
}

template <class T>
void first_backward_apply(const BatchNormBlock<T>& g) {
  if (g.b) {
    g.relu ? first_backward_apply_as<T, true, true>(g) : first_backward_apply_as<T, false, true>(g);
  } else {
    g.relu ? first_backward_apply_as<T, true, false>(g)
           : first_backward_apply_as<T, false, false>(g);
  }
}

template <class T>
constexpr BatchNormKernels<T> batchnorm_kernels() {
  return {{&last_sums<T>, &last_sums_of_squares<T>, &last_apply<T>, &last_backward_sums<T>,
           &last_backward_apply<T>},
          {&first_sums<T>, &first_sums_of_squares<T>, &first_apply<T>, &first_backward_sums<T>,
           &first_backward_apply<T>}};
}

}  // namespace
}  // namespace fastbn
