// A thread's part of C, computed alone, without a barrier.
//
//   for each block of nc columns of C:
//     for p in steps of kc over k:
//       block of B, kc x nc: packed if that pays
//       for i in steps of mc:
//         block of A, mc x kc: packed if that pays
//         for each panel of nr columns:           in which order: gemm_passes.h
//           kernel: row tiles of mr x nr             see gemm_args.h
//
// gemm_plan.h chooses the sizes, and with them what stays in which cache.  With a short k the last two
// loops are exchanged, in a kernel of their own (gemm_rows.h).  Between steps of p the unfinished sums lie
// in C itself, or in scratch where C cannot hold them.  Included by the driver alone.
#pragma once

#include <algorithm>

#include "fastbn/gemm.h"
#include "gemm/gemm_args.h"
#include "gemm/gemm_passes.h"
#include "gemm/gemm_plan.h"
#include "gemm/gemm_rules.h"
#include "runtime/threads.h"

namespace fastbn {
namespace {

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
      for (index_t j = 0, q = 0; j < c.cols; ++q) {
        const index_t n = end_of_block(c.cols, q) - j;
        columns(sub(a, i, m, 0, a.cols), sub(b, 0, b.rows, j, n), sub(c, i, m, j, n),
                from_column(options_.columns, transposed_ ? i : j));
        j += n;
      }
    }
  }

 private:
  // Blocks of columns are of nc but for the last.  Those of a C that is computed row by row are near-equal: each is
  // wider than a panel.
  index_t end_of_block(index_t cols, index_t q) const {
    if (!plan_.by_rows) return std::min((q + 1) * plan_.nc, cols);
    const int blocks = static_cast<int>((cols + plan_.nc - 1) / plan_.nc);
    return share(cols, kern_.width, blocks, static_cast<int>(q)).end;
  }

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
    GemmBlock<T> g;  // panels() sets what else block() reads: zeroed as a whole it took 7 ns
    g.k = a.cols, g.lead = lead(b.cols), g.b_cols = b.cols, g.columns = {};
    g.asks = plan_.asks, g.pairs = pairs(), g.by_lines = loads_lines(kern_, b);
    g.half_tiles = halves_tiles(kern_, a.cols);
    g.resume = resume, g.suspend = suspend, g.plain = is_plain(options_);
    g.alpha = options_.alpha, g.beta = options_.beta, g.relu = options_.relu;
    g.columns_of_rows = transposed_;
    g.c_row = c.row_stride;
    g.partial_row = plan_.partial_c ? plan_.partial_row : c.row_stride;
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
    const Range with_lead = cut(with_lead_of(b.cols), count, q);
    const index_t begin = std::max<index_t>(with_lead.begin - lead(b.cols), 0);
    const index_t place =
        plan_.takes_turns ? q % plan_.places * nr * plan_.kc : with_lead.begin * b.rows;
    return {begin, with_lead.end - lead(b.cols) - begin,
            rounded_up(with_lead.end, w) - with_lead.begin, b_ + place};
  }

  // Panels are as wide as can be, but for up to two at the end that are a register narrower: near-equal, and
  // gemm_rows.h has one loop for each width.  Of pairs of lines the last may be of one.
  Range cut(index_t cols, int count, int q) const {
    const index_t w = kern_.width, vectors = plan_.vectors, registers = rounded_up(cols, w) / w;
    if (count == 1) return {0, cols};
    const index_t wide = pairs() ? count : registers - (vectors - 1) * count;
    const auto bound = [&](index_t p) {
      return std::min(cols, w * (vectors * p - std::max<index_t>(0, p - wide)));
    };
    return {bound(q), bound(q + 1)};
  }

  bool pairs() const { return plan_.vectors < kern_.vectors; }

  // A last block of one panel has none that would begin on a line, nor room for a register more.
  index_t lead(index_t cols) const { return cols > kern_.vectors * kern_.width ? plan_.lead : 0; }
  index_t with_lead_of(index_t cols) const { return plan_.wraps ? cols : lead(cols) + cols; }

  // All panels of a block of columns past a block of A, from row i of C on: see gemm_passes.h.
  void panels(GemmBlock<T>& g, const Matrix<const T>& b, const Matrix<T>& c, index_t i,
              const GemmColumns<T>& epilogue) {
    const index_t registers = (with_lead_of(c.cols) + kern_.width - 1) / kern_.width;
    // Tiles that turn B cut it themselves, if at all.
    const int count =
        plan_.turn_b ? 1 : static_cast<int>((registers + plan_.vectors - 1) / plan_.vectors);
    if (plan_.by_rows) return by_rows(g, b, c, i, count);
    if (plan_.by_updates) return by_updates(g, b, c, epilogue);
    const Passes passes(g.m, plan_.strip, count, plan_.group);
    const bool packs = packs_next(g, i), is_packed = i > 0 && !(plan_.takes_turns && count > 1);
    const index_t rows = g.m;
    const T* const a = g.a;
    Pass pass = passes.first();
    do {
      const Pass next = passes.after(pass);
      const int q = pass.panel;
      const Panel here = panel(b, count, q);
      g.m = pass.rows, g.a = a + pass.row * g.a_row;
      set_b(g, b, here, q, is_packed || pass.row > 0 || (packs && q >= plan_.group));
      set_c(g, c, i + pass.row, here, epilogue);
      // Each row tile asks for what the next begins with; the last one for what the next pass does, if there is one.
      const bool turns_back = plan_.a_streams && passes.ends_group(q) && next.rows > 0;
      g.a_streams = plan_.a_streams && passes.begins_group(q);
      g.after_a = turns_back ? a + next.row * g.a_row : nullptr;
      g.after_c = i + next.row < c.rows
                      ? c.data + (i + next.row) * c.row_stride + panel(b, count, next.panel).begin
                      : nullptr;
      g.next_to = nullptr;
      if (packs && q + plan_.group < count) {
        set_next(g, b, panel(b, count, q + plan_.group), pass, rows);
      }
      kern_.block(g);
      pass = next;
    } while (pass.rows > 0);
  }

  // The same of a C that is computed row by row.
  void by_rows(GemmBlock<T>& g, const Matrix<const T>& b, const Matrix<T>& c, index_t i,
               int count) {
    for (int q = 0; q < count; ++q) set_b(g, b, panel(b, count, q), q, i > 0);
    g.b = b_, g.n = c.cols, g.wraps = plan_.wraps;
    g.c = g.partial = c.data + i * c.row_stride;
    kern_.rows(g);
  }

  // The same of a few rows that go by updates: one block of A has them all.
  void by_updates(GemmBlock<T>& g, const Matrix<const T>& b, const Matrix<T>& c,
                  const GemmColumns<T>& epilogue) const {
    g.b = b.data, g.b_k = b.row_stride, g.n = c.cols;
    g.c = c.data, g.columns = epilogue;
    g.partial = partial_, g.partial_row = plan_.partial_row;
    kern_.updates(g);
  }

  // Where a panel's block of C lies, and its unfinished sums, from row i on.
  void set_c(GemmBlock<T>& g, const Matrix<T>& c, index_t i, const Panel& here,
             const GemmColumns<T>& epilogue) const {
    g.c = c.data + i * c.row_stride + here.begin;
    g.partial = plan_.partial_c ? partial_ + i * plan_.partial_row + here.begin : g.c;
    g.columns = transposed_ ? epilogue : from_column(epilogue, here.begin);
  }

  // Where panel q of B is read: in place, or packed, by its own first tile or pass or by those of a panel before.
  void set_b(GemmBlock<T>& g, const Matrix<const T>& b, const Panel& here, int q, bool is_packed) {
    using PackB = Plan::PackB;
    g.wraps = plan_.wraps && q == 0 && g.lead > 0;
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

  // Of a block of rows from row i on: the first, or any whose panels are packed anew.  A last step over k may be of
  // fewer steps than the plan's: then tiles may be halves, which pack nothing.
  bool packs_next(const GemmBlock<T>& g, index_t i) const {
    return plan_.packs_next && (i == 0 || plan_.takes_turns) && g.k > kMostStepsHalved &&
           g.m >= std::max(kLeastRowsToPackNext, 5 * index_t{kern_.mr});
  }

  // The rows of a panel to come that the tiles of a pass leave packed: as many of k as the pass has of all `rows`.
  void set_next(GemmBlock<T>& g, const Matrix<const T>& b, const Panel& next, const Pass& pass,
                index_t rows) const {
    const index_t p = g.k * pass.row / rows;
    g.next_rows = g.k * (pass.row + pass.rows) / rows - p;
    g.next_to = next.packed + p * next.width;
    g.next_b = b.data + p * b.row_stride + next.begin * b.col_stride;
    g.next_b_row = b.row_stride, g.next_n = next.n, g.next_width = next.width;
  }

  const GemmKernels<T>& kern_;
  const Plan& plan_;
  const GemmOptions<T>& options_;
  const bool transposed_;
  T *a_, *b_, *c_, *partial_;
};

}  // namespace
}  // namespace fastbn
