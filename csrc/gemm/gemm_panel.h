// A block of C one panel wide, of any width where tiles turn B: row tiles one below the other.  All may read B where
// the caller has it, or the first alone, which leaves it packed for those below.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_pairs.h"
#include "gemm/gemm_tall.h"
#include "gemm/gemm_tile.h"
#include "gemm/gemm_turn.h"
#include "gemm/gemm_wrap.h"
#include "gemm/gemm_wrap_in_place.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr index_t kShortK = 32;

template <class T, int V, class Lanes>
void tiles(const GemmBlock<T>& block, Lanes last) {
  GemmBlock<T> g = block;
  // With a short k what surrounds the chain of a tile costs as much as the chain.
  const bool plain = !g.resume && !g.suspend && g.plain && g.k <= kShortK;
  const bool linear = g.a_tile == kGemmRows * g.a_row;
  const bool crowded = g.a_row * index_t{sizeof(T)} % kPageBytes == 0;
  const index_t tall = plain || !linear ? kGemmRows : crowded ? kTallWhereCrowded<V> : kTallRows<V>;
  const bool halves = kMayHalve<T, V> && g.half_tiles && (!g.b_streams || g.pack_to);
  const bool asks = g.b_streams && !g.pack_to && g.asks.by_all;
  // Nine rows by fours are tiles of three, three and three (three and six, of two registers): nine chains are enough
  // for two units of latency 4, those of the last of four, three and two are not (Zen 3: NN 256 x 128, 784 x 256 and
  // 100 x 1000 1.08 to 1.16 times as fast, NT 1.01 to 1.04).
  const bool thirds = kGemmRows == 4 && g.m == 9 && linear && !g.pack_to;
  const index_t packed_from = g.b_streams ? rows_of_tile(g.m, tall, linear) : 0;
  for (index_t row = 0, rows; row < g.m; row += rows) {
    const T* a = rows_of_a(g, row);
    rows = thirds && row == 0 ? 3 : rows_of_tile(g.m - row, tall, linear);
    if (halves && rows > kHalfRows && (row > 0 || !g.b_streams)) rows = kHalfRows;
    if (row == 0 ? g.b_streams : asks) {
      tile_of_rows<T, V, true>(g, rows, a, row, last, beside(g, row, rows, packed_from));
      if (g.pack_to && rows >= kGemmRows) g.b = g.pack_to, g.b_k = g.pack_width;
    } else if (plain && halves && rows == kHalfRows) {
      tile<T, kHalfRows, V, false, true>(g, a, row, last, {});
    } else if (plain && rows == kGemmRows) {
      tile<T, kGemmRows, V, false, true>(g, a, row, last, {});
    } else {
      tile_of_rows<T, V, false>(g, rows, a, row, last, beside(g, row, rows, packed_from));
    }
  }
}

template <class T, int V>
FASTBN_INLINE void tiles_of_width(const GemmBlock<T>& g) {
  const int last = static_cast<int>(g.n - (V - 1) * Vec<T>::kWidth);
  if (last == Vec<T>::kWidth) {
    tiles<T, V>(g, AllLanes<T>{});
  } else {
    tiles<T, V>(g, LastLanesOf<T, V>{last});
  }
}

// The first row tile turns B and leaves it packed.  What remains is the rows below it.
template <class T>
GemmBlock<T> turn_first_tile(const GemmBlock<T>& g) {
  GemmBlock<T> first = g, below = g;
  first.m = kGemmRows;
  turn_block(first);
  below.m -= kGemmRows, below.a += g.a_tile;
  below.c += kGemmRows * g.c_row, below.partial += kGemmRows * g.partial_row;
  below.b = g.pack_to, below.b_k = g.pack_width;
  below.b_streams = below.b_turns = false;
  return below;
}

template <class T>
void tiles_of_panel(const GemmBlock<T>& g) {
  switch ((g.n + Vec<T>::kWidth - 1) / Vec<T>::kWidth) {
    case 3:
      return tiles_of_width<T, 3>(g);
    case 2:
      return tiles_of_width<T, 2>(g);
    case 1:
      return tiles_of_width<T, 1>(g);
  }
}

template <class T>
void gemm_block(const GemmBlock<T>& g) {
  if (g.wraps) return g.b_streams ? wrapped_panel_in_place(g) : wrapped_panel(g);
  // At the edges of a thread's part panels may be narrower.
  if (g.pairs && g.n == 2 * Vec<T>::kWidth) return tiles_of_pairs(g);
  if (!g.b_turns) return tiles_of_panel(g);
  if (!g.pack_to) return turn_block(g);
  tiles_of_panel(turn_first_tile(g));
}

}  // namespace
}  // namespace fastbn
