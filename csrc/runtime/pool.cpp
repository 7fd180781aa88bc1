#include "runtime/pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <system_error>
#include <thread>

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
// 80 us; a training step's longest pause between calls is shorter than kSpin.
constexpr std::chrono::microseconds kSpinAlone{20}, kSpin{500};
// The caller spins for parts that workers have begun, soon letting others run between looks, for one
// of the workers may be queued on its CPU; then it sleeps.
constexpr std::chrono::microseconds kSpinForParts{1000};
// After so many calls in a row without help, more than waking takes, a worker that is awake may be
// queued on its caller's CPU (a process that was stopped goes on so): it is moved from there.
constexpr int kLonelyCalls = 16;
constexpr int kMostWorkers = 255;
constexpr int kLooks = 64;  // between two looks at the clock, some 2 us

void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

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

class Pool {
 public:
  bool acquire() { return !taken_.test_and_set(std::memory_order_acquire); }
  void release() { taken_.clear(std::memory_order_release); }

  void run(int parts, void (*call)(const void*, int), const void* body) {
    start_workers(parts - 1);
    call_ = call, body_ = body;
    const int cpu = current_cpu();
    const bool moved = home_.exchange(cpu) != cpu;
    finished_.store(0, std::memory_order_relaxed);
    const std::uint64_t job = next_job(static_cast<std::uint64_t>(parts));
    state_.store(job);
    if (sleepers_.load() > 0) {
      if (moved) bar_workers(cpu);
      {
        const std::lock_guard<std::mutex> lock(mutex_);
      }  // none is between its look and its sleep
      wake_.notify_all();
    }
    const bool alone = take_parts(job) == parts;
    lonely_ = alone ? lonely_ + 1 : 0;
    if (lonely_ == kLonelyCalls) {
      bar_workers(cpu);
      lonely_ = 0;
    }
    wait_for(parts);
  }

 private:
  // state_: number of the call (32 bits), parts (16), the next part that nobody has taken (16).
  // The number makes a taken part certain to belong to the call whose body is read after it.
  static std::uint64_t number(std::uint64_t state) { return state >> 32; }
  static std::uint64_t parts(std::uint64_t state) { return (state >> 16) & 0xffff; }
  static std::uint64_t next(std::uint64_t state) { return state & 0xffff; }
  std::uint64_t next_job(std::uint64_t count) const {
    return (number(state_.load(std::memory_order_relaxed)) + 1) << 32 | count << 16;
  }

  void start_workers(int wanted) {
    try {
      const int most = wanted < kMostWorkers ? wanted : kMostWorkers;
      for (; workers_ < most; ++workers_) std::thread([this, i = workers_] { work(i); }).detach();
    } catch (const std::system_error&) {
      // No more threads to be had: those there are, and the caller, take all parts.
    }
  }

  void bar_workers(int cpu) {
    for (int i = 0; i < workers_; ++i) {
      if (const Thread thread = threads_[i].load()) cpus_.bar(thread, cpu);
    }
  }

  // Computes parts of the call `job` until none is left to take, and returns how many.
  int take_parts(std::uint64_t job) {
    int taken = 0;
    std::uint64_t state = state_.load();
    while (number(state) == number(job) && next(state) < parts(state)) {
      if (!state_.compare_exchange_weak(state, state + 1)) continue;
      call_(body_, static_cast<int>(next(state)));
      ++taken;
      const int total = static_cast<int>(parts(state));
      if (finished_.fetch_add(1) + 1 == total && caller_sleeps_.load()) {
        {
          const std::lock_guard<std::mutex> lock(mutex_);
        }
        done_.notify_one();
      }
      state = state_.load();
    }
    return taken;
  }

  void wait_for(int total) {
    const auto all = [&] { return finished_.load() == total; };
    if (spin(kSpinForParts, kSpinAlone, all, [] { return false; })) return;
    std::unique_lock<std::mutex> lock(mutex_);
    caller_sleeps_.store(true);
    done_.wait(lock, all);
    caller_sleeps_.store(false);
  }

  void work(int index) {
    const Thread self = this_thread();
    threads_[index].store(self);
    std::uint64_t seen = 0;  // a worker that starts late still helps with the call it was made for
    for (;;) {
      const auto called = [&] { return number(state_.load()) != seen; };
      if (!spin(kSpin, kSpinAlone, called, [this] { return on_callers_cpu(); })) {
        cpus_.bar(self, home_.load());
        {
          std::unique_lock<std::mutex> lock(mutex_);
          sleepers_.fetch_add(1);
          wake_.wait(lock, called);
          sleepers_.fetch_sub(1);
        }
        cpus_.allow(self);
      }
      if (on_callers_cpu()) {
        cpus_.bar(self, home_.load());
        cpus_.allow(self);
      }
      const std::uint64_t job = state_.load();
      seen = number(job);
      take_parts(job);
    }
  }

  bool on_callers_cpu() const {
    const int cpu = current_cpu();
    return cpu >= 0 && cpu == home_.load(std::memory_order_relaxed);
  }

  std::atomic_flag taken_ = ATOMIC_FLAG_INIT;
  int workers_ = 0;
  int lonely_ = 0;  // calls since a worker last took a part
  void (*call_)(const void*, int) = nullptr;
  const void* body_ = nullptr;
  std::atomic<int> home_{-1};  // the caller's CPU
  const Cpus cpus_;
  std::atomic<Thread> threads_[kMostWorkers] = {};  // 0 until it has started
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<int> finished_{0};
  std::atomic<bool> caller_sleeps_{false};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_, done_;
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

void run_parts(int parts, void (*call)(const void* body, int part), const void* body) {
  Pool& threads = pool();
  if (parts > 0xffff || !threads.acquire()) {
    for (int i = 0; i < parts; ++i) call(body, i);
    return;
  }
  threads.run(parts, call, body);
  threads.release();
}

}  // namespace fastbn
