// A few rows of C, or one, by rank-4 updates: four rows of B at a time, in the order in which B lies.
//
//            B, as the caller has it
//            +---------------------------+
//            |  ->   ->   ->   ->   ->   |  four rows: of each two registers are held, n columns long
//            +---------------------------+
//            |  ->   ...                 |  the next four
//   A        sums, n columns of each row
//  +----+    +---------------------------+
//  |    |    |  ->   ->   ->   ->   ->   |  += of each row of A four elements times the registers that are held,
//  +----+    +---------------------------+     in ascending order
//
// A register tile holds sums and reads B down a panel: of rows that are a multiple of half a page apart two or three
// lines each, which meet in few sets of L1 and L2, which no prefetcher follows, and which the next tile below reads
// again. Here registers hold B, which is read once and as prefetchers expect it; the sums, 16 KiB at most, stay in L1,
// and are loaded and stored once for four steps.  Each step of a row is a chain of 16 cycles, beside which the window
// has those of the rows below.  (Zen 3, 8 to 24 rows, two registers of four rows beside others that 16 registers hold:
// three of four 0.9 to 1.05 times as fast, two of six 0.93 to 1.03, one of eight 0.65.  Two rows of sums at once: 0.9
// to 1.0.)
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_beside.h"
#include "gemm/gemm_tile.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kStepsOfUpdate = 4, kRegistersOfUpdate = 2;

// Nobody has measured it of longer registers: updates_pay().
template <class T>
constexpr bool kHasUpdates = Vec<T>::kWidth * sizeof(T) == 32;

// Four steps, or the last ones, of all rows.
template <class T>
struct Update {
  index_t rows;
  const T* a;  // steps of a row follow one another
  index_t a_row;
  const T* b;
  index_t b_row;
  T* sums;
  index_t sums_row;
  T* to;  // where sums of whole pairs of registers are left: there, or in C, where they are finished
  index_t to_row;
};

// P steps of V registers of columns from column j on.  kBegins: sums are zero, whatever lies there.
template <class T, int P, int V, bool kBegins, class Lanes>
FASTBN_INLINE void update_columns(const Update<T>& u, index_t j, Lanes last, T* to,
                                  index_t to_row) {
  Vec<T> b[P][V];
  load_rows(u.b + j, u.b_row, last, b);
  const index_t a_row = u.a_row, sums_row = u.sums_row;
  const T *a = u.a, *from = u.sums + j;
  to += j;
  for (index_t left = u.rows; left > 0; --left) {
    Vec<T> sums[1][V];
    if constexpr (kBegins) {
      zero(sums);
    } else {
      load_row<T, V>(from, AllLanes<T>{}, sums[0]);
    }
    FASTBN_UNROLL
    for (int p = 0; p < P; ++p) {
      const Vec<T> step = Vec<T>::broadcast(a[p]);
      FASTBN_UNROLL
      for (int v = 0; v < V; ++v) sums[0][v] = fma(step, b[p][v], sums[0][v]);
    }
    store_row<T, V>(to, AllLanes<T>{}, sums[0]);
    opaque(a += a_row), opaque(from += sums_row), opaque(to += to_row);
  }
}

// The lines of the next rows of B at column j.
template <class T, int P>
FASTBN_INLINE void ask_for_next(const Update<T>& u, const T* next, index_t j) {
  if (!next) return;
  FASTBN_UNROLL
  for (int p = 0; p < P; ++p) prefetch_to_l2(next + p * u.b_row + j);
}

// P steps of whole pairs of registers, `pairs` columns, of R rows, whose elements of A stay in registers: those of B
// are operands of multiply-adds, and there is no loop over rows.
template <class T, int R, int P, bool kBegins>
FASTBN_INLINE void update_held_rows(const Update<T>& u, index_t pairs, const T* next) {
  constexpr int V = kRegistersOfUpdate;
  Vec<T> a[R][P];
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) {
    FASTBN_UNROLL
    for (int p = 0; p < P; ++p) a[i][p] = Vec<T>::broadcast(u.a[i * u.a_row + p]);
  }
  for (index_t j = 0; j < pairs; j += V * Vec<T>::kWidth) {
    ask_for_next<T, P>(u, next, j);
    Vec<T> sums[R][V];
    if constexpr (kBegins) {
      zero(sums);
    } else {
      load_rows(u.sums + j, u.sums_row, AllLanes<T>{}, sums);
    }
    FASTBN_UNROLL
    for (int p = 0; p < P; ++p) {
      Vec<T> row[V];
      load_row<T, V>(u.b + p * u.b_row + j, AllLanes<T>{}, row);
      FASTBN_UNROLL
      for (int i = 0; i < R; ++i) {
        FASTBN_UNROLL
        for (int v = 0; v < V; ++v) sums[i][v] = fma(a[i][p], row[v], sums[i][v]);
      }
    }
    store_rows(u.to + j, u.to_row, AllLanes<T>{}, sums);
  }
}

// P steps of n columns; meanwhile the rows of B from `next` on, if any, are asked for.  Sums of the last columns, which
// do not fill a pair of registers, are whole registers in memory, too, and stay there.
template <class T, int P, bool kBegins>
void update(const Update<T>& u, index_t n, const T* next) {
  constexpr index_t w = Vec<T>::kWidth, kPair = kRegistersOfUpdate * w;
  const index_t pairs = n - n % kPair;
  if (u.rows == 1) {
    update_held_rows<T, 1, P, kBegins>(u, pairs, next);
  } else if (u.rows == 2) {
    update_held_rows<T, 2, P, kBegins>(u, pairs, next);
  } else {
    for (index_t j = 0; j < pairs; j += kPair) {
      ask_for_next<T, P>(u, next, j);
      update_columns<T, P, 2, kBegins>(u, j, AllLanes<T>{}, u.to, u.to_row);
    }
  }
  const int left = static_cast<int>(n - pairs);
  if (left > w) {
    const FirstLanes<T> last{left - static_cast<int>(w)};
    update_columns<T, P, 2, kBegins>(u, pairs, last, u.sums, u.sums_row);
  } else if (left > 0) {
    update_columns<T, P, 1, kBegins>(u, pairs, FirstLanes<T>{left}, u.sums, u.sums_row);
  }
}

// The first update is of four steps.
template <class T>
void update_by(index_t steps, bool begins, const Update<T>& u, index_t n, const T* next) {
  if (begins) return update<T, 4, true>(u, n, next);
  switch (steps) {
    case 4:
      return update<T, 4, false>(u, n, next);
    case 3:
      return update<T, 3, false>(u, n, next);
    case 2:
      return update<T, 2, false>(u, n, next);
    default:
      return update<T, 1, false>(u, n, next);
  }
}

// C from finished chains, from column `first` on.
template <class T>
void finish_sums(const GemmBlock<T>& block, index_t first) {
  GemmBlock<T> g = block;
  for_each_vector<T>(g.n - first, [&](index_t from_first, auto lanes) FASTBN_INLINE_LAMBDA {
    const index_t j = first + from_first;
    g.columns = from_column(block.columns, j);
    for (index_t i = 0; i < g.m; ++i) {
      Vec<T> row[1] = {lanes.load(g.partial + i * g.partial_row + j)};
      finish_row<T, 1>(g, g.c + i * g.c_row + j, lanes, row);
    }
  });
}

// A line of steps of each row of A, or the last ones.  Copied, rows share no set of L1, and steps follow one another.
template <class T>
void copy_steps(const GemmBlock<T>& g, index_t p, T* to) {
  constexpr index_t kLine = 64 / sizeof(T);
  for (index_t i = 0; i < g.m; ++i) {
    const T* from = g.a + i * g.a_row + p * g.a_k;
    if (g.a_k == 1 && g.k - p >= kLine) {
      __builtin_memcpy(to + i * kLine, from, 64);
    } else {
      for (index_t s = 0; s < kLine && s < g.k - p; ++s) to[i * kLine + s] = from[s * g.a_k];
    }
  }
}

template <class T>
void gemm_updates(const GemmBlock<T>& g) {
  if constexpr (kHasUpdates<T>) {
    constexpr index_t kLine = 64 / sizeof(T);
    alignas(64) T a[kMostRowsUpdated * kLine];
    for (index_t p = 0; p < g.k; p += kStepsOfUpdate) {
      if (p % kLine == 0) copy_steps(g, p, a);
      const index_t left = g.k - p;
      const T* b = g.b + p * g.b_k;
      const bool to_c = left <= kStepsOfUpdate && g.plain;
      const Update<T> u{g.m,
                        a + p % kLine,
                        kLine,
                        b,
                        g.b_k,
                        g.partial,
                        g.partial_row,
                        to_c ? g.c : g.partial,
                        to_c ? g.c_row : g.partial_row};
      const bool asks = g.asks.rows > 0 && left >= 2 * kStepsOfUpdate;
      const index_t steps = left < kStepsOfUpdate ? left : kStepsOfUpdate;
      update_by(steps, p == 0, u, g.n, asks ? b + kStepsOfUpdate * g.b_k : nullptr);
    }
    finish_sums(g, g.plain ? g.n - g.n % (kRegistersOfUpdate * Vec<T>::kWidth) : 0);
  }
}

}  // namespace
}  // namespace fastbn
