// How a thread goes through its columns of a matrix whose other columns are other threads'.
//
// Where a thread that goes along rows comes to the end of its piece of one, prefetchers go on and fetch what is the
// other's, who then waits when he writes it.  So a thread takes a strip of four cache lines down all rows, which are
// too few for prefetchers to see a stream, and then the next; in the strips of its left half it begins a row with the
// line at the left, in the others with the one at the right, and takes the two in the middle not in order.
//
// (Zen 4, an update of 784 x 512 after the forward pass, two threads far apart: along pieces of rows 600 us, by strips
// of eight lines 410, of four from left to right 150, of four from their outer edge 60 to 90; by rows, not columns, 400
// to 540. Near: 45 to 55, by rows 35.  Asking for lines of the next rows was no better or worse; to own them was not
// tried.)
#pragma once

#include <algorithm>

#include "nn/nn_args.h"
#include "runtime/handover.h"
#include "runtime/threads.h"

namespace fastbn {

// body(first column, strip) for each strip of thread i's columns.
template <class T, class Body>
void for_each_strip(index_t rows, index_t cols, int threads, int i, const Body& body) {
  constexpr index_t width = kStripLines * kLineOf<T>;
  const Range mine = share(cols, kColumnGrain, threads, i);
  const index_t middle = (mine.begin + mine.end) / 2;
  for (index_t j = mine.begin; j < mine.end; j += width) {
    const index_t n = std::min(width, mine.end - j);
    body(j, Strip{rows, n, cols, j + n / 2 > middle});
  }
}

}  // namespace fastbn
