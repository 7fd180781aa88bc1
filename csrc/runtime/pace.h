// How fast the threads of a call are beside one another, and parts to match.
//
// CPUs are not alike.  A virtual one computes 0.6 times as fast as the next while a neighbour uses the other half of its
// core, for seconds or minutes, and some machines have cores of two kinds.  Of equal parts all wait for the slowest.  So a
// large product is cut by what its threads took for the ones before:
//
//   equal parts      thread 0 ======|                by pace     thread 0 ========|
//                    thread 1 ==========|                        thread 1 ========|
//
// No bit depends on it: which part an element is in never does (threads.h).
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "runtime/threads.h"

namespace fastbn {

// More threads than this take equal parts: the cut is handed to each with its call.
constexpr int kMostPaced = 8;

// Where the parts of a whole begin and the last ends, in units of which as many as 1 to 8 threads take equally many.
struct Cut {
  static constexpr int kWhole = 840;
  std::uint16_t begins[kMostPaced + 1];

  static Cut equal(int parts);
};

// The i-th range of [0, n), of bounds that are multiples of `grain`; of an equal cut as share() gives it.
inline Range share(index_t n, index_t grain, const Cut& cut, int i) {
  const index_t grains = (n + grain - 1) / grain;
  const index_t begin = grains * cut.begins[i] / Cut::kWhole * grain;
  const index_t end = grains * cut.begins[i + 1] / Cut::kWhole * grain;
  return {begin < n ? begin : n, end < n ? end : n};
}

class Pace {
 public:
  explicit Pace(int threads);
  Cut cut() const;
  // What each thread took for its part of such a cut, in seconds.
  void learn(const double* seconds);

 private:
  const int threads_;
  std::atomic<float> speeds_[kMostPaced];  // shares of the whole, 1 in all
};

// Of so many threads, 2 to kMostPaced.
Pace& pace_of(int threads);

// Whether work is cut by pace: if it takes each thread some 30 us, where the clock, and the lines that move from thread to
// thread when a cut does, count for nothing.
inline bool pays_by_pace(int threads, double flop) {
  constexpr double kFlopOfThread = 5e6;
  return threads > 1 && threads <= kMostPaced && flop >= kFlopOfThread * threads;
}

// The times of the parts of a call, of which the pace learns in the end.  A clock takes some 30 ns, and a thread's time is
// a line that its caller fetches.
class Laps {
 public:
  explicit Laps(int threads) : threads_(threads) {}
  ~Laps() {
    double seconds[kMostPaced];
    for (int i = 0; i < threads_; ++i) seconds[i] = laps_[i].seconds;
    pace_of(threads_).learn(seconds);
  }
  Laps(const Laps&) = delete;
  Laps& operator=(const Laps&) = delete;

  template <class Body>
  void time(int i, const Body& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    laps_[i].seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

 private:
  struct alignas(64) Lap {
    double seconds = 0;
  };
  const int threads_;
  Lap laps_[kMostPaced];
};

// parallel(), of whose times the pace learns if the parts are cut by it.
template <class Body>
void parallel(int threads, bool by_pace, const Body& body) {
  if (!by_pace) return parallel(threads, body);
  Laps laps(threads);
  parallel(threads, [&laps, body](int i) { laps.time(i, [&] { body(i); }); });
}

// Cuts all that goes by pace of as many threads as this cut has parts so, until told to look again (null): tests run
// lopsided parts on any machine.
void assume_cut(const Cut* cut);

}  // namespace fastbn
