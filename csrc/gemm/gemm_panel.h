// A block of C one panel wide: row tiles one below the other.  The first may read B where the caller has
// it, and leave it packed for those below.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_tile.h"
#include "gemm/gemm_turn.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr index_t kShortK = 32;

// A tile of one or two registers' width is taller, where A is not packed into tiles of kGemmRows: 8 or 16
// chains are too few for the latency of two multiply-add units (128 x 20: 50 to 58 GFLOP/s of 179).  24
// rows of one register were no faster than 16: they are bound by one load for each multiply-add.
template <int V>
constexpr int kTallRows = kVectorRegisters < 32 || V == 3 ? kGemmRows
                          : V == 2                        ? 12
                                                          : 16;

// How many of the rows that are left a tile takes.  A last tile of a row or two would read a panel faster than L2
// gives it: it shares with the one before it, unless A is packed into tiles of kGemmRows or that one is tall.
FASTBN_INLINE index_t rows_of_tile(index_t left, bool linear) {
  if (linear && left > kGemmRows && left < 2 * kGemmRows) return (left + 1) / 2;
  return left < kGemmRows ? left : kGemmRows;
}

template <class T, int V, class Lanes>
void tiles(const GemmBlock<T>& block, Lanes last) {
  GemmBlock<T> g = block;
  // With a short k what surrounds the chain of a tile costs as much as the chain.
  const bool plain = !g.resume && !g.suspend && g.alpha == T(1) && g.beta == T(0) &&
                     !g.columns.bias && !g.columns.scale && !g.relu && g.k <= kShortK;
  const bool linear = g.a_tile == kGemmRows * g.a_row;
  constexpr index_t kTall = kTallRows<V>;
  for (index_t row = 0, rows; row < g.m; row += rows) {
    const T* a = linear ? g.a + row * g.a_row : g.a + row / kGemmRows * g.a_tile;
    const bool first = row == 0 && g.b_streams;
    rows = rows_of_tile(g.m - row, linear);
    if (first) {
      const bool tall = kTall > kGemmRows && linear && g.m >= kTall;
      if (tall) {
        rows = kTall;
        tile<T, kTall, V, true, false>(g, a, row, last, nullptr);
      } else {
        tile_of_height<T, V, true>(g, rows, a, row, last);
      }
      if (g.pack_to) g.b = g.pack_to, g.b_k = g.pack_width;
    } else if (kTall > kGemmRows && linear && !plain && g.m - row >= kTall) {
      rows = kTall;
      tile<T, kTall, V, false, false>(g, a, row, last, nullptr);
    } else if (plain && rows == kGemmRows) {
      tile<T, kGemmRows, V, false, true>(g, a, row, last, nullptr);
    } else {
      tile_of_height<T, V, false>(g, rows, a, row, last);
    }
  }
}

template <class T, int V>
FASTBN_INLINE void tiles_of_width(const GemmBlock<T>& g) {
  const int last = static_cast<int>(g.n - (V - 1) * Vec<T>::kWidth);
  if (last == Vec<T>::kWidth) {
    tiles<T, V>(g, AllLanes<T>{});
  } else {
    tiles<T, V>(g, FirstLanes<T>{last});
  }
}

template <class T>
void gemm_block(const GemmBlock<T>& g) {
  if (g.b_turns) return turn_panel(g);
  switch ((g.n + Vec<T>::kWidth - 1) / Vec<T>::kWidth) {
    case 3:
      return tiles_of_width<T, 3>(g);
    case 2:
      return tiles_of_width<T, 2>(g);
    case 1:
      return tiles_of_width<T, 1>(g);
  }
}

}  // namespace
}  // namespace fastbn
