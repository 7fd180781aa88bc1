// The matrix-product driver: threads share C out, each computes its part alone, without a barrier.
//
//   for each block of nc columns of C:
//     for p in steps of kc over k:
//       block of B, kc x nc: packed if that pays
//       for i in steps of mc:
//         block of A, mc x kc: packed if that pays
//         for each panel of nr columns:
//           kernel: row tiles of mr x nr             see gemm_args.h
//
// gemm_plan.h chooses the sizes, and with them what stays in which cache.  With a short k the last two
// loops are exchanged, in a kernel of their own (gemm_rows.h).  Between steps of p the unfinished sums lie
// in C itself, or in scratch where C cannot hold them.
#include "fastbn/gemm.h"

#include <algorithm>
#include <utility>

#include "dispatch/dispatch.h"
#include "gemm/gemm_cuts.h"
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

template <class T>
void copy(const GemmKernels<T>& kern, Matrix<const T> from, Matrix<T> to) {
  if (from.row_stride == 1 && to.col_stride == 1) {
    return kern.transpose(from.cols, from.rows, from.data, from.col_stride, to.data, to.row_stride);
  }
  if (from.col_stride == 1 && to.row_stride == 1) {
    return kern.transpose(from.rows, from.cols, from.data, from.row_stride, to.data, to.col_stride);
  }
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
GemmColumns<T> from_column(const GemmColumns<T>& c, index_t j) {
  return {c.bias ? c.bias + j : nullptr, c.mean ? c.mean + j : nullptr,
          c.scale ? c.scale + j : nullptr, c.shift ? c.shift + j : nullptr};
}

template <class T>
class Part {
 public:
  // `transposed`: C is C.T, whose rows the columns of the options belong to.
  Part(const GemmKernels<T>& kern, const Plan& plan, const GemmOptions<T>& options, bool transposed,
       T* scratch)
      : kern_(kern), plan_(plan), options_(options), transposed_(transposed) {
    a_ = scratch;
    b_ = a_ + Plan::line(plan.a_elements);
    c_ = b_ + Plan::line(plan.b_elements);
    partial_ = c_ + Plan::line(plan.c_elements);
  }

  void run(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c) {
    for (index_t i = 0; i < c.rows; i += plan_.rows) {
      const index_t m = std::min(plan_.rows, c.rows - i);
      for (index_t j = 0; j < c.cols; j += plan_.nc) {
        const index_t n = std::min(plan_.nc, c.cols - j);
        columns(sub(a, i, m, 0, a.cols), sub(b, 0, b.rows, j, n), sub(c, i, m, j, n),
                from_column(options_.columns, transposed_ ? i : j));
      }
    }
  }

 private:
  // One block of nc columns, by way of scratch if C's columns are not contiguous.
  void columns(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c,
               const GemmColumns<T>& epilogue) {
    if (!plan_.copy_c) return all_steps(a, b, c, epilogue);
    const Matrix<T> scratch{c_, c.rows, c.cols, c.cols, 1};
    if (options_.beta != T(0)) copy(kern_, read_only(c), scratch);
    all_steps(a, b, scratch, epilogue);
    copy(kern_, read_only(scratch), c);
  }

  void all_steps(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c,
                 const GemmColumns<T>& epilogue) {
    index_t p = 0;
    do {  // once even if k is 0: the epilogue is due
      const index_t k = std::min(plan_.kc, a.cols - p);
      step(sub(a, 0, a.rows, p, k), sub(b, p, k, 0, b.cols), c, epilogue, p > 0, p + k < a.cols);
      p += k;
    } while (p < a.cols);
  }

  // One step of k over all rows and panels of a block of columns.
  void step(const Matrix<const T>& a, const Matrix<const T>& b, const Matrix<T>& c,
            const GemmColumns<T>& epilogue, bool resume, bool suspend) {
    GemmBlock<T> g;  // panels() sets what is not set here: zeroed as a whole it took 7 ns
    g.k = a.cols, g.lead = lead(b.cols), g.b_cols = b.cols, g.columns = {};
    g.a_streams = plan_.a_streams, g.asks = plan_.asks, g.by_lines = loads_lines(kern_, b);
    g.half_tiles = halves_tiles(kern_, a.cols);
    g.resume = resume, g.suspend = suspend, g.plain = is_plain(options_);
    g.alpha = options_.alpha, g.beta = options_.beta, g.relu = options_.relu;
    g.columns_of_rows = transposed_;
    g.c_row = c.row_stride;
    g.partial_row = plan_.partial_c ? plan_.nc : c.row_stride;
    for (index_t i = 0; i < c.rows; i += plan_.mc) {
      g.m = std::min(plan_.mc, c.rows - i);
      const T* a_block = a.data + i * a.row_stride;
      g.a = a_block, g.a_row = a.row_stride, g.a_k = a.col_stride;
      g.a_tile = kern_.mr * a.row_stride;
      if (plan_.pack_a && plan_.turn_b) {  // as one tile of all rows
        kern_.pack_b(g.k, g.m, a_block, a.col_stride, a.row_stride, a_, plan_.mc);
        g.a = a_, g.a_row = 1, g.a_k = plan_.mc;
      } else if (plan_.pack_a) {
        kern_.pack_a(g.m, g.k, a_block, a.row_stride, a.col_stride, a_, plan_.a_tile);
        g.a = a_, g.a_row = 1, g.a_k = kern_.mr, g.a_tile = plan_.a_tile;
      }
      panels(g, b, c, i, epilogue);
    }
  }

  // A panel of a block of columns: its first one, how many it has, in how many it is packed, and where.
  struct Panel {
    index_t begin, n, width;
    T* packed;
  };

  Panel panel(const Matrix<const T>& b, int count, int q) const {
    const index_t w = kern_.width, nr = kern_.vectors * w;
    const Range with_lead = share(with_lead_of(b.cols), w, count, q);
    const index_t begin = std::max<index_t>(with_lead.begin - lead(b.cols), 0);
    // One place for all, two that take turns where tiles pack the next panel, or a place for each.
    const index_t place = !plan_.one_panel   ? with_lead.begin * b.rows
                          : plan_.packs_next ? q % 2 * nr * plan_.kc
                                             : 0;
    return {begin, with_lead.end - lead(b.cols) - begin,
            rounded_up(with_lead.end, w) - with_lead.begin, b_ + place};
  }

  // A last block of one panel has none that would begin on a line, nor room for a register more.
  index_t lead(index_t cols) const { return cols > kern_.vectors * kern_.width ? plan_.lead : 0; }
  index_t with_lead_of(index_t cols) const { return plan_.wraps ? cols : lead(cols) + cols; }

  void panels(GemmBlock<T>& g, const Matrix<const T>& b, const Matrix<T>& c, index_t i,
              const GemmColumns<T>& epilogue) {
    const index_t registers = (with_lead_of(c.cols) + kern_.width - 1) / kern_.width;
    // Tiles that turn B cut it themselves, if at all.
    const int count =
        plan_.turn_b ? 1 : static_cast<int>((registers + kern_.vectors - 1) / kern_.vectors);
    bool is_packed = i > 0 && !(plan_.one_panel && count > 1);
    for (int q = 0; q < count; ++q) {
      const Panel here = panel(b, count, q);
      g.wraps = plan_.wraps && q == 0 && g.lead > 0;
      set_b(g, b, here, is_packed);
      if (plan_.by_rows) continue;
      g.c = c.data + i * c.row_stride + here.begin;
      g.partial = plan_.partial_c ? partial_ + i * plan_.nc + here.begin : g.c;
      g.columns = transposed_ ? epilogue : from_column(epilogue, here.begin);
      const bool last = q + 1 == count;
      g.after_c = g.after_a = g.next_to = nullptr;
      if (!last || i + g.m < c.rows) {
        const Panel next = panel(b, count, last ? 0 : q + 1);
        set_next(g, b, c, next, last ? i + g.m : i, !last && packs_next(g, i));
      }
      kern_.block(g);
      if (g.next_to) is_packed = true;
    }
    if (plan_.by_rows) {
      g.b = b_, g.n = c.cols, g.wraps = plan_.wraps;
      g.c = g.partial = c.data + i * c.row_stride;
      kern_.rows(g);
    }
  }

  // Where a panel of B is read: in place, or packed, by the first block of rows or by the panel before.
  void set_b(GemmBlock<T>& g, const Matrix<const T>& b, const Panel& here, bool is_packed) {
    using PackB = Plan::PackB;
    g.n = here.n, g.pack_width = here.width;
    const T* from = b.data + here.begin * b.col_stride;
    // A tile that turns and packs is a whole one of whole registers.
    const bool turns_first =
        plan_.pack_b == PackB::turned_on_the_way && g.m >= kern_.mr && g.n >= kern_.width;
    const bool on_the_way =
        !is_packed && !g.wraps && (plan_.pack_b == PackB::on_the_way || turns_first);
    g.b_streams = plan_.pack_b == PackB::never || on_the_way;
    g.b_turns = plan_.turn_b || (!is_packed && !g.wraps && turns_first);
    g.pack_to = on_the_way ? here.packed : nullptr;
    if (g.b_streams) {
      g.b = from, g.b_k = g.b_turns ? b.col_stride : b.row_stride;
      return;
    }
    if (!is_packed) pack(b, here.begin, here.n, here);
    g.b = here.packed, g.b_k = g.pack_width;
  }

  // Columns of B, as the last ones of a panel; as the first ones of the first panel where B wraps, those of its end.
  void pack(const Matrix<const T>& b, index_t begin, index_t n, const Panel& here) const {
    const index_t before = plan_.wraps && begin == 0 ? plan_.lead : 0;
    const auto copy = [&](index_t from, index_t cols, T* to) {
      kern_.pack_b(b.rows, cols, b.data + from * b.col_stride, b.row_stride, b.col_stride, to,
                   here.width);
    };
    if (before > 0) copy(b.cols - before, before, here.packed);
    copy(begin, n, here.packed + before);
  }

  // Of a block of rows from row i on: the first, or any whose panels are packed anew.
  bool packs_next(const GemmBlock<T>& g, index_t i) const {
    return plan_.packs_next && (i == 0 || plan_.one_panel) && g.k > kMostStepsHalved &&
           g.m >= std::max(kLeastRowsToPackNext, 5 * index_t{kern_.mr});
  }

  // What comes after a block: its C, from row i on, its A, if that streams (all rows are one block then), and its panel
  // of B, if the tiles of this one are to pack it.
  void set_next(GemmBlock<T>& g, const Matrix<const T>& b, const Matrix<T>& c, const Panel& next,
                index_t i, bool packs) {
    g.after_c = c.data + i * c.row_stride + next.begin;
    if (g.a_streams) g.after_a = g.a;
    if (!packs) return;
    g.next_to = next.packed;
    g.next_b = b.data + next.begin * b.col_stride;
    g.next_b_row = b.row_stride, g.next_n = next.n, g.next_width = next.width;
  }

  const GemmKernels<T>& kern_;
  const Plan& plan_;
  const GemmOptions<T>& options_;
  const bool transposed_;
  T *a_, *b_, *c_, *partial_;
};

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
