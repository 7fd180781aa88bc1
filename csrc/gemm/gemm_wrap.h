// A C whose rows start past a register's boundary in memory: B wraps, so that whole registers of C are stored.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_beside.h"
#include "gemm/gemm_tile.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// 0, 1, 2, ... as floating-point numbers, for all lanes of the widest register.
template <class T>
constexpr T kLanes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// Where rows of C follow one another without a gap and are whole registers long, but start `lead` elements past a
// register's boundary in memory, B wraps: its last `lead` columns are packed before its first ones.
//
//   memory of C    |    ....|........|........|eeee....|........|........|eeee      e: the end of the row before
//   registers           0        1        2        0        1        2
//                       row 0                      row 1
//
// Register 0 of each row then has the end of that row in its first lanes, and what is stored is the end of the row
// before and the beginning of this one: whole lines each time.  Half a line costs more than it seems: L1 fetches from
// L2 what the other half may have, but nothing before a store of a whole line.
template <class T, int R, int V>
FASTBN_INLINE void wrapped_tile(const GemmBlock<T>& g, const T* a, index_t row, T* end_of_row,
                                const Beside<T>& beside) {
  constexpr index_t w = Vec<T>::kWidth;
  Vec<T> acc[R][V];
  zero(acc);
  multiply<T, R, V, Ahead::none>(g, a, AllLanes<T>{}, beside, acc);
  // Else GCC keeps the end of the row before in a register all the while, and of 16 none is left for one of the sums: a
  // tile three registers wide took nearly twice as long.
  opaque(end_of_row);
  const auto ends = less(Vec<T>::load(kLanes<T>), Vec<T>::broadcast(static_cast<T>(g.lead)));
  Vec<T> before = Vec<T>::load(end_of_row);
  Vec<T>::store(end_of_row, acc[R - 1][0]);
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) {
    T* const c = g.c + (row + i) * g.c_row;
    const Vec<T> end = acc[i][0];
    acc[i][0] = select(ends, before, end);
    before = end;
    if (row + i > 0) {
      store_row<T, V>(c, AllLanes<T>{}, acc[i]);
      continue;
    }
    T first[V * w];  // nothing of C comes before it
    store_row<T, V>(first, AllLanes<T>{}, acc[i]);
    __builtin_memcpy(c + g.lead, first + g.lead, (V * w - g.lead) * sizeof(T));
  }
}

// The first panel, V registers wide, of `rows` rows from `row` on.
template <class T, int V>
FASTBN_INLINE void wrapped_rows(const GemmBlock<T>& panel, const T* a, index_t rows, index_t row,
                                T* end_of_row, const Beside<T>& beside) {
  if (rows == kGemmRows && !panel.half_tiles) {
    return wrapped_tile<T, kGemmRows, V>(panel, a, row, end_of_row, beside);
  }
  index_t i = 0;
  for (; i + kHalfRows <= rows; i += kHalfRows) {
    wrapped_tile<T, kHalfRows, V>(panel, a + i * panel.a_row, row + i, end_of_row, {});
  }
  for (; i < rows; ++i) wrapped_tile<T, 1, V>(panel, a + i * panel.a_row, row + i, end_of_row, {});
}

// The end of the last row, which no tile has stored.
template <class T>
FASTBN_INLINE void store_last_end(const GemmBlock<T>& g, const T* end_of_row) {
  const FirstLanes<T> ends{static_cast<int>(g.lead)};
  ends.store(g.c + g.m * g.c_row - g.lead, Vec<T>::load(end_of_row));
}

// The first panel of a C that is computed panel by panel.
template <class T, int V>
void wrapped_tiles(const GemmBlock<T>& g) {
  T end_of_row[Vec<T>::kWidth] = {};
  GemmBlock<T> panel = g;
  panel.c = g.c - g.lead;
  for (index_t row = 0, rows; row < g.m; row += rows) {
    rows = g.m - row < kGemmRows ? g.m - row : kGemmRows;
    wrapped_rows<T, V>(panel, rows_of_a(g, row), rows, row, end_of_row,
                       beside(panel, row, rows, 0));
  }
  store_last_end(g, end_of_row);
}

template <class T>
void wrapped_panel(const GemmBlock<T>& g) {
  g.pack_width == 3 * Vec<T>::kWidth ? wrapped_tiles<T, 3>(g) : wrapped_tiles<T, 2>(g);
}

}  // namespace
}  // namespace fastbn
