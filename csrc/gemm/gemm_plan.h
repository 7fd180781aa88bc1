// How a thread's part of C is computed: what is packed, the sizes of blocks, and the scratch for both.
// Included by the driver alone.  docs/gemm.md has the reasons at length.
#pragma once

#include <algorithm>
#include <cstddef>

#include "fastbn/gemm.h"
#include "gemm/gemm_args.h"
#include "gemm/gemm_rules.h"
#include "gemm/gemm_rules_in_place.h"

namespace fastbn {
namespace {

// Threads as a grid of row ranges by column ranges of C.
struct Grid {
  int rows, cols;
};

// Whether finished chains make C as they are.
template <class T>
bool is_plain(const GemmOptions<T>& options) {
  return options.alpha == T(1) && options.beta == T(0) && !options.columns.bias &&
         !options.columns.scale && !options.relu;
}

// Whether a part of C, one of `grid`, is computed row by row: gemm_rows.h.  All panels of B are packed before, which a
// few row tiles do not repay (32 to 56 rows of 256 to 1000 columns, one thread: k = 8 1.05 to 1.12 times as fast as by
// panels, k = 16 0.95 to 1.03, 24 0.92 to 1.0), unless threads share C's rows out (two of Zen 4, 100 x 1000 and 64 x
// 512 with k = 8 to 40: 1.1 to 1.9).  Ranges of columns never are: threads that write parts of the same rows fetch
// ahead what the other is about to write (100 x 1000 with k = 8: 25 GFLOP/s, by ranges of rows 131).
template <class T>
bool goes_by_rows(const GemmKernels<T>& kern, const Matrix<T>& c, index_t k,
                  const GemmOptions<T>& options, const Grid& grid) {
  const index_t least = grid.rows > 1 || k <= 8 ? 4 : 8;  // row tiles
  return is_plain(options) && k > 0 && k <= most_steps_by_rows(kern, c) && grid.cols == 1 &&
         c.rows >= least * kern.mr && c.cols > kern.vectors * kern.width;
}

// How a part of C is computed: what is packed, the sizes of blocks, and scratch in elements.
struct Plan {
  enum class PackB {
    never,              // few rows: B is read where it lies
    on_the_way,         // the first row tile leaves it packed
    turned_on_the_way,  // the same of a B whose columns are contiguous
    before              // C row by row, or any other B whose rows are not contiguous
  };
  PackB pack_b;
  bool turn_b;      // B's columns are contiguous: each row tile turns them as it goes
  bool by_rows;     // C is computed in the order in which it lies: gemm_rows.h
  bool by_updates;  // its few rows in the order in which B lies: gemm_updates.h
  bool pack_a;
  int vectors;  // registers to a panel, at most: the kernels' own number, or two: by_pairs_of_lines()
  AsksAhead asks;    // if B is read where it lies, by the first tile at least
  bool a_streams;    // A comes from beyond L2
  bool packs_next;   // tiles leave panels of B to come packed: gemm_beside.h
  bool takes_turns;  // panels of B take turns in so many places; else each has its own
  int places;
  int group;      // panels that a strip of A passes before the next strip does
  index_t strip;  // rows of it
  // columns_before() of B that is not packed, or of C by rows; past_boundary() of either if B wraps
  index_t lead;
  bool wraps;      // B's last columns come before its first: gemm_wrap.h, gemm_wrap_in_place.h
  bool copy_c;     // C's columns are not contiguous: blocks of it are computed in scratch
  bool partial_c;  // C cannot hold unfinished sums, since beta wants its old values at the end
  index_t kc, mc, nc, rows;
  index_t a_tile;  // of packed A
  index_t partial_row;
  index_t a_elements, b_elements, c_elements, partial_elements;

  template <class T>
  Plan(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<const T>& b,
       const Matrix<T>& c, const GemmOptions<T>& options, const Grid& grid) {
    choose_packing(kern, a, b, c, options, grid);
    choose_blocks(kern, b, c);
    asks = by_updates ? asks_ahead_of_updates(b) : asks_ahead(kern, b);
    copy_c = c.col_stride != 1;
    partial_c = kc < a.cols && options.beta != T(0);
    // Rows per run: all, but where scratch for them grows with their number.
    rows = copy_c || partial_c ? std::min<index_t>(c.rows, kern.mc) : c.rows;
    a_tile = packed_tile(kern, kc);
    a_elements = !pack_a ? 0 : turn_b ? mc * kc : mc / kern.mr * a_tile;
    // (Of 256 to 768 KiB, from a small L2's L3, asking for rows of A gained nothing: 0.97 to 1.0, Zen 3.)
    a_streams = a_streams && a.col_stride == 1 && rows * kc * index_t{sizeof(T)} > kLargestA;
    choose_groups(kern);
    const index_t packed_cols =
        takes_turns ? places * kern.vectors * kern.width : rounded_up(lead + nc, kern.width);
    b_elements = pack_b == PackB::never ? 0 : packed_cols * kc;
    c_elements = copy_c ? rows * nc : 0;
    // Rows of sums of updates, whole registers long, share no set of L1.
    constexpr index_t kLine = 64 / sizeof(T);
    partial_row = by_updates ? rounded_up(nc, kern.width) + kLine : nc;
    partial_elements = partial_c || by_updates ? rows * partial_row : 0;
  }

  template <class T>
  std::size_t bytes() const {  // each piece in cache lines of its own
    return sizeof(T) * static_cast<std::size_t>(line(a_elements) + line(b_elements) +
                                                line(c_elements) + line(partial_elements));
  }
  static index_t line(index_t elements) { return rounded_up(elements, 64); }

  // No plan for as many rows and steps and for as many columns or fewer needs more, if beta is 0: of fewer
  // columns the blocks may be wider.  (Sums of updates need less than the panels of a B that has them.)
  template <class T>
  static std::size_t most_bytes(const GemmKernels<T>& kern, const Matrix<const T>& a,
                                const Matrix<T>& c) {
    const index_t kc = std::min<index_t>(a.cols, kern.kc), nr = kern.vectors * kern.width;
    const index_t mc =
        rounded_up(std::min<index_t>(c.rows, kern.mc), std::max(kern.mr, kern.width));
    const index_t nc = rounded_up(std::min<index_t>(c.cols, kern.nc), nr) + kern.width;  // lead
    const index_t for_a =
                      a.col_stride == 1 && !crowded(a) ? 0 : mc / kern.mr * packed_tile(kern, kc),
                  for_c = c.col_stride == 1 ? 0 : mc * nc;
    return sizeof(T) * static_cast<std::size_t>(line(for_a) + line(nc * kc) + line(for_c));
  }

 private:
  // A few rows use a packed panel so little that its way through L2 and back would show: it is packed,
  // transposed, in pieces that stay in L1.  Pieces of 64 or 256 steps were 7 % slower.
  template <class T>
  bool in_pieces(const GemmKernels<T>& kern, index_t m) const {
    return pack_b == PackB::before && !by_rows && m <= kFewRows * kern.mr;
  }

  template <class T>
  void choose_packing(const GemmKernels<T>& kern, const Matrix<const T>& a,
                      const Matrix<const T>& b, const Matrix<T>& c, const GemmOptions<T>& options,
                      const Grid& grid) {
    const index_t k = a.cols;
    lead = 0, wraps = false;
    by_rows = goes_by_rows(kern, c, k, options, grid);
    by_updates = !by_rows && updates_pay(kern, b, c.rows, grid.cols > 1);
    turn_b = !by_rows && turns(kern, b, c);
    if (by_updates) {
      pack_b = PackB::never;
    } else if (!by_rows && !turn_b && turns_first_tile(kern, b, c)) {
      pack_b = PackB::turned_on_the_way;
    } else if (by_rows || (b.col_stride != 1 && !turn_b)) {
      pack_b = PackB::before;
    } else {
      wraps = !turn_b && wraps_in_place(kern, b, c.rows);
      lead = turn_b ? 0 : wraps ? past_boundary(kern, b) : columns_before<T>(kern, b);
      const bool few = turn_b || c.rows <= most_unpacked<T>(kern, b, lead, wraps);
      pack_b = few ? PackB::never : PackB::on_the_way;
      if (!few) lead = 0, wraps = false;
    }
    if (by_rows && c.col_stride == 1) choose_lead(kern, c);
    if (wraps_panels(kern, c, k, options)) lead = past_boundary(kern, c), wraps = true;
    // A is read well where it lies if its rows are contiguous.  Its columns are not: each step of a tile
    // needs half a cache line of another part of a page, or of another page, and those of a long k evict
    // one another before the second panel needs them (512 x 512 x 1024: 60 GFLOP/s, packed 117; with 32
    // steps 87 and 100, with 16 89 and 87).  Packed A costs one pass and serves every panel.
    pack_a = !by_rows && !by_updates && !in_pieces(kern, c.rows) && !dense(kern, a, c.cols) &&
             k >= kLeastToPackA && c.rows > kern.mr && packs_columns(kern, a, c.cols);
    // The lines of such rows share a set of L1 with those that are read of B (1024 x 1024 at 12 rows: 62
    // GFLOP/s, packed 109; of eight rows packing lost as often as it won).
    if (turn_b && crowded(a)) pack_a = c.rows > kern.mr;
    const bool in_place = pack_b == PackB::never && !turn_b && !pack_a;
    vectors = in_place && by_pairs_of_lines(kern, b, c.rows) ? 2 : kern.vectors;
  }

  // Where the panels of a C that is computed row by row are cut.  Rows without a gap between them let B wrap; those of
  // a block of columns, of a C of more than nc, have gaps.
  template <class T>
  void choose_lead(const GemmKernels<T>& kern, const Matrix<T>& c) {
    wraps = rows_may_wrap(kern, c);
    if (wraps) {
      lead = past_boundary(kern, c);
    } else if (c.cols > 4 * kern.vectors * kern.width) {
      // The first panel and the last are cut: of up to four that costs more than the lines of the rest.
      lead = columns_before(kern, c);
    }
  }

  // Whether the first of the panels that C is computed by wraps.  All steps of k are one block then: a panel that wraps
  // takes up no unfinished sums.
  template <class T>
  bool wraps_panels(const GemmKernels<T>& kern, const Matrix<T>& c, index_t k,
                    const GemmOptions<T>& options) const {
    return !by_rows && !turn_b && pack_b != PackB::never && is_plain(options) && k <= kern.kc / 2 &&
           wrapping_pays(kern, c, k) && rows_may_wrap(kern, c);
  }

  // Where A streams, strips of it pass groups of panels, while their tiles pack the next group: A and C come from L3,
  // and their pages' addresses from beyond the second TLB, once for each group.  Of 4 KiB of steps a group is 576 KiB
  // of B, and the next as much: too much of an L2 of 1 MiB (docs/gemm.md).
  //
  // One thread of Emerald Rapids, beside one panel at a time: 1024 cubed 1.04 to 1.07 times as fast, 2048 cubed 1.00
  // to 1.09, 2048 x 2048 with k = 512 1.03 to 1.08, 2048 x 1024 with k = 1024 1.02, doubles 1024 and 2048
  // cubed, beside blocks of A, 1.03 to 1.05; two threads 2048 x 2048 with k = 512 and 1024 x 2048 with k = 1024 1.04,
  // 2048 cubed 1.00 to 1.04, 1024 cubed 1.0.  Strips of 8, 24 and 48 rows differ little, groups of two panels or four
  // 0.98 to 1.01.  Panels that their first tile turns (NT): 0.96 to 1.01.
  template <class T>
  void choose_groups(const GemmKernels<T>& kern) {
    constexpr index_t kColumns = 144, kStrip = 48;
    const index_t nr = kern.vectors * kern.width;
    const bool groups = deep(kern) && a_streams && packs_next && !wraps;
    group = groups ? static_cast<int>(kColumns / nr) : 1;
    strip = groups ? kStrip : mc;
    places = packs_next ? std::min<int>(2 * group, static_cast<int>((nc + nr - 1) / nr)) : 1;
  }

  // Whether B may be packed once for each block of rows.
  template <class T>
  bool repacks(const GemmKernels<T>& kern, const Matrix<const T>& b, index_t cols) const {
    if (has_small_l2(kern)) return false;
    const index_t most = pack_b == PackB::on_the_way ? kMostRepacked : kMostRepacked / 2;
    return b.rows * cols * index_t{sizeof(T)} <= most;
  }

  // As many columns as half of L1 has sums of, in whole pairs of registers, shared out among near-equal blocks.
  template <class T>
  static index_t columns_of_updates(const GemmKernels<T>& kern, const Matrix<T>& c) {
    constexpr index_t kSums = 16 * 1024;  // bytes: half and twice as much 0.85 to 1.06 (Zen 3)
    const index_t pair = 2 * kern.width;
    const index_t most = std::min<index_t>(kSums / index_t{sizeof(T)} / c.rows, kern.nc);
    return std::min(c.cols, rounded_up(balanced_step(c.cols, most / pair * pair), pair));
  }

  template <class T>
  void choose_blocks(const GemmKernels<T>& kern, const Matrix<const T>& b, const Matrix<T>& c) {
    const index_t k = b.rows, nr = kern.vectors * kern.width, size = sizeof(T);
    takes_turns = a_streams = false;
    kc = balanced_step(k, pack_a ? kern.kc / 2 : kern.kc);
    packs_next = pack_b == PackB::on_the_way && kc > kMostStepsHalved &&
                 (pack_a || !double_pumped(kern) || !repacks(kern, b, c.cols));
    mc = rounded_up(balanced_step(c.rows, kern.mc), kern.mr);
    nc = std::min<index_t>(c.cols, kern.nc);
    if (by_rows) {
      mc = rounded_up(c.rows, kern.mr);
      nc = std::min(nc, rounded_up(balanced_step(c.cols, kern.nc), kern.width));
    } else if (turn_b) {
      // One row tile: B streams through once.  More: whole squares but for the last step's.
      const index_t step = rounded_up(balanced_step(k, kern.kc), kern.width);
      kc = c.rows <= kern.turn_rows && !pack_a ? k : std::min(k, step);
      mc = rounded_up(c.rows, kern.width);
      // A last block of fewer columns than a register has lanes would take the slow way (there may be one from
      // some 32,000 doubles or 65,000 floats of a thread's part on: what is rounded up adds up).
      nc = std::min(nc, rounded_up(balanced_step(c.cols, kern.nc), kern.width));
    } else if (by_updates) {
      kc = k, nc = columns_of_updates(kern, c);
    } else if (pack_b == PackB::never) {
      // One row tile: B streams through once.
      const index_t tile = vectors < kern.vectors ? kRowsOfPairs : kern.mr;
      kc = c.rows <= tile ? k : std::min(kc, balanced_step(k, steps_in_place(kern, b)));
    } else if (in_pieces(kern, c.rows)) {
      kc = balanced_step(k, kPieceOfPanel), nc = nr;
    } else if (!pack_a) {
      // In blocks of A that stay in L2, or if each of them would have to pack too large a B anew, all at once.
      const index_t largest_a = has_small_l2(kern) ? kLargestAOfSmallL2 : kLargestA;
      const index_t rows = largest_a / std::max<index_t>(1, kc * size);
      const bool repacks_b = repacks(kern, b, c.cols) ||
                             (pack_b != PackB::before && repacks_any(kern, c.rows, kc, packs_next));
      a_streams = c.rows * k * size > largest_a &&
                  (!repacks_b || streams_a(kern, c.rows, kc, c.cols, packs_next));
      mc = a_streams ? c.rows : balanced_step(c.rows, std::max<index_t>(kern.mr, rows));
      mc = rounded_up(mc, kern.mr);
      takes_turns = true;
    }
  }
};

}  // namespace
}  // namespace fastbn
