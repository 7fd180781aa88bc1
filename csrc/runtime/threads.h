// parallel(n, body): the one way kernels get threads.
//
// body(i) runs for each i in [0, n), one region, no nesting; what body(i) computes must not depend
// on n, so that results have the same bits for any number of threads.  body must not throw:
// whatever can fail (allocation) is done before.
//
// A body of small work captures by value.  A worker finds all that it captured in its caller's cache,
// 80 to 400 ns away, and fetches it at once; what it captured by reference follows line by line.
#pragma once

#include <algorithm>

#include "fastbn/runtime.h"
#include "fastbn/views.h"
#include "runtime/pool.h"

namespace fastbn {

template <class Body>
void parallel(int n, const Body& body) {
  if (n == 1) return body(0);
#if defined(_OPENMP)  // built with FASTBN_OPENMP
#pragma omp parallel for num_threads(n) schedule(static, 1)
  for (int i = 0; i < n; ++i) body(i);
#else
  run_parts(
      n, [](const void* b, int i) { (*static_cast<const Body*>(b))(i); }, &body, sizeof(body));
#endif
}

// The i-th of `parts` near-equal ranges of [0, n) whose bounds are multiples of `grain`.
struct Range {
  index_t begin, end;
};
inline Range share(index_t n, index_t grain, int parts, int i) {
  const index_t grains = (n + grain - 1) / grain;
  const index_t begin = grains * i / parts * grain;
  const index_t end = grains * (i + 1) / parts * grain;
  return {begin < n ? begin : n, end < n ? end : n};
}

// Threads for `items` independent items that cost `work` in all, so that each gets at least
// `work_per_thread`.
inline int threads_for(index_t items, double work, double work_per_thread) {
  index_t n = std::min(num_threads(), kMostThreads);
  if (n > items) n = items;
  if (static_cast<double>(n) > work / work_per_thread) {
    n = static_cast<index_t>(work / work_per_thread);
  }
  return n < 1 ? 1 : static_cast<int>(n);
}

}  // namespace fastbn
