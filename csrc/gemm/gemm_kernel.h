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

template <class T>
constexpr int kGemmWidth = kGemmVectors * Vec<T>::kWidth;

template <class T, int V, class Lanes>
FASTBN_INLINE void load_row(const T* p, Lanes last, Vec<T> (&row)[V]) {
  for (int v = 0; v < V - 1; ++v) row[v] = Vec<T>::load(p + v * Vec<T>::kWidth);
  row[V - 1] = last.load(p + (V - 1) * Vec<T>::kWidth);
}

template <class T, int V, class Lanes>
FASTBN_INLINE void store_row(T* p, Lanes last, const Vec<T> (&row)[V]) {
  for (int v = 0; v < V - 1; ++v) Vec<T>::store(p + v * Vec<T>::kWidth, row[v]);
  last.store(p + (V - 1) * Vec<T>::kWidth, row[V - 1]);
}

// c = activation(alpha * chain + beta * c + bias) for one row of a tile.
template <class T, int V, class Lanes>
FASTBN_INLINE void finish_row(const GemmBlock<T>& g, T* c, Lanes last, Vec<T> (&row)[V]) {
  for (int v = 0; v < V; ++v) row[v] = row[v] * Vec<T>::broadcast(g.alpha);
  if (g.beta != T(0)) {
    Vec<T> old[V];
    load_row<T, V>(c, last, old);
    for (int v = 0; v < V; ++v) row[v] = fma(Vec<T>::broadcast(g.beta), old[v], row[v]);
  }
  if (g.bias) {
    Vec<T> bias[V];
    load_row<T, V>(g.bias, last, bias);
    for (int v = 0; v < V; ++v) row[v] = row[v] + bias[v];
  }
  if (g.relu) {
    for (int v = 0; v < V; ++v) row[v] = relu(row[v]);
  }
  store_row<T, V>(c, last, row);
}

// R rows by V registers of C, the last register in whole or in part.
template <class T, int R, int V, class Lanes>
FASTBN_INLINE void tile(const GemmBlock<T>& g, const T* a, index_t row, Lanes last) {
  Vec<T> acc[R][V];
  for (int i = 0; i < R; ++i) {
    if (g.resume) {
      load_row<T, V>(g.partial + (row + i) * g.partial_row, last, acc[i]);
    } else {
      for (int v = 0; v < V; ++v) acc[i][v] = Vec<T>::zero();
    }
  }
  const T* b = g.b;
  for (index_t p = 0; p < g.k; ++p, a += g.a_k, b += g.b_k) {
    Vec<T> bv[V];
    load_row<T, V>(b, last, bv);
    for (int i = 0; i < R; ++i) {
      const Vec<T> av = Vec<T>::broadcast(a[i * g.a_row]);
      for (int v = 0; v < V; ++v) acc[i][v] = fma(av, bv[v], acc[i][v]);
    }
  }
  for (int i = 0; i < R; ++i) {
    if (g.suspend) {
      store_row<T, V>(g.partial + (row + i) * g.partial_row, last, acc[i]);
    } else {
      finish_row<T, V>(g, g.c + (row + i) * g.c_row, last, acc[i]);
    }
  }
}

// All full tiles of a block, then the rows that are left as one tile of their own height.
template <class T, int V, class Lanes>
void tiles(const GemmBlock<T>& g, Lanes last) {
  index_t row = 0;
  const T* a = g.a;
  for (; row + kGemmRows <= g.m; row += kGemmRows, a += g.a_tile) {
    tile<T, kGemmRows, V>(g, a, row, last);
  }
  switch (g.m - row) {
    case 7: return tile<T, 7, V>(g, a, row, last);
    case 6: return tile<T, 6, V>(g, a, row, last);
    case 5: return tile<T, 5, V>(g, a, row, last);
    case 4: return tile<T, 4, V>(g, a, row, last);
    case 3: return tile<T, 3, V>(g, a, row, last);
    case 2: return tile<T, 2, V>(g, a, row, last);
    case 1: return tile<T, 1, V>(g, a, row, last);
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
    case 3: return tiles_of_width<T, 3>(g);
    case 2: return tiles_of_width<T, 2>(g);
    case 1: return tiles_of_width<T, 1>(g);
  }
}

template <class T>
void pack_b(index_t k, index_t n, const T* b, index_t k_stride, index_t n_stride, T* packed,
            index_t width) {
  if (n_stride == 1) {
    for (index_t p = 0; p < k; ++p, b += k_stride, packed += width) {
      for_each_vector<T>(n, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
        Vec<T>::store(packed + j, lanes.load(b + j));
      });
    }
    return;
  }
  // A transposition: 16 rows of the result at a time, so that the columns read stay in L1.
  constexpr index_t kRows = 16;
  for (index_t p0 = 0; p0 < k; p0 += kRows) {
    const index_t rows = k - p0 < kRows ? k - p0 : kRows;
    for (index_t j = 0; j < n; ++j) {
      const T* column = b + p0 * k_stride + j * n_stride;
      for (index_t p = 0; p < rows; ++p) packed[(p0 + p) * width + j] = column[p * k_stride];
    }
    for (index_t p = 0; p < rows; ++p) {
      for (index_t j = n; j < width; ++j) packed[(p0 + p) * width + j] = T(0);
    }
  }
}

template <class T>
void pack_a(index_t m, index_t k, const T* a, index_t row_stride, index_t k_stride, T* packed) {
  for (index_t i0 = 0; i0 < m; i0 += kGemmRows, packed += kGemmRows * k) {
    const index_t rows = m - i0 < kGemmRows ? m - i0 : kGemmRows;
    for (index_t i = 0; i < rows; ++i) {
      const T* row = a + (i0 + i) * row_stride;
      for (index_t p = 0; p < k; ++p) packed[p * kGemmRows + i] = row[p * k_stride];
    }
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

// kc: a panel of B is kc rows of three registers, 24 KiB with 64-byte registers: half of a 48 KiB
// L1, the rest is for the tile's rows of A.  mc: a packed block of A is mc * kc elements, 192 KiB
// in float, which leaves room in any L2 for the panels of B that pass by.  nc bounds the scratch.
template <class T>
constexpr GemmKernels<T> gemm_kernels() {
  return {kGemmRows,      kGemmWidth<T>, /*kc=*/256, /*mc=*/192, /*nc=*/kGemmWidth<T> * 32,
          &gemm_block<T>, &pack_b<T>,    &pack_a<T>, &column_sums<T>};
}

}  // namespace
}  // namespace fastbn
