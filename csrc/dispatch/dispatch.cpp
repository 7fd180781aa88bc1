#include "dispatch/dispatch.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "fastbn/runtime.h"

namespace fastbn {

#define FASTBN_TARGET(name, supported)                \
  extern const Kernels<float> kernels_##name##_float; \
  extern const Kernels<double> kernels_##name##_double;
#include "fastbn_targets.inc"
#undef FASTBN_TARGET

#if defined(__x86_64__) || defined(__i386__)
#define FASTBN_CPU_HAS(feature) (__builtin_cpu_supports(feature) != 0)
#else
#define FASTBN_CPU_HAS(feature) false
#endif

namespace {

struct Target {
  const char* name;
  const Kernels<float>* of_float;
  const Kernels<double>* of_double;
  bool (*supported)();
};

// By feature bits, never by CPU family: a CPU newer than this file gets its best target too.
const Target kTargets[] = {
#define FASTBN_TARGET(name, supported) \
  {#name, &kernels_##name##_float, &kernels_##name##_double, [] { return supported; }},
#include "fastbn_targets.inc"
#undef FASTBN_TARGET
};

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

const Target& find(const std::string& name) {
  for (const Target& t : kTargets) {
    if (name != t.name) continue;
    if (!t.supported()) {
      throw std::invalid_argument("target '" + name + "' cannot run on this CPU; available: " +
                                  joined(available_targets()));
    }
    return t;
  }
  throw std::invalid_argument("unknown target '" + name +
                              "'; available: " + joined(available_targets()));
}

const Target& initial() {
  const char* forced = std::getenv("FASTBN_TARGET");
  if (forced && *forced) return find(forced);
  for (const Target& t : kTargets) {
    if (t.supported()) return t;
  }
  std::abort();  // not reached: scalar needs nothing
}

std::atomic<const Target*>& active() {
  static std::atomic<const Target*> target{&initial()};
  return target;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() {
  return *active().load(std::memory_order_acquire)->of_float;
}

template <>
const Kernels<double>& kernels<double>() {
  return *active().load(std::memory_order_acquire)->of_double;
}

std::vector<std::string> built_targets() {
  std::vector<std::string> names;
  for (const Target& t : kTargets) names.emplace_back(t.name);
  return names;
}

std::vector<std::string> available_targets() {
  std::vector<std::string> names;
  for (const Target& t : kTargets) {
    if (t.supported()) names.emplace_back(t.name);
  }
  return names;
}

std::string target() {
  return active().load(std::memory_order_acquire)->name;
}

void set_target(const std::string& name) {
  active().store(&find(name), std::memory_order_release);
}

}  // namespace fastbn
