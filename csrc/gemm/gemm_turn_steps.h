// What tiles that turn B share, by squares (gemm_turn.h) and by groups (gemm_turn_groups.h): a step of their chains,
// the rows of B at a group of steps, and where chains begin and end.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_pointers.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// One step of the chains of R rows: `row` of B, which stays packed if so asked.
template <bool kPack, class T, int R>
FASTBN_INLINE void turned_step(const GemmBlock<T>& g, RowsOfA<T, R>& a, Vec<T> row, T*& packed,
                               Vec<T> (&acc)[R]) {
  if constexpr (kPack) {
    Vec<T>::store(packed, row);
    packed += g.pack_width;
  }
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) acc[i] = fma(Vec<T>::broadcast(*a[i]), row, acc[i]);
  a.advance(g.a_k);
}

// The rows of B at a group of steps.
template <class T>
FASTBN_INLINE void load_turned(const RowsOfSquare<T>& from, Vec<T> (&rows)[Vec<T>::kGroup]) {
  FASTBN_UNROLL
  for (int i = 0; i < Vec<T>::kGroup; ++i) rows[i] = load_groups<T>(from, i, 0);
  Vec<T>::transpose_groups(rows);
}

// The last steps of k, fewer than a group: the last ones of the group that ends there.  It begins in the block of k
// before this one, if this one is shorter; all of k is a group at least.
template <class T, int R, bool kPack>
FASTBN_INLINE void turn_last_steps(const GemmBlock<T>& g, RowsOfA<T, R>& a, const T* b,
                                   index_t steps, T*& packed, Vec<T> (&acc)[R]) {
  constexpr int kGroup = Vec<T>::kGroup;
  Vec<T> rows[kGroup];
  load_turned<T>(RowsOfSquare<T>(b + g.k - kGroup, g.b_k), rows);
  FASTBN_UNROLL
  for (int t = 1; t < kGroup; ++t) {
    if (t >= kGroup - steps) turned_step<kPack>(g, a, rows[t], packed, acc);
  }
}

// Where chains of a tile are taken up, or null if they start at zero, and where they are left; elements from one row to
// the next.
template <class T>
struct ChainsAt {
  const T* from;
  index_t from_row;
  T* to;
  index_t to_row;
};

}  // namespace
}  // namespace fastbn
