// Run-time control: the instruction set and the number of threads.
#pragma once

#include <string>
#include <vector>

namespace fastbn {

// Targets in this build; those of them that this CPU can run.  Best first, "scalar" always last.
std::vector<std::string> built_targets();
std::vector<std::string> available_targets();

// The target in force.  At first it is the best available one, or what the environment variable
// FASTBN_TARGET names.  Setting a name that is unknown or unavailable throws std::invalid_argument
// and changes nothing.
std::string target();
void set_target(const std::string& name);

// Threads that a kernel may use, at least 1.  At first FASTBN_NUM_THREADS, else OMP_NUM_THREADS,
// else the CPUs this process may use (affinity and cgroup quota).
int num_threads();
void set_num_threads(int n);  // throws std::invalid_argument for n < 1
bool has_openmp();            // whether threads are OpenMP's (a build option) or fastbn's own

// Feature names this CPU has, of those that matter here; bytes of the data caches by level from 1,
// 0 where unknown.
std::vector<std::string> cpu_features();
struct CacheSizes {
  long bytes[4];
};
CacheSizes cache_sizes();
long last_level_bytes();  // of the largest of them; read once

}  // namespace fastbn
