#include "runtime/handover.h"

#include <algorithm>

#include "runtime/cpu.h"
#include "runtime/pause.h"
#include "runtime/threads.h"

namespace fastbn {
namespace {

using Clock = std::chrono::steady_clock;

// The least of a few runs: a thread may have to wake up in the first, and be interrupted in any.
constexpr int kRuns = 5, kRounds = 8;
// Whoever waits longer waits for a thread that does not come: its part is done by another, later.
constexpr std::chrono::microseconds kPatience{100};

// A ball that the first thread throws to all others, and each of them back.
class Game {
 public:
  explicit Game(int players) : players_(players) {}

  // Seconds from hand to hand, at the least; 0 if not all were there.
  double throw_ball() {
    double least = 0;
    for (int run = 0; run < kRuns; ++run) {
      const auto start = Clock::now();
      for (int round = 0; round < kRounds; ++round) {
        ball_.store(++thrown_, std::memory_order_release);
        if (!all_back()) return 0;
      }
      const double time = std::chrono::duration<double>(Clock::now() - start).count();
      least = run == 0 ? time : std::min(least, time);
    }
    return least / (2 * kRounds);
  }

  void catch_ball(int player) {
    for (int next = 1; next <= kRuns * kRounds; ++next) {
      if (!wait([&] { return ball_.load(std::memory_order_acquire) >= next; })) return;
      hands_[player].back.store(next, std::memory_order_release);
    }
  }

 private:
  // The players catch at the same time, so that this waits for the slowest of them.
  bool all_back() {
    for (int player = 1; player < players_; ++player) {
      if (!wait([&] { return hands_[player].back.load(std::memory_order_acquire) >= thrown_; })) {
        ball_.store(kRuns * kRounds, std::memory_order_release);  // none waits for more
        return false;
      }
    }
    return true;
  }

  // It looks before it asks for the time, which takes as long as a line within a cache.
  template <class Condition>
  static bool wait(const Condition& condition) {
    constexpr int kLooks = 256;
    const auto looks = [&] {
      for (int look = 0; look < kLooks; ++look) {
        if (condition()) return true;
        pause();
      }
      return false;
    };
    if (looks()) return true;
    for (const auto start = Clock::now(); Clock::now() - start < kPatience;) {
      if (looks()) return true;
    }
    return false;
  }

  struct alignas(64) Hand {
    std::atomic<int> back{0};
  };

  alignas(64) std::atomic<int> ball_{0};
  int thrown_ = 0;
  const int players_;
  Hand hands_[kMostThreads];
};

std::atomic<Distance> assumed{Distance::look};
Sight sights[kMostThreads + 1];  // by the number of threads

}  // namespace

double handover_seconds(int threads) {
  threads = std::min(threads, kMostThreads);
  if (threads < 2) return 0;
  Game game(threads);
  double seconds = 0;
  parallel(threads, [&](int i) {
    if (i > 0) return game.catch_ball(i);
    seconds = game.throw_ball();
  });
  return seconds;
}

bool far_apart(int threads) {
  threads = std::min(threads, kMostThreads);
  if (threads < 2) return false;
  const Distance known = assumed.load(std::memory_order_relaxed);
  if (known != Distance::look) return known == Distance::far;
  if (has_one_last_cache()) return false;
  return sights[threads].far(Clock::now(), [=] { return handover_seconds(threads); });
}

void assume_distance(Distance distance) {
  assumed.store(distance);
}

}  // namespace fastbn
