// How a thread's part of C is computed: what is packed, the sizes of blocks, and the scratch for both.
// Included by the driver alone.  docs/gemm.md has the reasons at length.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "fastbn/gemm.h"
#include "gemm/gemm_args.h"
#include "runtime/cpu.h"

namespace fastbn {
namespace {

// The step, at most `most`, that cuts n into near-equal pieces.
index_t balanced_step(index_t n, index_t most) {
  if (n <= most) return n;
  const index_t pieces = (n + most - 1) / most;
  return (n + pieces - 1) / pieces;
}

index_t rounded_up(index_t n, index_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

// Whether a register is two passes of the CPU's units.  Asked of the target in force: another one's registers
// are what the units are made for.
template <class T>
bool double_pumped(const GemmKernels<T>& kern) {
  return kern.width * index_t{sizeof(T)} == 64 && core() == Core::half;
}

// Whether its window is deep enough to hide loads across lines.
template <class T>
bool deep(const GemmKernels<T>& kern) {
  return kern.width * index_t{sizeof(T)} == 64 && core() == Core::deep;
}

constexpr index_t kL2OfDeep = 2 << 20;  // bytes, of the least one

// Pages that so many rows, so many elements apart, begin in.
template <class T>
index_t pages_of(index_t rows, index_t apart) {
  return rows * std::min(std::abs(apart) * index_t{sizeof(T)}, kPageBytes) / kPageBytes;
}

// A of at most so many bytes stays in L2 itself.  Each panel of B then serves all its rows at once and is
// packed where a panel before was, in lines that L1 and L2 still have; a block of B's own size came back
// from L3 to be overwritten.  1 to 6 % at 100 to 384 rows; of 1 MiB of A it lost as often as it won.
constexpr index_t kLargestA = 768 * 1024;
// A larger A is cut into blocks of that size, each of which packs B's panels anew, if B has at most so many bytes
// (one thread of Zen 4, NN: 512 x 512 at 512 to 2048 rows 1.00 to 1.07 times as fast, 256 x 512 1.04 to 1.07, 640 x
// 640 1.01 to 1.06, with a bias k = 16 to 128 at 2048 to 16384 rows 0.95 to 1.19; 960 x 960 0.93, 1024 x 1024 at 1024
// rows 0.95; on two threads 1.01 in the mean).  Half as many where packing turns it (NT 784 x 256 1.02 to 1.04, 768 x
// 768 0.97).  Not measured on Zen 5 and Ice Lake.
constexpr index_t kMostRepacked = 2304 * 1024;
// Tiles leave the next panel of B packed (gemm_beside.h) if its rows are contiguous.  Where a multiply-add takes two
// cycles only if it comes from beyond L2: B is larger than that, or A is packed, which has L2 for itself (a smaller B:
// 0.97 to 1.0; Emerald Rapids 1.04).  With fewer rows it is too much
// work beside too few tiles (of 4 rows, at 16 and 28 of them: 0.8 to 0.94, 1.0); half tiles do not do it.
constexpr index_t kLeastRowsToPackNext = 32;
constexpr index_t kMostStepsHalved = 128;  // halves_tiles()
constexpr index_t kFewRows = 4;            // row tiles
constexpr index_t kPieceOfPanel = 128;
constexpr index_t kLeastToTurn = 4;  // steps of k: a group of floats, two of doubles
constexpr index_t kTwoSquares = 32;  // steps of k
// From more rows than this, transposing B into panels costs less than taking C to scratch and back does: from 64
// rows on up to 1.1 times as fast; at 32 rows the swap is 1.1 to 1.3 times as fast (Ice Lake).  With AVX2 packing is
// 1.0 to 1.2 times as fast from 64 rows on (Zen 5).
constexpr index_t kMostToSwap = 48;
constexpr index_t kLeastToPackA = 32;  // steps: see choose_packing
// Columns of A less than this apart, of few features, are read where they lie: a tile's steps share pages
// and most lines, and 10 x 128 was 10 % slower packed.
constexpr index_t kDense = 512;  // bytes

// Elements between a register's boundary in memory and the first one of each row; 0 if rows differ.
template <class T, class M>
index_t past_boundary(const GemmKernels<T>& kern, const M& m) {
  if (m.row_stride % kern.width != 0) return 0;
  return static_cast<index_t>(reinterpret_cast<std::uintptr_t>(m.data) / sizeof(T)) % kern.width;
}

// Panels are cut as if so many columns came before, past_boundary() or none: all but the first start on a line then.
// Arrays of NumPy start 16, 32 or 48 bytes past one more often than on it, and a load or a store across two lines counts
// twice.  That is done for what a panel does most: reading B where it lies (512 x 512 at 8 rows: 103 GFLOP/s, and 145),
// or writing C row by row.  Of two panels it would be too few.  Where a multiply-add takes two cycles (Zen 4) both lines of a
// load fit beside it, and a register more a row costs more, as it does 256 columns a sixteenth, unless rows are a
// page long (256 x 128 at 16 rows: 99 GFLOP/s, without 111; 256 x 1024 at 8 rows: 108, and 95).
template <class T, class M>
index_t columns_before(const GemmKernels<T>& kern, const M& m) {
  if (double_pumped(kern) && m.row_stride * index_t{sizeof(T)} < kPageBytes) return 0;
  return m.cols > 2 * kern.vectors * kern.width ? past_boundary(kern, m) : 0;
}

// B whose rows are contiguous is read where it lies for up to so many rows of C; the loads that packing
// saves are then not worth its stores, of which Zen 4 makes a 64-byte one in two cycles (at 16 rows 92 %
// of what it is unpacked, at 96 rows 97 %).  Rows of B that are a multiple of a page apart share few
// sets of the caches: sooner packed.  Tiles of four rows read B twice as often: they feel a multiple of half a page,
// and packing pays from three tiles on (one thread of Zen 4 with AVX2: 1024 x 1024 at 9 and 16 rows 45 and 72
// GFLOP/s unpacked, 56 and 79 packed, at 8 rows 67 and 59; 512 x 512 at 32 rows 94 and 99).  So is B whose
// loads are across two cache lines: all of them (300 x 200 at 40 rows: 109 GFLOP/s unpacked, 134 packed), or
// those of the first of a few panels.
//
// A deep window hides loads across lines, up to six tiles, unless each row of a long k is in a page of its own (one
// thread of Emerald Rapids, unpacked beside packed: 300 x 200 at 24 and 40 rows 1.05 and 1.10, 500 x 500 at 24 1.12, 1000
// x 1000 0.94; 784 x 512 at 32, 40, 48 and 64 rows 1.2, 1.07, 1.0, 0.91, 784 x 256 at 24, 40, 64 and 96 1.08, 1.05, 0.92,
// 0.89, 640 x 384 at 64 0.9).  Up to four of a B that L2 does not keep from one step of a training to the next (two
// threads, a step of 48 rows with six: weights of 784 x 512 0.97, 512 x 1024 0.96, 256 x 256 1.01).
template <class T>
index_t most_unpacked(const GemmKernels<T>& kern, const Matrix<const T>& b, index_t lead) {
  if (double_pumped(kern)) {
    // Loads across lines are hidden, stores are not (300 x 200 at 24 rows: 100 GFLOP/s packed, 110 unpacked).  Rows a
    // page apart at 40, 48, 64 and 96 rows, unpacked beside packed: 1024 x 1024 1.03, 1.01, 1.01, 0.99, 2048 x 2048
    // 1.13, 1.04, 0.99, 0.99.
    return (b.row_stride * index_t{sizeof(T)} % kPageBytes == 0 ? 8 : 12) * kern.mr;
  }
  const bool crosses = b.row_stride % kern.width != 0;
  if (deep(kern)) {
    constexpr index_t kMostPages = 256, kKept = 512 * 1024;
    if (crosses && pages_of<T>(b.rows, b.row_stride) > kMostPages) return 2 * kern.mr;
    return (b.rows * b.cols * index_t{sizeof(T)} > kKept ? 4 : 6) * kern.mr;
  }
  if (crosses) return 2 * kern.mr;
  if (lead != 0 && b.cols <= 4 * kern.vectors * kern.width) return 2 * kern.mr;
  const index_t apart = b.row_stride * index_t{sizeof(T)};
  if (kern.mr == 4 && apart % (kPageBytes / 2) == 0) return 2 * kern.mr;
  if (apart % kPageBytes == 0) return 4 * kern.mr;
  return lead != 0 ? 8 * kern.mr : 12 * kern.mr;
}

// The longest k with which C is computed row by row.  Half-width units take twice as long for the chains of a tile,
// beside which the lines of C come in any order, but those of long rows sooner in this one (k = 24 to 48: 512 x 512,
// 784 x 256, 640 x 384 1.02 to 1.05 times as fast as by panels, 1024 x 1024 1.05 to 1.07, 2048 x 320 0.99, 256 x 128
// 0.96 to 1.01; Zen 4).  Long rows are worth it for longer in deep windows (Emerald Rapids, one thread and two, k = 64:
// 1024 x 1024 1.04 to 1.07, 512 x 512 1.01 to 1.04, 1024 x 256 and 512 x 256 1.04 to 1.07, 784 x 512 1.00 to 1.02, 784 x
// 256 0.99 to 1.01, 256 x 128 0.98; k = 96: 512 x 512 0.99 to 1.02, 784 x 256 0.98 to 1.00).
template <class T>
index_t most_steps_by_rows(const GemmKernels<T>& kern, const Matrix<T>& c) {
  constexpr index_t kSteps = 48, kFewSteps = 16;
  const index_t most = kern.most_steps_by_rows;
  const bool short_rows = std::abs(c.row_stride) * index_t{sizeof(T)} < kPageBytes / 4;
  if (short_rows) return std::min(most, double_pumped(kern) ? kFewSteps : kSteps);
  return deep(kern) ? most : std::min(most, kSteps);
}

// Whether tiles have half as many rows.  A tile of Zen 4 stores for two cycles a register: of 24 registers that came
// in addition to the multiply-adds, of twelve it goes beside those of the next tile (the loop alone, C in L1: k = 8
// 101 and 118 GFLOP/s, the peak, k = 16 113 and 118).  Its rows of B are then read twice as often, from L1 or soon
// from L2: with k = 24 to 128 by panels 0.99 to 1.03 times as fast, with 256 0.99, B read where it lies 0.96.  k is a
// block's.
template <class T>
bool halves_tiles(const GemmKernels<T>& kern, index_t k) {
  return double_pumped(kern) && k <= kMostStepsHalved;
}

// For so many panels columns of A are read where they lie.  Where a multiply-add takes two cycles its loads are hidden
// better than the copy pays (Zen 4, one and two threads, k = 64 to 2048: 256 x 128 1.02 to 1.08 times as fast, 300 x 200
// 1.02 to 1.10, 784 x 256 1.00 to 1.06; of seven panels 2048 x 320 0.84 to 0.99).  Not of columns half a page apart or
// a multiple of it, which share few sets (1024 x 256 with k = 512 0.89, 512 x 144 and 512 x 288 with k = 2048 0.79), nor
// of an A much larger than L2 (300 x 200 with k = 4096 0.88 to 0.94, weights' gradients of 3.2 to 6.4 MB of x in the
// fused block 0.95 to 1.04).  So they are by a deep window, while a tile's columns are in no more pages than the first
// TLB keeps, or a third more (Emerald Rapids, one thread: 256 x 128 with k = 64 to 512 1.05 to 1.14, with 1024 0.83 to
// 0.91; 784 x 256 with 64 and 128 1.08, with 512 0.89; 300 x 200 with 200 to 400 1.05 to 1.1, 640 x 384 with 100 and 200
// 1.02 to 1.04).
template <class T>
index_t panels_unpacked(const GemmKernels<T>& kern, const Matrix<const T>& a) {
  constexpr index_t kLargest = 2560 * 1024, size = sizeof(T);
  const bool streams = a.row_stride == 1 && a.col_stride * size % (kPageBytes / 2) != 0 &&
                       a.rows * a.cols * size <= kLargest;
  if (deep(kern)) {
    constexpr index_t kMostPages = 128;
    return streams && pages_of<T>(a.cols, a.col_stride) <= kMostPages ? 12 : 1;
  }
  return double_pumped(kern) && streams ? 6 : 1;
}

// Whether columns of A are packed for so many columns of C, if k and C's rows are not few.
template <class T>
bool packs_columns(const GemmKernels<T>& kern, const Matrix<const T>& a, index_t cols) {
  return a.col_stride != 1 && cols > panels_unpacked(kern, a) * kern.vectors * kern.width;
}

// Contiguous rows a multiple of a page apart.
template <class T>
bool crowded(const Matrix<const T>& a) {
  return a.col_stride == 1 && a.row_stride * index_t{sizeof(T)} % kPageBytes == 0;
}

// Whether each row tile turns B as it goes.  That saves the stores of a packed panel; its shuffles, again for
// each tile, run beside the multiply-adds where those take two cycles: 784 x 256 at 8, 16, 33 and 64 rows 1.6,
// 1.25, 1.12 and 1.0 times as fast as packed, with 32 steps at 16 and 32 rows 1.08 and 0.87 times; with fewer steps at
// most 16 rows (128 x 10 at 1, 8 and 16 rows 1.6, 1.4, 1.25, 256 x 20 1.7 and 1.3 at 8 and 16; at 24 and more 0.65 to
// 0.9; Zen 4).  Elsewhere they compete with them: one tile only.
template <class T>
bool turns(const GemmKernels<T>& kern, const Matrix<const T>& b, const Matrix<T>& c) {
  if (kern.turn_rows == 0 || b.col_stride == 1 || b.row_stride != 1) return false;
  const bool many = double_pumped(kern) && b.rows >= 2 * kTwoSquares;
  const index_t most = many ? kMostToSwap : kern.turn_rows;
  return b.rows >= kLeastToTurn && c.rows <= most && c.cols >= kern.width;
}

// Whether the first row tile turns B and leaves it packed: its shuffles and stores then go beside the multiply-adds of
// 8 rows.  Packed before, NT took 1.05 times as long at 56 to 128 rows, 1.01 at 256 to 2048, 0.98 to 1.08 with k = 32 to
// 60 at 33 to 56, 1.0 to 1.2 at 17 to 32, and 0.97 to 1.17 with k = 5 to 28 at 17 to 48; first tiles of 16 rows were 0.74
// to 1.03 times as fast (one thread of Zen 4).  Where shuffles compete with multiply-adds it took 1.02 to 1.19 times as
// long at 24 to 64 rows, 1.01 to 1.06 at 96 to 200, 1.01 at 256 and 512 (one of Emerald Rapids).
template <class T>
bool turns_first_tile(const GemmKernels<T>& kern, const Matrix<const T>& b, const Matrix<T>& c) {
  return kern.turn_rows > 0 && b.col_stride != 1 && b.row_stride == 1 && b.rows >= kLeastToTurn &&
         c.cols >= kern.width && c.rows > kern.turn_rows;
}

// Elements from a packed tile of A to the next.  pack_a() writes four lines of each in turn: of tiles a multiple
// of a page apart, as kc of 128 makes them, all would fall into the same four sets of L1.
template <class T>
index_t packed_tile(const GemmKernels<T>& kern, index_t kc) {
  constexpr index_t kApart = 256;  // bytes
  return kern.mr * kc + kApart / index_t{sizeof(T)};
}

// Threads as a grid of row ranges by column ranges of C.
struct Grid {
  int rows, cols;
};

// Whether a part of C, one of `grid`, is computed row by row: gemm_rows.h.  All panels of B are packed before, which a
// few row tiles do not repay (32 to 56 rows of 256 to 1000 columns, one thread: k = 8 1.05 to 1.12 times as fast as by
// panels, k = 16 0.95 to 1.03, 24 0.92 to 1.0), unless threads share C's rows out (two of Zen 4, 100 x 1000 and 64 x 512
// with k = 8 to 40: 1.1 to 1.9).  Ranges of columns never are: threads that write parts of the same rows fetch ahead
// what the other is about to write (100 x 1000 with k = 8: 25 GFLOP/s, by ranges of rows 131).
template <class T>
bool goes_by_rows(const GemmKernels<T>& kern, const Matrix<T>& c, index_t k,
                  const GemmOptions<T>& options, const Grid& grid) {
  const bool plain = options.alpha == T(1) && options.beta == T(0) && !options.columns.bias &&
                     !options.columns.scale && !options.relu;
  const index_t least = grid.rows > 1 || k <= 8 ? 4 : 8;  // row tiles
  return plain && k > 0 && k <= most_steps_by_rows(kern, c) && grid.cols == 1 &&
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
  bool turn_b;   // B's columns are contiguous: each row tile turns them as it goes
  bool by_rows;  // C is computed in the order in which it lies: gemm_rows.h
  bool pack_a;
  bool a_streams;   // A comes from beyond L2
  bool packs_next;  // tiles leave the next panel of B packed: gemm_beside.h
  bool one_panel;   // each panel of B is packed where the one before was
  index_t
      lead;  // columns_before() of B that is not packed, or of C by rows: past_boundary() if B wraps
  bool wraps;      // B's last columns come before its first: gemm_rows.h
  bool copy_c;     // C's columns are not contiguous: blocks of it are computed in scratch
  bool partial_c;  // C cannot hold unfinished sums, since beta wants its old values at the end
  index_t kc, mc, nc, rows;
  index_t a_tile;  // of packed A
  index_t a_elements, b_elements, c_elements, partial_elements;

  template <class T>
  Plan(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<const T>& b,
       const Matrix<T>& c, const GemmOptions<T>& options, const Grid& grid) {
    choose_packing(kern, a, b, c, options, grid);
    choose_blocks(kern, b, c);
    copy_c = c.col_stride != 1;
    partial_c = kc < a.cols && options.beta != T(0);
    // Rows per run: all, but where scratch for them grows with their number.
    rows = copy_c || partial_c ? std::min<index_t>(c.rows, kern.mc) : c.rows;
    a_tile = packed_tile(kern, kc);
    a_elements = !pack_a ? 0 : turn_b ? mc * kc : mc / kern.mr * a_tile;
    a_streams = a_streams && a.col_stride == 1 && rows * kc * index_t{sizeof(T)} > kLargestA;
    packs_next =
        pack_b == PackB::on_the_way && (pack_a || !double_pumped(kern) || !repacks(b, c.cols));
    const index_t panels = packs_next && nc > kern.vectors * kern.width ? 2 : 1;
    const index_t packed_cols =
        one_panel ? panels * kern.vectors * kern.width : rounded_up(lead + nc, kern.width);
    b_elements = pack_b == PackB::never ? 0 : packed_cols * kc;
    c_elements = copy_c ? rows * nc : 0;
    partial_elements = partial_c ? rows * nc : 0;
  }

  template <class T>
  std::size_t bytes() const {  // each piece in cache lines of its own
    return sizeof(T) * static_cast<std::size_t>(line(a_elements) + line(b_elements) +
                                                line(c_elements) + line(partial_elements));
  }
  static index_t line(index_t elements) { return rounded_up(elements, 64); }

  // No plan for as many rows and steps and for as many columns or fewer needs more, if beta is 0: of fewer
  // columns the blocks may be wider.
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
    lead = 0;
    by_rows = goes_by_rows(kern, c, k, options, grid);
    turn_b = !by_rows && turns(kern, b, c);
    if (!by_rows && !turn_b && turns_first_tile(kern, b, c)) {
      pack_b = PackB::turned_on_the_way;
    } else if (by_rows || (b.col_stride != 1 && !turn_b)) {
      pack_b = PackB::before;
    } else {
      lead = turn_b ? 0 : columns_before<T>(kern, b);
      const bool few = turn_b || c.rows <= most_unpacked<T>(kern, b, lead);
      pack_b = few ? PackB::never : PackB::on_the_way;
      if (pack_b != PackB::never) lead = 0;
    }
    wraps = false;
    if (by_rows && c.col_stride == 1) choose_lead(kern, c);
    // A is read well where it lies if its rows are contiguous.  Its columns are not: each step of a tile
    // needs half a cache line of another part of a page, or of another page, and those of a long k evict
    // one another before the second panel needs them (512 x 512 x 1024: 60 GFLOP/s, packed 117; with 32
    // steps 87 and 100, with 16 89 and 87).  Packed A costs one pass and serves every panel.
    const bool dense = a.row_stride == 1 && std::abs(a.col_stride) * index_t{sizeof(T)} < kDense;
    pack_a = !by_rows && !in_pieces(kern, c.rows) && !dense && k >= kLeastToPackA &&
             c.rows > kern.mr && packs_columns(kern, a, c.cols);
    // The lines of such rows share a set of L1 with those that are read of B (1024 x 1024 at 12 rows: 62
    // GFLOP/s, packed 109; of eight rows packing lost as often as it won).
    if (turn_b && crowded(a)) pack_a = c.rows > kern.mr;
  }

  // Where the panels of a C that is computed row by row are cut.  Rows without a gap between them let B wrap; those of
  // a block of columns, of a C of more than nc, have gaps.
  template <class T>
  void choose_lead(const GemmKernels<T>& kern, const Matrix<T>& c) {
    if (c.row_stride == c.cols && c.cols <= kern.nc) {
      lead = past_boundary(kern, c);
      wraps = lead > 0;
    } else if (c.cols > 4 * kern.vectors * kern.width) {
      // The first panel and the last are cut: of up to four that costs more than the lines of the rest.
      lead = columns_before(kern, c);
    }
  }

  // Whether B may be packed once for each block of rows.
  template <class T>
  bool repacks(const Matrix<const T>& b, index_t cols) const {
    const index_t most = pack_b == PackB::on_the_way ? kMostRepacked : kMostRepacked / 2;
    return b.rows * cols * index_t{sizeof(T)} <= most;
  }

  template <class T>
  void choose_blocks(const GemmKernels<T>& kern, const Matrix<const T>& b, const Matrix<T>& c) {
    const index_t k = b.rows, nr = kern.vectors * kern.width, size = sizeof(T);
    one_panel = a_streams = false;
    kc = balanced_step(k, pack_a ? kern.kc / 2 : kern.kc);
    mc = rounded_up(balanced_step(c.rows, kern.mc), kern.mr);
    nc = std::min<index_t>(c.cols, kern.nc);
    if (by_rows) {
      mc = rounded_up(c.rows, kern.mr);
    } else if (turn_b) {
      // One row tile: B streams through once.  More: whole squares but for the last step's.
      const index_t step = rounded_up(balanced_step(k, kern.kc), kern.width);
      kc = c.rows <= kern.turn_rows && !pack_a ? k : std::min(k, step);
      mc = rounded_up(c.rows, kern.width);
      // A last block of fewer columns than a register has lanes would take the slow way (there may be one from
      // some 32,000 doubles or 65,000 floats of a thread's part on: what is rounded up adds up).
      nc = std::min(nc, rounded_up(balanced_step(c.cols, kern.nc), kern.width));
    } else if (pack_b == PackB::never) {
      if (c.rows <= kern.mr) {
        kc = k;  // one row tile: B streams through once
      } else if (b.row_stride * size >= kPageBytes / 2 && !double_pumped(kern)) {
        // Rows of B that are far apart: so many that their pages fit the first TLB (64), and that a
        // panel of them stays in L1, whose sets they would else crowd.  Zen 4 loses 1.05 to 1.25 by it; Emerald Rapids
        // gains 1.3 to 1.45 at 16 to 64 rows of 784 x 512, 1.0 to 1.1 of 512 x 512.
        kc = balanced_step(k, kPieceOfPanel);
      }
    } else if (in_pieces(kern, c.rows)) {
      kc = balanced_step(k, kPieceOfPanel), nc = nr;
    } else if (!pack_a) {
      // In blocks of A that stay in L2, or if each of them would have to pack too large a B anew, all at once.
      const index_t rows = kLargestA / std::max<index_t>(1, kc * size);
      a_streams = c.rows * k * size > kLargestA && !repacks(b, c.cols);
      mc = a_streams ? c.rows : balanced_step(c.rows, std::max<index_t>(kern.mr, rows));
      mc = rounded_up(mc, kern.mr);
      one_panel = true;
    }
  }
};

}  // namespace
}  // namespace fastbn
