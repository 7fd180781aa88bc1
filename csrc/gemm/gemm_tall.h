// Tiles narrower than a panel may have more rows.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_beside.h"
#include "gemm/gemm_tile.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// A tile of one or two registers' width is taller, where A is not packed into tiles of kGemmRows: the chains of
// kGemmRows rows are too few for the latency of two multiply-add units (128 x 20: 50 to 58 GFLOP/s of 179; with
// AVX2 W dY.T at 8 rows of dY 54 of 118, with 12 rows to a tile 84, Zen 4).  24 rows of one register were no
// faster than 16: they are bound by one load for each multiply-add.  Of one lane 12 rows are 0.6 to 0.7 times as
// fast as 4.
template <int V>
constexpr int kTallRows = V == 3 || Vec<float>::kWidth == 1 ? kGemmRows
                          : kVectorRegisters < 32           ? 12 / V
                          : V == 2                          ? 12
                                                            : 16;

// The same where rows of A are a multiple of a page apart: all lie in one set of L1, which keeps 8 lines or 12
// (1024 x 16 at 128 rows: 54 GFLOP/s in tiles of 16 rows, 1000 x 16 112, Zen 4).  Tiles of gemm_pairs.h, of cores whose
// L1 keeps 12, are as high all the same.
template <int V>
constexpr int kTallWhereCrowded = kTallRows<V> < 8 ? kTallRows<V> : 8;

template <class T, int V, bool kInPlace, class Lanes>
FASTBN_INLINE void tile_of_rows(const GemmBlock<T>& g, index_t rows, const T* a, index_t row,
                                Lanes last, const Beside<T>& beside) {
  if constexpr (kTallRows<V> > kGemmRows) {
    if (rows == kTallRows<V>)
      return tile<T, kTallRows<V>, V, kInPlace, false>(g, a, row, last, beside);
  }
  if constexpr (kTallWhereCrowded<V> > kGemmRows) {
    constexpr int kRows = kTallWhereCrowded<V>;
    if (rows == kRows) return tile<T, kRows, V, kInPlace, false>(g, a, row, last, beside);
  }
  tile_of_height<T, V, kInPlace>(g, rows, a, row, last, beside);
}

}  // namespace
}  // namespace fastbn
