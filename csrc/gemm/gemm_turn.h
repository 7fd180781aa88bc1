// A single row tile against a B whose columns are contiguous, not its rows: W.T in the gradient by the input at
// a batch of 8, dX = dY W.T.
//
//              B: 16 columns (a register of lanes), each contiguous along k
//              +--+--+--+--+
//              |  |  |  |  |    a square of registers is loaded, turned (transposed) and multiplied
//   A          |  |  |  |  |    from where it is
//  +--------+  +--+--+--+--+
//  |        |  C
//  +--------+  +-----------+   R <= mr accumulators
//              +-----------+
//
// A square of 16 lanes costs 80 shuffles and insertions, which run beside its 16 R multiply-adds.  A cache line
// of B is read by one square alone: columns of B that lie a multiple of a page apart share a set of L1, and would
// evict one another before a second look.  With more row tiles, or nearer columns, squares are transposed into a
// packed panel instead (transpose_by_groups): a tile one register wide has a broadcast for each multiply-add.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_tile.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// Whole squares of k: the chains of R rows by the columns of one register.
//
// The squares are a pipeline.  `b[c][i]` holds, in its groups, rows i, i + kGroup, ... of the square at
// steps c * kGroup and on; turning the groups makes of b[c] the rows of B at those steps.  While the
// multiply-adds of a step run, one register of the square after this one is loaded, and once a group of
// steps the next group is turned.  Loading and turning a whole square first left the multiply-add unit
// waiting, as no processor looks 128 of them ahead: 79 GFLOP/s instead of 104 (Zen 4, 784 x 256, 8 rows;
// squares by way of a packed panel in L1: 69).
template <class T, int R>
FASTBN_INLINE const T* turn_squares(const GemmBlock<T>& g, const T* a, const T* from,
                                    index_t squares, Vec<T> (&acc)[R]) {
  constexpr int w = Vec<T>::kWidth, kGroup = Vec<T>::kGroup, kGroups = w / kGroup;
  Vec<T> b[kGroups][kGroup], next[kGroups][kGroup];
  FASTBN_UNROLL
  for (int t = 0; t < w; ++t) {
    const int i = t / kGroups, c = t % kGroups;
    b[c][i] = Vec<T>::load_groups(from + i * g.b_k + c * kGroup, g.b_k);
  }
  for (index_t s = 1; s <= squares; ++s) {
    if (s < squares) from += w;  // the last square is loaded once more, for nothing
    Vec<T>::transpose_groups(b[0]);
    FASTBN_UNROLL
    for (int t = 0; t < w; ++t, a += g.a_k) {
      const Vec<T> row = b[t / kGroup][t % kGroup];
      FASTBN_UNROLL
      for (int i = 0; i < R; ++i) acc[i] = fma(Vec<T>::broadcast(a[i * g.a_row]), row, acc[i]);
      const int i = t / kGroups, c = t % kGroups;
      next[c][i] = Vec<T>::load_groups(from + i * g.b_k + c * kGroup, g.b_k);
      if (t % kGroup == 0 && t + kGroup < w) Vec<T>::transpose_groups(b[t / kGroup + 1]);
      __builtin_prefetch(from + t * g.b_k + 2 * w);
    }
    FASTBN_UNROLL
    for (int t = 0; t < w; ++t) b[t / kGroup][t % kGroup] = next[t / kGroup][t % kGroup];
  }
  return a;
}

// What is left of k, or all of it where the columns do not fill a register.
template <class T, int R>
FASTBN_INLINE void turn_rest(const GemmBlock<T>& g, const T* a, const T* from, int cols,
                             index_t steps, Vec<T> (&acc)[R]) {
  constexpr int w = Vec<T>::kWidth;
  for (index_t p = 0; p < steps; p += w) {
    const int left = static_cast<int>(steps - p < w ? steps - p : w);
    Vec<T> square[w];
    FASTBN_UNROLL
    for (int j = 0; j < w; ++j) {
      square[j] = j < cols ? Vec<T>::load_first(from + j * g.b_k + p, left) : Vec<T>::zero();
    }
    transpose(square);
    T rows[w][w];
    FASTBN_UNROLL
    for (int q = 0; q < w; ++q) Vec<T>::store(rows[q], square[q]);
    for (int q = 0; q < left; ++q, a += g.a_k) {
      const Vec<T> row = Vec<T>::load(rows[q]);
      FASTBN_UNROLL
      for (int i = 0; i < R; ++i) acc[i] = fma(Vec<T>::broadcast(a[i * g.a_row]), row, acc[i]);
    }
  }
}

// R rows of one register of columns: `j` is its first, `lanes` those of it that C has.
template <class T, int R, class Lanes>
void turn_register(const GemmBlock<T>& g, index_t j, Lanes lanes) {
  constexpr index_t w = Vec<T>::kWidth;
  const int cols = static_cast<int>(g.n - j < w ? g.n - j : w);
  Vec<T> chains[R];
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) chains[i] = Vec<T>::zero();
  const T *a = g.a, *b = g.b + j * g.b_k;
  const index_t whole = Lanes::kPartial ? 0 : g.k / w * w;
  if (whole > 0) a = turn_squares<T, R>(g, a, b, whole / w, chains);
  turn_rest<T, R>(g, a, b + whole, cols, g.k - whole, chains);
  GemmBlock<T> shifted = g;
  shifted.columns = from_column(g.columns, j);
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) {
    Vec<T> row[1] = {chains[i]};
    finish_row<T, 1>(shifted, g.c + i * g.c_row + j, lanes, row);
  }
}

template <class T, int R>
void turn_tile(const GemmBlock<T>& g) {
  for_each_vector<T>(g.n, [&](index_t j, auto lanes) { turn_register<T, R>(g, j, lanes); });
}

// A row tile and a panel whose columns are contiguous.
template <class T>
void turn_rows(const GemmBlock<T>& g) {
#define FASTBN_CASE(R) \
  case R:              \
    if constexpr (R <= kGemmRows && Vec<T>::kGroup > 0) return turn_tile<T, R>(g)
  switch (g.m) {
    FASTBN_CASE(8);
    FASTBN_CASE(7);
    FASTBN_CASE(6);
    FASTBN_CASE(5);
    FASTBN_CASE(4);
    FASTBN_CASE(3);
    FASTBN_CASE(2);
    FASTBN_CASE(1);
  }
#undef FASTBN_CASE
}

}  // namespace
}  // namespace fastbn
