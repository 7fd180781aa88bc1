// A block of C one panel wide, of any width where tiles turn B: row tiles one below the other.  All may read B where
// the caller has it, or the first alone, which leaves it packed for those below.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_tile.h"
#include "gemm/gemm_turn.h"
#include "gemm/gemm_wrap.h"
#include "gemm/gemm_wrap_in_place.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr index_t kShortK = 32;

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
// (1024 x 16 at 128 rows: 54 GFLOP/s in tiles of 16 rows, 1000 x 16 112, Zen 4).
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
  const index_t packed_from = g.b_streams ? rows_of_tile(g.m, tall, linear) : 0;
  for (index_t row = 0, rows; row < g.m; row += rows) {
    const T* a = rows_of_a(g, row);
    rows = rows_of_tile(g.m - row, tall, linear);
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
    tiles<T, V>(g, FirstLanes<T>{last});
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
  if (!g.b_turns) return tiles_of_panel(g);
  if (!g.pack_to) return turn_block(g);
  tiles_of_panel(turn_first_tile(g));
}

}  // namespace
}  // namespace fastbn
