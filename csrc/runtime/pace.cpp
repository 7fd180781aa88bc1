#include "runtime/pace.h"

#include <algorithm>
#include <cmath>
#include <forward_list>
#include <mutex>

#include "runtime/handover.h"

namespace fastbn {
namespace {

// Threads whose speeds are within 4 % of one another's mean have equal parts: of 32 grains one more is 6 %.
constexpr double kAlike = 0.04;
// A share moves a quarter of the way to what its thread was seen to be worth, and by a sixteenth at most: whoever was
// interrupted once has it back in two or three calls.  (Half of the way it moved as often again, to no better shares.)
constexpr double kGain = 0.25, kMostMoved = 1.0 / 16;
// No share is less than about half of an equal one, nor more than about twice as large.
constexpr double kLeast = 0.5, kMost = 2;

struct Told {
  int parts;
  Shares shares;
};
std::atomic<const Told*> assumed{nullptr};

}  // namespace

Shares Shares::equal(int parts) {
  Shares shares{};
  for (int i = 0; i <= kMostPaced; ++i) {
    shares.begins[i] = static_cast<std::uint16_t>(kWhole * std::min(i, parts) / parts);
  }
  return shares;
}

Pace::Pace(int threads) : threads_(threads) {
  for (auto& speed : speeds_) speed.store(1.0f / static_cast<float>(threads));
}

Shares Pace::shares() const {
  const Told* told = assumed.load(std::memory_order_acquire);
  if (told && told->parts == threads_) return told->shares;
  Shares shares = Shares::equal(threads_);
  double speeds[kMostPaced], before = 0;
  bool alike = true;
  for (int i = 0; i < threads_; ++i) {
    speeds[i] = static_cast<double>(speeds_[i].load(std::memory_order_relaxed));
    alike = alike && std::abs(speeds[i] * threads_ - 1) <= kAlike;
  }
  if (alike) return shares;
  for (int i = 1; i < threads_; ++i) {
    before += speeds[i - 1];
    const double begin = std::min(before, 1.0) * Shares::kWhole;
    shares.begins[i] = static_cast<std::uint16_t>(std::lround(begin));
  }
  return shares;
}

void Pace::learn(const double* work, const double* seconds) {
  double seen[kMostPaced], speeds[kMostPaced], all_seen = 0;
  for (int i = 0; i < threads_; ++i) {
    if (!(work[i] > 0 && seconds[i] > 0)) return forget();
    seen[i] = work[i] / seconds[i], all_seen += seen[i];
    speeds[i] = static_cast<double>(speeds_[i].load(std::memory_order_relaxed));
  }
  double all = 0;
  for (int i = 0; i < threads_; ++i) {
    const double off = seen[i] / all_seen / speeds[i] - 1;
    const double by = std::clamp(kGain * off, -kMostMoved, kMostMoved);
    speeds[i] = std::clamp(speeds[i] * (1 + by), kLeast / threads_, kMost / threads_);
    all += speeds[i];
  }
  for (int i = 0; i < threads_; ++i) {
    speeds_[i].store(static_cast<float>(speeds[i] / all), std::memory_order_relaxed);
  }
}

void Pace::forget() {
  const float equal = 1.0f / static_cast<float>(threads_);
  for (int i = 0; i < threads_; ++i) {
    const float speed = speeds_[i].load(std::memory_order_relaxed);
    speeds_[i].store(speed + (equal - speed) / 16, std::memory_order_relaxed);
  }
}

Pace& pace_of(int threads) {
  static Pace paces[] = {Pace(2), Pace(3), Pace(4), Pace(5), Pace(6), Pace(7), Pace(8)};
  return paces[threads - 2];
}

bool goes_by_pace(int threads, double flop, index_t grains) {
  constexpr double kFlopOfThread = 5e6;
  constexpr index_t kGrainsOfThread = 3;
  return threads > 1 && threads <= kMostPaced && flop >= kFlopOfThread * threads &&
         grains >= kGrainsOfThread * threads && !far_apart(threads);
}

Laps::~Laps() {
  Pace& pace = pace_of(threads_);
  double work[kMostPaced], seconds[kMostPaced];
  for (int i = 0; i < threads_; ++i) {
    for (int j = 0; j < i; ++j) {
      if (laps_[i].by == laps_[j].by) {
        pace.forget();
        return;
      }
    }
    work[i] = laps_[i].work, seconds[i] = laps_[i].seconds;
  }
  pace.learn(work, seconds);
}

void assume_shares(int parts, const Shares* shares) {
  static std::mutex mutex;
  static std::forward_list<Told> all_told;  // kept: a call may be reading one
  const std::lock_guard<std::mutex> lock(mutex);
  if (shares) all_told.push_front({parts, *shares});
  assumed.store(shares ? &all_told.front() : nullptr, std::memory_order_release);
}

}  // namespace fastbn
