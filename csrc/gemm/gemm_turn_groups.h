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

#include "gemm/gemm_turn_steps.h"

namespace fastbn {
namespace {

// More spill: ten accumulators, a group of steps, a broadcast value and one in the making.
constexpr int kTurnRowsByGroups = 10;

// Registers of columns in turn, for eight chains or so.
constexpr int kMostInTurn = 4;
constexpr int registers_in_turn(int rows) {
  return rows <= 2 ? kMostInTurn : rows <= 4 ? 2 : 1;
}

// Whether L1 has a line of each of so many columns at a time, of 8 ways and a page to a way.  (Zen 3, columns half a
// page apart, one row by four registers in turn, by two and by one: 1.03, 2.2 and 1.5 to 1.9 times as fast as packed.)
template <class T>
bool fit_l1(const GemmBlock<T>& g, index_t columns) {
  const index_t bytes = g.b_k * index_t{sizeof(T)}, apart = bytes < 0 ? -bytes : bytes;
  const index_t lowest = apart & -apart;  // the sets of the columns are so far apart, in a page
  const index_t share = lowest < kPageBytes ? lowest : kPageBytes;
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
      // To the next register's columns, or from the last's to the first's at the next group; the last one is loaded
      // again, for nothing.
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

// The same of registers [r, registers): V in turn while as many are left and fit, then half as many.
template <class T, int R, int V>
void turn_in_turn(const GemmBlock<T>& g, index_t r, index_t registers, const T* a, const T* b,
                  const ChainsAt<T>& chains) {
  constexpr index_t w = Vec<T>::kWidth;
  const bool fit = V == 1 || fit_l1(g, V * w);
  for (; fit && r + V <= registers; r += V) {
    const T* const taken_up = chains.from ? chains.from + r * w : nullptr;
    turn_registers<T, R, V>(g, a, b + r * w * g.b_k,
                            {taken_up, chains.from_row, chains.to + r * w, chains.to_row});
  }
  if constexpr (V > 1) turn_in_turn<T, R, V / 2>(g, r, registers, a, b, chains);
}

template <class T, int R>
void turn_columns_by_groups(const GemmBlock<T>& g, index_t registers, const T* a, const T* b,
                            const ChainsAt<T>& chains) {
  turn_in_turn<T, R, registers_in_turn(R)>(g, 0, registers, a, b, chains);
}

}  // namespace
}  // namespace fastbn
