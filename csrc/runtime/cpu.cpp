// What this CPU is: features by name, sizes of its data caches, and its family where that decides what pays.
#include "runtime/cpu.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#include "fastbn/runtime.h"

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace fastbn {

namespace {

#if defined(__x86_64__) || defined(__i386__)
// Its vendor's twelve letters, as CPUID gives them.
bool made_by(const char* vendor) {
  unsigned eax = 0, letters[3] = {};
  return __get_cpuid(0, &eax, &letters[0], &letters[2], &letters[1]) != 0 &&
         std::memcmp(vendor, letters, sizeof(letters)) == 0;
}

// The family of an AMD CPU, or 0.  (__builtin_cpu_is knows 19h from GCC 11 on.)
unsigned amd_family() {
  if (!made_by("AuthenticAMD")) return 0;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  const unsigned base = (eax >> 8) & 0xf;
  return base == 0xf ? base + ((eax >> 20) & 0xff) : base;
}

// A feature that compilers of this project's age have no name for.
bool has_avx512_fp16() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 23 & 1) != 0;
}
#endif

}  // namespace

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

Core core_of_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  // Of AMD's family 19h only Zen 4 has AVX-512.  Golden Cove was the first with half floats, and Zen 5 has none.
  if (amd_family() == 0x19 && __builtin_cpu_supports("avx512f")) return Core::half;
  if (made_by("GenuineIntel") && has_avx512_fp16()) return Core::deep;
#endif
  return Core::whole;
}

constexpr int kLook = -1;
std::atomic<int> assumed{kLook};

}  // namespace

Core core() {
  static const Core own = core_of_cpu();
  const int told = assumed.load(std::memory_order_relaxed);
  return told == kLook ? own : static_cast<Core>(told);
}

void assume_core(std::optional<Core> told) {
  assumed.store(told ? static_cast<int>(*told) : kLook, std::memory_order_relaxed);
}

bool has_one_last_cache() {
#if defined(__x86_64__) || defined(__i386__)
  static const bool has = made_by("GenuineIntel");
  return has;
#else
  return false;
#endif
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
