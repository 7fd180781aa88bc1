// B that is read where it lies and starts past a register's boundary in memory wraps, so that no load is across lines.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_beside.h"
#include "gemm/gemm_heights.h"
#include "gemm/gemm_tile.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// Rows of B that are whole registers apart and start `lead` elements past a register's boundary.  They are whole
// registers long, too, so that none has a register more for it; the last panel of a thread's part may end in less.
//
//   a row of B     |    bbbb|bbbbbbbb|bbbbbbbb|eeee....|      e: its end, of `lead` elements
//   registers      |eeeebbbb|        |        |
//                       0        1        2
//
// Register 0 has the end of the row in its first lanes, from two loads, each of a part of a line; unwrapped, every
// register has parts of two lines.  Rows of C, of unfinished sums and of the epilogue are loaded and stored in the same
// way.  Pointers are `lead` elements before the first column, and a row's end is `end` elements after them.
template <class T>
struct WrappedLanes {
  int lead;
  index_t end;
};

template <class T, int V>
FASTBN_INLINE void load_row(const T* p, WrappedLanes<T> lanes, Vec<T> (&row)[V]) {
  row[0] = Vec<T>::load_rest(p, lanes.lead, Vec<T>::load_first(p + lanes.end, lanes.lead));
  FASTBN_UNROLL
  for (int v = 1; v < V; ++v) row[v] = Vec<T>::load(p + v * Vec<T>::kWidth);
}

template <class T, int V>
FASTBN_INLINE void store_row(T* p, WrappedLanes<T> lanes, const Vec<T> (&row)[V]) {
  Vec<T>::store_first(p + lanes.end, row[0], lanes.lead);
  Vec<T>::store_rest(p, row[0], lanes.lead);
  FASTBN_UNROLL
  for (int v = 1; v < V; ++v) Vec<T>::store(p + v * Vec<T>::kWidth, row[v]);
}

template <Ahead kAhead, class T>
FASTBN_INLINE void ask_for_end(const T* row, WrappedLanes<T> lanes) {
  ask<kAhead>(row + lanes.end);
}

// `rows` rows as one tile.  Whole tiles come in each way of asking; those of fewer rows, the only ones or the last two,
// all ask L1, of rows that crowd it as well (1024 x 1024 at 1 to 7 rows, 32 ahead: 1.00 to 1.02; Emerald Rapids).
template <class T, int V>
void tile_in_place_of_height(const GemmBlock<T>& g, index_t rows, const T* a, index_t row,
                             WrappedLanes<T> lanes, const Beside<T>& beside, bool asks) {
  if (rows == kGemmRows && !asks) {
    return tile_in_place<T, kGemmRows, V, Ahead::none>(g, a, row, lanes, beside);
  }
  if (rows == kGemmRows && g.asks.to_l2) {
    return tile_in_place<T, kGemmRows, V, Ahead::to_l2>(g, a, row, lanes, beside);
  }
  of_height<kGemmRows>(rows, [&](auto r) FASTBN_INLINE_LAMBDA {
    tile_in_place<T, r, V, Ahead::to_l1>(g, a, row, lanes, beside);
  });
}

// The first panel, V registers wide.
template <class T, int V>
void tiles_in_place(const GemmBlock<T>& g) {
  const WrappedLanes<T> lanes{static_cast<int>(g.lead), g.b_cols};
  GemmBlock<T> panel = g;
  panel.b -= g.lead, panel.c -= g.lead, panel.partial -= g.lead;
  panel.columns = from_column(g.columns, -g.lead);
  const bool linear = g.a_tile == kGemmRows * g.a_row;
  for (index_t row = 0, rows; row < g.m; row += rows) {
    rows = rows_of_tile(g.m - row, kGemmRows, linear);
    tile_in_place_of_height<T, V>(panel, rows, rows_of_a(g, row), row, lanes,
                                  beside(panel, row, rows, 0), row == 0 || g.asks.by_all);
  }
}

// wraps_in_place() is false of other registers than those of 64 bytes.
template <class T>
void wrapped_panel_in_place(const GemmBlock<T>& g) {
  if constexpr (Vec<T>::kWidth * sizeof(T) == 64) {
    g.pack_width == 3 * Vec<T>::kWidth ? tiles_in_place<T, 3>(g) : tiles_in_place<T, 2>(g);
  }
}

}  // namespace
}  // namespace fastbn
