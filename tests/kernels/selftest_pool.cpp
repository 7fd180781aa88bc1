// The pool: every part once, on its own thread or on the caller's.
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

void check_cuts(Report& report) {
  for (int parts = 1; parts <= kMostPaced; ++parts) {
    const Cut cut = Cut::equal(parts);
    for (index_t n = 0; n < 200; ++n) {
      for (int i = 0; i < parts; ++i) {
        const Range equal = share(n, 8, parts, i), range = share(n, 8, cut, i);
        report.require(equal.begin == range.begin && equal.end == range.end, "an equal cut");
      }
    }
  }
}

// Threads of given speeds, whose parts end together after some calls.
void check_pace(Report& report) {
  for (const double slow : {1.0, 0.6, 0.3}) {
    Pace pace(2);
    const double speeds[] = {1, slow};
    double seconds[2];
    const auto call = [&](double late) {
      const Cut cut = pace.cut();
      for (int i = 0; i < 2; ++i) seconds[i] = (cut.begins[i + 1] - cut.begins[i]) / speeds[i];
      seconds[0] *= late;
      pace.learn(seconds);
    };
    for (int i = 0; i < 30; ++i) call(1);
    const double least = Cut::kWhole / 4.0;  // half of an equal share
    const Cut cut = pace.cut();
    const int share = cut.begins[2] - cut.begins[1];
    const bool together = std::abs(seconds[0] / seconds[1] - 1) < 0.1;
    report.require(slow < 0.4 ? std::abs(share - least) < 30 : together, "parts that end together");
    call(100);
    report.require(std::abs(pace.cut().begins[1] - cut.begins[1]) <= Cut::kWhole / 16,
                   "one late call moves little");
    const double nothing[] = {0, 0};
    const int before = pace.cut().begins[1];
    pace.learn(nothing);
    report.require(pace.cut().begins[1] == before, "nothing learned of no time");
  }
}

// Told cuts hold for as many threads as they have parts.
void check_told_cut(Report& report) {
  Cut lopsided = Cut::equal(2);
  lopsided.begins[1] = 80;
  assume_cut(&lopsided);
  report.require(pace_of(2).cut().begins[1] == 80, "as told");
  report.require(pace_of(3).cut().begins[1] != 80, "but not of three");
  assume_cut(nullptr);
  report.require(pace_of(2).cut().begins[1] != 80, "no longer");
}

}  // namespace

void test_pool(Report& report) {
  report.at("pool");
  check_parts(report);
  check_callers(report);
  check_handover(report);
  check_sight(report);
  check_cuts(report);
  check_pace(report);
  check_told_cut(report);
}

}  // namespace fastbn::selftest
