// The threads behind parallel(): a fork-join pool whose caller never waits for a thread that has not
// begun.
//
// The parts of a call lie in one counter, from which the caller and the workers take them.  Whatever
// keeps a worker from running, be it asleep, in another process's time slice or queued behind its own
// caller, costs nothing but its help: the caller takes its parts.  OpenMP's regions end in a barrier
// that every thread must reach; on two CPUs one late thread made a product of 10 us take 8 ms.
//
// One caller at a time has the pool; a second caller computes its parts alone, and so does everyone
// in a process that may start no thread.  Which thread computes a part never shows in its bits.
#pragma once

namespace fastbn {

// Calls call(body, i) once for each i in [0, parts), on at most `parts` threads, and returns when
// all have returned.
void run_parts(int parts, void (*call)(const void* body, int part), const void* body);

}  // namespace fastbn
