// How a B that is read where it lies is read: for how many rows of C that pays, in which panels and pieces, and how its
// rows are asked for.
#pragma once

#include <algorithm>
#include <cstdlib>

#include "fastbn/gemm.h"
#include "gemm/gemm_args.h"
#include "gemm/gemm_rules.h"

namespace fastbn {
namespace {

// Whether B wraps where it is read where it lies, for so many rows of C (gemm_wrap_in_place.h): no load is across
// lines, and no row has a register more, as cut ones have.  Two panels, which are not cut, gain at 3 rows 1.2 to 1.9,
// but tiles as high as can be hide their loads anyway: 0.95 to 1.05.
//
// One thread of Emerald Rapids, arrays 16 bytes past a line, beside panels that are cut: 128 columns at 8 to 40 rows
// 1.11 to 1.13 times as fast, 256 1.06 to 1.10, 384 1.05 to 1.06, 512 1.03, 320 with k = 2048 1.02 to 1.03, 1024 x 1024
// 0.99 to 1.03, one and four rows 1.05 to 1.14; two threads 1.01 to 1.15, doubles 1.01 to 1.13.  With all other rules
// of the kind `whole`, 0.995 to 1.17 at 1 to 64 rows.  Not measured on Zen and Ice Lake; where a multiply-add takes two
// cycles both lines of a load fit beside it.
template <class T>
bool wraps_in_place(const GemmKernels<T>& kern, const Matrix<const T>& b, index_t rows) {
  if (kern.width * index_t{sizeof(T)} != 64 || double_pumped(kern)) return false;
  const index_t panel = kern.vectors * kern.width;
  const bool whole_tiles = (rows + 1) % kern.mr <= 1;  // or but for a row
  return b.cols > (whole_tiles ? 2 * panel : panel) && b.cols % kern.width == 0 &&
         b.row_stride % kern.width == 0 && past_boundary(kern, b) > 0;
}

// Whether each row of B starts on a register's boundary.
template <class T>
bool starts_on_lines(const GemmKernels<T>& kern, const Matrix<const T>& b) {
  return b.row_stride % kern.width == 0 && past_boundary(kern, b) == 0;
}

// How many rows of C go by rank-4 updates (gemm_updates.h) of a B that comes from beyond an L2 of 512 KiB and whose
// rows crowd L1, so that no prefetcher follows a panel of it.  `shared`: B is a part of one, whose other columns are
// other threads'.
//
// One thread of Zen 3, beside tiles of four rows: 1024 x 1024 at 1, 2 and 8 rows 2.1 to 2.7, 1.4 to 1.9 and 1.1 to 1.5
// times as fast, 2048 x 2048, 1024 x 2048 and 512 x 4096 at 2 and 8 1.7 to 2.7 and 1.2 to 1.8, 512 x 512 at 1, 2 and 8
// 1.3 to 1.5, 1.1 to 1.3 and 0.94 to 1.27, 256 x 1024 at 2 and 8 1.3 to 1.5, 4096 x 512 1.0 to 1.6, 128 x 1024 1.07 to
// 1.6; doubles of 512 x 512 and 1024 x 1024 1.25 to 2.9.  At four rows, one tile that reads B once, 1024 x 1024 1.2 to
// 1.8, 512 x 512 1.04 to 1.35, 2048 x 2048 1.3 to 1.6, 1024 x 2048 1.8 to 2.0.  At 12 and 16 rows 1024 x 1024 1.02 to
// 1.5 and 0.92 to 1.35, 2048 x 2048 at 12 1.9 to 2.0, 512 x 512 0.84 to 1.13, doubles 0.86 to 1.3.  (The lower figures
// are of a core that a neighbour shared, beside whom a window holds less.)  Rows that do not crowd: 640 x 384, 784 x
// 256, 2048 x 320 and 1000 x 1000 at 8 rows 0.7 to 1.15.
//
// Threads that share out B's columns read parts of the same rows, and their updates lose the more the shorter those
// parts are.  Two threads, likewise, medians and quiet minutes: 512 x 512 at 1, 2, 4 and 8 rows 1.2 and 1.5, 1.15 and
// 1.4, 0.77 and 0.98, 0.75 and 0.9, 1024 x 512 at 4 and 8 0.87 and 1.28, 0.78 and 1.07, 4096 x 512 at 2 and 8 1.2 and
// 1.4, 0.8; 1024 x 1024 at 2, 4 and 8 1.6 and 2.3, 0.95 and 1.5, 0.94 and 1.4, 2048 x 1024 at 4, 8 and 16 1.4 and 1.8,
// 0.9 and 1.2, 0.65 and 0.9; 2048 x 2048 at 4, 8, 12 and 16 1.7 and 2.1, 1.0 and 1.3, 1.5 and 1.2, 1.1; doubles of 512
// x 512 at 1 to 8 1.7, 1.7, 0.95, 0.85 and 1.02, 1024 x 1024 at 4 and 8 1.4, 0.7 and 0.9.
template <class T>
index_t most_rows_updated(const GemmKernels<T>& kern, const Matrix<const T>& b, bool shared) {
  constexpr index_t kLarge = 4 << 20, kShort = 512, kLong = 1024, size = sizeof(T);
  constexpr bool kFloats = size == sizeof(float);
  if (shared && b.cols < kShort) return 2;
  if (shared && b.cols < kLong) return kFloats ? 2 * kern.mr : kern.mr;
  return kFloats && b.rows * b.cols * size >= kLarge ? kMostRowsUpdated : 2 * kern.mr;
}

// One row of C takes each element of B once, and a panel down B's rows is the slowest way to them: a row goes by
// updates wherever B's rows are contiguous, if it has so many columns, or no more steps than columns.  One thread of
// Zen 3, beside a tile of one row: 16 x 64 and 32 x 32 2.5 and 1.6 to 2.0 times as fast, 64 x 64, 128 x 128, 256 x 128,
// 512 x 256, 784 x 256, 640 x 384, 100 x 1000 1.2 to 2.0, 2048 x 320, 1000 x 1000, 300 x 200 1.06 to 1.25; 784 x 48
// 0.85, 784 x 30 0.8 to 1.05, 784 x 16 0.5, 128 x 17 0.9.  Doubles 1.05 to 2.9, but 784 x 100 0.8.  Parts of threads
// likewise, but of more than 1 MiB: 2048 x 320 and 1000 x 1000 0.8.  Two rows: 0.7 to 1.6.
template <class T>
bool update_of_row_pays(const GemmKernels<T>& kern, const Matrix<const T>& b, bool shared) {
  constexpr index_t kManyColumns = 64, kMostShared = 1 << 20;
  if (b.cols < 2 * kern.width || (b.cols < kManyColumns && b.rows > b.cols)) return false;
  return !shared || crowds_l1(b) || b.rows * b.cols * index_t{sizeof(T)} <= kMostShared;
}

// Whether the rows of C go by updates.
template <class T>
bool updates_pay(const GemmKernels<T>& kern, const Matrix<const T>& b, index_t rows, bool shared) {
  constexpr index_t kL2 = 512 * 1024, kLeastOfUpdate = 4, kLeastSteps = 32;
  if (!kern.updates || b.col_stride != 1 || b.rows < kLeastOfUpdate) return false;
  if (rows == 1 && update_of_row_pays(kern, b, shared)) return true;
  return crowds_l1(b) && b.rows >= kLeastSteps && rows > 0 &&
         rows <= most_rows_updated(kern, b, shared) && b.rows * b.cols * index_t{sizeof(T)} >= kL2;
}

// Tiles of four rows read B twice as often as those of eight: it pays sooner to pack it, the sooner the longer a panel
// is beside L1, where packed rows follow one another.  One thread of Zen 3, packed beside unpacked, at 12, 16, 24, 32
// and 48 rows: 784 x 128 1.1, 1.13, 1.26, 1.25, 1.38 times as fast, 640 x 384 0.98, 1.09, 1.15, 1.25, 1.25, 784 x 512
// and 2048 x 320 0.95, 0.98, 1.05, 1.1, 1.15, 1000 x 1000 0.94, 0.96, 0.99, 1.0, 1.1; 200 x 256, 256 x 256, 300 x 200,
// 400 x 400 and 512 x 784 0.82 to 0.94, 0.92 to 0.98, 0.95 to 0.98, 0.98 to 1.03, 1.02 to 1.05, 256 x 128 at 24 1.09;
// 100 x 1000 0.9, 0.87, 0.92, 0.95, 0.98.  Doubles likewise.  Of rows that are no whole registers apart from 9 on: 599
// x 1001 at 16, 24 and 28 1.14, 1.27, 1.3, 599 x 601 and 599 x 201 at 20 1.18 and 1.09.
inline index_t most_unpacked_by_four(index_t k) {
  constexpr index_t kShort = 128, kLong = 600;
  return k < kShort ? 40 : k < kLong ? 28 : 12;
}

// B whose rows are contiguous is read where it lies for up to so many rows of C; the loads that packing
// saves are then not worth its stores, of which Zen 4 makes a 64-byte one in two cycles (at 16 rows 92 %
// of what it is unpacked, at 96 rows 97 %).  Rows of B that are a multiple of a page apart share few
// sets of the caches: sooner packed.  Tiles of four rows feel a multiple of half a page: packing pays from three of
// them on (one thread of Zen 4 with AVX2: 1024 x 1024 at 9 and 16 rows 45 and 72 GFLOP/s unpacked, 56 and 79 packed, at
// 8 rows 67 and 59; 512 x 512 at 32 rows 94 and 99).  So is B whose loads are across two cache lines: many of them (300
// x 200 at 40 rows: 109 GFLOP/s unpacked, 134 packed), or those of the first of a few panels.
//
// A deep window hides loads across lines, up to six tiles (one thread of Emerald Rapids, unpacked beside packed: 300 x
// 200 at 24 and 40 rows 1.05 and 1.10, 784 x 256 at 24, 40, 64 and 96 1.08, 1.05, 0.92, 0.89).  Of a B that L2 does not
// keep from one step of a training to the next, five are read at half of L2's pace and asked for in time: 784 x 512,
// 512 x 784, 1024 x 512 and 1024 x 1024 at 40 rows 1.05 to 1.13, at 48 0.98 to 1.01.  Four, if rows are more than a
// page apart (512 x 2048 at 40 rows 0.93) or cross lines and have pages of their own (600 x 600 and 1000 x 1000 at 24
// 1.03 to 1.15, at 40 1.03 and 0.9, 600 x 600 at 48 0.85).
//
// Of a B that wraps, or starts on a line, there is nothing to hide: it may be a tile more (1024 x 1024, 1024 x 784,
// 1024 x 512 and 2048 x 320 at 48 rows 1.02 to 1.09, at 56 0.99 to 1.06), or two of what L2 keeps (256 x 384 and 512 x
// 512 at 64 rows 1.01, at 80 1.01 and 1.00), or six of 256 KiB (128 and 256 columns, k = 100 to 256, at 64 rows 1.02 to
// 1.05, at 80 1.01 to 1.03, at 96 1.00 to 1.02).  Not of a thread's part of the columns, whose rows crowd more (0.93 to
// 1.05), nor of two panels, which do not always wrap.
template <class T>
index_t most_unpacked(const GemmKernels<T>& kern, const Matrix<const T>& b, index_t lead,
                      bool wraps) {
  if (double_pumped(kern)) {
    // Loads across lines are hidden, stores are not (300 x 200 at 24 rows: 100 GFLOP/s packed, 110 unpacked).  Rows a
    // page apart at 40, 48, 64 and 96 rows, unpacked beside packed: 1024 x 1024 1.03, 1.01, 1.01, 0.99, 2048 x 2048
    // 1.13, 1.04, 0.99, 0.99.
    return (b.row_stride * index_t{sizeof(T)} % kPageBytes == 0 ? 8 : 12) * kern.mr;
  }
  const bool crosses = b.row_stride % kern.width != 0;
  if (deep(kern)) {
    constexpr index_t kMostPages = 256, kSmall = 256 * 1024, kKept = 512 * 1024, size = sizeof(T);
    const bool spread = crosses && pages_of<T>(b.rows, b.row_stride) > kMostPages;
    const bool whole_lines = (wraps || starts_on_lines(kern, b)) && b.row_stride == b.cols &&
                             b.cols > 2 * kern.vectors * kern.width;
    const index_t bytes = b.rows * b.cols * size;
    if (bytes <= kKept && !spread) return (!whole_lines ? 6 : bytes <= kSmall ? 12 : 8) * kern.mr;
    if (spread || std::abs(b.row_stride) * size > kPageBytes) return 4 * kern.mr;
    return (whole_lines ? 6 : 5) * kern.mr;
  }
  if (crosses || (kern.mr == 4 && crowds_l1(b))) return 2 * kern.mr;
  if (has_small_l2(kern)) return most_unpacked_by_four(b.rows);
  if (lead != 0 && !wraps && b.cols <= 4 * kern.vectors * kern.width) return 2 * kern.mr;
  if (b.row_stride * index_t{sizeof(T)} % kPageBytes == 0) return 4 * kern.mr;
  return lead != 0 ? 8 * kern.mr : 12 * kern.mr;
}

// How rows of B that are read where they lie are asked for.  Those that crowd L1 drive one another out there if they
// are asked for early, and four rows ahead is too late for L3: L2 has room for them, and from there loads are in time
// unasked.  1024 x 1024 at 8 rows, one thread of Zen 4: with AVX2 52 GFLOP/s with 16 rows asked for to L1, 71 with 32
// to L2; with AVX-512 104 with 4 to L1 and 107.  2048 x 2048: 29 and 48, 58 and 105.  Distances of 16 to 64 in L2
// differ little up to 1024 columns; 8 lost 4 to 44 %.  Far apart few sets of L2 have them all: of an L2 of 8 ways and 1
// MiB those of rows 32 KiB apart keep 32 lines.  So 16 are asked for from there on, a rule of thumb (256 x 8192 and 256
// x 16384 with AVX2 at 8 and 16 rows 0.87 to 1.34 times as fast as with 32, with AVX-512 0.96 to 1.03; at 512 x 4096
// 0.74 to 1.06).
//
// Deep cores have an L1 of 12 ways, which keeps 8 such rows ahead: into it they are 1.02 to 1.05 times as fast for 512
// x 512 at 8 rows, 1.15 for 512 x 1024, 1.02 to 1.1 for 1024 x 1024 and 2048 x 2048, 1.1 for 512 x 4096 (doubles 1.05
// to 1.17; 6 and 10 ahead differ little, 12 lose 3 to 10 % of it).  Where rows crowd L1, or L2 does not keep B beside
// the rest, every tile asks (1024 x 1024 at 16 and 24 rows 1.05 to 1.1, 2048 x 2048 1.1, 600 x 600 and 1000 x 1000
// 1.04, 512 x 512 1.00 to 1.09; 256 x 784, which has neither, 0.96 to 1.0; one thread of Emerald Rapids).
template <class T>
AsksAhead asks_ahead(const GemmKernels<T>& kern, const Matrix<const T>& b) {
  constexpr index_t kFar = 32 * 1024;  // bytes
  const bool crowds = crowds_l1(b);
  if (deep(kern)) return {crowds ? 8 : 16, false, crowds || span_of(b) > kL2OfDeep / 2};
  const bool far = std::abs(b.row_stride) * index_t{sizeof(T)} >= kFar;
  return {crowds && !far ? 32 : 16, crowds, false};
}

// Updates ask L2 for the next four rows of a B whose pages are more than the second TLB keeps, 2048 of them: 2048 x
// 2048 at 2 to 12 rows 1.07 to 1.3 times as fast.  Of a smaller one prefetchers do better (1024 x 1024 at 8 rows 0.9,
// 512 x 512 0.95, 256 x 1024 0.85; Zen 3).
template <class T>
AsksAhead asks_ahead_of_updates(const Matrix<const T>& b) {
  const bool asks = pages_of<T>(b.rows * b.cols, 1) > 2048;
  return {asks ? 4 : 0, true, true};
}

// For more than one row tile, B that lies half a page or more from row to row is read where it lies in pieces of so
// many steps: their pages fit the first TLB (64), and a panel of them stays in L1, whose sets they would else crowd.
// Zen 4 loses 1.05 to 1.25 by it.  So do deep cores, but where rows crowd L1 and L2 does not keep them: there a piece
// takes four ways of L2 (one thread of Emerald Rapids, beside pieces of 128: 512 x 512 at 16 to 32 rows 1.05 to 1.1 in
// one, 784 x 512 and 1024 x 512 in pieces of 256 1.03 to 1.05 and in one 0.75 to 0.95, 1024 x 1024 in pieces of 256 0.9
// to 1.0; 256 x 784 in one 1.06 to 1.09, 400 x 784, 600 x 600 and 1000 x 1000 1.04 to 1.09).
template <class T>
index_t steps_in_place(const GemmKernels<T>& kern, const Matrix<const T>& b) {
  const index_t apart = std::abs(b.row_stride) * index_t{sizeof(T)};
  if (deep(kern)) {
    const bool crowds = crowds_l1(b) && span_of(b) > kL2OfDeep / 2;  // so that rows are apart
    return crowds
               ? std::min<index_t>(std::max<index_t>(kL2OfDeep / 4 / apart, kLeastPiece), kern.kc)
               : kern.kc;
  }
  return apart >= kPageBytes / 2 && !double_pumped(kern) ? kPieceOfPanel : kern.kc;
}

// Whether its panels are a pair of lines wide, two registers, for so many rows of C.
//
// L2 fetches lines by aligned pairs.  Where rows begin alike in a pair, a panel of three lines takes half a pair of
// each row that it does not need; it is another panel's, and of rows a page apart it is gone by then (docs/gemm.md).
// Rows an odd number of lines apart lose by it (784, 816, 1008 and 1040 floats at 8 rows 0.94 to 0.97).  Whether B
// begins with a whole pair made no difference.  Tiles of two registers may have 12 rows: the first, which waits for L3,
// does more then.
//
// One thread of Emerald Rapids, beside panels of three registers, of a B that comes from beyond L2: 1024 x 1024, 1024
// x 2048, 1024 x 768, 1024 x 640, 800 x 896, 1024 x 1056, 2048 x 256 at 8 rows 1.08 to 1.19 times as fast, 2048 x 2048
// 1.05, at 1 and 2 rows 1.2, at 9 1.2 to 1.55, at 12 1.3 to 1.45; at 16 to 32 1.02 to 1.12, at 40 and 48 0.97 to 1.06,
// but of rows that crowd L1, which are read in pieces then, 0.92 to 1.0.  Doubles 1.03 to 1.15, two threads 1.05 to
// 1.13.  A B of 0.8 to 2 MiB: 1.09 to 1.15 if each product has another one, 0.97 to 0.99 if L2 keeps it from one to the
// next, 0.94 of rows that crowd L1.  Rows of 384 bytes: 0.7.
template <class T>
bool by_pairs_of_lines(const GemmKernels<T>& kern, const Matrix<const T>& b, index_t rows) {
  constexpr index_t kPair = 128, kLeastRow = 512;  // bytes
  const index_t size = sizeof(T);
  if (!deep(kern) || b.row_stride * size % kPair != 0 || b.cols * size < kLeastRow) return false;
  const bool crowds = crowds_l1(b);
  if (crowds && rows > kRowsOfPairs) return false;
  const index_t bytes = b.rows * b.cols * size;
  if (!crowds) return bytes > kL2OfDeep / 2;
  return std::max(bytes, pages_of<T>(b.rows, b.row_stride) * kPageBytes) > kL2OfDeep;
}

}  // namespace
}  // namespace fastbn
