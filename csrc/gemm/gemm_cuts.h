// The ranges of C's rows and columns that threads compute: near-equal ones, or those of a large product on a line of
// threads as their pace wants them.  Included by the driver alone.
#pragma once

#include <algorithm>

#include "gemm/gemm_plan.h"
#include "runtime/pace.h"

namespace fastbn {
namespace {

class Cuts {
 public:
  // A product of so much arithmetic whose C has so many tiles of rows and registers of columns.
  Cuts(const Grid& grid, double flop, index_t row_grains, index_t col_grains)
      : grid_(grid),
        by_pace_(
            std::min(grid.rows, grid.cols) == 1 &&
            goes_by_pace(grid.rows * grid.cols, flop, grid.rows > 1 ? row_grains : col_grains)),
        shares_(by_pace_ ? pace_of(grid.rows * grid.cols).shares() : Shares{}) {}

  bool by_pace() const { return by_pace_; }
  Range rows(index_t m, index_t grain, int id) const {
    return range(m, grain, grid_.rows, id / grid_.cols);
  }
  Range cols(index_t n, index_t grain, int id) const {
    return range(n, grain, grid_.cols, id % grid_.cols);
  }
  index_t most_rows(index_t m, index_t grain) const { return most(m, grain, grid_.rows); }
  index_t most_cols(index_t n, index_t grain) const { return most(n, grain, grid_.cols); }

 private:
  Range range(index_t n, index_t grain, int count, int i) const {
    return by_pace_ && count > 1 ? share(n, grain, shares_, i) : share(n, grain, count, i);
  }
  index_t most(index_t n, index_t grain, int count) const {
    index_t most = 0;
    for (int i = by_pace_ ? 0 : count - 1; i < count; ++i) {  // of equal ones the last has the most
      const Range r = range(n, grain, count, i);
      most = std::max(most, r.end - r.begin);
    }
    return std::min(n, rounded_up(most, grain));
  }

  Grid grid_;
  bool by_pace_;
  Shares shares_;
};

}  // namespace
}  // namespace fastbn
