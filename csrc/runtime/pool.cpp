#include "runtime/pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

#include "runtime/pause.h"

#if defined(__linux__)
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define FASTBN_HAS_FORK
#endif

namespace fastbn {
namespace {

// A worker that has nothing to do spins, since the next layer's call comes in microseconds: at
// first without a break, then letting others run between looks, then it sleeps.  Waking costs some
// 80 us; a training step's longest pause between calls is shorter than kSpin.  What counts is the pause
// between calls that have a part for this worker: of many workers the last may sleep within a step
// (not measured on more than two CPUs).
constexpr std::chrono::microseconds kSpinAlone{20}, kSpin{500};
// The caller spins for parts that workers have begun, soon letting others run between looks, for one
// of the workers may be queued on its CPU; then it sleeps.
constexpr std::chrono::microseconds kSpinForParts{1000};
// After so many calls in a row without help, more than waking takes, a worker that is awake may be
// queued on its caller's CPU (a process that was stopped goes on so): it is moved from there.
constexpr int kLonelyCalls = 16;
// Where the system gives fewer threads than are asked for, a try costs some 10 us, as much as a small
// call: it waits so long for the next.
constexpr std::chrono::milliseconds kToNextTry{100};
constexpr std::size_t kLine = 64;
constexpr int kLooks = 64;  // between two looks at the clock, and a late worker's grace: some 2 us

int current_cpu() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// The CPUs that a pool's workers may use, and keeping them from one of them.
//
// A kernel may wake a worker on its caller's CPU and leave it queued there until a tick, milliseconds
// later, though another CPU is idle.  So a worker sleeps barred from its caller's CPU, and a caller
// that has come to another CPU since bars the sleepers from that one before it wakes them.
#if defined(__linux__)
using Thread = pid_t;
Thread this_thread() {
  return static_cast<Thread>(syscall(SYS_gettid));
}

class Cpus {
 public:
  Cpus() {
    CPU_ZERO(&all_);
    sched_getaffinity(0, sizeof(all_), &all_);
  }
  void allow(Thread thread) const { sched_setaffinity(thread, sizeof(all_), &all_); }
  void bar(Thread thread, int cpu) const {
    cpu_set_t others = all_;
    if (cpu >= 0) CPU_CLR(cpu, &others);
    if (CPU_COUNT(&others) > 0) sched_setaffinity(thread, sizeof(others), &others);
  }

 private:
  cpu_set_t all_;
};
#else
using Thread = int;
Thread this_thread() {
  return 0;
}
struct Cpus {
  void allow(Thread) const {}
  void bar(Thread, int) const {}
};
#endif

using Clock = std::chrono::steady_clock;

// Looks at `condition` until it holds, the time is up or, asked less often, there is reason to stop.
template <class Condition, class Stop>
bool spin(std::chrono::microseconds limit, std::chrono::microseconds alone,
          const Condition& condition, const Stop& stop) {
  const auto start = Clock::now();
  for (;;) {
    for (int look = 0; look < kLooks; ++look) {
      if (condition()) return true;
      pause();
    }
    const auto spent = Clock::now() - start;
    if (spent > limit || stop()) return false;
    if (spent > alone) std::this_thread::yield();
  }
}

// A part of a call: the last call in which a thread took it, and in which one finished it.  A part's
// own worker writes both lines; its caller reads `finished`, and writes them only where the worker is
// late.  A part without a worker is anybody's.
struct Part {
  alignas(kLine) std::atomic<std::uint64_t> taken{0};
  alignas(kLine) std::atomic<std::uint64_t> finished{0};

  // Calls are numbered upwards and one ends before the next begins, so a worker that comes too late
  // finds its call, or a later one, in `taken`.
  bool take(std::uint64_t call) {
    std::uint64_t last = taken.load();
    return last < call && taken.compare_exchange_strong(last, call);
  }
};

// What its caller has to know of a worker to wake it.
struct Sleeper {
  alignas(kLine) std::atomic<bool> asleep{false};
  std::atomic<int> barred{-1};   // the CPU that it keeps from while it sleeps
  std::atomic<Thread> thread{};  // 0 until it has started
  std::condition_variable wake;
};

class Pool {
 public:
  bool acquire() { return !busy_.test_and_set(std::memory_order_acquire); }
  void release() { busy_.clear(std::memory_order_release); }

  // 2 <= parts <= kMostThreads.
  void run(int parts, void (*function)(const void*, int), const void* body, std::size_t bytes) {
    start_workers(parts - 1);
    function_ = function, body_ = body, body_bytes_ = bytes;
    const int cpu = current_cpu();
    if (home_.load(std::memory_order_relaxed) != cpu) home_.store(cpu, std::memory_order_relaxed);
    const std::uint64_t call = number(call_.load(std::memory_order_relaxed)) + 1;
    call_.store(call << kPartsBits | static_cast<std::uint64_t>(parts), std::memory_order_release);
    const bool woken = wake_sleepers(parts, cpu);
    function(body, 0);
    finish(call, parts, woken || workers_ < parts - 1);
  }

 private:
  // call_: the number of the call (48 bits) and its parts (16).
  static constexpr int kPartsBits = 16;
  static std::uint64_t number(std::uint64_t call) { return call >> kPartsBits; }
  static int parts_of(std::uint64_t call) { return static_cast<int>(call & 0xffff); }

  void start_workers(int wanted) {
    if (workers_ >= wanted) return;
    if (Clock::now() < next_try_) return;
    try {
      for (; workers_ < wanted; ++workers_)
        std::thread([this, i = workers_.load()] { work(i); }).detach();
    } catch (const std::exception&) {
      // No more threads, or no memory for one: others take the parts of those that are missing.
      next_try_ = Clock::now() + kToNextTry;
    }
  }

  void bar_workers(int parts, int cpu) {
    for (int i = 0; i < parts - 1; ++i) {
      sleepers_[i].barred.store(cpu);
      if (const Thread thread = sleepers_[i].thread.load()) cpus_.bar(thread, cpu);
    }
  }

  // Only the workers that have a part: on many CPUs the others sleep on through small calls.  A worker
  // that falls asleep unseen (its flag may become visible after this look) misses one call, whose caller
  // takes its part.
  bool wake_sleepers(int parts, int cpu) {
    bool any = false;
    for (int i = 0; i < parts - 1; ++i) {
      Sleeper& sleeper = sleepers_[i];
      if (!sleeper.asleep.load()) continue;
      any = true;
      if (sleeper.barred.exchange(cpu) != cpu) cpus_.bar(sleeper.thread.load(), cpu);
    }
    if (!any) return false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }  // none is between its look and its sleep
    for (int i = 0; i < parts - 1; ++i) {
      if (sleepers_[i].asleep.load()) sleepers_[i].wake.notify_one();
    }
    return true;
  }

  // Computes the parts that nobody has taken, at once or after a grace, and waits for the others.
  void finish(std::uint64_t call, int parts, bool at_once) {
    int p = 1;
    const auto all = [&] {
      while (p < parts && parts_[p].finished.load() == call) ++p;
      return p == parts;
    };
    for (int look = at_once ? kLooks : 0; look < kLooks; ++look) {
      if (all()) {
        lonely_ = 0;
        return;
      }
      pause();
    }
    int taken = 0;
    for (int i = p; i < parts; ++i) {
      if (!parts_[i].take(call)) continue;
      function_(body_, i);
      parts_[i].finished.store(call);
      ++taken;
    }
    lonely_ = taken == parts - 1 ? lonely_ + 1 : 0;
    if (lonely_ == kLonelyCalls) {
      bar_workers(parts, home_.load());
      lonely_ = 0;
    }
    if (spin(kSpinForParts, kSpinAlone, all, [] { return false; })) return;
    std::unique_lock<std::mutex> lock(mutex_);
    caller_sleeps_.store(true);
    done_.wait(lock, all);
    caller_sleeps_.store(false);
  }

  void work(int index) {
    const Thread self = this_thread();
    Sleeper& sleeper = sleepers_[index];
    sleeper.thread.store(self);
    Part& own = parts_[index + 1];
    std::uint64_t seen = 0;  // a worker that starts late still helps with the call it was made for
    // Calls that have no part for it do not keep it awake.
    const auto called = [&] {
      const std::uint64_t call = call_.load();
      return number(call) != seen && index + 1 < parts_of(call);
    };
    for (;;) {
      if (!spin(kSpin, kSpinAlone, called, [this] { return on_callers_cpu(); })) {
        const int home = home_.load();
        cpus_.bar(self, home);
        sleeper.barred.store(home);
        {
          std::unique_lock<std::mutex> lock(mutex_);
          sleeper.asleep.store(true);
          sleeper.wake.wait(lock, called);
          sleeper.asleep.store(false);
        }
        cpus_.allow(self);
      }
      if (on_callers_cpu()) {
        cpus_.bar(self, home_.load());
        cpus_.allow(self);
      }
      const std::uint64_t call = call_.load();
      seen = number(call);
      if (index + 1 < parts_of(call) && own.take(seen)) compute(index + 1, seen);
      help(call);
    }
  }

  // Parts without a thread of their own, where the system gave fewer than were asked for.
  void help(std::uint64_t call) {
    for (int i = workers_.load(std::memory_order_relaxed) + 1; i < parts_of(call); ++i) {
      if (parts_[i].take(number(call))) compute(i, number(call));
    }
  }

  // A part that is taken keeps its call from ending, so the function is that call's.
  void compute(int part, std::uint64_t call) {
    const char* const body = static_cast<const char*>(body_);
    for (std::size_t i = 0; i < body_bytes_; i += kLine) __builtin_prefetch(body + i);
    __builtin_prefetch(body + body_bytes_ - 1);
    function_(body_, part);
    parts_[part].finished.store(call);
    if (!caller_sleeps_.load()) return;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }
    done_.notify_one();
  }

  bool on_callers_cpu() const {
    const int cpu = current_cpu();
    return cpu >= 0 && cpu == home_.load(std::memory_order_relaxed);
  }

  // The caller's own.
  std::atomic_flag busy_ = ATOMIC_FLAG_INIT;
  int lonely_ = 0;                // calls since a worker last took a part
  Clock::time_point next_try_{};  // when a thread is asked for again, after one was refused
  // Written by every call, read by the workers.
  alignas(kLine) std::atomic<std::uint64_t> call_{0};
  void (*function_)(const void*, int) = nullptr;
  const void* body_ = nullptr;
  std::size_t body_bytes_ = 0;
  // Seldom written.
  alignas(kLine) std::atomic<int> home_{-1};  // the caller's CPU
  std::atomic<int> workers_{0};
  std::atomic<bool> caller_sleeps_{false};
  const Cpus cpus_;
  std::mutex mutex_;
  std::condition_variable done_;
  Sleeper sleepers_[kMostThreads - 1];
  Part parts_[kMostThreads];
};

// Never destroyed: workers outlive static destructors.  A forked child has none of the threads, so
// it forgets the pool and makes one of its own when it needs it.
std::atomic<Pool*> the_pool{nullptr};
#if defined(FASTBN_HAS_FORK)
void forget_pool() {
  the_pool.store(nullptr);
}
#endif

Pool& pool() {
  Pool* found = the_pool.load(std::memory_order_acquire);
  if (found) return *found;
#if defined(FASTBN_HAS_FORK)
  static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
  (void)registered;
#endif
  Pool* made = new Pool;
  if (the_pool.compare_exchange_strong(found, made)) return *made;
  delete made;  // another caller was first; this one has no thread yet
  return *found;
}

}  // namespace

void run_parts(int parts, void (*call)(const void* body, int part), const void* body,
               std::size_t bytes) {
  Pool& threads = pool();
  if (parts < 2 || parts > kMostThreads || !threads.acquire()) {
    for (int i = 0; i < parts; ++i) call(body, i);
    return;
  }
  threads.run(parts, call, body, bytes);
  threads.release();
}

}  // namespace fastbn
