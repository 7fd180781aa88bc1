// How elementwise work is split among threads.
#pragma once

#include "runtime/threads.h"

namespace fastbn {

// A fork and join costs 1 to 2 us.  Kernels limited by memory move 256 KiB in 2 to 3 us out of L2
// (15 us out of memory): with less for each thread, two were measured no faster than one.  Those
// with an exponential in them take 0.3 to 0.7 ns an element (float), as long for a fourth of the
// bytes.
constexpr double kBytesPerThread = 256 * 1024;
constexpr double kBytesPerThreadOfExp = 64 * 1024;

constexpr index_t kGrain =
    256;  // elements: whole registers and cache lines, of an array that begins on one

// body(begin, size) over [0, n).
template <class Body>
void parallel_elements(index_t n, double bytes_per_element, double bytes_per_thread,
                       const Body& body) {
  const double bytes = static_cast<double>(n) * bytes_per_element;
  const int parts = threads_for((n + kGrain - 1) / kGrain, bytes, bytes_per_thread);
  parallel(parts, [=](int i) {
    const Range r = share(n, kGrain, parts, i);
    if (r.begin < r.end) body(r.begin, r.end - r.begin);
  });
}

// body(first, count) over rows that no two threads share.
template <class Body>
void parallel_rows(index_t rows, double bytes_per_row, double bytes_per_thread, const Body& body) {
  const double bytes = static_cast<double>(rows) * bytes_per_row;
  const int parts = threads_for(rows, bytes, bytes_per_thread);
  parallel(parts, [=](int i) {
    const Range r = share(rows, 1, parts, i);
    if (r.begin < r.end) body(r.begin, r.end - r.begin);
  });
}

}  // namespace fastbn
