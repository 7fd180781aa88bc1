// The matrix-product driver: threads share C out, each computes its part alone (gemm_part.h).
#include "fastbn/gemm.h"

#include <algorithm>
#include <utility>

#include "dispatch/dispatch.h"
#include "gemm/gemm_cuts.h"
#include "gemm/gemm_part.h"
#include "gemm/gemm_plan.h"
#include "gemm/gemm_swap.h"
#include "gemm/serial.h"
#include "runtime/pace.h"
#include "runtime/threads.h"
#include "runtime/workspace.h"

namespace fastbn {
namespace {

// A second thread is worth its wake-up from about this much arithmetic, some 2 us, on each (256 x 128 at 8 rows,
// 524,000: 1.3 to 1.6 times as fast on two; 7 rows 0.85; Zen 4).  Golden Cove computes more in that time, and a line
// takes three times as long from core to core (524,000: 0.55 to 1.2 times as fast on two, 655,000: 1.0 to 1.6).
template <class T>
double flop_per_thread(const GemmKernels<T>& kern) {
  return deep(kern) ? 3.2e5 : 2.5e5;
}

// What of C does not fit L1 is written to L2 in the time of six operations a byte, which two threads share, too (two of
// Emerald Rapids beside one: TN 256 x 128 with k = 4, 7 and 9 1.35, 1.3, 1.25 times as fast, 512 x 128 with 4 1.55, 300
// x 200 with 4 1.44; of a C in L1 128 x 128 with k = 8 and 16 0.94 and 0.89, NN 8 x 128 with k = 256 0.90).
template <class T>
double flop_of_writing(const GemmKernels<T>& kern, const Matrix<T>& c) {
  constexpr double kL1 = 48 * 1024, kFlopOfByte = 6;
  const double bytes = double(c.rows) * double(c.cols) * sizeof(T);
  return deep(kern) ? kFlopOfByte * std::max(0.0, bytes - kL1) : 0;
}

// The grid whose largest part has the least to do.  An element of B costs a thread about as much to fetch and pack as
// eight multiply-adds of a whole register cost, one of A likewise: that term prefers columns for a few rows, and
// squares for large products.  One of A that is packed costs more, as B is packed beside multiply-adds: of halves of
// equal size those are taken that have fewer of them (TN 512 x 512 at 64, 128 to 1024 rows 1.08, 1.01 to 1.02 times as
// fast, 1024 x 1024 1.00 to 1.02; two threads of Zen 4).  Where C is computed row by row, threads share out its rows
// alone, and so they do of a short k with an epilogue if they have many rows each: those who write halves of the same
// rows fetch ahead what the other is about to write (1024 x 1024 with k = 8, 512 x 512 with 16, bias and ReLU: 1.1).
//
// Of halves that cost the same, deep cores take those of rows, if L2 keeps B: two threads of Emerald Rapids, NN 128,
// 256, 384, 512, 768 and 1024 cubed 1.13, 1.04, 1.03, 1.05, 1.0 and 0.98 to 1.01 times as fast, 2048 cubed 0.97, NT 1.0
// to 1.02, a training step at 256 rows 1.02.  (Rows that cost up to four times as much: 0.90 to 1.09.)
template <class T>
Grid choose_grid(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<T>& c,
                 const GemmOptions<T>& options, int threads) {
  const index_t m = c.rows, n = c.cols, k = a.cols;
  constexpr double kFetch = 8, kFetchAndPack = 12;
  const Grid row_ranges{threads, 1};
  const bool many_rows = k <= most_steps_by_rows(kern, c) && m >= 8 * kern.mr * threads;
  if (many_rows || goes_by_rows(kern, sub(c, 0, m / threads, 0, n), k, options, row_ranges))
    return row_ranges;
  const bool rows_first = deep(kern) && k * n * index_t{sizeof(T)} <= kL2OfDeep;
  Grid best{1, 1};
  double best_cost = -1;
  for (int rows = 1; rows <= threads; ++rows) {
    const int cols = threads / rows;
    const index_t part_m = rounded_up((m + rows - 1) / rows, kern.mr);
    const index_t part_n = rounded_up((n + cols - 1) / cols, kern.width);
    const bool packs = packs_columns(kern, sub(a, 0, std::min(m, part_m), 0, k), part_n);
    const double cost = double(part_m) * double(part_n) + kFetch * double(part_n) +
                        (packs ? kFetchAndPack : kFetch) * double(part_m);
    if (best_cost < 0 || cost < best_cost || (rows_first && cost == best_cost)) {
      best = {rows, cols}, best_cost = cost;
    }
  }
  return best;
}

template <class T>
int threads_for_product(const GemmKernels<T>& kern, const Matrix<T>& c, index_t k) {
  const double flop = 2.0 * double(c.rows) * double(c.cols) * double(k) + flop_of_writing(kern, c);
  if (flop < 2 * flop_per_thread(kern)) return 1;
  const index_t tiles =
      ((c.rows + kern.mr - 1) / kern.mr) * ((c.cols + kern.width - 1) / kern.width);
  return threads_for(tiles, flop, flop_per_thread(kern));
}

// The product by the calling thread.
template <class T>
void whole(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<const T>& b,
           const Matrix<T>& c, const GemmOptions<T>& options, bool transposed) {
  const Plan plan(kern, a, b, c, options, {1, 1});
  const Workspace workspace(plan.bytes<T>());
  Part<T>(kern, plan, options, transposed, workspace.as<T>()).run(a, b, c);
}

}  // namespace

template <class T>
std::size_t serial_gemm_bytes(Matrix<const T> a, Matrix<T> c) {
  return Plan::most_bytes(kernels<T>().gemm, a, c);
}

template <class T>
void serial_gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& options,
                 int beside, void* scratch) {
  const GemmKernels<T>& kern = kernels<T>().gemm;
  Part<T>(kern, Plan(kern, a, b, c, options, {1, beside}), options, false, static_cast<T*>(scratch))
      .run(a, b, c);
}

template <class T>
void gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& options) {
  if (c.rows == 0 || c.cols == 0) return;
  if (options.alpha == T(0)) a.cols = b.rows = 0;
  const GemmKernels<T>& kern = kernels<T>().gemm;
  const bool swapped = pays_to_swap(kern, a, b, c, options);
  if (swapped) {
    // C.T = B.T A.T: each product commutes, each sum keeps its order, so the bits are the same.
    std::swap(a, b);
    a = transposed(a), b = transposed(b), c = transposed(c);
  }
  const int threads = threads_for_product(kern, c, a.cols);
  if (threads == 1) return whole(kern, a, b, c, options, swapped);
  const Grid grid = choose_grid(kern, a, c, options, threads);
  const int parts = grid.rows * grid.cols;
  const Cuts cuts(grid, 2.0 * double(c.rows) * double(c.cols) * double(a.cols), c.rows / kern.mr,
                  c.cols / kern.width);

  // One plan for all parts, made for the largest.
  const index_t part_m = cuts.most_rows(c.rows, kern.mr);
  const index_t part_n = cuts.most_cols(c.cols, kern.width);
  const Plan plan(kern, sub(a, 0, part_m, 0, a.cols), sub(b, 0, b.rows, 0, part_n),
                  sub(c, 0, part_m, 0, part_n), options, grid);
  const std::size_t bytes = plan.bytes<T>();
  // Parts that change with the pace of threads would have many a call allocate anew.
  const std::size_t all_bytes = bytes * static_cast<std::size_t>(parts);
  const Workspace workspace(all_bytes, Workspace::scratch, cuts.by_pace() ? all_bytes / 4 : 0);
  char* const scratch = workspace.as<char>();

  parallel(parts, cuts.by_pace(), [=, &kern](int id) -> index_t {
    const Range rows = cuts.rows(c.rows, kern.mr, id), cols = cuts.cols(c.cols, kern.width, id);
    const index_t m = rows.end - rows.begin, n = cols.end - cols.begin;
    if (m == 0 || n == 0) return 0;
    GemmOptions<T> part_options = options;
    part_options.columns = from_column(options.columns, swapped ? rows.begin : cols.begin);
    Part<T> part(kern, plan, part_options, swapped,
                 reinterpret_cast<T*>(scratch + bytes * static_cast<std::size_t>(id)));
    part.run(sub(a, rows.begin, m, 0, a.cols), sub(b, 0, b.rows, cols.begin, n),
             sub(c, rows.begin, m, cols.begin, n));
    return m * n;
  });
}

template <class T>
void column_sums(Matrix<const T> x, T* sums) {
  const GemmKernels<T>& kern = kernels<T>().gemm;
  constexpr index_t kLine = 64 / sizeof(T);  // no two threads write to one cache line
  const double bytes = double(x.rows) * double(x.cols) * sizeof(T);
  const int parts = threads_for((x.cols + kLine - 1) / kLine, bytes, 128 * 1024);
  parallel(parts, [=, &kern](int id) {
    const Range cols = share(x.cols, kLine, parts, id);
    kern.column_sums(x.rows, cols.end - cols.begin, x.data + cols.begin, x.row_stride,
                     sums + cols.begin);
  });
}

#define FASTBN_INSTANTIATE(T)                                                                      \
  template void gemm<T>(Matrix<const T>, Matrix<const T>, Matrix<T>, const GemmOptions<T>&);       \
  template std::size_t serial_gemm_bytes<T>(Matrix<const T>, Matrix<T>);                           \
  template void serial_gemm<T>(Matrix<const T>, Matrix<const T>, Matrix<T>, const GemmOptions<T>&, \
                               int, void*);                                                        \
  template void column_sums<T>(Matrix<const T>, T*);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
