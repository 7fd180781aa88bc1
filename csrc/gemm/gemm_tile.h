// The micro-kernel: a register tile of C and its chains of multiply-adds over k.  Equation and operand
// layout: gemm_args.h.
//
// The tile is mr rows by three registers.  With 32 registers mr = 8: 24 accumulators, 3 of B, one
// broadcast element of A; with 16 registers mr = 4: 12 + 3 + 1.  Both divide the batch sizes that
// are multiples of 8, so that such batches have no edge in M.  Wider tiles with fewer rows (6 x 4
// registers) or taller ones (14 x 2) need as few loads per multiply-add but leave an edge there.
#pragma once

#include <type_traits>

#include "gemm/gemm_args.h"
#include "gemm/gemm_beside.h"
#include "gemm/gemm_heights.h"
#include "gemm/gemm_pointers.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kGemmVectors = 3;
constexpr int kGemmRows = kVectorRegisters >= 32 ? 8 : 4, kHalfRows = kGemmRows / 2;

// Whether tiles of V registers' width are ever halved (g.half_tiles): 64-byte registers may be two passes of the CPU's
// units, and half a tile of one register would have too few chains.
template <class T, int V>
constexpr bool kMayHalve = V > 1 && Vec<T>::kWidth * sizeof(T) == 64;

// The last register of a panel, of whose columns n are new: the others are the last ones of the register before, which
// are then computed twice, to the same bits, and stored twice.  All of a row is loaded before any of it is stored.
template <class T>
struct OverlappingLanes {
  int n;
  FASTBN_INLINE Vec<T> load(const T* p) const { return Vec<T>::load(p - (Vec<T>::kWidth - n)); }
  FASTBN_INLINE void store(T* p, Vec<T> v) const { Vec<T>::store(p - (Vec<T>::kWidth - n), v); }
};

// Of V registers the last in part.  AVX2's masked stores are slow on AMD's cores, NEON stores some lanes one by one:
// there it overlaps, if there is a register before it (one thread of Zen 3: dW of 128 x 10 1.04 to 1.9 times as fast, Y
// 1.02 to 1.09, 100 x 100 1.02, 64 x 63 1.05).
template <class T, int V>
using LastLanesOf = std::conditional_t<V == 1 || Vec<T>::kWidth * sizeof(T) == 64, FirstLanes<T>,
                                       OverlappingLanes<T>>;

template <class T, int V, class Lanes>
FASTBN_INLINE void load_row(const T* p, Lanes last, Vec<T> (&row)[V]) {
  FASTBN_UNROLL
  for (int v = 0; v < V - 1; ++v) row[v] = Vec<T>::load(p + v * Vec<T>::kWidth);
  row[V - 1] = last.load(p + (V - 1) * Vec<T>::kWidth);
}

template <class T, int V, class Lanes>
FASTBN_INLINE void store_row(T* p, Lanes last, const Vec<T> (&row)[V]) {
  FASTBN_UNROLL
  for (int v = 0; v < V - 1; ++v) Vec<T>::store(p + v * Vec<T>::kWidth, row[v]);
  last.store(p + (V - 1) * Vec<T>::kWidth, row[V - 1]);
}

template <class T, int R, int V>
FASTBN_INLINE void zero(Vec<T> (&rows)[R][V]) {
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) {
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) rows[i][v] = Vec<T>::zero();
  }
}

template <class T, int R, int V, class Lanes>
FASTBN_INLINE void load_rows(const T* p, index_t apart, Lanes last, Vec<T> (&rows)[R][V]) {
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) load_row<T, V>(p + i * apart, last, rows[i]);
}

template <class T, int R, int V, class Lanes>
FASTBN_INLINE void store_rows(T* p, index_t apart, Lanes last, const Vec<T> (&rows)[R][V]) {
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) store_row<T, V>(p + i * apart, last, rows[i]);
}

// The epilogue from column j on.
template <class T>
FASTBN_INLINE GemmColumns<T> from_column(const GemmColumns<T>& c, index_t j) {
  return {c.bias ? c.bias + j : nullptr, c.mean ? c.mean + j : nullptr,
          c.scale ? c.scale + j : nullptr, c.shift ? c.shift + j : nullptr};
}

// c = activation(columns(alpha * chain + beta * c)) for one row of a tile.  The normalization's
// operations are those of batch norm's own kernels, so that its bits are, too.
template <class T, int V, class Lanes>
FASTBN_INLINE void finish_row(const GemmBlock<T>& g, T* c, Lanes last, Vec<T> (&row)[V]) {
  FASTBN_UNROLL
  for (int v = 0; v < V; ++v) row[v] = row[v] * Vec<T>::broadcast(g.alpha);
  if (g.beta != T(0)) {
    Vec<T> old[V];
    load_row<T, V>(c, last, old);
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) row[v] = fma(Vec<T>::broadcast(g.beta), old[v], row[v]);
  }
  if (g.columns.bias) {
    Vec<T> bias[V];
    load_row<T, V>(g.columns.bias, last, bias);
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) row[v] = row[v] + bias[v];
  }
  if (g.columns.scale) {
    Vec<T> mean[V], scale[V], shift[V];
    load_row<T, V>(g.columns.mean, last, mean);
    load_row<T, V>(g.columns.scale, last, scale);
    load_row<T, V>(g.columns.shift, last, shift);
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) row[v] = fma(row[v] - mean[v], scale[v], shift[v]);
  }
  if (g.relu) {
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) row[v] = relu(row[v]);
  }
  store_row<T, V>(c, last, row);
}

// The cache that a tile asks for the rows of B that come: none if B is packed, which prefetchers follow.
enum class Ahead { none, to_l1, to_l2 };

template <Ahead kAhead>
FASTBN_INLINE void ask(const void* line) {
  kAhead == Ahead::to_l2 ? prefetch_to_l2(line) : __builtin_prefetch(line);
}

// Asks for what of a row of B lies beyond its registers: nothing, but where B wraps (gemm_wrap_in_place.h).
template <Ahead, class T, class Lanes>
FASTBN_INLINE void ask_for_end(const T*, Lanes) {}

// `step` n times, kBy2 written out two at a time.
//
// A step of the 8 x 48 tile is 40 instructions for 12 cycles of multiply-adds.  Where another thread has the other half
// of the core, the branch at the end of each step, and what it cuts off a fetch, cost 2 to 7 % of a product (Emerald
// Rapids beside a neighbour: 256 cubed 1.055, 512 cubed 1.02 to 1.05, NT 784 x 256 at 512 rows 1.07, TN 784 x 256 with
// k = 128 1.035 times as fast, with AVX2 0.995 to 1.08; alone 1.00 to 1.02).  Broadcasts loaded four rows ahead, into
// the next step too, gained nothing more compiled, 1 to 2 % in assembly.  Four at a time, which these figures are of,
// are 1 % better in assembly, and the file took a quarter longer to compile.  Tiles of fewer rows than kGemmRows go
// step by step: they are few, and would be a tenth of the library.
template <bool kBy2, class Step>
FASTBN_INLINE void repeat(index_t n, Step step) {
  if constexpr (kBy2) {
    FASTBN_UNROLL_BY_2
    for (; n > 0; --n) step();
  } else {
    for (; n > 0; --n) step();
  }
}

// The chain of multiply-adds of a tile.  B read where it lies is left packed on the way, if kPacks says so:
// its stores go beside the arithmetic of this tile, so that packing costs no pass of its own; and as no hardware
// prefetcher follows rows that are a page or more apart, each is asked for some rows ahead.  (One loop for both, which
// looked at every step whether to pack: 0.97 to 0.985 times as fast at 8 rows; Emerald Rapids.)
//
// The lines of C and of A that the next tile begins with are asked for meanwhile, one a step: neither the unfinished
// sums that it loads first nor its stores wait for the cache below then, which was worth 5 to 10 % of the peak.  The
// loops that ask are apart: a branch in a single loop, right in every step, cost 6 % (Ice Lake).  All lines at once,
// before the loop, cost more than they gained: they filled the queue of misses in which A and B wait too.  With 16
// registers the R steps beside a register's lines must not be written out, as GCC does with a number that it knows: it
// mixes them, and a sum goes through memory at every step (one thread of Zen 3, rolled beside written out: products of
// 64 to 96 steps 1.00 to 1.02 times as fast, and a tenth less code).
template <class T, int R, int V, Ahead kAhead, bool kPacks = false, class Lanes>
FASTBN_INLINE void multiply(const GemmBlock<T>& g, const T* a, Lanes last, const Beside<T>& beside,
                            Vec<T> (&acc)[R][V]) {
  constexpr index_t w = Vec<T>::kWidth, kLine = 64 / sizeof(T), kLinesOfA = 8;
  constexpr bool kBy2 = !kPacks && R >= kGemmRows && w > 1;
  const index_t k = g.k, a_k = g.a_k, b_k = g.b_k;
  RowsOfA<T, R> rows(a, g.a_row);
  const T* b = g.b;
  T* packed = g.pack_to;
  index_t ahead = g.asks.rows * b_k;
  opaque(ahead);
  const auto step = [&]() FASTBN_INLINE_LAMBDA {
    Vec<T> row[V];
    load_row<T, V>(b, last, row);
    if constexpr (kAhead != Ahead::none) {
      ask_for_end<kAhead>(b + ahead, last);
      FASTBN_UNROLL
      for (int v = 0; v < V; ++v) ask<kAhead>(b + ahead + v * w);
      if (kPacks) store_row<T, V>(packed, last, row);
      if (kPacks) opaque(packed += g.pack_width);
    }
    FASTBN_UNROLL
    for (int i = 0; i < R; ++i) {
      const Vec<T> av = Vec<T>::broadcast(*rows[i]);
      FASTBN_UNROLL
      for (int v = 0; v < V; ++v) acc[i][v] = fma(av, row[v], acc[i][v]);
    }
    rows.advance(a_k);
    opaque(b += b_k);
  };
  // V registers may straddle V + 1 lines; of A as many as a prefetcher needs to go on by itself.
  const bool asks_c = beside.c && k >= 2 * R * (V + 1),
             asks_a = beside.a && k >= kLinesOfA * kLine && k >= R * (V + 1 + kLinesOfA);
  const index_t lines_c = asks_c ? V + 1 : 0, lines_a = asks_a ? kLinesOfA : 0;
  for (index_t l = 0; l < lines_c + lines_a; ++l) {
    const bool of_c = l < lines_c;
    const T* line =
        !of_c ? beside.a + (l - lines_c) * kLine : beside.c + (l < V ? l * w : V * w - 1);
    const index_t row = of_c ? g.c_row : g.a_row;
    index_t rounds = R;
    if constexpr (kVectorRegisters < 32) opaque(rounds);
    repeat<kBy2 && kAhead == Ahead::none>(rounds, [&]() FASTBN_INLINE_LAMBDA {
      step();
      prefetch_to_l2(line);
      line += row;
    });
  }
  index_t left = k - R * (lines_c + lines_a);
  // No tile of fewer rows has a share, and where there is a next panel all are two registers wide at least.
  if constexpr (R >= kGemmRows && V > 1 && kAhead == Ahead::none) {
    if (index_t rows_left = beside.p_end - beside.p; rows_left > 0) {
      NextPanel<T> next(g, beside.p);
      const index_t apart = left / rows_left;
      left -= apart * rows_left;
      for (; rows_left > 0; --rows_left) {
        repeat<kBy2>(apart, step);
        next.template pack_row<V>();
      }
    }
  }
  repeat<kBy2>(left, step);
}

// The same of B where the caller has it.
template <class T, int R, int V, bool kPacks, class Lanes>
FASTBN_INLINE void multiply_in_place(const GemmBlock<T>& g, const T* a, Lanes last,
                                     const Beside<T>& beside, Vec<T> (&acc)[R][V]) {
  if (g.asks.to_l2) {
    multiply<T, R, V, Ahead::to_l2, kPacks>(g, a, last, beside, acc);
  } else {
    multiply<T, R, V, Ahead::to_l1, kPacks>(g, a, last, beside, acc);
  }
}

// R rows by V registers of C from `row` on, the last register in whole or in part, of what `chains` adds up.  kPlain:
// nothing to resume or suspend, and the chains as they are make C.
//
// Chains that are left as they are, in C or unfinished, are stored without a look at the epilogue in each row (k = 64
// to 128: 1.01 to 1.02 times as fast, at 24 rows 1.02 to 1.05, 256 cubed 1.005; Emerald Rapids).
template <class T, int R, int V, bool kPlain, class Lanes, class Chains>
FASTBN_INLINE void tile_of_chains(const GemmBlock<T>& g, index_t row, Lanes last, Chains chains) {
  Vec<T> acc[R][V];
  T* const partial = g.partial + row * g.partial_row;
  T* const c = g.c + row * g.c_row;
  if (!kPlain && g.resume) {
    load_rows(partial, g.partial_row, last, acc);
  } else {
    zero(acc);
  }
  chains(acc);
  if (kPlain || g.suspend || g.plain) {
    const bool unfinished = !kPlain && g.suspend;
    store_rows(unfinished ? partial : c, unfinished ? g.partial_row : g.c_row, last, acc);
  } else {
    FASTBN_UNROLL
    for (int i = 0; i < R; ++i) finish_row<T, V>(g, c + i * g.c_row, last, acc[i]);
  }
}

template <class T, int R, int V, bool kInPlace, bool kPlain, class Lanes>
FASTBN_INLINE void tile(const GemmBlock<T>& g, const T* a, index_t row, Lanes last,
                        const Beside<T>& beside) {
  tile_of_chains<T, R, V, kPlain>(g, row, last, [&](Vec<T>(&acc)[R][V]) FASTBN_INLINE_LAMBDA {
    if constexpr (!kInPlace) {
      multiply<T, R, V, Ahead::none>(g, a, last, beside, acc);
    } else if (R >= kGemmRows && g.pack_to) {  // fewer rows do not: gemm_args.h
      multiply_in_place<T, R, V, R >= kGemmRows>(g, a, last, beside, acc);
    } else {
      multiply_in_place<T, R, V, false>(g, a, last, beside, acc);
    }
  });
}

// A tile of B read where it lies, which packs nothing.
template <class T, int R, int V, Ahead kAhead, class Lanes>
FASTBN_INLINE void tile_in_place(const GemmBlock<T>& g, const T* a, index_t row, Lanes lanes,
                                 const Beside<T>& beside) {
  tile_of_chains<T, R, V, false>(g, row, lanes, [&](Vec<T>(&acc)[R][V]) FASTBN_INLINE_LAMBDA {
    multiply<T, R, V, kAhead>(g, a, lanes, beside, acc);
  });
}

// How many of the `left` rows a tile takes.  A last tile of a row or two would read a panel faster than L2 gives
// it: it shares with the one before it, unless A is packed into tiles of kGemmRows.  (Halves do not: of 17, 25 and 33
// rows, NT 256 x 48, that was 0.88 to 0.94 times as fast, their short panel being in L1.)
FASTBN_INLINE index_t rows_of_tile(index_t left, index_t tall, bool linear) {
  if (tall > kGemmRows && (left == tall || left >= tall + kGemmRows)) return tall;
  if (linear && left > kGemmRows && left < 2 * kGemmRows) return (left + 1) / 2;
  return left < kGemmRows ? left : kGemmRows;
}

template <class T>
FASTBN_INLINE const T* rows_of_a(const GemmBlock<T>& g, index_t row) {
  return g.a + row / kGemmRows * g.a_tile + row % kGemmRows * g.a_row;
}

// What the tile of `rows` rows from `row` on does beside its multiply-adds.  Rows of a panel to come are packed by
// tiles of kGemmRows rows at least: not by the last two.
template <class T>
FASTBN_INLINE Beside<T> beside(const GemmBlock<T>& g, index_t row, index_t rows,
                               index_t packed_from) {
  Beside<T> todo;
  const index_t after = row + rows;
  if (after >= g.m) {
    todo.c = g.after_c, todo.a = g.after_a;
  } else if (after + rows <= g.m) {
    todo.c = g.c + after * g.c_row, todo.a = g.a_streams ? rows_of_a(g, after) : nullptr;
  }
  if (g.next_to) {
    const index_t end = g.m - 2 * kGemmRows;
    todo.p = packed_beside(g, packed_from, end, row);
    todo.p_end = packed_beside(g, packed_from, end, after);
  }
  return todo;
}

// A tile that is plain, kGemmRows high, as it is or in halves.
template <class T, int V, class Lanes>
FASTBN_INLINE void plain_tile(const GemmBlock<T>& g, const T* a, index_t row, Lanes last) {
  if constexpr (kMayHalve<T, V>) {
    if (g.half_tiles) {
      tile<T, kHalfRows, V, false, true>(g, a, row, last, {});
      return tile<T, kHalfRows, V, false, true>(g, a + kHalfRows * g.a_row, row + kHalfRows, last,
                                                {});
    }
  }
  tile<T, kGemmRows, V, false, true>(g, a, row, last, {});
}

// `rows` <= kGemmRows rows as one tile of their own height.
template <class T, int V, bool kInPlace, class Lanes>
void tile_of_height(const GemmBlock<T>& g, index_t rows, const T* a, index_t row, Lanes last,
                    const Beside<T>& beside) {
  of_height<kGemmRows>(rows, [&](auto r) FASTBN_INLINE_LAMBDA {
    tile<T, r, V, kInPlace, false>(g, a, row, last, beside);
  });
}

}  // namespace
}  // namespace fastbn
