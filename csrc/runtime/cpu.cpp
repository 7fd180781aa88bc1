// What this CPU is: features by name, sizes of its data caches.
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "fastbn/runtime.h"

namespace fastbn {

std::vector<std::string> cpu_features() {
  std::vector<std::string> names;
#if defined(__x86_64__) || defined(__i386__)
#define FASTBN_FEATURE(name) \
  if (__builtin_cpu_supports(name)) names.emplace_back(name)
  FASTBN_FEATURE("sse4.2");
  FASTBN_FEATURE("avx");
  FASTBN_FEATURE("avx2");
  FASTBN_FEATURE("fma");
  FASTBN_FEATURE("avx512f");
  FASTBN_FEATURE("avx512vl");
  FASTBN_FEATURE("avx512bw");
  FASTBN_FEATURE("avx512dq");
#undef FASTBN_FEATURE
#elif defined(__aarch64__)
  names.emplace_back("neon");
#endif
  return names;
}

namespace {

// As Linux tells it.  A virtual machine's CPU is often told the size of the host's whole last level, of which the
// machine has a share; its kernel is told the share.
CacheSizes sizes_of_kernel() {
  CacheSizes sizes{};
  for (int i = 0; i < 8; ++i) {
    const std::string cache = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/";
    std::string type;
    int level = 0;
    long kilobytes = 0;  // "48K"
    std::ifstream(cache + "type") >> type;
    std::ifstream(cache + "level") >> level;
    std::ifstream(cache + "size") >> kilobytes;
    if (type == "Instruction" || level < 1 || level > 4) continue;
    sizes.bytes[level - 1] = kilobytes * 1024;
  }
  return sizes;
}

CacheSizes sizes_of_cpu() {
  CacheSizes sizes{};
#if defined(_SC_LEVEL1_DCACHE_SIZE)
  const int names[] = {_SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE, _SC_LEVEL3_CACHE_SIZE,
                       _SC_LEVEL4_CACHE_SIZE};
  for (int i = 0; i < 4; ++i) {
    const long bytes = sysconf(names[i]);
    sizes.bytes[i] = bytes > 0 ? bytes : 0;
  }
#endif
  return sizes;
}

}  // namespace

CacheSizes cache_sizes() {
  const CacheSizes sizes = sizes_of_kernel();
  return sizes.bytes[0] > 0 ? sizes : sizes_of_cpu();
}

long last_level_bytes() {
  static const CacheSizes sizes = cache_sizes();
  return *std::max_element(std::begin(sizes.bytes), std::end(sizes.bytes));
}

}  // namespace fastbn
