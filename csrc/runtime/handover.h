// How long a cache line takes from the CPU of one thread to another's.  It settles how threads share out what several
// kernels of a step read and write in turn: a weight, its gradient and the optimizer's state.
//
// Within one last-level cache that is some 60 ns (Zen 4), and it hardly matters who wrote what: rows are shared out,
// the order in which prefetchers are at their best.  Between two such caches it is some 250, and writing a line that
// the other has read takes a thread some 80, however many are asked for ahead: after a forward pass in which threads
// read columns of a weight of 784 x 512, its update by rows takes 350 to 500 us where it otherwise takes 40.  Where a
// fused block shares out columns, forward and for the gradient, its update does so too then (optimizer.cpp).  Nothing
// of this shows in the bits.
//
// Where all cores share one last cache, a mesh, a hand-over takes long as well (130 to 220 ns, Emerald Rapids), but
// such writes go on many at a time: a step at 8, 32, 64, 256 and 1024 rows by columns 0.73, 0.92, 0.95, 0.98, 0.98
// times as fast.  Threads of Intel's processors are near (so are, unmeasured, those of two sockets).
//
// Which it is, is measured elsewhere, now and then: systems move threads, and hypervisors CPUs, from one cache to
// another, and what they say of the caches is not always true.
#pragma once

#include <atomic>
#include <chrono>

#include "fastbn/views.h"

namespace fastbn {

// Seconds that a line takes from the caller's thread to the furthest of the first `threads` of the pool, or back; 0 if
// there is no other, or one did not come.
double handover_seconds(int threads);

// Whether the first `threads` of the pool are far apart, as seen within the last tenth of a second.  Where too often
// one does not come, as where there are more than CPUs, they count as near.
bool far_apart(int threads);

// Says so, or not so, until it is told to look again: tests run both ways on one machine.
enum class Distance { look, near, far };
void assume_distance(Distance distance);

// What was seen of so many threads, and when to look again.
class Sight {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // `look` returns seconds, as handover_seconds() does.
  template <class Look>
  bool far(Time now, const Look& look) {
    auto due = next_.load(std::memory_order_relaxed);
    const auto ticks = now.time_since_epoch().count();
    if (ticks >= due && next_.compare_exchange_strong(due, after(now, kBetween))) {
      see(now, look());
    }
    return far_.load(std::memory_order_relaxed);
  }

 private:
  // A look takes 5 us near and 20 far apart; 100 to 300 if a thread must wake, or does not come.
  static constexpr std::chrono::milliseconds kBetween{100}, kAfterMiss{5};
  static constexpr int kMostMisses = 4;
  // Between what was seen within a cache, 54 to 78 ns, and between two, 230 to 306.
  static constexpr double kFar = 120e-9;

  static Time::rep after(Time now, std::chrono::milliseconds pause) {
    return (now + pause).time_since_epoch().count();
  }

  void see(Time now, double seconds) {
    if (seconds > 0) {
      misses_ = 0;
      far_ = seconds > kFar;
    } else if (++misses_ < kMostMisses) {
      next_ = after(now, kAfterMiss);
    } else {
      far_ = false;
    }
  }

  std::atomic<Time::rep> next_{0};
  std::atomic<int> misses_{0};
  std::atomic<bool> far_{false};
};

// Threads that share out columns cut between multiples of so many, as batch norm's channels are cut: whole cache lines.
constexpr index_t kColumnGrain = 16;

// Whether a matrix has columns enough for threads to keep to theirs: whole lines, and two strips of four (strips.h) for
// each, since both edges of a single one would be another's.
template <class T>
bool columns_for_each(index_t cols, int threads) {
  constexpr index_t kLine = 64 / sizeof(T), kLeastLines = 8;
  return cols % kLine == 0 && cols >= threads * kLeastLines * kLine;
}

}  // namespace fastbn
