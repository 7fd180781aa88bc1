// What a tile does beside its multiply-adds: it asks for what the next tile begins with, and leaves rows of a panel of
// B to come packed.
//
// A tile of 8 rows and k steps is 24 k multiply-adds long and uses neither the stores nor half of the loads of
// that time.  A panel that its own first tile packs waits for memory at every row instead: as many lines are under way
// as L1 has buffers for misses, and 1024 rows of 3 lines, 4 and 8 KiB apart, took as long as 2 and 4 tiles (Zen 4).
// So the tiles of a panel before do it, a row each time some steps are done:
//
//   panel q        +------+   tile 0        packs the first rows of panel q + group, if its own is packed
//                  | tile |   tile 1        the next
//                  | ...  |   ...
//                  +------+   the last two  none: they may be short
//
// Groups are of one panel or more (gemm_passes.h); a strip of A has its share of the rows.
#pragma once

#include "gemm/gemm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

inline void prefetch_to_l2(const void* p) {
  __builtin_prefetch(p, /*for writing=*/0, /*locality=*/2);
}

// What one tile does beside its multiply-adds.
template <class T>
struct Beside {
  const T* c = nullptr;      // asks for the next tile of C,
  const T* a = nullptr;      // for its rows of A, if they come from beyond L2,
  index_t p = 0, p_end = 0;  // and packs these rows of a panel of B to come
};

// Rows of a panel to come on their way.
template <class T>
class NextPanel {
 public:
  NextPanel(const GemmBlock<T>& g, index_t p)
      : n_(g.next_n),
        row_(g.next_b_row),
        width_(g.next_width),
        from_(g.next_b + p * row_),
        to_(g.next_to + p * width_) {}

  // Packs a row, and asks L1 for all lines of one that comes, V or V + 1: without the last of four 128 x 1024 x 1024
  // took 1.2 times as long, 256 x 960 x 1024 1.09 (Emerald Rapids, whose L3 takes 200 to 370 cycles; Zen 4: no
  // difference). Asked for into L2, they cost tiles 2 to 4 % of their time where B comes from memory (2048 x 2048; Zen
  // 4).
  //
  // Of V registers, as this panel has, its loop is written out: in cycles that multiply-adds leave, what remains of a
  // shared front end counts (Emerald Rapids: 128 x 1024 x 1024 1.01 to 1.03, 64 x 768 x 512 1.015 to 1.03 times as
  // fast).
  template <int V>
  FASTBN_INLINE void pack_row() {
    constexpr index_t kAhead = 4, w = Vec<T>::kWidth;  // 1 to 8 rows: no difference
    const T* ahead = from_ + kAhead * row_;
    const auto pack = [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
      Vec<T>::store(to_ + j, lanes.load(from_ + j));
      __builtin_prefetch(ahead + j);
    };
    if (n_ == V * w) {
      FASTBN_UNROLL
      for (int v = 0; v < V; ++v) pack(v * w, AllLanes<T>{});
    } else {
      for_each_vector<T>(n_, pack);
    }
    __builtin_prefetch(ahead + n_ - 1);
    from_ += row_, to_ += width_;
  }

 private:
  index_t n_, row_, width_;
  const T* from_;
  T* to_;
};

// How many rows of a panel to come are packed when rows of C up to `row` are done: as many of next_rows as these are of
// `from` to `end`.
template <class T>
FASTBN_INLINE index_t packed_beside(const GemmBlock<T>& g, index_t from, index_t end, index_t row) {
  if (row <= from) return 0;
  return row < end ? g.next_rows * (row - from) / (end - from) : g.next_rows;
}

}  // namespace
}  // namespace fastbn
