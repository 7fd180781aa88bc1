// The order in which rows of A pass panels of B.
//
//   for each group of panels:              L2 keeps them
//     for each strip of rows of A:         L2 keeps it from one panel of the group to the next
//       for each panel of the group:       one block of the kernel
//
// Groups are of one panel and the strip is the whole block of A, but on deep cores, where A comes from beyond L2 and
// tiles pack B: Plan::choose_groups.
#pragma once

#include "gemm/gemm_args.h"

namespace fastbn {
namespace {

// Rows of a strip past one panel.  No rows: the end.
struct Pass {
  index_t row, rows;
  int panel;
};

class Passes {
 public:
  Passes(index_t rows, index_t strip, int panels, int group)
      : rows_(rows), strip_(strip), panels_(panels), group_(group) {}

  Pass first() const { return strip_from(0, 0); }

  Pass after(const Pass& pass) const {
    if (!ends_group(pass.panel)) return {pass.row, pass.rows, pass.panel + 1};
    const index_t below = pass.row + pass.rows;
    if (below < rows_) return strip_from(below, pass.panel / group_ * group_);
    if (pass.panel + 1 < panels_) return strip_from(0, pass.panel + 1);
    return {rows_, 0, 0};
  }

  bool begins_group(int panel) const { return panel % group_ == 0; }
  bool ends_group(int panel) const { return panel + 1 == panels_ || (panel + 1) % group_ == 0; }

 private:
  // The last strip is up to twice as high: one of a few rows would read each panel for them alone.
  Pass strip_from(index_t row, int panel) const {
    const index_t left = rows_ - row;
    return {row, left < 2 * strip_ ? left : strip_, panel};
  }

  const index_t rows_, strip_;
  const int panels_, group_;
};

}  // namespace
}  // namespace fastbn
