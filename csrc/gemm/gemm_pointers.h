// Rows that a kernel walks down together, some of them to a pointer.  Compilers, left to themselves, keep a pointer for
// each row, for each register of B and for each line asked for; that is more than x86 has, and they were loaded from
// the stack at every step.
#pragma once

#include "gemm/gemm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// The rows of A of a tile, four to a pointer: one stride and its triple address them.
template <class T, int R>
class RowsOfA {
 public:
  FASTBN_INLINE RowsOfA(const T* a, index_t row)
      : row_(row * index_t{sizeof(T)}), three_rows_(3 * row_) {
    opaque(three_rows_);
    FASTBN_UNROLL
    for (int q = 0; q < kPointers; ++q) first_[q] = a + 4 * q * row;
  }
  FASTBN_INLINE T operator[](int i) const {
    const char* first = reinterpret_cast<const char*>(first_[i / 4]);
    return *reinterpret_cast<const T*>(first + (i % 4 == 3 ? three_rows_ : i % 4 * row_));
  }
  FASTBN_INLINE void advance(index_t step) {
    FASTBN_UNROLL
    for (int q = 0; q < kPointers; ++q) opaque(first_[q] += step);
  }

 private:
  static constexpr int kPointers = (R + 3) / 4;
  index_t row_, three_rows_;  // bytes
  const T* first_[kPointers];
};

// The rows of a square of registers, a group to a pointer: of B's transpose, where its columns are contiguous.
template <class T>
class RowsOfSquare {
 public:
  FASTBN_INLINE RowsOfSquare(const T* square, index_t row)
      : row_(row * index_t{sizeof(T)}), three_rows_(3 * row_) {
    opaque(three_rows_);
    FASTBN_UNROLL
    for (int q = 0; q < 4; ++q) first_[q] = square + q * kGroup * row;
  }
  FASTBN_INLINE const T* operator[](int i) const {
    const char* first = reinterpret_cast<const char*>(first_[i / kGroup]);
    return reinterpret_cast<const T*>(first + (i % kGroup == 3 ? three_rows_ : i % kGroup * row_));
  }
  // Row i of each group, the elements from `at` on.
  FASTBN_INLINE Vec<T> load_groups(int i, int at) const {
    const RowsOfSquare& row = *this;
    return Vec<T>::load_groups(row[i] + at, row[i + kGroup] + at, row[i + 2 * kGroup] + at,
                               row[i + 3 * kGroup] + at);
  }
  FASTBN_INLINE void advance(index_t step) {
    FASTBN_UNROLL
    for (int q = 0; q < 4; ++q) opaque(first_[q] += step);
  }

 private:
  static constexpr int kGroup = Vec<T>::kGroup;
  static_assert(Vec<T>::kWidth == 4 * kGroup);
  index_t row_, three_rows_;  // bytes
  const T* first_[4];
};

}  // namespace
}  // namespace fastbn
