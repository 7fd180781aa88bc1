#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/array_view.h"
#include "bindings/tape.h"
#include "fastbn/runtime.h"
#include "runtime/cpu.h"
#include "runtime/handover.h"
#include "runtime/pace.h"

namespace fastbn::bindings {
namespace {

py::dict build_info() {
  const CacheSizes caches = cache_sizes();
  py::list sizes;
  for (const long bytes : caches.bytes) {
    if (bytes > 0) sizes.append(bytes);
  }
  py::dict info;
  info["compiler"] = FASTBN_COMPILER;
  info["openmp"] = has_openmp();
  info["targets"] = py::cast(built_targets());
  info["cpu_features"] = py::cast(cpu_features());
  info["cache_sizes"] = sizes;
  return info;
}

double measured_handover() {
  const Unlocked unlocked;
  return handover_seconds(num_threads());
}

void assume_far(std::optional<bool> far) {
  const Distance told = far.value_or(false) ? Distance::far : Distance::near;
  assume_distance(far ? told : Distance::look);
}

void assume_shares_of(const std::optional<std::vector<double>>& wanted) {
  if (!wanted) return assume_shares(0, nullptr);
  const auto parts = static_cast<int>(wanted->size());
  double all = 0;
  for (const double share : *wanted) all += share >= 0 ? share : std::nan("");
  if (parts < 2 || parts > kMostPaced || !(all > 0) || !std::isfinite(all)) {
    throw py::value_error("shares are 2 to 8 finite numbers >= 0, not all 0");
  }
  Shares shares = Shares::equal(parts);
  double before = 0;
  for (int i = 1; i < parts; ++i) {
    before += (*wanted)[static_cast<std::size_t>(i - 1)] / all;
    const double begin = std::min(before, 1.0) * Shares::kWhole;
    shares.begins[i] = static_cast<std::uint16_t>(std::lround(begin));
  }
  assume_shares(parts, &shares);
}

constexpr std::pair<Core, std::string_view> kCores[] = {
    {Core::half, "half"}, {Core::whole, "whole"}, {Core::deep, "deep"}};

std::string_view name_of_core() {
  for (const auto& [known, name] : kCores) {
    if (core() == known) return name;
  }
  return {};
}

void assume_core_named(std::optional<std::string_view> told) {
  if (!told) return assume_core({});
  for (const auto& [known, name] : kCores) {
    if (*told == name) return assume_core(known);
  }
  throw py::value_error("core is 'half', 'whole' or 'deep', got '" + std::string(*told) + "'");
}

}  // namespace

void register_runtime(py::module_& m) {
  using py::arg;
  m.def("set_num_threads", &set_num_threads, arg("n"));
  m.def("get_num_threads", &num_threads);
  m.def("available_targets", &available_targets);
  m.def("get_target", &target);
  m.def("set_target", &set_target, arg("name"));
  m.def("core", &name_of_core);
  m.def("assume_core", &assume_core_named, arg("name"));
  m.def("handover_seconds", &measured_handover);
  m.def("assume_far_apart", &assume_far, arg("far"));
  m.def("assume_shares", &assume_shares_of, arg("shares"));
  m.def("as_array", &input, arg("object"), arg("name"));
  m.def("build_info", &build_info);
  target();  // a wrong FASTBN_TARGET fails the import, not the first product
}

}  // namespace fastbn::bindings
