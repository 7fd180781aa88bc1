// C row by row, for a short k: the gradient of a weight at a small batch, dW = X.T dY, where C is the
// largest of the three matrices and is written once.
//
//            B, packed: all its panels, k steps each; they stay in L1 or L2
//            +-------+-------+-----+
//            |panel 0|panel 1| ... |
//   A        C
//  +-----+   +-------+-------+-----+
//  |     |   |   ->  |   ->  | ->  |   one row of tiles after the other
//  +-----+   +-------+-------+-----+
//  |     |   |       |       |     |
//
// So a page of C is written whole before the next: prefetchers follow, and rows of C that lie a power of
// two apart meet in no set of a cache.  Panel by panel (gemm_block), 1024 x 1024 with k = 8 took 1.5 times
// as long (Ice Lake, 1.25 MiB of L2), 512 x 512 1.3 times.  The loop over panels has to be in here: a call of
// gemm_block a tile, 96 multiply-adds long, cost more than the order gained.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_tile.h"
#include "gemm/gemm_wrap.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kMostStepsByRows = 64;

// The panel of B that is V registers wide, from register r on, and the C that it makes, from column j on.
template <class T, int V>
FASTBN_INLINE GemmBlock<T> panel_from(const GemmBlock<T>& g, index_t r, index_t j) {
  GemmBlock<T> panel = g;
  panel.b = g.b + r * Vec<T>::kWidth * g.k, panel.b_k = V * Vec<T>::kWidth;
  panel.c = g.c + j;
  return panel;
}

template <class T, int V>
FASTBN_INLINE void tile_of_row(const GemmBlock<T>& g, const T* a, index_t rows, index_t row,
                               index_t r) {
  constexpr index_t w = Vec<T>::kWidth;
  const index_t j = r == 0 ? 0 : r * w - g.lead, end = (r + V) * w - g.lead;
  const index_t last = (end < g.n ? end : g.n) - j - (V - 1) * w;
  const LastLanesOf<T, V> lanes{static_cast<int>(last)};
  if (rows < kGemmRows) {
    tile_of_height<T, V, false>(panel_from<T, V>(g, r, j), rows, a, row, lanes, {});
  } else if (last < w) {
    plain_tile<T, V>(panel_from<T, V>(g, r, j), a, row, lanes);
  } else {
    plain_tile<T, V>(panel_from<T, V>(g, r, j), a, row, AllLanes<T>{});
  }
}

template <class T>
void gemm_rows(const GemmBlock<T>& block) {
  GemmBlock<T> g = block;
  T a_tile[kMostStepsByRows * kGemmRows], end_of_row[Vec<T>::kWidth] = {};
  const index_t with_lead = g.wraps ? g.n : g.lead + g.n;
  const index_t registers = (with_lead + Vec<T>::kWidth - 1) / Vec<T>::kWidth;
  const index_t panels = (registers + kGemmVectors - 1) / kGemmVectors;
  const index_t first_end = registers / panels;  // two at least where there is more than one panel
  // Made once: a copy for each row of tiles was a quarter of the time (k = 8), as its loads, as wide as registers, wait
  // for stores of single fields.
  GemmBlock<T> first =
      first_end == 3 ? panel_from<T, 3>(g, 0, -g.lead) : panel_from<T, 2>(g, 0, -g.lead);
  for (index_t row = 0; row < g.m; row += kGemmRows) {
    const index_t rows = g.m - row < kGemmRows ? g.m - row : kGemmRows;
    const T* a = g.a + row / kGemmRows * g.a_tile;
    if (rows == kGemmRows && block.a_row == 1 && g.k > kGemmRows) {
      for (index_t p = 0; p < g.k; ++p) {
        __builtin_memcpy(a_tile + p * kGemmRows, a + p * block.a_k, kGemmRows * sizeof(T));
      }
      a = a_tile, g.a_k = kGemmRows;
    } else {
      g.a_k = block.a_k;
    }
    for (index_t q = 0, done = 0; q < panels; ++q) {
      const index_t end = registers * (q + 1) / panels;  // as share() has it
      if (g.wraps && q == 0) {
        first.a_k = g.a_k;
        end == 3 ? wrapped_rows<T, 3>(first, a, rows, row, end_of_row, {})
                 : wrapped_rows<T, 2>(first, a, rows, row, end_of_row, {});
        done = end;
        continue;
      }
      switch (end - done) {
        case 3:
          tile_of_row<T, 3>(g, a, rows, row, done);
          break;
        case 2:
          tile_of_row<T, 2>(g, a, rows, row, done);
          break;
        default:
          tile_of_row<T, 1>(g, a, rows, row, done);
      }
      done = end;
    }
  }
  if (g.wraps) store_last_end(g, end_of_row);
}

}  // namespace
}  // namespace fastbn
