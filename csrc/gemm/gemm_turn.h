// Row tiles against a B whose columns are contiguous, not its rows: W.T in the gradient by the input, dX = dY W.T, at a
// small batch; at a larger one the first tile alone, which leaves B packed for the rest (gemm_panel.h).
//
//              B: 16 columns (a register of lanes), each contiguous along k
//              +--+--+--+--+
//              |  |  |  |  |    a square of registers is loaded, turned (transposed) and multiplied
//   A          |  |  |  |  |    from where it is
//  +--------+  +--+--+--+--+
//  |        |  C
//  +--------+  +-----------+   R <= kTurnRows accumulators
//              +-----------+
//
// A square of 16 lanes costs 80 shuffles and insertions, which run beside its 16 R multiply-adds: as many rows as the
// registers hold share them.  A cache line of B is read by one square alone: columns of B that lie a multiple of a page
// apart share a set of L1, and would evict one another before a second look.  Of more rows of C than turns() bears
// a packed panel serves most or all tiles, which are three registers wide and have a third of the broadcasts.
//
// That is of registers of four groups of 16 bytes (AVX-512).  Chains of two groups to a register (AVX2) are
// gemm_turn_groups.h; what surrounds the chains is here for both.
#pragma once

#include <cstdint>

#include "gemm/gemm_args.h"
#include "gemm/gemm_heights.h"
#include "gemm/gemm_tile.h"
#include "gemm/gemm_turn_groups.h"
#include "gemm/gemm_turn_steps.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// Registers of four groups turn squares: 16 accumulators beside the 16 registers of two half-used squares.
constexpr bool kTurnsSquares = Vec<float>::kWidth == 16;
constexpr int kTurnRows = Vec<float>::kGroup == 0 ? 0 : kTurnsSquares ? 16 : kTurnRowsByGroups;
// Registers of columns whose chains pass through memory at a time.
constexpr index_t kRegistersInMemory = kTurnsSquares ? kGemmVectors : kMostInTurn;

// The last n lanes of a register; those before are another register's, stored already.
template <class T>
struct LastLanes {
  static constexpr bool kPartial = false;
  int n;
  FASTBN_INLINE Vec<T> load(const T* p) const { return Vec<T>::load(p); }
  FASTBN_INLINE void store(T* p, Vec<T> v) const {
    T lanes[Vec<T>::kWidth];
    Vec<T>::store(lanes, v);
    for (int l = Vec<T>::kWidth - n; l < Vec<T>::kWidth; ++l) p[l] = lanes[l];
  }
};

// A square of B as the tile holds it: b[c][i] has, in its groups, columns i, i + kGroup, ... at steps c * kGroup and
// on.  Turning the groups makes of b[c] the rows of B at those steps.
template <class T>
struct Square {
  static constexpr int kGroup = Vec<T>::kGroup, kGroups = Vec<T>::kWidth / kGroup;
  Vec<T> b[kGroups][kGroup];
  FASTBN_INLINE void load(const RowsOfSquare<T>& from, int t) {  // one register of it
    const int i = t / kGroups, c = t % kGroups;
    b[c][i] = load_groups<T>(from, i, c * kGroup);
  }
  // Columns i, i + kGroup, ... of it by whole lines.
  FASTBN_INLINE void load_lines(const RowsOfSquare<T>& from, int i) {
    Vec<T> lines[kGroups];
    FASTBN_UNROLL
    for (int q = 0; q < kGroups; ++q) lines[q] = Vec<T>::load(from[i + q * kGroup]);
    Vec<T>::transpose_lanes(lines);
    FASTBN_UNROLL
    for (int c = 0; c < kGroups; ++c) b[c][i] = lines[c];
  }
  FASTBN_INLINE void load(const RowsOfSquare<T>& from) {
    FASTBN_UNROLL
    for (int t = 0; t < Vec<T>::kWidth; ++t) load(from, t);
  }
};

// Columns of B a multiple of a page apart lie in one set of L1.
template <class T>
FASTBN_INLINE bool crowds_a_set(index_t b_k) {
  return b_k * index_t{sizeof(T)} % kPageBytes == 0;
}

// Whole squares of k: the chains of R rows by the columns of one register.
//
// The squares are a pipeline: `square` is loaded already.  While the multiply-adds of a step run, one register of
// the square after this one is loaded, after the last one of the first of the next columns if there are `more`, and
// once a group of steps the next group is turned.  Loading and turning a whole square first left the multiply-add unit
// waiting, as no processor looks 128 of them ahead: 79 GFLOP/s instead of 104 (Zen 4, 784 x 256, 8 rows; squares by way
// of a packed panel in L1: 69).
//
// By lines (loads_lines()), four columns are loaded at a time, a line of each, which none of a crowded set drives out
// between four looks.  Of kGemmRows rows alone: of all up to 8 it would be 40 KB more, for more registers are missing.
template <class T, int R, bool kPack, bool kByLines>
FASTBN_INLINE void turn_squares(const GemmBlock<T>& g, RowsOfA<T, R>& a, RowsOfSquare<T>& from,
                                index_t squares, bool more, T*& packed, Square<T>& square,
                                Vec<T> (&acc)[R]) {
  constexpr int w = Vec<T>::kWidth, kGroup = Vec<T>::kGroup;
  constexpr int kAhead = 5 * w;  // not to L1, where lines of columns that crowd a set would be lost
  const index_t to_next = w * g.b_k - squares * w;  // from the end of these columns
  // The first lines of the next columns are asked for, too, where all columns are one pipeline (one thread of Zen 4:
  // 2048 x 320 at 8 rows 1.09 times as fast, 512 x 512 1.03, 784 x 256 1.00; of crowded columns 0.98).
  const bool asks_for_next = more && !crowds_a_set<T>(g.b_k);
  for (index_t s = 1; s <= squares; ++s) {
    from.advance(s < squares ? w : more ? w + to_next : 0);
    if (asks_for_next && s < squares && s + kAhead / w >= squares) {
      FASTBN_UNROLL
      for (int t = 0; t < w; ++t) prefetch_to_l2(from[t] + kAhead + to_next);
    }
    Square<T> next;
    Vec<T>::transpose_groups(square.b[0]);
    FASTBN_UNROLL
    for (int t = 0; t < w; ++t) {
      turned_step<kPack>(g, a, square.b[t / kGroup][t % kGroup], packed, acc);
      if constexpr (!kByLines) {
        next.load(from, t);
      } else if (t % next.kGroups == 0) {
        next.load_lines(from, t / next.kGroups);
      }
      if (t % kGroup == 0 && t + kGroup < w) Vec<T>::transpose_groups(square.b[t / kGroup + 1]);
      prefetch_to_l2(from[t] + kAhead);
    }
    square = next;
  }
}

// Groups of k: before the first square and after the last.
template <class T, int R, bool kPack>
FASTBN_INLINE void turn_groups(const GemmBlock<T>& g, RowsOfA<T, R>& a, const T* b, index_t groups,
                               T*& packed, Vec<T> (&acc)[R]) {
  constexpr int kGroup = Vec<T>::kGroup;
  RowsOfSquare<T> from(b, g.b_k);
  for (index_t s = 0; s < groups; ++s, from.advance(kGroup)) {
    Vec<T> rows[kGroup];
    load_turned<T>(from, rows);
    FASTBN_UNROLL
    for (int t = 0; t < kGroup; ++t) turned_step<kPack>(g, a, rows[t], packed, acc);
  }
}

// R chains over all of k for each of `registers` registers of columns one after the other; the first square of one is
// loaded among the last multiply-adds of the one before.  Where columns of B crowd a set of L1, whole groups come
// first until squares begin on a cache line, or as near to one as B's elements lie to a group: parts of two lines
// of each would be twice as many (1024 x 1024 at 8 rows, arrays 16 bytes past a line: 69 to 92 GFLOP/s).
template <class T, int R, bool kPack, bool kByLines>
void turn_columns(const GemmBlock<T>& g, index_t registers, const T* a, const T* b, T* packed,
                  const ChainsAt<T>& chains) {
  constexpr index_t w = Vec<T>::kWidth, kGroup = Vec<T>::kGroup;
  index_t before = 0;
  const auto address = reinterpret_cast<std::uintptr_t>(b) / sizeof(T);
  if (crowds_a_set<T>(g.b_k)) before = static_cast<index_t>(-address % w) / kGroup;
  if (before * kGroup > g.k) before = 0;
  const index_t first = before * kGroup, squares = (g.k - first) / w;
  RowsOfSquare<T> from(b + first, g.b_k);
  Square<T> square;
  if (squares > 0) square.load(from);
  for (index_t r = 0; r < registers; ++r, b += w * g.b_k) {
    Vec<T> acc[R];
    FASTBN_UNROLL
    for (int i = 0; i < R; ++i) acc[i] = Vec<T>::zero();
    if (chains.from) {
      const T* at = chains.from + r * w;
      FASTBN_UNROLL
      for (int i = 0; i < R; ++i) acc[i] = Vec<T>::load(at + i * chains.from_row);
    }
    T* to = kPack ? packed + r * w : nullptr;
    RowsOfA<T, R> rows(a, g.a_row);
    turn_groups<T, R, kPack>(g, rows, b, before, to, acc);
    // After the last register's last square it is loaded again, for nothing.
    turn_squares<T, R, kPack, kByLines>(g, rows, from, squares, r + 1 < registers, to, square, acc);
    const T* b_left = b + first + squares * w;
    const index_t left = g.k - first - squares * w;
    turn_groups<T, R, kPack>(g, rows, b_left, left / kGroup, to, acc);
    if (left % kGroup != 0) turn_last_steps<T, R, kPack>(g, rows, b, left % kGroup, to, acc);
    T* c = chains.to + r * w;
    FASTBN_UNROLL
    for (int i = 0; i < R; ++i) Vec<T>::store(c + i * chains.to_row, acc[i]);
  }
}

template <class T, int R, bool kPack>
FASTBN_INLINE void turn_columns(const GemmBlock<T>& g, index_t registers, const T* a, const T* b,
                                T* packed, const ChainsAt<T>& chains) {
  if constexpr (R == kGemmRows) {
    if (g.by_lines) return turn_columns<T, R, kPack, true>(g, registers, a, b, packed, chains);
  }
  turn_columns<T, R, kPack, false>(g, registers, a, b, packed, chains);
}

template <class T>
void turn_columns_of_height(const GemmBlock<T>& g, index_t registers, index_t rows, const T* a,
                            const T* b, T* packed, const ChainsAt<T>& chains) {
  if constexpr (kTurnsSquares) {
    if (packed) return turn_columns<T, kGemmRows, true>(g, registers, a, b, packed, chains);
    of_height<kTurnRows>(rows, [&](auto r) FASTBN_INLINE_LAMBDA {
      turn_columns<T, r, false>(g, registers, a, b, packed, chains);
    });
  } else {
    of_height<kTurnRows>(rows, [&](auto r) FASTBN_INLINE_LAMBDA {
      turn_columns_by_groups<T, r>(g, registers, a, b, chains);
    });
  }
}

// Step p of the first `cols` columns, one element at a time.
template <class T>
FASTBN_INLINE Vec<T> turn_step(const GemmBlock<T>& g, const T* from, index_t p, index_t cols) {
  T lanes[Vec<T>::kWidth] = {};
  for (index_t j = 0; j < cols; ++j) lanes[j] = from[j * g.b_k + p];
  return Vec<T>::load(lanes);
}

// The same of fewer columns than a register has lanes.
template <class T>
void turn_few_columns(const GemmBlock<T>& g, index_t rows, const T* a, const T* b, T* chains) {
  constexpr index_t w = Vec<T>::kWidth;
  for (index_t p = 0; p < g.k; ++p, a += g.a_k) {
    const Vec<T> row = turn_step(g, b, p, g.n);
    for (index_t i = 0; i < rows; ++i) {
      const Vec<T> chain = Vec<T>::load(chains + i * w);
      Vec<T>::store(chains + i * w, fma(Vec<T>::broadcast(a[i * g.a_row]), row, chain));
    }
  }
}

// The epilogue of one row of a transposed C: each of its values a register long, in `memory`.
template <class T>
GemmColumns<T> of_row(const GemmColumns<T>& c, index_t row, T* memory) {
  constexpr index_t w = Vec<T>::kWidth;
  const auto repeated = [&](const T* values) -> const T* {
    if (!values) return nullptr;
    Vec<T>::store(memory, Vec<T>::broadcast(values[row]));
    memory += w;
    return memory - w;
  };
  return {repeated(c.bias), repeated(c.mean), repeated(c.scale), repeated(c.shift)};
}

// Row i of C, j its first column here, from its chain.
template <class T, class Lanes>
void finish_chain(const GemmBlock<T>& g, index_t i, index_t j, Lanes lanes, const T* chain) {
  GemmBlock<T> from_j = g;
  T epilogue[4 * Vec<T>::kWidth];
  from_j.columns = g.columns_of_rows ? of_row(g.columns, i, epilogue) : from_column(g.columns, j);
  Vec<T> row[1] = {Vec<T>::load(chain)};
  finish_row<T, 1>(from_j, g.c + i * g.c_row + j, lanes, row);
}

// Whether chains are neither left unfinished nor make C as they are: they pass through memory then, so that what comes
// after them is compiled once for all numbers of rows.
template <class T>
bool chains_in_memory(const GemmBlock<T>& g) {
  return !g.suspend && !g.plain;
}

// Rows of C from `row` on by whole registers of columns from column j on, at most kRegistersInMemory if by way of
// memory.
template <class T>
void turn_tile(const GemmBlock<T>& g, index_t rows, index_t row, index_t j, index_t registers) {
  constexpr index_t w = Vec<T>::kWidth;
  T chains[kTurnRows * kRegistersInMemory * w];
  T* const partial = g.partial + row * g.partial_row + j;
  ChainsAt<T> at{g.resume ? partial : nullptr, g.partial_row, chains, registers * w};
  const bool done = !chains_in_memory(g);
  if (done) {
    at.to = g.suspend ? partial : g.c + row * g.c_row + j;
    at.to_row = g.suspend ? g.partial_row : g.c_row;
  }
  turn_columns_of_height<T>(g, registers, rows, g.a + row * g.a_row, g.b + j * g.b_k,
                            g.pack_to ? g.pack_to + j : nullptr, at);
  if (done) return;
  for (index_t i = 0; i < rows; ++i) {
    for (index_t r = 0; r < registers; ++r) {
      finish_chain(g, row + i, j + r * w, AllLanes<T>{}, chains + i * at.to_row + r * w);
    }
  }
}

// The same by the last register of columns in part.
template <class T, class Lanes>
void turn_last_tile(const GemmBlock<T>& g, index_t rows, index_t row, index_t j, Lanes lanes) {
  constexpr index_t w = Vec<T>::kWidth;
  T chains[kTurnRows * w];
  const T *a = g.a + row * g.a_row, *b = g.b + j * g.b_k;
  T* const partial = g.partial + row * g.partial_row + j;
  for (index_t i = 0; i < rows; ++i) {
    Vec<T>::store(chains + i * w,
                  g.resume ? lanes.load(partial + i * g.partial_row) : Vec<T>::zero());
  }
  if constexpr (Lanes::kPartial) {
    turn_few_columns(g, rows, a, b, chains);
  } else {
    turn_columns_of_height<T>(g, 1, rows, a, b, g.pack_to ? g.pack_to + j : nullptr,
                              {chains, w, chains, w});
  }
  for (index_t i = 0; i < rows; ++i) {
    if (g.suspend) {
      lanes.store(partial + i * g.partial_row, Vec<T>::load(chains + i * w));
    } else {
      finish_chain(g, row + i, j, lanes, chains + i * w);
    }
  }
}

// Near-equal row tiles, take(rows, first row): where there is more than one, those of one register of columns after
// one another, whose lines of B the second tile finds in L1 if they fit.  Twelve rows spill nothing (32 rows of 784 x
// 256: 109 GFLOP/s, as two tiles of 16 rows 104; Zen 4); lines that come from L2 each time are shared by as many rows
// as can be (1024 x 1024 at 31 rows: 108, and 89).
template <class T, class Take>
void for_each_turning_tile(const GemmBlock<T>& g, const Take& take) {
  constexpr index_t kL1 = 32 * 1024, kNoSpill = kTurnRows < 12 ? kTurnRows : 12;
  const bool in_l1 = g.k * index_t{sizeof(T)} * Vec<T>::kWidth <= kL1;
  const index_t most = in_l1 && g.m > kTurnRows ? kNoSpill : kTurnRows;
  const index_t tiles = (g.m + most - 1) / most;
  for (index_t t = 0; t < tiles; ++t) {
    const index_t row = g.m * t / tiles, end = g.m * (t + 1) / tiles;
    take(end - row, row);
  }
}

// A block whose columns are contiguous.  Columns that do not fill the last register are computed with so many
// before them as do fill it.  Those are then computed twice, to the same bits, and stored twice unless that
// would add to them twice.  Fewer columns than a register has lanes take the slow way.
template <class T>
void turn_block(const GemmBlock<T>& g) {
  if constexpr (kTurnRows > 0) {
    constexpr index_t w = Vec<T>::kWidth;
    const auto whole = [&](index_t j, index_t registers) {
      for_each_turning_tile(
          g, [&](index_t rows, index_t row) { turn_tile(g, rows, row, j, registers); });
    };
    const auto last = [&](index_t j, auto lanes) {
      for_each_turning_tile(
          g, [&](index_t rows, index_t row) { turn_last_tile(g, rows, row, j, lanes); });
    };
    const index_t registers = g.n / w;
    const index_t together = g.m > kTurnRows       ? 1
                             : chains_in_memory(g) ? kRegistersInMemory
                                                   : registers;
    for (index_t r = 0; r < registers; r += together) {
      whole(r * w, together < registers - r ? together : registers - r);
    }
    const int left = static_cast<int>(g.n % w);
    if (left == 0) return;
    if (registers == 0) return last(0, FirstLanes<T>{left});
    if (g.resume || g.suspend || g.beta != T(0)) return last(g.n - w, LastLanes<T>{left});
    whole(g.n - w, 1);
  }
}

}  // namespace
}  // namespace fastbn
