// What the registers of the target in force and the kind of core tell of units and caches, for drivers.
#pragma once

#include "gemm/gemm_args.h"
#include "runtime/cpu.h"

namespace fastbn {
namespace {

// Whether a register is two passes of the CPU's units.  Asked of the target in force: another one's registers
// are what the units are made for.
template <class T>
bool double_pumped(const GemmKernels<T>& kern) {
  return kern.width * index_t{sizeof(T)} == 64 && core() == Core::half;
}

// Whether its window is deep enough to hide loads across lines.
template <class T>
bool deep(const GemmKernels<T>& kern) {
  return kern.width * index_t{sizeof(T)} == 64 && core() == Core::deep;
}

constexpr index_t kL2OfDeep = 2 << 20;  // bytes, of the least one

// Whether L2 is taken to have 512 KiB or less: that of CPUs whose registers have 32 bytes at most, Haswell to Skylake
// and Zen to Zen 3 (Intel's later ones without AVX-512, of which nothing is measured, have more).
template <class T>
bool has_small_l2(const GemmKernels<T>& kern) {
  return kern.width * index_t{sizeof(T)} == 32;
}

}  // namespace
}  // namespace fastbn
