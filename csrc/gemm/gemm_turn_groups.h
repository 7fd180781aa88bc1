// Few rows of C against a B whose columns are contiguous, where a register is two groups of 16 bytes (AVX2):
//
//          B: 8 columns            a register holds one step of 8 columns; four of them are loaded as 8 groups, and
//        +-+-+-+-+-+-+-+-+         turned among themselves
//        |4 steps of each|
//        +-+-+-+-+-+-+-+-+
//   R accumulators for each of V registers of columns
//
// Sixteen registers hold no square of B beside the chains, as gemm_turn.h has it, but a group of steps: it is loaded
// while the one before is multiplied, for a window that is full of multiply-adds does not reach the loads behind them.
// A few rows are fewer chains than two multiply-add units of latency 4 ask for: registers of columns in turn are more.
// (Zen 3, beside B transposed in pieces or C.T computed: docs/gemm.md.)
#pragma once

#include <algorithm>
#include <cstdlib>

#include "gemm/gemm_turn_steps.h"

namespace fastbn {
namespace {

// More spill: ten accumulators, a group of steps, a broadcast value and one in the making.
constexpr int kTurnRowsByGroups = 10;

// Registers of columns in turn, for eight chains or so.
constexpr int registers_in_turn(int rows) {
  return rows <= 2 ? 4 : rows <= 4 ? 2 : 1;
}

// Whether L1 has a line of each of so many columns at a time, of 8 ways and a page to a way.  (Zen 3, columns half a
// page apart, one row by four registers in turn and by one: 1.03 and 1.5 to 1.9 times as fast as packed.)
template <class T>
bool fit_l1(const GemmBlock<T>& g, index_t columns) {
  const index_t apart = std::abs(g.b_k) * index_t{sizeof(T)};
  const index_t share =
      std::min(kPageBytes, apart & -apart);  // of a page: what the columns' sets are apart
  return columns * share <= 8 * kPageBytes;
}

// The registers of a group of steps, as they come from memory.
template <class T>
FASTBN_INLINE void load_group(const RowsOfSquare<T>& from, Vec<T> (&next)[Vec<T>::kGroup]) {
  FASTBN_UNROLL
  for (int t = 0; t < Vec<T>::kGroup; ++t) next[t] = load_groups<T>(from, t, 0);
}

// R chains over all of k for each of V registers of columns.
template <class T, int R, int V>
void turn_registers(const GemmBlock<T>& g, const T* a, const T* b, const ChainsAt<T>& chains) {
  constexpr index_t w = Vec<T>::kWidth, kGroup = Vec<T>::kGroup;
  Vec<T> acc[V][R];
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) {
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) {
      acc[v][i] =
          chains.from ? Vec<T>::load(chains.from + i * chains.from_row + v * w) : Vec<T>::zero();
    }
  }
  T* packed = nullptr;  // these leave nothing packed
  RowsOfA<T, R> rows(a, g.a_row);
  RowsOfSquare<T> from(b, g.b_k);
  const index_t groups = g.k / kGroup;
  Vec<T> next[kGroup];
  if (groups > 0) load_group(from, next);
  for (index_t left = groups; left > 0; --left) {
    RowsOfA<T, R> steps = rows;
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) {
      Vec<T> turned[kGroup];
      FASTBN_UNROLL
      for (int t = 0; t < kGroup; ++t) turned[t] = next[t];
      Vec<T>::transpose_groups(turned);
      // The last group is loaded again, for nothing.
      from.advance(v < V - 1 ? w * g.b_k : left > 1 ? kGroup - (V - 1) * w * g.b_k : 0);
      steps = rows;
      FASTBN_UNROLL
      for (int t = 0; t < kGroup; ++t) {
        turned_step</*kPack=*/false>(g, steps, turned[t], packed, acc[v]);
        next[t] = load_groups<T>(from, t, 0);
      }
    }
    rows = steps;
  }
  FASTBN_UNROLL
  for (int v = 0; v < V; ++v) {
    if (g.k % kGroup != 0) {
      RowsOfA<T, R> steps = rows;
      turn_last_steps<T, R, /*kPack=*/false>(g, steps, b + v * w * g.b_k, g.k % kGroup, packed,
                                             acc[v]);
    }
    FASTBN_UNROLL
    for (int i = 0; i < R; ++i) Vec<T>::store(chains.to + i * chains.to_row + v * w, acc[v][i]);
  }
}

// The same of `registers` registers of columns.
template <class T, int R>
void turn_columns_by_groups(const GemmBlock<T>& g, index_t registers, const T* a, const T* b,
                            const ChainsAt<T>& chains) {
  constexpr index_t w = Vec<T>::kWidth;
  constexpr int kInTurn = registers_in_turn(R);
  const auto from = [&](index_t r) {
    const T* const taken_up = chains.from ? chains.from + r * w : nullptr;
    return ChainsAt<T>{taken_up, chains.from_row, chains.to + r * w, chains.to_row};
  };
  index_t r = 0;
  if constexpr (kInTurn > 1) {
    for (; r + kInTurn <= registers && fit_l1(g, kInTurn * w); r += kInTurn) {
      turn_registers<T, R, kInTurn>(g, a, b + r * w * g.b_k, from(r));
    }
  }
  for (; r < registers; ++r) turn_registers<T, R, 1>(g, a, b + r * w * g.b_k, from(r));
}

}  // namespace
}  // namespace fastbn
