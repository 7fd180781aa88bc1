// What a tile does beside its multiply-adds: it asks for what the next tile begins with, and leaves rows of the next
// panel of B packed.
//
// A tile of 8 rows and k steps is 24 k multiply-adds long and uses neither the stores nor half of the loads of
// that time.  A panel that its own first tile packs waits for memory at every row instead: as many lines are under way
// as L1 has buffers for misses, and 1024 rows of 3 lines, 4 and 8 KiB apart, took as long as 2 and 4 tiles (Zen 4).
// So the tiles of the panel before do it, a row each time some steps are done:
//
//   panel q        +------+   tile 0        packs the first rows of panel q + 1, if its own is packed
//                  | tile |   tile 1        the next
//                  | ...  |   ...
//                  +------+   the last two  none: they may be short
#pragma once

#include "gemm/gemm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

inline void prefetch_to_l2(const void* p) {
  __builtin_prefetch(p, /*for writing=*/0, /*locality=*/2);
}

// Rows of a panel of B, as the caller has it, on their way to where it is packed.
template <class T>
struct RowsToPack {
  index_t rows = 0, n = 0;  // n columns
  const T* from = nullptr;
  index_t from_row = 0;
  T* to = nullptr;
  index_t to_row = 0;

  // A row, and asks L1 for one that comes: asked for into L2, they cost tiles 2 to 4 % of their time where B comes
  // from memory (2048 x 2048; Zen 4).
  FASTBN_INLINE void pack_one() {
    constexpr index_t kAhead = 4;  // 1 to 8 rows: no difference
    const T* ahead = from + kAhead * from_row;
    for_each_vector<T>(n, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
      Vec<T>::store(to + j, lanes.load(from + j));
      __builtin_prefetch(ahead + j);
    });
    from += from_row, to += to_row;
  }
};

template <class T>
struct Beside {
  const T* c = nullptr;  // the next tile of C
  const T* a = nullptr;  // its rows of A, if they come from beyond L2
  RowsToPack<T> pack;
};

// Which rows of the next panel are packed beside rows `row` to `row_end` of C: as many of k as these are of `from` to
// `end`.
template <class T>
RowsToPack<T> rows_to_pack(const GemmBlock<T>& g, index_t from, index_t end, index_t row,
                           index_t row_end) {
  if (row < from || row >= end) return {};
  const index_t p = g.k * (row - from) / (end - from),
                p_end = row_end < end ? g.k * (row_end - from) / (end - from) : g.k;
  return {p_end - p,
          g.next_n,
          g.next_b + p * g.next_b_row,
          g.next_b_row,
          g.next_to + p * g.next_width,
          g.next_width};
}

}  // namespace
}  // namespace fastbn
