// What this CPU is: features by name, sizes of its data caches.
#include <unistd.h>

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

CacheSizes cache_sizes() {
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

}  // namespace fastbn
