// Matrix-product micro-kernels: a register tile of C, its loop over the row tiles of a block, and
// the packing of operands.  Equation and operand layout: gemm_args.h.
//
// The tile is mr rows by three registers.  With 32 registers mr = 8: 24 accumulators, 3 of B, one
// broadcast element of A; with 16 registers mr = 4: 12 + 3 + 1.  Both divide the batch sizes that
// are multiples of 8, so that such batches have no edge in M.  Wider tiles with fewer rows (6 x 4
// registers) or taller ones (14 x 2) need as few loads per multiply-add but leave an edge there.
#pragma once

#include "gemm/gemm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kGemmVectors = 3;
constexpr int kGemmRows = kVectorRegisters >= 32 ? 8 : 4;

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

}  // namespace
}  // namespace fastbn

#include "gemm/gemm_turn.h"

namespace fastbn {
namespace {

inline void prefetch_to_l2(const void* p) {
  __builtin_prefetch(p, /*for writing=*/0, /*locality=*/2);
}

// The chain of multiply-adds of a tile.  With kPack, B is read where it lies and left packed: its
// stores hide behind the arithmetic of this tile, so that packing costs no pass of its own; and as
// no hardware prefetcher follows rows that are a page or more apart, each is asked for 16 rows
// ahead, some 200 cycles of arithmetic.
//
// `next` is where the tile after this one lies in C, or null.  Its lines are asked for meanwhile,
// one a step: neither the unfinished sums that it loads first nor its stores wait for the cache
// below then, which was worth 5 to 10 % of the peak.  All of them at once, before the loop, cost
// more than they gained: they filled the queue of misses in which A and B wait too.
template <class T, int R, int V, bool kPack, class Lanes>
FASTBN_INLINE void multiply(const GemmBlock<T>& g, const T* a, Lanes last, const T* next,
                            Vec<T> (&acc)[R][V]) {
  constexpr index_t kAhead = 16;
  const T* b = g.b;
  T* packed = g.pack_to;
  const auto step = [&]() FASTBN_INLINE_LAMBDA {
    Vec<T> row[V];
    load_row<T, V>(b, last, row);
    if constexpr (kPack) {
      FASTBN_UNROLL
      for (int v = 0; v < V; ++v) {
        __builtin_prefetch(b + kAhead * g.b_k + v * Vec<T>::kWidth);
        if (packed) Vec<T>::store(packed + v * Vec<T>::kWidth, row[v]);
      }
      if (packed) packed += g.pack_width;
    }
    FASTBN_UNROLL
    for (int i = 0; i < R; ++i) {
      const Vec<T> av = Vec<T>::broadcast(a[i * g.a_row]);
      FASTBN_UNROLL
      for (int v = 0; v < V; ++v) acc[i][v] = fma(av, row[v], acc[i][v]);
    }
    a += g.a_k, b += g.b_k;
  };
  index_t p = 0;
  if (next && g.k >= 2 * R * (V + 1)) {
    for (; p < R * (V + 1); p += V + 1, next += g.c_row) {
      FASTBN_UNROLL
      for (int v = 0; v <= V; ++v) {  // a row of V registers may straddle V + 1 lines
        step();
        prefetch_to_l2(next + (v < V ? v * Vec<T>::kWidth : V * Vec<T>::kWidth - 1));
      }
    }
  }
  for (; p < g.k; ++p) step();
}

// R rows by V registers of C from `row` on, the last register in whole or in part.  kPlain: nothing
// to resume or suspend, and the chains as they are make C.
template <class T, int R, int V, bool kPack, bool kPlain, class Lanes>
FASTBN_INLINE void tile(const GemmBlock<T>& g, const T* a, index_t row, Lanes last, const T* next) {
  Vec<T> acc[R][V];
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) {
    FASTBN_UNROLL
    for (int v = 0; v < V; ++v) acc[i][v] = Vec<T>::zero();
    if (!kPlain && g.resume) load_row<T, V>(g.partial + (row + i) * g.partial_row, last, acc[i]);
  }
  multiply<T, R, V, kPack>(g, a, last, next, acc);
  FASTBN_UNROLL
  for (int i = 0; i < R; ++i) {
    if (kPlain) {
      store_row<T, V>(g.c + (row + i) * g.c_row, last, acc[i]);
    } else if (g.suspend) {
      store_row<T, V>(g.partial + (row + i) * g.partial_row, last, acc[i]);
    } else {
      finish_row<T, V>(g, g.c + (row + i) * g.c_row, last, acc[i]);
    }
  }
}

// `rows` <= kGemmRows rows as one tile of their own height.
template <class T, int V, bool kPack, class Lanes>
void tile_of_height(const GemmBlock<T>& g, index_t rows, const T* a, index_t row, Lanes last) {
  const T* next = row + 2 * rows <= g.m ? g.c + (row + rows) * g.c_row : nullptr;
#define FASTBN_CASE(R) \
  case R:              \
    if constexpr (R <= kGemmRows) return tile<T, R, V, kPack, false>(g, a, row, last, next)
  switch (rows) {
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

// The first rows of a panel whose columns are contiguous.
template <class T>
void turn_rows(const GemmBlock<T>& g, index_t rows) {
#define FASTBN_CASE(R) \
  case R:              \
    if constexpr (R <= kGemmRows && Vec<T>::kGroup > 0) return turn_tile<T, R>(g)
  switch (rows) {
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

constexpr index_t kShortK = 32;

// A tile of one or two registers' width is taller, where A is not packed into tiles of kGemmRows: 8 or 16
// chains are too few for the latency of two multiply-add units (128 x 20: 50 to 58 GFLOP/s of 179).  24
// rows of one register were no faster than 16: they are bound by one load for each multiply-add.
template <int V>
constexpr int kTallRows = kVectorRegisters < 32 || V == 3 ? kGemmRows
                          : V == 2                        ? 12
                                                          : 16;

template <class T, int V, class Lanes>
void tiles(const GemmBlock<T>& block, Lanes last) {
  GemmBlock<T> g = block;
  // With a short k what surrounds the chain of a tile costs as much as the chain.
  const bool plain = !g.resume && !g.suspend && g.alpha == T(1) && g.beta == T(0) &&
                     !g.columns.bias && !g.columns.scale && !g.relu && g.k <= kShortK;
  const bool linear = g.a_tile == kGemmRows * g.a_row;
  constexpr index_t kTall = kTallRows<V>;
  for (index_t row = 0, rows; row < g.m; row += rows) {
    const T* a = linear ? g.a + row * g.a_row : g.a + row / kGemmRows * g.a_tile;
    const bool first = row == 0 && g.b_streams;
    rows = g.m - row < kGemmRows ? g.m - row : kGemmRows;
    if (g.b_turns) {
      GemmBlock<T> h = g;
      h.a = a, h.c += row * g.c_row, h.partial += row * g.partial_row;
      turn_rows(h, rows);
      if (g.pack_to) g.b = g.pack_to, g.b_k = g.pack_width, g.b_turns = false;
    } else if (kTall > kGemmRows && linear && !plain && g.m - row >= kTall &&
               !(first && g.pack_to)) {
      rows = kTall;
      tile<T, kTall, V, false, false>(g, a, row, last, nullptr);
    } else if (first) {
      tile_of_height<T, V, true>(g, rows, a, row, last);
      if (g.pack_to) g.b = g.pack_to, g.b_k = g.pack_width;
    } else if (plain && rows == kGemmRows) {
      tile<T, kGemmRows, V, false, true>(g, a, row, last, nullptr);
    } else {
      tile_of_height<T, V, false>(g, rows, a, row, last);
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

template <class T>
void gemm_block(const GemmBlock<T>& g) {
  switch ((g.n + Vec<T>::kWidth - 1) / Vec<T>::kWidth) {
    case 3:
      return tiles_of_width<T, 3>(g);
    case 2:
      return tiles_of_width<T, 2>(g);
    case 1:
      return tiles_of_width<T, 1>(g);
  }
}

}  // namespace
}  // namespace fastbn

#include "gemm/gemm_rows.h"

namespace fastbn {
namespace {

// ---- packing ------------------------------------------------------------------------------------

// One square of registers, or what is left of one at the right and lower edge.
template <class T, class Columns>
FASTBN_INLINE void transpose_square(int rows, Columns columns, int cols, const T* from,
                                    index_t from_row, T* to, index_t to_row) {
  constexpr int w = Vec<T>::kWidth;
  Vec<T> r[w];
  if (rows == w) {
    FASTBN_UNROLL
    for (int i = 0; i < w; ++i) r[i] = columns.load(from + i * from_row);
    transpose(r);
    FASTBN_UNROLL
    for (int j = 0; j < w; ++j) {
      if (j < cols) Vec<T>::store(to + j * to_row, r[j]);
    }
  } else {
    FASTBN_UNROLL
    for (int i = 0; i < w; ++i)
      r[i] = i < rows ? columns.load(from + i * from_row) : Vec<T>::zero();
    transpose(r);
    FASTBN_UNROLL
    for (int j = 0; j < w; ++j) {
      if (j < cols) Vec<T>::store_first(to + j * to_row, r[j], rows);
    }
  }
}

template <class T>
void transpose_matrix(index_t rows, index_t cols, const T* from, index_t from_row, T* to,
                      index_t to_row) {
  constexpr index_t w = Vec<T>::kWidth;
  for (index_t i = 0; i < rows; i += w) {
    const int height = static_cast<int>(rows - i < w ? rows - i : w);
    for_each_vector<T>(cols, [&](index_t j, auto lanes) {
      const int width = static_cast<int>(cols - j < w ? cols - j : w);
      transpose_square(height, lanes, width, from + i * from_row + j, from_row, to + j * to_row + i,
                       to_row);
    });
  }
}

template <class T>
void pack_b(index_t k, index_t n, const T* b, index_t k_stride, index_t n_stride, T* packed,
            index_t width) {
  if (n_stride == 1) {
    for (index_t p = 0; p < k; ++p, b += k_stride, packed += width) {
      for_each_vector<T>(n, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
        lanes.store(packed + j, lanes.load(b + j));
      });
    }
  } else if (k_stride == 1) {
    transpose_matrix(n, k, b, n_stride, packed, width);
  } else {
    for (index_t p = 0; p < k; ++p) {
      for (index_t j = 0; j < n; ++j) packed[p * width + j] = b[p * k_stride + j * n_stride];
    }
  }
}

template <class T>
void pack_a(index_t m, index_t k, const T* a, index_t row_stride, index_t k_stride, T* packed) {
  const index_t whole = row_stride == 1 ? m / kGemmRows * kGemmRows : 0;
  // Contiguous along m: some steps of all tiles at a time, so that a cache line of A, which two or
  // more tiles share, is fetched once.
  constexpr index_t kSteps = 8;
  for (index_t p0 = 0; p0 < k && whole > 0; p0 += kSteps) {
    const index_t steps = k - p0 < kSteps ? k - p0 : kSteps;
    for (index_t i = 0; i < whole; i += kGemmRows) {
      const T* from = a + i + p0 * k_stride;
      T* to = packed + i * k + p0 * kGemmRows;
      for (index_t p = 0; p < steps; ++p, from += k_stride, to += kGemmRows) {
        __builtin_memcpy(to, from, kGemmRows * sizeof(T));
      }
    }
  }
  for (index_t i = whole; i < m; i += kGemmRows) {
    // A tile is a panel of B's kind, mr wide.
    const index_t rows = m - i < kGemmRows ? m - i : kGemmRows;
    pack_b(k, rows, a + i * row_stride, k_stride, row_stride, packed + i * k, index_t{kGemmRows});
  }
}

// Rows are added in groups of 32 in T, the groups in double: the sum's error stays that of 32
// additions however many rows there are, at the cost of a conversion every 32 rows.
template <class T>
void column_sums(index_t rows, index_t cols, const T* x, index_t row_stride, T* sums) {
  constexpr index_t kGroup = 32;
  for_each_vector<T>(cols, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    double total[Vec<T>::kWidth] = {};
    T lane[Vec<T>::kWidth];
    for (index_t i0 = 0; i0 < rows; i0 += kGroup) {
      const index_t end = rows - i0 < kGroup ? rows : i0 + kGroup;
      Vec<T> group = Vec<T>::zero();
      for (index_t i = i0; i < end; ++i) group = group + lanes.load(x + i * row_stride + j);
      Vec<T>::store(lane, group);
      for (int l = 0; l < Vec<T>::kWidth; ++l) total[l] += static_cast<double>(lane[l]);
    }
    for (int l = 0; l < Vec<T>::kWidth; ++l) lane[l] = static_cast<T>(total[l]);
    lanes.store(sums + j, Vec<T>::load(lane));
  });
}

// kc: 4 KiB of a row of A, or half of it where A is packed.  A row tile of A, mr of them, stays in L1; a
// panel of B, 196 KiB with 64-byte registers, is read from L2 anew for each row tile, 16 bytes a cycle,
// which no CPU of the last ten years notices.  A panel that fits L1 (kc = 176) was 5 to 8 % slower: the sums
// of C are then written and read again every 176 steps.  mc: with half of kc 384 KiB of packed A, which stay
// in L2 beside the panel of B.  nc: with kc, at most 4 MiB of packed B, which stay in L3.
template <class T>
constexpr GemmKernels<T> gemm_kernels() {
  return {kGemmRows,
          kGemmVectors,
          Vec<T>::kWidth,
          Vec<T>::kGroup > 0,
          /*kc=*/static_cast<int>(4096 / sizeof(T)),
          /*mc=*/192,
          /*nc=*/static_cast<int>(4096 / sizeof(T)),
          kMostStepsByRows,
          &gemm_block<T>,
          &gemm_rows<T>,
          &transpose_matrix<T>,
          &pack_b<T>,
          &pack_a<T>,
          &column_sums<T>};
}

}  // namespace
}  // namespace fastbn
