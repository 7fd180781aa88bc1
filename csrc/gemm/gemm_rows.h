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

// Rows of A that are copied at a time: those of a tile, or with 16 registers of three, floats of which are most of a
// line of each step (one thread of Zen 3, beside rows of a tile: 1.00 to 1.05 times as fast with 16 steps and more).
constexpr int kRowsCopied = kVectorRegisters >= 32 ? kGemmRows : 3 * kGemmRows;

// The panel of B that is V registers wide, from register r on, and the C that it makes, from column j on.
template <class T, int V>
FASTBN_INLINE GemmBlock<T> panel_from(const GemmBlock<T>& g, index_t r, index_t j) {
  GemmBlock<T> panel = g;
  panel.b = g.b + r * Vec<T>::kWidth * g.k, panel.b_k = V * Vec<T>::kWidth;
  panel.c = g.c + j;
  return panel;
}

// A tile that is cut by C's edges: `rows` high, without the lanes of the first panel before C begins or those of the
// last after its end.
template <class T, int V>
[[gnu::noinline]] void edge_tile(const GemmBlock<T>& g, const T* a, index_t rows, index_t row,
                                 index_t r) {
  constexpr index_t w = Vec<T>::kWidth;
  const index_t j = r == 0 ? 0 : r * w - g.lead, end = (r + V) * w - g.lead;
  const index_t last = (end < g.n ? end : g.n) - j - (V - 1) * w;
  const LastLanesOf<T, V> lanes{static_cast<int>(last)};
  if (rows < kGemmRows) {
    tile_of_height<T, V, false>(panel_from<T, V>(g, r, j), rows, a, row, lanes, {});
  } else {
    plain_tile<T, V>(panel_from<T, V>(g, r, j), a, row, lanes);
  }
}

// Tiles V registers wide from register r to `end`, up to `whole` without an edge.
template <class T, int V>
FASTBN_INLINE void tiles_of_row(const GemmBlock<T>& g, const T* a, index_t rows, index_t row,
                                index_t& r, index_t whole, index_t end) {
  for (; r + V <= whole && r < end; r += V) {
    plain_tile<T, V>(panel_from<T, V>(g, r, r * Vec<T>::kWidth - g.lead), a, row, AllLanes<T>{});
  }
  for (; r < end; r += V) edge_tile<T, V>(g, a, rows, row, r);
}

// The first panel of a row of tiles, if it wraps or has a lead.
template <class T, int V>
FASTBN_INLINE void first_tile(const GemmBlock<T>& g, const GemmBlock<T>& wrapping, const T* a,
                              index_t rows, index_t row, T* end_of_row, index_t& r) {
  if (g.wraps) {
    wrapped_rows<T, V>(wrapping, a, rows, row, end_of_row, {});
    r = V;
  } else if (g.lead > 0) {
    edge_tile<T, V>(g, a, rows, row, 0);
    r = V;
  }
}

// k steps of kRowsCopied rows of A, step by step.
template <class T>
FASTBN_INLINE const T* copy_rows(const T* a, index_t a_k, index_t k, T* copied) {
  for (index_t p = 0; p < k; ++p) {
    __builtin_memcpy(copied + p * kRowsCopied, a + p * a_k, kRowsCopied * sizeof(T));
  }
  return copied;
}

// C is wider than a panel.
//
// (One loop over panels of either width, which looked at each tile for edges, was 0.90 to 0.97 times as fast with 8 to
// 32 steps; one thread of Zen 3.)
template <class T>
void gemm_rows(const GemmBlock<T>& block) {
  constexpr index_t w = Vec<T>::kWidth;
  GemmBlock<T> g = block;
  T copied[kMostStepsByRows * kRowsCopied], end_of_row[w] = {};
  const index_t with_lead = g.wraps ? g.n : g.lead + g.n;
  const index_t whole = with_lead / w, registers = (with_lead + w - 1) / w;
  const index_t panels = (registers + kGemmVectors - 1) / kGemmVectors;
  const index_t wide_end = 3 * (registers - 2 * panels);  // three registers wide first: Part::cut()
  // Made once: a copy for each row of tiles was a quarter of the time (k = 8), as its loads, as wide as registers, wait
  // for stores of single fields.
  GemmBlock<T> wrapping =
      wide_end > 0 ? panel_from<T, 3>(g, 0, -g.lead) : panel_from<T, 2>(g, 0, -g.lead);
  const bool copies = block.a_row == 1 && g.k > kGemmRows;
  for (index_t strip = 0; strip < g.m; strip += kRowsCopied) {
    const index_t strip_end = strip + kRowsCopied < g.m ? strip + kRowsCopied : g.m;
    const T* a = block.a + strip * block.a_row;
    const bool copy = copies && strip_end - strip == kRowsCopied;
    g.a_k = wrapping.a_k = copy ? kRowsCopied : block.a_k;
    if (copy) a = copy_rows(a, block.a_k, g.k, copied);
    for (index_t row = strip, rows; row < strip_end; row += rows, a += rows * g.a_row) {
      rows = strip_end - row < kGemmRows ? strip_end - row : kGemmRows;
      const index_t whole_here = rows == kGemmRows ? whole : 0;
      index_t r = 0;
      wide_end > 0 ? first_tile<T, 3>(g, wrapping, a, rows, row, end_of_row, r)
                   : first_tile<T, 2>(g, wrapping, a, rows, row, end_of_row, r);
      tiles_of_row<T, 3>(g, a, rows, row, r, whole_here, wide_end);
      tiles_of_row<T, 2>(g, a, rows, row, r, whole_here, registers);
    }
  }
  if (g.wraps) store_last_end(g, end_of_row);
}

}  // namespace
}  // namespace fastbn
