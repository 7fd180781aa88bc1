// What the passes of batch norm over x share: an element's formulas, the two layouts, and the way through the
// columns of a block.  Equations and layouts: batchnorm_args.h.
#pragma once

#include <cstdint>

#include "batchnorm/batchnorm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// Registers of columns that a pass takes at a time: two pairs of cache lines, or one pair, which is what prefetchers
// fetch.  A column needs up to five registers for its channel's coefficients: where there are sixteen, the compiler
// leaves some in memory, from where an operation takes them at no cost.  (Zen 3, beside groups of two registers:
// forward of 64 to 16384 x 256 and 512 1.03 to 1.15 times as fast, backward 1.05 to 1.2, with ReLU 1.0 to 1.07,
// inference 1.0 to 1.03.)
constexpr int kBatchNormColumns = 4;

// Rows of a multiple of registers all begin equally far past a cache line; arrays of NumPy begin 16, 32 or 48 bytes
// past one more often than on it.  A pass then takes the columns before the first line as registers of their own,
// and each register after them is within one line of the array that it was done for: what is written, or x where it is
// summed.  (Zen 4, 512 x 1024, 16 bytes past a line, without and with it in turn: inference 1.1 to 1.4 times as fast,
// forward 1.1 to 1.3, backward 1.4 to 1.5.)  Of shorter rows than this, in lines, the partial registers cost more.
//
// Registers of 32 bytes straddle every second line only.  Where they are loaded it pays for rows of twice as many lines
// (Zen 3, 16 to 48 bytes past a line, without and with it in turn: backward of 192 to 2000 columns 1.02 to 1.15,
// forward 0.98 to 1.07; of 128 columns 0.9 to 1.0).  Where they are stored, masked stores take as long as several whole
// ones; but of rows a multiple of half a page apart, which share few sets of L1, those of a strip drive one another out
// before the second half of a line is read (Zen 3, two threads, likewise: backward 16 to 1024 x 1024 1.6 to 2.0 times
// as fast, forward 1.1 to 1.3; 512 x 512 1.0 to 1.1).  Registers of 16 bytes straddle none: they peel nothing.
constexpr index_t kLeastToPeel = 6;

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

// v where the weight is not 0: there it is 0, even if v is NaN.
template <class T>
FASTBN_INLINE Vec<T> where_counted(Vec<T> weight, Vec<T> v) {
  return select(less_equal(weight, Vec<T>::zero()), Vec<T>::zero(), v);
}

// ---- the two layouts: where a column's coefficients and an element's weight are ------------------

template <class T>
struct ChannelsLast {
  template <class Lanes>
  static FASTBN_INLINE Vec<T> coefficient(const T* p, index_t j, Lanes lanes) {
    return lanes.load(p + j);
  }
  template <class Lanes>
  static FASTBN_INLINE Vec<T> weight(const BatchNormBlock<T>& g, index_t i, index_t, Lanes) {
    return Vec<T>::broadcast(g.weight[i * g.weight_row]);
  }
};

template <class T>
struct ChannelsFirst {
  template <class Lanes>
  static FASTBN_INLINE Vec<T> coefficient(const T* p, index_t j, Lanes) {
    return Vec<T>::broadcast(p[j]);
  }
  template <class Lanes>
  static FASTBN_INLINE Vec<T> weight(const BatchNormBlock<T>& g, index_t i, index_t j,
                                     Lanes lanes) {
    return lanes.load(g.weight + i * g.weight_row + j);
  }
};

// ---- the way through the columns, channels last -----------------------------------------------

template <class T>
constexpr index_t kLineOf = kLineBytes / index_t{sizeof(T)};  // elements of a line

// Columns before the first cache line.
template <class T>
FASTBN_INLINE index_t columns_to_line(const T* p) {
  constexpr index_t line = kLineOf<T>;
  const auto past = static_cast<index_t>(reinterpret_cast<std::uintptr_t>(p) / sizeof(T)) % line;
  return (line - past) % line;
}

// The same of rows that are `row` elements apart; 0 where they are not worth peeling (kLeastToPeel).
template <class T>
FASTBN_INLINE index_t columns_to_peel(const T* p, index_t row, index_t cols, bool stores) {
  constexpr index_t w = Vec<T>::kWidth, line = kLineOf<T>;
  constexpr index_t kHalfPage = 2048 / index_t{sizeof(T)};
  if (2 * w < line || row % w != 0 || cols < kLeastToPeel * line) return 0;
  const bool crowded = row != 0 && row % kHalfPage == 0;
  const bool pays = w == line || crowded || (!stores && cols >= 2 * kLeastToPeel * line);
  return pays ? columns_to_line(p) : 0;
}

// body.run<V>(first column, the lanes of the last of V registers) for the columns of a block: `head` of them, less than
// a line, then some registers at a time.
template <class T, class Body>
FASTBN_INLINE void for_each_columns(index_t cols, index_t head, Body body) {
  constexpr index_t w = Vec<T>::kWidth, step = w * kBatchNormColumns;
  index_t j = 0;
  if constexpr (w < kLineOf<T>) {
    for (; j + w <= head; j += w) body.template run<1>(j, AllLanes<T>{});
  }
  if (j < head) body.template run<1>(j, FirstLanes<T>{static_cast<int>(head - j)});
  j = head;
  for (; j + step <= cols; j += step) body.template run<kBatchNormColumns>(j, AllLanes<T>{});
  if (const index_t last = cols - (j + step - w); last > 0) {  // what a head leaves of whole groups
    return body.template run<kBatchNormColumns>(j, FirstLanes<T>{static_cast<int>(last)});
  }
  if constexpr (2 * w == kLineOf<T>) {  // whole lines, which alone go past the caches
    for (; j + 2 * w <= cols; j += 2 * w) body.template run<2>(j, AllLanes<T>{});
  }
  for (; j + w <= cols; j += w) body.template run<1>(j, AllLanes<T>{});
  if (j < cols) body.template run<1>(j, FirstLanes<T>{static_cast<int>(cols - j)});
}

}  // namespace
}  // namespace fastbn
