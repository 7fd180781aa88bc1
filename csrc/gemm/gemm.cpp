// The matrix-product driver: threads share C out, each computes its part alone, without a barrier.
//
// A thread's part is cut in blocks of mc x nc; for each, k is walked in steps of kc:
//
//   for i in steps of mc, j in steps of nc:          block of C
//     for p in steps of kc:                          block of A: packed if that pays, stays in L2
//       for each panel of nr columns:                panel of B: packed if that pays, stays in L1
//         kernel: row tiles of mr x nr               see gemm_args.h
//
// k is innermost of the three, unlike in the usual order, so that the unfinished sums of one block
// of C stay in L2 between steps of p, and may live in scratch where C cannot hold them.
#include "fastbn/gemm.h"

#include <algorithm>

#include "dispatch/dispatch.h"
#include "runtime/threads.h"
#include "runtime/workspace.h"

namespace fastbn {
namespace {

// A second thread is worth its fork and join, some 2 us, from about this much arithmetic on each.
constexpr double kFlopPerThread = 4e5;

// The step, at most `most`, that cuts n into near-equal pieces.
index_t balanced_step(index_t n, index_t most) {
  if (n <= most) return n;
  const index_t pieces = (n + most - 1) / most;
  return (n + pieces - 1) / pieces;
}

index_t rounded_up(index_t n, index_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// How a part of C is computed: what is packed, the sizes of blocks, and scratch in elements.
struct Plan {
  bool pack_a, pack_b;
  bool copy_c;     // C's columns are not contiguous: blocks of it are computed in scratch
  bool partial_c;  // C cannot hold unfinished sums, since beta wants its old values at the end
  index_t kc, mc, nc;
  index_t a_elements, b_elements, c_elements, partial_elements;

  template <class T>
  Plan(const GemmKernels<T>& kern, const Matrix<const T>& a, const Matrix<const T>& b,
       const Matrix<T>& c, T beta) {
    const index_t k = a.cols;
    // An unpacked panel of B is read once per row tile with its own stride: packing costs one such
    // pass, so it pays from the second tile on.  Columns that are not contiguous must be packed.
    pack_b = b.col_stride != 1 || c.rows > kern.mr;
    // Packed A costs one pass and serves every panel: it pays from a few panels on.  A whose
    // elements of one k are contiguous is read that way already.
    pack_a = a.row_stride != 1 && c.rows > kern.mr && c.cols > 3 * kern.nr;
    copy_c = c.col_stride != 1;
    // Where nothing is packed B streams through once, and no part of it is worth keeping in L1.
    kc = pack_b ? balanced_step(k, kern.kc) : k;
    partial_c = kc < k && beta != T(0);
    mc = pack_a || copy_c || partial_c ? std::min<index_t>(c.rows, kern.mc) : c.rows;
    nc = std::min<index_t>(c.cols, kern.nc);
    a_elements = pack_a ? rounded_up(mc, kern.mr) * kc : 0;
    b_elements = pack_b ? kern.nr * kc : 0;
    c_elements = copy_c ? mc * nc : 0;
    partial_elements = partial_c ? mc * nc : 0;
  }

  template <class T>
  std::size_t bytes() const {  // each piece in cache lines of its own
    return sizeof(T) * (line(a_elements) + line(b_elements) + line(c_elements) +
                        line(partial_elements));
  }
  static index_t line(index_t elements) { return rounded_up(elements, 64); }
};

template <class T>
void copy(Matrix<const T> from, Matrix<T> to) {
  for (index_t i = 0; i < to.rows; ++i) {
    for (index_t j = 0; j < to.cols; ++j) {
      to.data[i * to.row_stride + j * to.col_stride] =
          from.data[i * from.row_stride + j * from.col_stride];
    }
  }
}

template <class M>
M sub(M m, index_t i, index_t rows, index_t j, index_t cols) {
  return {m.data + i * m.row_stride + j * m.col_stride, rows, cols, m.row_stride, m.col_stride};
}

template <class T>
Matrix<const T> read_only(Matrix<T> m) {
  return {m.data, m.rows, m.cols, m.row_stride, m.col_stride};
}

template <class T>
class Part {
 public:
  Part(const GemmKernels<T>& kern, const Plan& plan, const GemmOptions<T>& options, T* scratch)
      : kern_(kern), plan_(plan), options_(options) {
    a_ = scratch;
    b_ = a_ + Plan::line(plan.a_elements);
    c_ = b_ + Plan::line(plan.b_elements);
    partial_ = c_ + Plan::line(plan.c_elements);
  }

  void run(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c) {
    for (index_t i = 0; i < c.rows; i += plan_.mc) {
      const index_t m = std::min(plan_.mc, c.rows - i);
      for (index_t j = 0; j < c.cols; j += plan_.nc) {
        const index_t n = std::min(plan_.nc, c.cols - j);
        const T* bias = options_.bias ? options_.bias + j : nullptr;
        block_by_way_of_scratch(sub(a, i, m, 0, a.cols), sub(b, 0, b.rows, j, n),
                                sub(c, i, m, j, n), bias);
      }
    }
  }

 private:
  void block_by_way_of_scratch(const Matrix<const T>& a, const Matrix<const T>& b,
                               const Matrix<T>& c, const T* bias) {
    if (!plan_.copy_c) return block(a, b, c, bias);
    const Matrix<T> scratch{c_, c.rows, c.cols, c.cols, 1};
    if (options_.beta != T(0)) copy(read_only(c), scratch);
    block(a, b, scratch, bias);
    copy(read_only(scratch), c);
  }

  void block(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c,
             const T* bias) {
    index_t p = 0;
    do {  // once even if k is 0: the epilogue is due
      const index_t k = std::min(plan_.kc, a.cols - p);
      step(sub(a, 0, a.rows, p, k), sub(b, p, k, 0, b.cols), c, bias, p > 0, p + k < a.cols);
      p += k;
    } while (p < a.cols);
  }

  // One step of k over all panels of a block.
  void step(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c, const T* bias,
            bool resume, bool suspend) {
    GemmBlock<T> g{};
    g.m = a.rows, g.k = a.cols;
    g.a = a.data, g.a_row = a.row_stride, g.a_k = a.col_stride;
    g.a_tile = kern_.mr * a.row_stride;
    if (plan_.pack_a) {
      kern_.pack_a(a.rows, a.cols, a.data, a.row_stride, a.col_stride, a_);
      g.a = a_, g.a_row = 1, g.a_k = kern_.mr, g.a_tile = kern_.mr * a.cols;
    }
    g.resume = resume, g.suspend = suspend;
    g.alpha = options_.alpha, g.beta = options_.beta, g.relu = options_.relu;
    g.c_row = c.row_stride;
    g.partial_row = plan_.partial_c ? plan_.nc : c.row_stride;
    for (index_t j = 0; j < c.cols; j += kern_.nr) {
      g.n = std::min<index_t>(kern_.nr, c.cols - j);
      g.b = b.data + j * b.col_stride, g.b_k = b.row_stride;
      if (plan_.pack_b) {
        kern_.pack_b(b.rows, g.n, g.b, b.row_stride, b.col_stride, b_, kern_.nr);
        g.b = b_, g.b_k = kern_.nr;
      }
      g.c = c.data + j;
      g.partial = plan_.partial_c ? partial_ + j : g.c;
      g.bias = bias ? bias + j : nullptr;
      kern_.block(g);
    }
  }

  const GemmKernels<T>& kern_;
  const Plan& plan_;
  const GemmOptions<T>& options_;
  T *a_, *b_, *c_, *partial_;
};

// Threads as a grid of row ranges by column ranges of C.
struct Grid {
  int rows, cols;
};

// The grid whose largest part has the fewest register tiles; among equals the squarest part, which
// reads the least of A and B.
template <class T>
Grid choose_grid(const GemmKernels<T>& kern, index_t m, index_t n, int threads) {
  Grid best{1, 1};
  double best_cost = -1;
  for (int rows = 1; rows <= threads; ++rows) {
    const int cols = threads / rows;
    const index_t part_m = rounded_up((m + rows - 1) / rows, kern.mr);
    const index_t part_n = rounded_up((n + cols - 1) / cols, kern.nr);
    const double cost = double(part_m) * double(part_n) + double(part_m + part_n);
    if (best_cost < 0 || cost < best_cost) best = {rows, cols}, best_cost = cost;
  }
  return best;
}

}  // namespace

template <class T>
void gemm(Matrix<const T> a, Matrix<const T> b, Matrix<T> c, const GemmOptions<T>& options) {
  if (c.rows == 0 || c.cols == 0) return;
  if (options.alpha == T(0)) a.cols = b.rows = 0;
  const GemmKernels<T>& kern = kernels<T>().gemm;
  const double flop = 2.0 * double(c.rows) * double(c.cols) * double(a.cols);
  const index_t tiles = ((c.rows + kern.mr - 1) / kern.mr) * ((c.cols + kern.nr - 1) / kern.nr);
  const Grid grid = choose_grid(kern, c.rows, c.cols, threads_for(tiles, flop, kFlopPerThread));
  const int parts = grid.rows * grid.cols;

  // One plan for all parts, made for the largest: share() gives the last part the most tiles.
  const Range largest_m = share(c.rows, kern.mr, grid.rows, grid.rows - 1);
  const Range largest_n = share(c.cols, kern.nr, grid.cols, grid.cols - 1);
  const index_t part_m = std::min(c.rows, rounded_up(largest_m.end - largest_m.begin, kern.mr));
  const index_t part_n = std::min(c.cols, rounded_up(largest_n.end - largest_n.begin, kern.nr));
  const Plan plan(kern, sub(a, 0, part_m, 0, a.cols), sub(b, 0, b.rows, 0, part_n),
                  sub(c, 0, part_m, 0, part_n), options.beta);
  const std::size_t bytes = plan.bytes<T>();
  const Workspace workspace(bytes * static_cast<std::size_t>(parts));

  parallel(parts, [&](int id) {
    const Range rows = share(c.rows, kern.mr, grid.rows, id / grid.cols);
    const Range cols = share(c.cols, kern.nr, grid.cols, id % grid.cols);
    const index_t m = rows.end - rows.begin, n = cols.end - cols.begin;
    if (m == 0 || n == 0) return;
    GemmOptions<T> part_options = options;
    if (options.bias) part_options.bias += cols.begin;
    Part<T> part(kern, plan, part_options, workspace.as<T>(bytes * static_cast<std::size_t>(id)));
    part.run(sub(a, rows.begin, m, 0, a.cols), sub(b, 0, b.rows, cols.begin, n),
             sub(c, rows.begin, m, cols.begin, n));
  });
}

template <class T>
void column_sums(Matrix<const T> x, T* sums) {
  const GemmKernels<T>& kern = kernels<T>().gemm;
  constexpr index_t kLine = 64 / sizeof(T);  // no two threads write to one cache line
  const double bytes = double(x.rows) * double(x.cols) * sizeof(T);
  const int parts = threads_for((x.cols + kLine - 1) / kLine, bytes, 128 * 1024);
  parallel(parts, [&](int id) {
    const Range cols = share(x.cols, kLine, parts, id);
    kern.column_sums(x.rows, cols.end - cols.begin, x.data + cols.begin, x.row_stride,
                     sums + cols.begin);
  });
}

#define FASTBN_INSTANTIATE(T)                                                                \
  template void gemm<T>(Matrix<const T>, Matrix<const T>, Matrix<T>, const GemmOptions<T>&); \
  template void column_sums<T>(Matrix<const T>, T*);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
