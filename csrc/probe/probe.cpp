// The driver of the machine's limits: runs long enough that starting threads costs nothing, and of
// many runs the best, since whatever disturbs one only slows it down.
#include "fastbn/probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "dispatch/dispatch.h"
#include "runtime/threads.h"

namespace fastbn {
namespace {

using Clock = std::chrono::steady_clock;

// Threads start within microseconds: of a run of a millisecond that is too little to be seen.
constexpr double kSecondsOfARun = 1e-3;

template <class Run>
double seconds_of(const Run& run) {
  const auto start = Clock::now();
  run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The least seconds that one repetition takes of those that run(repetitions) makes.
template <class Run>
double best_of(double seconds, const Run& run) {
  const auto start = Clock::now();
  const auto spent = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  index_t repetitions = 1;
  while (seconds_of([&] { run(repetitions); }) < kSecondsOfARun && repetitions < (1 << 30)) {
    repetitions *= 2;
  }
  double best = -1;
  do {
    const double time = seconds_of([&] { run(repetitions); }) / static_cast<double>(repetitions);
    best = best < 0 ? time : std::min(best, time);
  } while (spent() < seconds);
  return best;
}

// FLOP of so many steps on one thread.
template <class T>
double flop_of(const ProbeKernels<T>& kernel, index_t steps) {
  return 2.0 * kernel.width * kernel.fma_chains * static_cast<double>(steps);
}

// Multiply-adds on all threads, each until `end`: the steps that they made.
template <class T>
index_t steps_until(Clock::time_point end, const ProbeKernels<T>& kernel, int threads) {
  constexpr index_t kSteps = 1024;  // some 10 us between two looks at the clock
  std::atomic<index_t> made{0};
  std::atomic<bool> sink{false};
  parallel(threads, [&](int) {
    index_t steps = 0;
    T sum = 0;
    do {
      sum += kernel.fma(kSteps);
      steps += kSteps;
    } while (Clock::now() < end);
    sink.store(sum > 0, std::memory_order_relaxed);
    made += steps;
  });
  return made;
}

}  // namespace

template <class T>
double fma_peak(double seconds) {
  constexpr index_t kSteps = 256;
  const ProbeKernels<T>& kernel = kernels<T>().probe;
  const int threads = std::min(num_threads(), kMostThreads);
  std::atomic<bool> sink{false};
  const double time = best_of(seconds, [&](index_t repetitions) {
    parallel(threads, [&](int) {
      const T sum = kernel.fma(kSteps * repetitions);
      sink.store(sum > 0, std::memory_order_relaxed);
    });
  });
  return flop_of(kernel, kSteps) * threads / time;
}

template <class T>
double fma_rate(double seconds) {
  const ProbeKernels<T>& kernel = kernels<T>().probe;
  const int threads = std::min(num_threads(), kMostThreads);
  const auto after = [](double s) {
    return Clock::now() +
           std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
  };
  steps_until(after(seconds / 4), kernel, threads);
  index_t steps = 0;
  const double time = seconds_of([&] { steps = steps_until(after(seconds), kernel, threads); });
  return flop_of(kernel, steps) / time;
}

double copy_bandwidth(index_t bytes, double seconds) {
  const int threads = std::min(num_threads(), kMostThreads);
  const auto copy = kernels<float>().probe.copy;
  // Whole cache lines, so that no two threads write to one.
  constexpr index_t kLine = 64 / sizeof(float);
  const index_t each = bytes / (2 * static_cast<index_t>(sizeof(float)) * threads);
  const index_t n = std::max<index_t>(kLine, each / kLine * kLine);
  std::vector<std::vector<float>> from(threads), to(threads);
  for (int t = 0; t < threads; ++t) {
    from[t].assign(n + kLine, 1.0f);
    to[t].assign(n + kLine, 0.0f);
  }
  const double time = best_of(seconds, [&](index_t repetitions) {
    parallel(threads, [&](int t) {
      for (index_t r = 0; r < repetitions; ++r) copy(n, from[t].data(), to[t].data());
    });
  });
  return 2.0 * sizeof(float) * static_cast<double>(n) * threads / time;
}

template double fma_peak<float>(double);
template double fma_peak<double>(double);
template double fma_rate<float>(double);
template double fma_rate<double>(double);

}  // namespace fastbn
