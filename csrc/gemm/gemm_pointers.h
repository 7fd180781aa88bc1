// Rows that a kernel walks down together, some of them to a pointer.  Compilers, left to themselves, keep a pointer for
// each row, for each register of B and for each line asked for; that is more than x86 has, and they were loaded from
// the stack at every step.
#pragma once

#include "gemm/gemm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// kRows rows, kEach <= 4 to a pointer: one stride and its triple address them.
template <class T, int kRows, int kEach>
class RowPointers {
 public:
  FASTBN_INLINE RowPointers(const T* rows, index_t row)
      : row_(row * index_t{sizeof(T)}), three_rows_(3 * row_) {
    opaque(three_rows_);
    FASTBN_UNROLL
    for (int q = 0; q < kPointers; ++q) first_[q] = rows + q * kEach * row;
  }
  FASTBN_INLINE const T* operator[](int i) const {
    const char* first = reinterpret_cast<const char*>(first_[i / kEach]);
    return reinterpret_cast<const T*>(first + (i % kEach == 3 ? three_rows_ : i % kEach * row_));
  }
  FASTBN_INLINE void advance(index_t step) {
    FASTBN_UNROLL
    for (int q = 0; q < kPointers; ++q) opaque(first_[q] += step);
  }

 private:
  static constexpr int kPointers = (kRows + kEach - 1) / kEach;
  index_t row_, three_rows_;  // bytes
  const T* first_[kPointers];
};

// The rows of A of a tile.
template <class T, int R>
using RowsOfA = RowPointers<T, R, 4>;

// The rows of a square of registers, a group to a pointer: of B's transpose, where its columns are contiguous.
template <class T>
using RowsOfSquare = RowPointers<T, Vec<T>::kWidth, Vec<T>::kGroup>;

// Row i of each group of a square, the elements from `at` on.
template <class T>
FASTBN_INLINE Vec<T> load_groups(const RowsOfSquare<T>& square, int i, int at) {
  constexpr int kGroup = Vec<T>::kGroup;
  if constexpr (Vec<T>::kWidth == 2 * kGroup) {
    return Vec<T>::load_groups(square[i] + at, square[i + kGroup] + at);
  } else {
    return Vec<T>::load_groups(square[i] + at, square[i + kGroup] + at, square[i + 2 * kGroup] + at,
                               square[i + 3 * kGroup] + at);
  }
}

}  // namespace
}  // namespace fastbn
