// The pool: every part once, on its own thread or on the caller's.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <thread>

#include "runtime/handover.h"
#include "runtime/pace.h"
#include "runtime/pool.h"
#include "selftest.h"

namespace fastbn::selftest {
namespace {

struct Call {
  std::vector<std::atomic<int>> computed;
  std::vector<std::thread::id> by;
  explicit Call(int parts)
      : computed(static_cast<std::size_t>(parts)), by(static_cast<std::size_t>(parts)) {}
};

void note(const void* body, int part) {
  Call& call = **static_cast<Call* const*>(body);
  const auto i = static_cast<std::size_t>(part);
  call.by[i] = std::this_thread::get_id();
  ++call.computed[i];
}

bool once_each(Call& call, int parts) {
  Call* const body = &call;
  run_parts(parts, &note, &body, sizeof(body));
  for (const auto& times : call.computed) {
    if (times != 1) return false;
  }
  return true;
}

// Calls of changing numbers of parts, none and more than the pool has threads for among them.
void check_parts(Report& report) {
  const auto caller = std::this_thread::get_id();
  std::map<std::size_t, std::thread::id> owner;
  for (int repeat = 0; repeat < 300; ++repeat) {
    for (const int parts : {0, 1, 2, 3, 5, 2, kMostThreads + 1}) {
      Call call(parts);
      report.require(once_each(call, parts), "every part once");
      for (std::size_t i = 0; i < call.by.size(); ++i) {
        if (call.by[i] == caller) continue;
        report.require(owner.try_emplace(i, call.by[i]).first->second == call.by[i],
                       "a part on its own thread");
      }
      report.require(parts == 0 || call.by[0] == caller, "the first part on the caller's thread");
    }
  }
}

void check_callers(Report& report) {
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 300; ++repeat) {
        Call call(3);
        if (!once_each(call, 3)) ++wrong;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  report.require(wrong == 0, "every part once, of several callers' calls");
}

// Nobody is waited for who does not come.
void check_handover(Report& report) {
  for (const int threads : {0, 1, 2, 5, kMostThreads + 1}) {
    for (int repeat = 0; repeat < 5; ++repeat) {
      const double seconds = handover_seconds(threads);
      report.require(threads > 1 ? seconds >= 0 : seconds == 0, "seconds of a hand-over");
    }
  }
  assume_distance(Distance::far);
  report.require(far_apart(2) && !far_apart(1), "far as told, but for a thread alone");
  assume_distance(Distance::near);
  report.require(!far_apart(2), "near as told");
  assume_distance(Distance::look);
}

// What was seen, and when to look again, by a clock and a measurement that are told.
void check_sight(Report& report) {
  constexpr double kNear = 60e-9, kFar = 250e-9;
  Sight sight;
  Sight::Time now{std::chrono::seconds(1)};
  int looks = 0;
  const auto far = [&](int later, double seconds) {
    now += std::chrono::milliseconds(later);
    return sight.far(now, [&] { return ++looks, seconds; });
  };
  report.require(!far(0, kNear) && looks == 1, "near, at the first look");
  report.require(!far(99, kFar) && looks == 1, "no look within a tenth of a second");
  report.require(far(1, kFar) && looks == 2, "far");
  report.require(far(100, 0) && looks == 3, "as before, where one did not come");
  report.require(far(4, kNear) && looks == 3, "no look at once");
  report.require(!far(1, kNear) && looks == 4, "but soon");
  report.require(far(100, kFar) && far(100, 0) && far(5, 0) && far(5, 0), "a few misses");
  report.require(!far(5, 0) && looks == 9, "near after more");
  report.require(!far(99, kFar) && looks == 9, "and no look for a tenth of a second");
  report.require(far(1, kFar) && looks == 10, "until one comes again");
}

// Equal shares: all of [0, n), in order, and no range of more grains than the largest of share() by parts.
void check_equal_shares(Report& report) {
  for (int parts = 1; parts <= kMostPaced; ++parts) {
    const Shares shares = Shares::equal(parts);
    for (index_t n = 0; n < 200; ++n) {
      index_t end = 0, most = 0, most_by_parts = 0;
      for (int i = 0; i < parts; ++i) {
        const Range range = share(n, 8, shares, i), by_parts = share(n, 8, parts, i);
        report.require(range.begin == end && range.end >= end, "ranges in order");
        end = range.end;
        most = std::max(most, range.end - range.begin);
        most_by_parts = std::max(most_by_parts, by_parts.end - by_parts.begin);
      }
      report.require(end == n && most <= (most_by_parts + 7) / 8 * 8, "all of it, near-equal");
    }
  }
}

// A pace that learns of threads whose parts are of so many grains in all.
struct Learner {
  Pace pace;
  std::vector<double> speeds, seconds;
  index_t grains;
  Learner(const std::vector<double>& of, index_t in_all)
      : pace(static_cast<int>(of.size())), speeds(of), seconds(of.size()), grains(in_all) {}

  // The threads compute their parts, and the first is interrupted for so many times as long.
  void call(double interrupted = 1) {
    const Shares shares = pace.shares();
    std::vector<double> work(speeds.size());
    for (std::size_t i = 0; i < speeds.size(); ++i) {
      const Range range = share(grains, 1, shares, static_cast<int>(i));
      work[i] = static_cast<double>(range.end - range.begin), seconds[i] = work[i] / speeds[i];
    }
    seconds[0] *= interrupted;
    pace.learn(work.data(), seconds.data());
  }
  double share_of(int i) const {
    const Shares shares = pace.shares();
    return double(shares.begins[i + 1] - shares.begins[i]) / Shares::kWhole;
  }
};

void check_pace(Report& report) {
  for (const std::vector<double>& speeds :
       {std::vector<double>{1, 1}, {1, 0.6}, {0.6, 1}, {1, 1, 0.5}, {1, 1, 1, 1, 1, 1, 1, 0.6}}) {
    Learner learner(speeds, 10000);
    for (int i = 0; i < 40; ++i) learner.call();
    const auto [least, most] = std::minmax_element(learner.seconds.begin(), learner.seconds.end());
    report.require(*most < 1.1 * *least, "parts that end together");
    const double before = learner.share_of(0);
    learner.call(100);
    // It loses a sixteenth, and all others gain one; the rest is what a 840th counts for.
    report.require(learner.share_of(0) / before > 15.0 / 17 - 0.02, "one late call moves little");
  }
  Learner odd({1, 1}, 9);
  for (int i = 0; i < 40; ++i) odd.call();
  report.require(odd.share_of(0) == 0.5, "equal speeds, whatever the parts");
  Learner alike({1, 0.94}, 10000), unlike({1, 0.88}, 10000);
  for (int i = 0; i < 60; ++i) alike.call(), unlike.call();
  report.require(alike.share_of(0) == 0.5, "equal parts of nearly equal speeds");
  report.require(std::abs(unlike.share_of(0) - 1 / 1.88) < 0.005, "and of others not");
  Learner slow({1, 0.05}, 10000);
  for (int i = 0; i < 200; ++i) slow.call();
  report.require(slow.share_of(1) > 0.22 && slow.share_of(1) < 0.26, "half an equal share");
  // Of two grains the slow one has none, and yet it is seen again, when it is no longer slow.
  Learner coarse({1, 1}, 2);
  const double work[] = {1, 1}, seconds[] = {1, 20};
  for (int i = 0; i < 200; ++i) coarse.pace.learn(work, seconds);
  report.require(coarse.share_of(1) < 0.26, "slow");
  for (int i = 0; i < 200; ++i) coarse.call();
  report.require(std::abs(coarse.share_of(1) - 0.5) < 0.05, "and fast again");
}

void check_what_goes_by_pace(Report& report) {
  assume_distance(Distance::near);
  report.require(goes_by_pace(2, 1e8, 100), "large, of two threads");
  report.require(!goes_by_pace(2, 1e6, 100), "small");
  report.require(!goes_by_pace(2, 1e8, 5) && goes_by_pace(2, 1e8, 6), "grains");
  report.require(!goes_by_pace(1, 1e8, 100) && !goes_by_pace(kMostPaced + 1, 1e9, 100), "threads");
  assume_distance(Distance::far);
  report.require(!goes_by_pace(2, 1e8, 100), "far apart");
  assume_distance(Distance::look);
}

// What is told holds for as many threads.
void check_told_shares(Report& report) {
  Shares lopsided = Shares::equal(2);
  lopsided.begins[1] = 80;
  assume_shares(2, &lopsided);
  report.require(pace_of(2).shares().begins[1] == 80, "as told");
  report.require(pace_of(3).shares().begins[1] != 80, "but not of three");
  assume_shares(2, nullptr);
  report.require(pace_of(2).shares().begins[1] != 80, "no longer");
}

}  // namespace

void test_pool(Report& report) {
  report.at("pool");
  check_parts(report);
  check_callers(report);
  check_handover(report);
  check_sight(report);
  check_equal_shares(report);
  check_pace(report);
  check_what_goes_by_pace(report);
  check_told_shares(report);
}

}  // namespace fastbn::selftest
