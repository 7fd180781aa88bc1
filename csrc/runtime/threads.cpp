// How many threads, and what a fork does to them.
#include "runtime/threads.h"

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fastbn {
namespace {

int affinity_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
}

// CPUs of a cgroup quota, rounded up; 0 where there is none.  Version 2 says "quota period" or
// "max period" in cpu.max, version 1 has a file for each.  Inside a container the group's own files
// are at the root of the mount.
int cgroup_cpus() {
  double quota = -1, period = -1;
  if (std::FILE* f = std::fopen("/sys/fs/cgroup/cpu.max", "r")) {
    if (std::fscanf(f, "%lf %lf", &quota, &period) != 2) quota = -1;
    std::fclose(f);
  } else {
    if (std::FILE* q = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "r")) {
      if (std::fscanf(q, "%lf", &quota) != 1) quota = -1;
      std::fclose(q);
    }
    if (std::FILE* p = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "r")) {
      if (std::fscanf(p, "%lf", &period) != 1) period = -1;
      std::fclose(p);
    }
  }
  if (quota <= 0 || period <= 0) return 0;
  const int cpus = static_cast<int>(quota / period);
  return cpus * period < quota ? cpus + 1 : cpus;
}

// A positive number in an environment variable, or 0.  OMP_NUM_THREADS may be a list by nesting
// level ("4,2"): the first counts.
int from_environment(const char* name) {
  const char* text = std::getenv(name);
  if (!text || !*text) return 0;
  char* end = nullptr;
  errno = 0;
  const long n = std::strtol(text, &end, 10);
  if (end == text || (*end != '\0' && *end != ',') || errno != 0 || n < 1 || n > 65536) return 0;
  return static_cast<int>(n);
}

int initial_threads() {
  if (const int n = from_environment("FASTBN_NUM_THREADS")) return n;
  if (const int n = from_environment("OMP_NUM_THREADS")) return n;
  const int cpus = affinity_cpus();
  const int quota = cgroup_cpus();
  return quota > 0 && quota < cpus ? quota : cpus;
}

#if defined(_OPENMP)
// GNU's OpenMP keeps its worker threads after a region; a forked child inherits the record of them
// but not the threads, and would wait for them forever.  Letting them go before every fork makes
// parent and child start new ones when they need them.  (GCC has had the call since version 9.)
void release_threads_before_fork() {
#if _OPENMP >= 201811 || (defined(__GNUC__) && !defined(__clang__))
  if (!omp_in_parallel()) omp_pause_resource_all(omp_pause_hard);
#endif
}
#endif

std::atomic<int>& thread_count() {
  static std::atomic<int> count = [] {
#if defined(_OPENMP) && (defined(__unix__) || defined(__APPLE__))
    pthread_atfork(release_threads_before_fork, nullptr, nullptr);
#endif
    return initial_threads();
  }();
  return count;
}

}  // namespace

bool has_openmp() {
#if defined(_OPENMP)
  return true;
#else
  return false;
#endif
}

int num_threads() {
  return thread_count().load(std::memory_order_relaxed);
}

void set_num_threads(int n) {
  if (n < 1) {
    throw std::invalid_argument("the number of threads must be at least 1, got " +
                                std::to_string(n));
  }
  thread_count().store(n, std::memory_order_relaxed);
}

}  // namespace fastbn
