#include "runtime/pace.h"

#include <algorithm>
#include <cmath>

namespace fastbn {
namespace {

// Parts that take within 4 % of their mean stay: lines of C and of packed operands then stay with their thread.
constexpr double kAlike = 0.04;
// A thread's share moves by a quarter of what it was late or early, and by a sixteenth at most: whoever was interrupted
// once has it back in two or three calls.  (By half it moved as often again, to no better cuts.)
constexpr double kGain = 0.25, kMostMoved = 1.0 / 16;
// No share is less than half of an equal one, nor more than twice as large.
constexpr double kLeast = 0.5, kMost = 2;

std::atomic<const Cut*> assumed{nullptr};

}  // namespace

Cut Cut::equal(int parts) {
  Cut cut{};
  for (int i = 0; i <= kMostPaced; ++i) {
    cut.begins[i] = static_cast<std::uint16_t>(kWhole * std::min(i, parts) / parts);
  }
  return cut;
}

Pace::Pace(int threads) : threads_(threads) {
  for (auto& speed : speeds_) speed.store(1.0f / static_cast<float>(threads));
}

Cut Pace::cut() const {
  const Cut* told = assumed.load(std::memory_order_relaxed);
  if (told && told->begins[threads_] == Cut::kWhole && told->begins[threads_ - 1] < Cut::kWhole) {
    return *told;
  }
  Cut cut = Cut::equal(threads_);
  double before = 0;
  for (int i = 1; i < threads_; ++i) {
    before += static_cast<double>(speeds_[i - 1].load(std::memory_order_relaxed));
    cut.begins[i] = static_cast<std::uint16_t>(std::lround(std::min(before, 1.0) * Cut::kWhole));
  }
  return cut;
}

void Pace::learn(const double* seconds) {
  double mean = 0;
  for (int i = 0; i < threads_; ++i) mean += seconds[i] / threads_;
  double late[kMostPaced], latest = 0;
  for (int i = 0; i < threads_; ++i) {
    late[i] = seconds[i] / mean - 1;
    latest = std::max(latest, std::abs(late[i]));
  }
  if (!(latest > kAlike)) return;
  double speeds[kMostPaced], all = 0;
  for (int i = 0; i < threads_; ++i) {
    const double moved = std::clamp(kGain * late[i], -kMostMoved, kMostMoved);
    const double speed = static_cast<double>(speeds_[i].load(std::memory_order_relaxed));
    speeds[i] = std::clamp(speed * (1 - moved), kLeast / threads_, kMost / threads_);
    all += speeds[i];
  }
  for (int i = 0; i < threads_; ++i) {
    speeds_[i].store(static_cast<float>(speeds[i] / all), std::memory_order_relaxed);
  }
}

Pace& pace_of(int threads) {
  static Pace paces[] = {Pace(2), Pace(3), Pace(4), Pace(5), Pace(6), Pace(7), Pace(8)};
  return paces[threads - 2];
}

void assume_cut(const Cut* cut) {
  static Cut told;
  assumed.store(nullptr);
  if (!cut) return;
  told = *cut;
  assumed.store(&told);
}

}  // namespace fastbn
