// What this machine can do at most, measured: the scale beside which speeds are judged.
#pragma once

#include "fastbn/views.h"

namespace fastbn {

// Floating-point operations a second of independent fused multiply-adds in registers, on all
// threads, with the instruction set in force: the best of the runs that fit into `seconds`.
template <class T>
double fma_peak(double seconds);

// The same, but in the mean over `seconds`, after a quarter of that in which the threads wake: not what
// the machine can do, but what it gives now.  Two virtual CPUs that share a core for a while, or one
// that waits for its turn, show here and nowhere else.
template <class T>
double fma_rate(double seconds);

// Bytes a second, read and written, of copies between two arrays a thread.  `bytes` is what all of
// them take together and so decides the level of cache.  The best of the runs that fit into
// `seconds`.  Throws std::bad_alloc.
double copy_bandwidth(index_t bytes, double seconds);

}  // namespace fastbn
