#include <cmath>
#include <string>

#include "bindings/array_view.h"
#include "bindings/tape.h"
#include "fastbn/probe.h"

namespace fastbn::bindings {
namespace {

constexpr double kMostSeconds = 60;
constexpr double kMostBytes = 1ll << 40;

void require_between(const char* name, double value, double least, double most) {
  if (value >= least && value <= most) return;  // false for NaN
  const auto text = [](double x) { return std::string(py::str(py::float_(x))); };
  throw py::value_error(std::string(name) + " must be from " + text(least) + " to " + text(most) +
                        ", got " + text(value));
}

double fma_peak_binding(const std::string& dtype, double seconds) {
  const bool is_float = one_of("dtype", dtype, {"float32", "float64"}) == 0;
  require_between("seconds", seconds, 0, kMostSeconds);
  const Unlocked unlocked;
  return is_float ? fma_peak<float>(seconds) : fma_peak<double>(seconds);
}

double fma_rate_binding(const std::string& dtype, double seconds) {
  const bool is_float = one_of("dtype", dtype, {"float32", "float64"}) == 0;
  require_between("seconds", seconds, 0, kMostSeconds);
  const Unlocked unlocked;
  return is_float ? fma_rate<float>(seconds) : fma_rate<double>(seconds);
}

double copy_bandwidth_binding(index_t bytes, double seconds) {
  require_between("bytes", static_cast<double>(bytes), 1, kMostBytes);
  require_between("seconds", seconds, 0, kMostSeconds);
  const Unlocked unlocked;
  return copy_bandwidth(bytes, seconds);
}

}  // namespace

void register_probe(py::module_& m) {
  using py::arg;
  m.def("fma_peak", &fma_peak_binding, arg("dtype") = "float32", arg("seconds") = 0.05);
  m.def("fma_rate", &fma_rate_binding, arg("dtype") = "float32", arg("seconds") = 0.001);
  m.def("copy_bandwidth", &copy_bandwidth_binding, arg("bytes"), arg("seconds") = 0.05);
}

}  // namespace fastbn::bindings
