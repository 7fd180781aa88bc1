// A panel of B a pair of cache lines wide, read where it lies: by_pairs_of_lines().
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_beside.h"
#include "gemm/gemm_tall.h"
#include "gemm/gemm_tile.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// Of 9 to 11 rows for these panels alone, of others as for any.
template <class T>
void tile_of_pairs(const GemmBlock<T>& g, index_t rows, const T* a, index_t row,
                   const Beside<T>& beside) {
  static_assert(Vec<T>::kWidth * sizeof(T) != 64 || kTallRows<2> == kRowsOfPairs);
  switch (rows) {
    case 9:
      return tile_in_place<T, 9, 2, Ahead::to_l1>(g, a, row, AllLanes<T>{}, beside);
    case 10:
      return tile_in_place<T, 10, 2, Ahead::to_l1>(g, a, row, AllLanes<T>{}, beside);
    case 11:
      return tile_in_place<T, 11, 2, Ahead::to_l1>(g, a, row, AllLanes<T>{}, beside);
  }
  tile_of_rows<T, 2, true>(g, rows, a, row, AllLanes<T>{}, beside);
}

// Near-equal tiles of whole registers, as few as can be, higher ones last: a tile does not ask for the C of a lower one
// (beside()).  All ask for B, for L2 does not keep it.  by_pairs_of_lines() is false of other registers than those of
// 64 bytes.
template <class T>
void tiles_of_pairs(const GemmBlock<T>& g) {
  if constexpr (Vec<T>::kWidth * sizeof(T) == 64) {
    for (index_t row = 0, rows; row < g.m; row += rows) {
      const index_t left = g.m - row, tiles = (left + kRowsOfPairs - 1) / kRowsOfPairs;
      rows = left / tiles;
      tile_of_pairs(g, rows, rows_of_a(g, row), row, beside(g, row, rows, 0));
    }
  }
}

}  // namespace
}  // namespace fastbn
