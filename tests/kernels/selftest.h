// What the parts of the kernel self-test share: data, error bounds, the count of failures.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "fastbn/runtime.h"
#include "fastbn/views.h"

namespace fastbn::selftest {

// Counts checks, and prints the first failures.
class Report {
 public:
  // Where the checks that follow belong: "avx2 float gemm 9 x 49 x 5".
  void at(std::string where) { where_ = std::move(where); }

  template <class T>
  void close(const char* what, T got, T want, double bound) {
    // Not (error > bound): NaN must fail.
    const bool right = std::fabs(double(got) - double(want)) <= bound || got == want;
    expect(right, what, double(got), double(want), bound);
  }
  void require(bool right, const char* what) { expect(right, what, 0, 0, 0); }

  long checks() const { return checks_; }
  long failures() const { return failures_; }

 private:
  void expect(bool right, const char* what, double got, double want, double bound) {
    ++checks_;
    if (right || ++failures_ > 20) return;
    std::printf("FAILED %s: %s: %.9g instead of %.9g, allowed %.3g\n", where_.c_str(), what, got,
                want, bound);
  }

  std::string where_;
  long checks_ = 0, failures_ = 0;
};

// The same numbers on every machine.
class Random {
 public:
  std::uint64_t bits() {  // xorshift64* (Marsaglia 2003, Vigna 2016)
    state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1dull;
  }
  int below(int n) { return static_cast<int>((bits() >> 33) % static_cast<std::uint64_t>(n)); }
  double uniform(double low, double high) {
    return low + (high - low) * double(bits() >> 11) * 0x1p-53;
  }
  template <class T>
  std::vector<T> values(index_t n, double low = -2, double high = 2) {
    std::vector<T> v(static_cast<std::size_t>(n));
    for (T& x : v) x = static_cast<T>(uniform(low, high));
    return v;
  }

 private:
  std::uint64_t state_ = 0x9e3779b97f4a7c15ull;
};

// Unit roundoff, and the relative error of n roundings in a row.
template <class T>
constexpr double kUnit = std::numeric_limits<T>::epsilon() / 2;
template <class T>
double gamma(double n) {
  return n * kUnit<T> / (1 - n * kUnit<T>);
}
template <class T>
constexpr double kSmallest = std::numeric_limits<T>::denorm_min();

// A sum over rows adds groups of 32 in T, with four chains to a group, and the groups in double;
// the reference adds all in double.
template <class T>
double relative_sum_error(index_t n) {
  const double in_double = double(n) / 32 + 16;
  return gamma<T>(34 + in_double * kUnit<double> / kUnit<T>) + gamma<double>(double(n));
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
const char* type_name() {
  return sizeof(T) == 4 ? "float" : "double";
}

// Each checks its operations in both dtypes on the target in force, with 1 and 2 threads.
void test_gemm(Report& report);
void test_plan(Report& report);
void test_batchnorm(Report& report);
void test_nn(Report& report);
void test_pool(Report& report);  // which has neither dtype nor target

}  // namespace fastbn::selftest
