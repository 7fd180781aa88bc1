// How long a cache line takes from the CPU of one thread to another's.  It settles how threads share out what several
// kernels of a step read and write in turn: a weight, its gradient and the optimizer's state.
//
// Within one last-level cache that is some 60 ns (Zen 4), and it hardly matters who wrote what: rows are shared out,
// the order in which prefetchers are at their best.  Between two such caches it is some 250, and writing a line that the
// other has read takes a thread some 80, however many are asked for ahead: after a forward pass in which threads read
// columns of a weight of 784 x 512, its update by rows takes 350 to 500 us where it otherwise takes 40.  Each thread keeps
// to its columns throughout then.  Nothing of this shows in the bits.
//
// Which it is, is measured, now and then: systems move threads, and hypervisors CPUs, from one cache to another, and
// what they say of the caches is not always true.
#pragma once

#include "fastbn/views.h"

namespace fastbn {

// Seconds that a line takes from the caller's thread to the furthest of the pool's, or back; 0 if there is one thread, or
// one did not come.
double handover_seconds();

// Whether the threads of the pool are far apart, as measured within the last tenth of a second.
bool far_apart();

// Whether a matrix has columns enough for threads to keep to theirs: whole cache lines, and two strips of four
// (optimizer.cpp) for each, since both edges of a single one would be another's.
template <class T>
bool columns_for_each(index_t cols, int threads) {
  constexpr index_t kLine = 64 / sizeof(T), kLeastLines = 8;
  return cols % kLine == 0 && cols >= threads * kLeastLines * kLine;
}

// Says so, or not so, until it is told to look again: tests run both ways on one machine.
enum class Distance { look, near, far };
void assume_distance(Distance distance);

}  // namespace fastbn
