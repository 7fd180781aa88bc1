// What the driver tells the matrix-product kernels.
#pragma once

#include <cstddef>

#include "fastbn/gemm_columns.h"

namespace fastbn {

using index_t = std::ptrdiff_t;

constexpr index_t kPageBytes = 4096;
constexpr int kMostRowsUpdated = 16;  // of gemm_updates.h
constexpr int kRowsOfPairs = 12;      // of the highest tile of `pairs`: 24 accumulators

// How the rows of a B that is read where it lies are asked for: asks_ahead().
struct AsksAhead {
  index_t rows;  // so many before they are read
  bool to_l2;    // or to L1
  bool by_all;   // by every row tile, or by the first alone
};

// One block C[m x n] = op(A[m x k] B[k x n]) with n at most one panel wide, nr = vectors * width, but for b_turns:
//
//            B, one panel: k rows of n <= nr elements, unit stride along n
//            +-------+
//            |       | b_k from one row to the next
//            +-------+
//   A        C
//  +------+  +-------+   tile t, row i, step p of A is a[t * a_tile + i * a_row + p * a_k]
//  |tile 0|  |       |     unpacked: a_tile = mr * a_row
//  |tile 1|  |       |     packed:   a_row = 1, a_k = mr, a_tile >= mr * k
//  | ...  |  |       |
//  +------+  +-------+
//
// Every element is one chain of fused multiply-adds over k in ascending order that starts at zero,
// whatever the tile, the edge and the packing: that is what makes results independent of threads,
// of layout and of neighbouring rows.  A k too long for the cache is cut into blocks: `resume`
// takes the chain up from `partial` and `suspend` leaves it there, which rounds nothing, since a
// register and memory hold the same bits.  The last block finishes with
//   c = activation(columns(alpha * chain + beta * c)),  c read only if beta != 0.
template <class T>
struct GemmBlock {
  index_t m, n, k;
  index_t lead;  // for rows(), and where B wraps
  // B, packed, begins with its last `lead` columns, which n does not count but pack_width does, and C with the ends of
  // the rows before: gemm_wrap.h.  Of block() a panel of two or three whole registers.  With b_streams B lies where the
  // caller has it, and so do the ends of its rows, which have b_cols columns: gemm_wrap_in_place.h.
  bool wraps;
  index_t b_cols;
  bool half_tiles;  // tiles of half the rows, where their stores would show: halves_tiles()
  const T* a;
  index_t a_row, a_k, a_tile;
  const T* b;
  index_t b_k;
  // b_streams: b lies in memory as the caller has it: the first tile, or all, ask for it (asks) and the first, if
  // pack_to is not null and the tile has mr rows at least, leaves it there in rows of pack_width for the other tiles.
  // b_turns: b's columns are contiguous, b_k is from one to the next, and each tile turns them; n may be any number,
  // and step p of row i of A is a[i * a_row + p * a_k] for any row.  With pack_to only the first tile does, of mr rows,
  // n being a panel's again and at least a register.
  bool b_streams, b_turns;
  AsksAhead asks;  // of b_streams
  bool pairs;      // of b_streams: panels of two registers (at the edges less): gemm_pairs.h
  bool by_lines;   // of b_turns: whole lines of columns are loaded, where they lie in one set of L1
  T* pack_to;
  index_t pack_width;
  T* c;
  index_t c_row;
  T* partial;
  index_t partial_row;
  bool resume, suspend;
  bool plain;  // finished chains make C as they are
  // What the block after this one begins with, for the last tile to ask for, or null.  a_streams: A comes from beyond
  // L2, and every tile asks for the rows of the next.
  const T *after_c, *after_a;
  bool a_streams;
  // A panel of B to come: the tiles leave next_rows rows of it, next_n columns next_b_row apart as the caller has them,
  // in rows of next_width at next_to on the way, if that is not null.
  const T* next_b;
  index_t next_b_row, next_rows, next_n;
  T* next_to;
  index_t next_width;
  T alpha, beta;
  GemmColumns<T> columns;  // from this panel's first column on
  bool
      columns_of_rows;  // C is transposed: one value a row, from this block's first on; b_turns alone
  bool relu;
};

template <class T>
struct GemmKernels {
  // The register tile (nr = vectors * width columns), and the blocks that the driver keeps in
  // caches.
  int mr, vectors, width;
  int turn_rows;  // rows of the tile that turns B, by squares or by groups of steps; or 0
  int kc, mc, nc;
  int most_steps_by_rows;  // the longest k that rows() takes
  void (*block)(const GemmBlock<T>& block);
  // The same for any n wider than a panel, C in the order in which it lies: nothing to resume or suspend, C = A B.
  // B is packed, its panels one after the other, each as many whole registers wide as Part::cut() gives it: of n
  // columns if B wraps, else of lead + n, the first without `lead` of them.
  void (*rows)(const GemmBlock<T>& block);
  // The same of k >= 4, up to kMostRowsUpdated rows and any n by rank-4 updates of sums at `partial`, whose rows are
  // whole registers long; no k is resumed or suspended.  Null of a target that has none.
  void (*updates)(const GemmBlock<T>& block);
  // to[j * to_row + i] = from[i * from_row + j] for rows x cols of `from`
  void (*transpose)(index_t rows, index_t cols, const T* from, index_t from_row, T* to,
                    index_t to_row);
  // k rows of one panel of B, n columns from any strides, to rows of `width` elements.
  void (*pack_b)(index_t k, index_t n, const T* b, index_t k_stride, index_t n_stride, T* packed,
                 index_t width);
  // m rows of A, from any strides, as tiles of mr rows, k-major within a tile, `tile` elements from one to the next.
  void (*pack_a)(index_t m, index_t k, const T* a, index_t row_stride, index_t k_stride, T* packed,
                 index_t tile);
  // sums[j] = sum over the rows of x, in double, for n consecutive columns
  void (*column_sums)(index_t rows, index_t cols, const T* x, index_t row_stride, T* sums);
};

}  // namespace fastbn
