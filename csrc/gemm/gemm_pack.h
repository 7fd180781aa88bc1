// Copies of operands in the order in which the tiles read them, with a transpose where need be.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_pointers.h"
#include "gemm/gemm_tile.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// A whole square, loaded in groups that then need turning only among themselves: half the shuffles of
// transpose(), which all wait for one unit.  Group by group of a row, so that its cache line is read in one go:
// rows a multiple of a page apart share a set of L1.
template <class T>
FASTBN_INLINE void transpose_by_groups(const T* from, index_t from_row, T* to, index_t to_row) {
  constexpr int kGroup = Vec<T>::kGroup, kGroups = Vec<T>::kWidth / kGroup;
  const RowsOfSquare<T> square(from, from_row);
  Vec<T> r[kGroups][kGroup];
  FASTBN_UNROLL
  for (int i = 0; i < kGroup; ++i) {
    FASTBN_UNROLL
    for (int c = 0; c < kGroups; ++c) r[c][i] = load_groups<T>(square, i, c * kGroup);
  }
  FASTBN_UNROLL
  for (int c = 0; c < kGroups; ++c) {
    Vec<T>::transpose_groups(r[c]);
    FASTBN_UNROLL
    for (int i = 0; i < kGroup; ++i) Vec<T>::store(to + (c * kGroup + i) * to_row, r[c][i]);
  }
}

// A whole square of registers.
template <class T>
FASTBN_INLINE void transpose_square(const T* from, index_t from_row, T* to, index_t to_row) {
  if constexpr (Vec<T>::kGroup > 0) {
    transpose_by_groups(from, from_row, to, to_row);
  } else {
    constexpr int w = Vec<T>::kWidth;
    Vec<T> r[w];
    FASTBN_UNROLL
    for (int i = 0; i < w; ++i) r[i] = Vec<T>::load(from + i * from_row);
    transpose(r);
    FASTBN_UNROLL
    for (int j = 0; j < w; ++j) Vec<T>::store(to + j * to_row, r[j]);
  }
}

// What is left of a square at the right and the lower edge.
template <class T>
[[gnu::noinline]] void transpose_edge(index_t rows, index_t cols, const T* from, index_t from_row,
                                      T* to, index_t to_row) {
  constexpr int w = Vec<T>::kWidth;
  const FirstLanes<T> columns{static_cast<int>(cols)};
  Vec<T> r[w];
  FASTBN_UNROLL
  for (int i = 0; i < w; ++i) r[i] = i < rows ? columns.load(from + i * from_row) : Vec<T>::zero();
  transpose(r);
  FASTBN_UNROLL
  for (int j = 0; j < w; ++j) {
    if (j >= cols) break;
    if (rows == w) {
      Vec<T>::store(to + j * to_row, r[j]);
    } else {
      Vec<T>::store_first(to + j * to_row, r[j], static_cast<int>(rows));
    }
  }
}

// Whole squares have a loop of their own.  One thread of Zen 3, beside a function for all that looks for edges,
// products with B transposed: 128 x 10 at 16 and 64 rows 1.05 and 1.07 times as fast, 256 x 128 and 784 x 256 at 64
// 1.06, 512 x 512 at 64 and 1024 x 1024 at 128 1.01 to 1.04.
template <class T>
void transpose_matrix(index_t rows, index_t cols, const T* from, index_t from_row, T* to,
                      index_t to_row) {
  constexpr index_t w = Vec<T>::kWidth;
  for (index_t i = 0; i < rows; i += w) {
    // The last rows with so many before them as make a square, which are written twice, where a store of some lanes
    // takes longer: 12 cycles on Zen to Zen 3 (TN 128 x 10 with k = 16, 32 and 64 1.37, 1.26 and 1.17 times as fast,
    // 256 x 20 with 64 1.19).
    if (w * index_t{sizeof(T)} == 32 && rows > w && rows - i < w) i = rows - w;
    const index_t height = rows - i < w ? rows - i : w;
    const T* at = from + i * from_row;
    index_t j = 0;
    if (height == w) {
      for (; j + w <= cols; j += w) transpose_square(at + j, from_row, to + j * to_row + i, to_row);
    }
    for (; j < cols; j += w) {
      const index_t width = cols - j < w ? cols - j : w;
      transpose_edge(height, width, at + j, from_row, to + j * to_row + i, to_row);
    }
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
void pack_a(index_t m, index_t k, const T* a, index_t row_stride, index_t k_stride, T* packed,
            index_t tile) {
  const index_t whole = row_stride == 1 ? m / kGemmRows * kGemmRows : 0;
  // Contiguous along m: some steps of all tiles at a time, so that a cache line of A, which two or
  // more tiles share, is fetched once.  Prefetchers lose each step's lines where its rows end: those of the steps
  // that come are asked for (784 x 160 of 1024 rows from L3 120 us, with 8 and 16 steps ahead 94 and 85; the
  // product 1.01 times as fast; Zen 4).
  constexpr index_t kSteps = 8, kAhead = 16, kLine = 64 / sizeof(T);
  for (index_t p0 = 0; p0 < k && whole > 0; p0 += kSteps) {
    const index_t steps = k - p0 < kSteps ? k - p0 : kSteps;
    for (index_t i = 0; i < whole; i += kGemmRows) {
      const T* from = a + i + p0 * k_stride;
      T* to = packed + i / kGemmRows * tile + p0 * kGemmRows;
      for (index_t p = 0; p < steps; ++p, from += k_stride, to += kGemmRows) {
        __builtin_memcpy(to, from, kGemmRows * sizeof(T));
        if (i % kLine == 0) __builtin_prefetch(from + kAhead * k_stride);
      }
    }
  }
  for (index_t i = whole; i < m; i += kGemmRows) {
    // A tile is a panel of B's kind, mr wide.
    const index_t rows = m - i < kGemmRows ? m - i : kGemmRows;
    pack_b(k, rows, a + i * row_stride, k_stride, row_stride, packed + i / kGemmRows * tile,
           index_t{kGemmRows});
  }
}

}  // namespace
}  // namespace fastbn
