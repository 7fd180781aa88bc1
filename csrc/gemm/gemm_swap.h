// Whether C.T = B.T A.T is computed instead of C = A B: each product commutes, each sum keeps its order, and the bits
// are the same.  Included by the driver alone.
#pragma once

#include <algorithm>

#include "fastbn/gemm.h"
#include "gemm/gemm_args.h"
#include "gemm/gemm_plan.h"

namespace fastbn {
namespace {

template <class M>
M transposed(M m) {
  return {m.data, m.cols, m.rows, m.col_stride, m.row_stride};
}

// Whether the columns of C leave more than a fifth of their lanes idle, which the rows of C.T would fill.
template <class T>
bool leaves_lanes_idle(const GemmKernels<T>& kern, const Matrix<T>& c) {
  const index_t lanes = rounded_up(c.cols, kern.width);
  return 5 * c.cols < 4 * lanes && lanes <= 2 * kern.width && c.rows >= 2 * kern.width;
}

// The gradient of a weight with few outputs, dW = X.T dY, 10 classes say: A.T has contiguous rows.  From so many steps
// of k on that is worth taking C.T to C: 16 (128 x 10: k = 16 42 to 50 GFLOP/s, k = 512 71 to 103; Ice Lake), on deep
// cores later of more than 8 columns, and of doubles, of which a register turns half as many (one thread of Emerald
// Rapids, swapped beside not, k = 16, 32 and 64: 10 columns 0.81 to 0.87, 0.98 to 1.2 and 1.08 to 1.4 times as fast, 3
// and 5 1.1, 1.4, 1.9; doubles of 10 0.51 to 0.80, 0.76 to 0.93, 0.98 to 1.07, of 3 and 5 0.72 to 0.82, 0.86 to 1.13,
// 1.2 to 1.4; 28 lies between).  With AVX2 C's own last register overlaps
// the one before it, if there is one (one thread of Zen 3: 10 columns and 16, 24, 32, 40 and 48 steps 0.6, 0.75, 0.85,
// 0.7 to 1 and 1.16 times as fast, 5 columns 1.3 with 16 and 1.7 with 32; doubles of 3 to 6 columns with 32 steps 0.7,
// with 64 0.92 to 1.2, with 128 0.95 to 1.2, of 10 always 1).  NEON, which overlaps too, has not been measured.
template <class T>
index_t least_steps_to_swap(const GemmKernels<T>& kern, const Matrix<T>& c) {
  constexpr index_t kFew = 16, kMore = 28, kMoreOverlapping = 40, kDoublesOverlapping = 64;
  if (kern.mr == 4) {
    if (sizeof(T) == sizeof(double)) return kDoublesOverlapping;
    return c.cols > kern.width ? kMoreOverlapping : kFew;
  }
  if (!deep(kern)) return kFew;
  return (c.cols > 8 ? kMore : kFew) * index_t{sizeof(T) / sizeof(float)};
}

template <class T>
bool fills_lanes_swapped(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<T>& c) {
  return leaves_lanes_idle(kern, c) && a.row_stride == 1 && a.col_stride != 1 &&
         a.cols >= least_steps_to_swap(kern, c);
}

// A few outputs, Y = X W: rows of A are contiguous, the columns of A.T, which the tiles of C.T turn.  At 256 rows
// of 256 features, 1, 3 and 10 outputs: 3.4, 2.6 and 1.3 times as fast (Zen 4); of 32 steps it lost.  Where shuffles
// compete with multiply-adds, only if most lanes would be idle; half of them by groups (Zen 3, 64 to 1024 rows of 64 to
// 784 features, 1 to 4 outputs 2.1 to 3.6, 1.6 to 1.8, 1.2 to 1.9 and 1.2 to 1.3 times as fast, 5 0.7 to 1.3; doubles 1
// and 2 1.0 to 1.4 and 1.06 to 1.24).
template <class T>
bool turns_swapped(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<T>& c) {
  return leaves_lanes_idle(kern, c) && a.col_stride == 1 && a.cols >= 2 * kTwoSquares &&
         (double_pumped(kern) || (turns_groups(kern) ? 2 : 4) * c.cols <= kern.width) &&
         turns(kern, transposed(a), transposed(c));
}

// B whose rows are not contiguous must be transposed to be packed: n k elements.  If C.T is computed
// instead, its B is A, m k elements, and C is transposed on the way out, m n elements, which is less
// for a few rows and long k.  C whose rows are not contiguous gains without that.  An epilogue of one
// value a column would be one a row then, which only tiles that turn B have.
template <class T>
bool pays_to_swap(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<const T>& b,
                  const Matrix<T>& c, const GemmOptions<T>& options) {
  if (turns_swapped(kern, a, c)) return true;
  if (options.columns.bias || options.columns.scale) return false;
  if (c.col_stride != 1 && c.row_stride == 1) return true;
  if (fills_lanes_swapped(kern, a, c)) return true;
  if (b.col_stride == 1 || b.row_stride != 1 || c.rows > kMostToSwap) return false;
  const bool by_squares = turns_squares(kern) && b.rows >= kTwoSquares,
             tiles_turn = turns(kern, b, c);
  // Rows that fill one register make tiles one register wide, which are bound by their loads.
  if (by_squares && c.rows <= std::max(kern.mr, kern.width)) return false;
  // Fewer rows than lanes are turned faster by groups (7 floats of 8 1.05 to 1.4, 3 doubles of 4 1.65), of more those
  // that fill the lanes slower (8 floats 0.75 to 0.9, 4, 7, 8 and 10 doubles 0.68 to 1; one thread of Zen 3).
  if (turns_groups(kern) && tiles_turn && c.rows < kern.width) return false;
  // The rows become lanes: no more than a fifth of them may be idle, or a twentieth where squares make transposing B
  // cost less (640 x 384 at 40 rows, a sixth idle, was 0.87 times as fast swapped), or none of a whole panel's where
  // tiles turn them (31 rows: 0.7 to 0.95; 48 rows: 1.0 to 1.1).
  const bool by_panels = tiles_turn && !turns_groups(kern);
  const index_t vectors = by_panels && double_pumped(kern) ? kern.vectors : 1;
  const index_t lanes = rounded_up(c.rows, vectors * kern.width);
  const bool busy = by_panels    ? c.rows == lanes
                    : by_squares ? 20 * c.rows >= 19 * lanes
                                 : 5 * c.rows >= 4 * lanes;
  return busy && c.rows * (c.cols + b.rows) < c.cols * b.rows;
}

}  // namespace
}  // namespace fastbn
