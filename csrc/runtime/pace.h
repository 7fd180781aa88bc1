// Load balancing: how fast the threads of a call are beside one another, and parts to match.
//
// CPUs are not alike.  A virtual one computes 0.6 times as fast as the next while a neighbour uses the other half of
// its core, for seconds or minutes, and some machines have cores of two kinds.  Of equal parts all wait for the
// slowest.  So large products are shared out by how fast their threads computed the ones before:
//
//   equal parts      thread 0 ======|                by pace     thread 0 ========|
//                    thread 1 ==========|                        thread 1 ========|
//
// No bit depends on it: which part an element is in never does (threads.h).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

#include "runtime/threads.h"

namespace fastbn {

// More threads than this take equal parts: the shares are handed to each with its call.
constexpr int kMostPaced = 8;

// Where the parts of a whole begin and the last ends, in units of which as many as 1 to 8 threads take equally many.
struct Shares {
  static constexpr int kWhole = 840;
  std::uint16_t begins[kMostPaced + 1];

  static Shares equal(int parts);
};

// The i-th range of [0, n): its bounds are the multiples of `grain` that are nearest to the shares'.  Of equal shares
// none has more grains than the largest of share(n, grain, parts, i).
inline Range share(index_t n, index_t grain, const Shares& shares, int i) {
  const index_t grains = (n + grain - 1) / grain;
  const auto bound = [=, &shares](int part) {
    const index_t at = (grains * shares.begins[part] + Shares::kWhole / 2 - 1) / Shares::kWhole;
    return std::min(at * grain, n);
  };
  return {bound(i), bound(i + 1)};
}

class Pace {
 public:
  explicit Pace(int threads);
  Shares shares() const;
  // How much each thread computed in such a call, in any unit, and in what time.
  void learn(const double* work, const double* seconds);
  // After a call that tells nothing, as one of whose threads one had no part: who was slow would never be seen to be
  // fast again.  A step back towards equal shares.
  void forget();

 private:
  const int threads_;
  std::atomic<float> speeds_[kMostPaced];  // 1 in all
};

// Of so many threads, 2 to kMostPaced.
Pace& pace_of(int threads);

// Whether a call is shared out by pace: if it takes each thread some 30 us, where the clock, and the lines that move
// from thread to thread when shares do, count for nothing; if there are grains enough to share out; and not by threads
// far apart, which keep to their columns (handover.h).
bool goes_by_pace(int threads, double flop, index_t grains);

// The parts of a call, of which the pace learns in the end, unless a thread computed several: others were late.  A
// clock takes some 30 ns, and a thread's lap is a line that its caller fetches.
class Laps {
 public:
  explicit Laps(int threads) : threads_(threads) {}
  ~Laps();
  Laps(const Laps&) = delete;
  Laps& operator=(const Laps&) = delete;

  // body() returns its work.
  template <class Body>
  void time(int i, const Body& body) {
    const auto start = Clock::now();
    const auto work = static_cast<double>(body());
    laps_[i] = {work, std::chrono::duration<double>(Clock::now() - start).count(),
                std::this_thread::get_id()};
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct alignas(64) Lap {
    double work = 0, seconds = 0;
    std::thread::id by;
  };
  const int threads_;
  Lap laps_[kMostPaced];
};

// parallel() of bodies that return how much they computed, in any unit.
template <class Body>
void parallel(int threads, bool by_pace, const Body& body) {
  if (!by_pace) return parallel(threads, [body](int i) { body(i); });
  Laps laps(threads);
  parallel(threads, [&laps, body](int i) { laps.time(i, [&] { return body(i); }); });
}

// Shares out all that goes by pace of `parts` threads so, until told to look again (null): tests run lopsided parts on
// any machine.
void assume_shares(int parts, const Shares* shares);

}  // namespace fastbn
