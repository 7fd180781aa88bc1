// How positions are cut: the samples into groups, a group's positions into pieces.
//
// A piece follows from the shape alone, never from the number of threads.  Each has moments of its
// own, which are merged in order: so who computes what does not show in the bits.
#pragma once

#include <algorithm>

#include "fastbn/batchnorm.h"
#include "runtime/threads.h"

namespace fastbn {
namespace {

// Rows of a piece, channels last: four strips of 32, of which the first gives the center.
constexpr index_t kPieceRows = 128;
// Values of a piece, channels first.
constexpr index_t kPieceValues = 16 * 1024;

index_t pieces_of(index_t n, index_t step) {
  return (n + step - 1) / step;
}

index_t rounded_up(index_t n, index_t multiple) {
  return pieces_of(n, multiple) * multiple;
}

// A rectangle of positions: rows of outer, columns of inner (one column where channels come last).
struct Piece {
  index_t row, rows, col, cols;
};

// How one group's positions are cut.
struct Cut {
  index_t outer, inner, rows, cols, row_pieces, col_pieces;

  Cut(index_t outer_, index_t inner_) : outer(outer_), inner(inner_) {
    cols = std::min(inner, kPieceValues);
    rows = inner == 1 ? kPieceRows : std::max<index_t>(1, kPieceValues / cols);
    row_pieces = pieces_of(outer, rows), col_pieces = pieces_of(inner, cols);
  }
  index_t count() const { return row_pieces * col_pieces; }
  Piece piece(index_t i) const {
    const index_t row = i / col_pieces * rows, col = i % col_pieces * cols;
    return {row, std::min(rows, outer - row), col, std::min(cols, inner - col)};
  }
};

// The rows of outer that make up group g.
template <class T>
Range group_rows(const ChannelView<const T>& x, const BatchNormCounting<T>& counting, index_t g) {
  const index_t rows = x.outer / counting.samples;
  return {counting.first_sample(g) * rows, counting.first_sample(g + 1) * rows};
}

// The most pieces that a group has.
template <class T>
index_t most_pieces(const ChannelView<const T>& x, const BatchNormCounting<T>& counting) {
  const index_t samples = pieces_of(counting.samples, counting.groups);
  return Cut(samples * (x.outer / counting.samples), x.inner).count();
}

}  // namespace
}  // namespace fastbn
