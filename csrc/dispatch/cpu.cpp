#include "dispatch/cpu.h"

namespace fastbn {

bool double_pumped() {
#if defined(__x86_64__) || defined(__i386__)
  // Of AMD's family 19h only Zen 4 has AVX-512.
  static const bool is_zen4 = __builtin_cpu_is("amdfam19h") && __builtin_cpu_supports("avx512f");
  return is_zen4;
#else
  return false;
#endif
}

}  // namespace fastbn
