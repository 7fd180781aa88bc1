// The threads behind parallel(): a fork-join pool in which every thread has its own part and no caller
// waits for a thread that does not come.
//
// Part i of every call belongs to the i-th thread, part 0 to the caller.  Successive calls cut their
// arrays alike, so a thread finds what it wrote before in its own cache.  (Parts in one counter, for
// whoever comes first, put half of them on the other thread, and each of their lines went from cache
// to cache: up to 400 ns where two CPUs share no last cache.)
//
// A worker may be asleep, in another process's time slice or queued behind its own caller.  The caller
// then takes its part: at once if a worker had to be woken, else after a grace of some 2 us, which is
// what the part's lines would cost it.  OpenMP's regions end in a barrier that every thread must
// reach; on two CPUs one late thread made a product of 10 us take 8 ms.
//
// A call wakes, and keeps awake, only the workers that have a part in it.  On many CPUs a small net has
// parts for a few, and the others sleep.
//
// Where the system gives fewer threads than parts, the caller and the workers that are done with their
// own share the parts that have no thread.
//
// One caller at a time has the pool; a second caller computes its parts alone, and so does everyone
// in a process that may start no thread.  Which thread computes a part never shows in its bits.
#pragma once

#include <cstddef>

namespace fastbn {

constexpr int kMostThreads = 256;

// Calls call(body, i) once for each i in [0, parts), on at most kMostThreads threads, and returns when
// all have returned.  `bytes`: of the body, which a worker fetches before it begins.
void run_parts(int parts, void (*call)(const void* body, int part), const void* body,
               std::size_t bytes);

}  // namespace fastbn
