// What a thread does between two looks at a line that another is to write: it leaves the core to its sibling.
#pragma once

namespace fastbn {

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

}  // namespace fastbn
