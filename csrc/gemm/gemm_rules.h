// What pays on which core: when to pack, to turn, to cut and to halve, each rule with what was measured.  The plan of a
// product (gemm_plan.h) is made by them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <numeric>

#include "fastbn/gemm.h"
#include "gemm/gemm_args.h"
#include "gemm/gemm_core.h"

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

// The bytes that B's rows span, with what lies between them.  Of an L2 of 2 MiB and 16 ways each 128 KiB of it take a
// way, however few columns of it are read.
template <class T>
index_t span_of(const Matrix<const T>& b) {
  return b.rows * std::abs(b.row_stride) * index_t{sizeof(T)};
}

// Rows that lie in two sets of L1 or in one, which keep 8 lines or 12 each.
template <class T>
bool crowds_l1(const Matrix<const T>& b) {
  return b.row_stride * index_t{sizeof(T)} % (kPageBytes / 2) == 0;
}

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
//
// Where L2 is small B is packed once whatever it costs A: one thread of Zen 3, A of more than 256 KiB from L3 for each
// panel of B, beside blocks as above: 512 x 512 at 512 and 1024 rows 1.00 and 1.04 times as fast, 784 x 256 at 256 to
// 1024 1.02 to 1.04, 300 x 200 at 720 1.03, 1024 and 2048 cubed 0.99 to 1.00, NT 0.99 to 1.04.
constexpr index_t kLargestAOfSmallL2 = 256 * 1024;
constexpr index_t kMostRepacked = 2304 * 1024;
// A deep window fetches A from L3 beside its multiply-adds for less than turning B anew costs, while L2 has room for
// most of A, or where a block would be few of its long rows: streams_a().  In bytes.
constexpr index_t kMostlyInL2 = 1280 * 1024, kLongRow = 3 * 1024, kMostOfLongRows = 4 << 20;
constexpr index_t kColumnsToStream = 512, kColumnsToStreamBeside = 192;
constexpr index_t kMostInBlocks = 3 << 20;  // bytes: repacks_any()
// Tiles leave the next panel of B packed (gemm_beside.h) if its rows are contiguous.  Where a multiply-add takes two
// cycles only if it comes from beyond L2: B is larger than that, or A is packed, which has L2 for itself (a smaller B:
// 0.97 to 1.0; Emerald Rapids 1.04).  With fewer rows it is too much
// work beside too few tiles (of 4 rows, at 16 and 28 of them: 0.8 to 0.94, 1.0); half tiles do not do it.
constexpr index_t kLeastRowsToPackNext = 32;
// halves_tiles(); tiles of as few steps pack nothing beside, either.
constexpr index_t kMostStepsHalved = 128;
constexpr index_t kFewRows = 4;  // row tiles
constexpr index_t kPieceOfPanel = 128, kLeastPiece = 64;
constexpr index_t kLeastToTurn = 4;  // steps of k: a group of floats, two of doubles
constexpr index_t kTwoSquares = 32;  // steps of k
// From more rows than this, transposing B into panels costs less than taking C to scratch and back does: from 64
// rows on up to 1.1 times as fast; at 32 rows the swap is 1.1 to 1.3 times as fast (Ice Lake).  With AVX2 packing is
// 1.0 to 1.2 times as fast from 64 rows on (Zen 5).
constexpr index_t kMostToSwap = 48;
constexpr index_t kLeastToPackA = 32;  // steps: see choose_packing

// Elements between a register's boundary in memory and the first one of each row.  Of rows half a register longer than
// whole ones, as those of 200 and of 1000 floats, the fewer of two rows', for deep windows: every second row starts on
// a boundary then.  0 if rows differ in more.
template <class T, class M>
index_t past_boundary(const GemmKernels<T>& kern, const M& m) {
  const index_t apart = std::gcd<index_t, index_t>(m.row_stride, kern.width);
  if (apart < (deep(kern) ? kern.width / 2 : kern.width)) return 0;
  return static_cast<index_t>(reinterpret_cast<std::uintptr_t>(m.data) / sizeof(T)) % apart;
}

// Whether each row of C ends on the line on which the next begins, past its boundary: B wraps there (gemm_wrap.h).
template <class T>
bool rows_may_wrap(const GemmKernels<T>& kern, const Matrix<T>& c) {
  return c.col_stride == 1 && c.row_stride == c.cols && c.cols <= kern.nc &&
         c.cols % kern.width == 0 && past_boundary(kern, c) > 0;
}

// Panels are cut as if so many columns came before, past_boundary() or none: all but the first start on a line then.
// Arrays of NumPy start 16, 32 or 48 bytes past one more often than on it, and a load or a store across two lines
// counts twice.  That is done for what a panel does most: reading B where it lies (512 x 512 at 8 rows: 103 GFLOP/s,
// and 145), or writing C row by row.  Of two panels it would be too few.  Where a multiply-add takes two cycles (Zen 4)
// both lines of a load fit beside it, and a register more a row costs more, as it does 256 columns a sixteenth, unless
// rows are a page long (256 x 128 at 16 rows: 99 GFLOP/s, without 111; 256 x 1024 at 8 rows: 108, and 95).
//
// Where half of the rows start on one it pays only if no row has a register more (one thread of Emerald Rapids, arrays
// 16 bytes past a boundary: B read where it lies, 100 x 1000 at 8 rows 1.05 to 1.08 times as fast, at 24 and 40 1.03 to
// 1.04, 300 x 200 1.01 to 1.03; C row by row 1.07 to 1.13 with k = 8, 1.04 to 1.07 with 24, 1.015 with 40; doubles 1.03
// to 1.09.  Not measured on Zen and Ice Lake).
template <class T, class M>
index_t columns_before(const GemmKernels<T>& kern, const M& m) {
  if (double_pumped(kern) && m.row_stride * index_t{sizeof(T)} < kPageBytes) return 0;
  if (m.cols <= 2 * kern.vectors * kern.width) return 0;
  const index_t past = past_boundary(kern, m);
  const bool all_rows = m.row_stride % kern.width == 0;
  const bool adds = rounded_up(m.cols + past, kern.width) > rounded_up(m.cols, kern.width);
  return all_rows || !adds ? past : 0;
}

// The longest k with which C is computed row by row.  Half-width units take twice as long for the chains of a tile,
// beside which the lines of C come in any order, but those of long rows sooner in this one (k = 24 to 48: 512 x 512,
// 784 x 256, 640 x 384 1.02 to 1.05 times as fast as by panels, 1024 x 1024 1.05 to 1.07, 2048 x 320 0.99, 256 x 128
// 0.96 to 1.01; Zen 4).  Long rows are worth it for longer in deep windows (Emerald Rapids, one thread and two, k = 64:
// 1024 x 1024 1.04 to 1.07, 512 x 512 1.01 to 1.04, 1024 x 256 and 512 x 256 1.04 to 1.07, 784 x 512 1.00 to 1.02, 784
// x 256 0.99 to 1.01, 256 x 128 0.98; k = 96: 512 x 512 0.99 to 1.02, 784 x 256 0.98 to 1.00).
template <class T>
index_t most_steps_by_rows(const GemmKernels<T>& kern, const Matrix<T>& c) {
  constexpr index_t kSteps = 48, kFewSteps = 16;
  const index_t most = kern.most_steps_by_rows;
  const bool short_rows = std::abs(c.row_stride) * index_t{sizeof(T)} < kPageBytes / 4;
  if (short_rows) return std::min(most, double_pumped(kern) ? kFewSteps : kSteps);
  return deep(kern) ? most : std::min(most, kSteps);
}

// Whether packed B wraps where C starts past a register's boundary, so that tiles store whole lines of it: a tile of 24
// stores across lines waits some 50 cycles for them (one thread of Emerald Rapids, C 16 bytes past a line: k = 64 1.03
// to 1.05 times as fast, 80 to 128 1.01 to 1.04, 192 1.00 to 1.01, 256 and 384 1.00, at 40 rows 1.00; of two panels,
// the first of which packs alone, 0.94 to 0.98).  Not measured on Zen and Ice Lake.
template <class T>
bool wrapping_pays(const GemmKernels<T>& kern, const Matrix<T>& c, index_t k) {
  constexpr index_t kMostSteps = 192, kLeastTiles = 8, kFewPanels = 2;
  return deep(kern) && k > 0 && k <= kMostSteps && c.rows >= kLeastTiles * kern.mr &&
         c.cols > kFewPanels * kern.vectors * kern.width;
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

// Whether a large A, whose rows are contiguous, comes from L3 for each panel of B though B could be packed for each
// block of A (one thread of Emerald Rapids, NT, and NN of up to 128 steps: each panel's first tile packs it.  400 to
// 600 rows with k = 512 to 640, A of 0.8 to 1.25 MiB, 1.00 to 1.03 times as fast; k = 784 to 1024, 128 to 512 columns,
// 400 to 1024 rows 1.01 to 1.03; two threads 1.00 to 1.07).  Panels that are packed beside multiply-adds cost next to
// nothing: it pays of a few alone (128 columns at 1024 rows with k = 1024 1.03, 256 0.97 to 1.01, 384 and 512 0.96 to
// 1.00, two threads likewise).  A tile of doubles multiplies half as much for each line of A: 0.92 to 1.03.
template <class T>
bool streams_a(const GemmKernels<T>& kern, index_t rows, index_t k, index_t cols, bool beside) {
  const index_t most_cols = beside ? kColumnsToStreamBeside : kColumnsToStream;
  if (!deep(kern) || sizeof(T) > sizeof(float) || cols > most_cols) return false;
  const index_t row = k * index_t{sizeof(T)}, bytes = rows * row;
  return bytes <= kMostlyInL2 || (row > kLongRow && bytes <= kMostOfLongRows);
}

// Whether B of any size is packed anew for each block of A, where A does not stay in L2 from one panel of B to the
// next.
//
// Where tiles pack it beside their multiply-adds, of a few blocks: past more of them groups of panels pay (one thread
// of Emerald Rapids, beside groups or one panel at a time: 208, 256, 300, 384, 512 and 640 rows of 1024 x 1024 1.01,
// 1.03, 1.03, 1.02, 1.05 to 1.09 and 1.03 to 1.05 times as fast, 400 and 600 of 512 x 1536 1.02, 700 of 800 x 1000
// 1.07 to 1.09; doubles, beside groups: 208 to 300 rows of 1024 x 1024 1.02, 384 to 768 cubed 1.0 to 1.05, 900 cubed
// 0.99, 1024 cubed 0.95 to 0.97; two threads 0.99 to 1.01).  Where each panel's first tile packs it (turned, or up to
// 128 steps), of doubles alone, if A is more than L2 keeps most of, however many: a tile of them multiplies half as
// much for each line of A, whose way from L3 takes as long as that (768 cubed 1.12, 512 x 1024 with k = 1024 1.05).
template <class T>
bool repacks_any(const GemmKernels<T>& kern, index_t rows, index_t k, bool beside) {
  const index_t bytes = rows * k * index_t{sizeof(T)};
  if (!deep(kern)) return false;
  return beside ? bytes <= kMostInBlocks : sizeof(T) > sizeof(float) && bytes > kMostlyInL2;
}

// For so many panels columns of A are read where they lie.  Where a multiply-add takes two cycles its loads are hidden
// better than the copy pays (Zen 4, one and two threads, k = 64 to 2048: 256 x 128 1.02 to 1.08 times as fast, 300 x
// 200 1.02 to 1.10, 784 x 256 1.00 to 1.06; of seven panels 2048 x 320 0.84 to 0.99).  Not of columns half a page apart
// or a multiple of it, which share few sets (1024 x 256 with k = 512 0.89, 512 x 144 and 512 x 288 with k = 2048 0.79),
// nor of an A much larger than L2 (300 x 200 with k = 4096 0.88 to 0.94, weights' gradients of 3.2 to 6.4 MB of x in
// the fused block 0.95 to 1.04).  So they are by a deep window, while a tile's columns are in no more pages than the
// first TLB keeps, or a third more (Emerald Rapids, one thread: 256 x 128 with k = 64 to 512 1.05 to 1.14, with 1024
// 0.83 to 0.91; 784 x 256 with 64 and 128 1.08, with 512 0.89; 300 x 200 with 200 to 400 1.05 to 1.1, 640 x 384 with
// 100 and 200 1.02 to 1.04).
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

// Columns of A less than half a kilobyte apart, of few features, are read where they lie: a tile's steps share pages,
// and row tiles lines (10 x 128 was 10 % slower packed).  But a line of each of many steps and a panel of B as long are
// more than a small L1 has until the next row tiles, or panels, would use the lines again (one thread of Zen 3, packed
// beside not: 100 x 1000 with k = 720 1.12 to 1.17 times as fast, 100 x 200 with 720 1.09 to 1.3, 100 x 300 with 300
// 1.06 to 1.09, 100 x 1000 with 200 1.01 to 1.03, with 128 0.94 to 0.97, 64 x 128 with 256 0.97; doubles 60 x 200 with
// 200 to 1000 1.07 to 1.17).  Columns that share lines (10 x 128 with k = 512 0.8 to 0.86), and a C of one panel (100 x
// 24 with 1000 0.88 to 1.0), are not.
template <class T>
bool dense(const GemmKernels<T>& kern, const Matrix<const T>& a, index_t cols) {
  constexpr index_t kFewBytes = 512, kLine = 64, kMostSteps = 192;
  const index_t apart = std::abs(a.col_stride) * index_t{sizeof(T)};
  const bool fills_l1 = kern.mr == 4 && apart > kLine && a.cols > kMostSteps;
  return a.row_stride == 1 && apart < kFewBytes && !(fills_l1 && cols > kern.vectors * kern.width);
}

// Contiguous rows a multiple of a page apart.
template <class T>
bool crowded(const Matrix<const T>& a) {
  return a.col_stride == 1 && a.row_stride * index_t{sizeof(T)} % kPageBytes == 0;
}

// Whether tiles turn B by squares, of four groups to a register (gemm_turn.h), or by groups (gemm_turn_groups.h).
template <class T>
bool turns_squares(const GemmKernels<T>& kern) {
  return kern.turn_rows > 0 && kern.width * index_t{sizeof(T)} == 64;
}
template <class T>
bool turns_groups(const GemmKernels<T>& kern) {
  return kern.turn_rows > 0 && kern.width * index_t{sizeof(T)} == 32;
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

// Whether tiles of mr rows load whole lines of B's columns and turn its lanes, too: where columns are a multiple of a
// page apart, and share a set of L1 (one thread of Emerald Rapids, at 8 rows: 1024 x 1024 1.09 to 1.11 times as fast,
// 2048 x 2048 1.07, 1024 x 512 1.13, doubles of 512 x 512 1.08 to 1.1, first tiles that leave B packed at 24 to 128
// rows 1.00 to 1.04; of other columns 0.95 to 1.0.  Not measured on Zen and Ice Lake).
template <class T>
bool loads_lines(const GemmKernels<T>& kern, const Matrix<const T>& b) {
  return deep(kern) && b.col_stride * index_t{sizeof(T)} % kPageBytes == 0;
}

// Whether the first row tile turns B and leaves it packed: its shuffles and stores then go beside the multiply-adds of
// 8 rows.  Packed before, NT took 1.05 times as long at 56 to 128 rows, 1.01 at 256 to 2048, 0.98 to 1.08 with k = 32
// to 60 at 33 to 56, 1.0 to 1.2 at 17 to 32, and 0.97 to 1.17 with k = 5 to 28 at 17 to 48; first tiles of 16 rows were
// 0.74 to 1.03 times as fast (one thread of Zen 4).  Where shuffles compete with multiply-adds it took 1.02 to 1.19
// times as long at 24 to 64 rows, 1.01 to 1.06 at 96 to 200, 1.01 at 256 and 512 (one of Emerald Rapids).  By groups,
// first tiles of 4 rows were 1.00 to 1.03 times as fast, doubles' 0.98 to 1.0 (one of Zen 3): not worth their code.
template <class T>
bool turns_first_tile(const GemmKernels<T>& kern, const Matrix<const T>& b, const Matrix<T>& c) {
  return turns_squares(kern) && b.col_stride != 1 && b.row_stride == 1 && b.rows >= kLeastToTurn &&
         c.cols >= kern.width && c.rows > kern.turn_rows;
}

// Elements from a packed tile of A to the next.  pack_a() writes four lines of each in turn: of tiles a multiple
// of a page apart, as kc of 128 makes them, all would fall into the same four sets of L1.
template <class T>
index_t packed_tile(const GemmKernels<T>& kern, index_t kc) {
  constexpr index_t kApart = 256;  // bytes
  return kern.mr * kc + kApart / index_t{sizeof(T)};
}

}  // namespace
}  // namespace fastbn
