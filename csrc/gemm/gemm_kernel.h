// The matrix-product kernels as a table, and the sums of columns.
#pragma once

#include "gemm/gemm_args.h"
#include "gemm/gemm_pack.h"
#include "gemm/gemm_panel.h"
#include "gemm/gemm_rows.h"
#include "gemm/gemm_updates.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

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
// in L2 beside the panel of B.  nc: with that, at most 2 MiB of packed B, which stay in L3.
template <class T>
constexpr GemmKernels<T> gemm_kernels() {
  return {kGemmRows,
          kGemmVectors,
          Vec<T>::kWidth,
          kTurnRows,
          /*kc=*/static_cast<int>(4096 / sizeof(T)),
          /*mc=*/192,
          /*nc=*/static_cast<int>(4096 / sizeof(T)),
          kMostStepsByRows,
          &gemm_block<T>,
          &gemm_rows<T>,
          kHasUpdates<T> ? &gemm_updates<T> : nullptr,
          &transpose_matrix<T>,
          &pack_b<T>,
          &pack_a<T>,
          &column_sums<T>};
}

}  // namespace
}  // namespace fastbn
