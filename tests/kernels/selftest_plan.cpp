// Which products a plan has read B by pairs of lines, computes by updates, or turns B for by groups: no bit tells.
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string>

#include "dispatch/dispatch.h"
#include "gemm/gemm_plan.h"
#include "gemm/gemm_swap.h"
#include "runtime/cpu.h"
#include "selftest.h"

namespace fastbn::selftest {
namespace {

// Lines of B's rows, from one to the next and long; rows of B, rows of C.
struct Product {
  index_t apart, lines, steps, rows;
  bool by_pairs;
};

// 2048 rows of 8 lines are 1 MiB, 512 of 64 are 2 MiB.
constexpr Product kProducts[] = {
    {8, 8, 2049, 1, true},     {8, 8, 2049, 40, true},   {8, 8, 2048, 8, false},
    {9, 8, 2100, 8, false},    {10, 8, 2100, 9, true},   {7, 7, 4000, 8, false},
    {64, 64, 513, 8, true},    {64, 64, 513, 12, true},  {64, 64, 513, 13, false},
    {64, 64, 512, 8, false},   {64, 8, 513, 8, true},    {64, 8, 512, 8, false},
    {128, 128, 257, 12, true}, {50, 50, 1000, 16, true}, {50, 50, 1000, 200, false},
};

template <class T>
bool goes_by_pairs(const Product& p, bool packs_a) {
  constexpr index_t kLanes = 64 / sizeof(T);
  static T memory[64];  // of which nothing is read
  const GemmKernels<T>& kern = kernels<T>().gemm;
  const index_t cols = p.lines * kLanes;
  const Matrix<const T> a{memory, p.rows, p.steps, p.steps, packs_a ? 2 : 1};
  const Matrix<const T> b{memory, p.steps, cols, p.apart * kLanes, 1};
  const Matrix<T> c{memory, p.rows, cols, cols, 1};
  return Plan(kern, a, b, c, GemmOptions<T>{}, Grid{1, 1}).vectors < kern.vectors;
}

template <class T>
void check_pairs(Report& report, Core kind) {
  const GemmKernels<T>& kern = kernels<T>().gemm;
  const bool may = kind == Core::deep && kern.width * sizeof(T) == 64;
  assume_core(kind);
  for (const Product& p : kProducts) {
    report.at("plan of " + std::to_string(p.rows) + " x " + std::to_string(p.lines) + " lines x " +
              std::to_string(p.steps));
    report.require(goes_by_pairs<T>(p, false) == (may && p.by_pairs), "by pairs of lines");
    // A that is packed, for more than a tile of 8 rows, lies in tiles of 8.
    const bool tall = p.rows > kern.mr;
    report.require(goes_by_pairs<T>(p, true) == (may && p.by_pairs && !tall), "A packed");
  }
  assume_core(std::nullopt);
}

struct UpdatedProduct {
  index_t apart, bytes, rows;  // of B's rows, in bytes; of B; of C
  bool floats, doubles;        // whether it goes by updates
};

constexpr index_t kKiB = 1024;
constexpr UpdatedProduct kUpdated[] = {
    {2048, 512 * kKiB, 1, true, true},
    {2048, 512 * kKiB, 8, true, true},
    {2048, 512 * kKiB, 9, false, false},
    {2048, 510 * kKiB, 8, false, false},
    {2112, 2048 * kKiB, 8, false, false},
    {4096, 4096 * kKiB, 16, true, false},
    {4096, 4096 * kKiB, 17, false, false},
    {4096, 4092 * kKiB, 9, false, false},
    {8192, 8192 * kKiB, 12, true, false},
    {32768, 31 * 32 * kKiB, 4, false, false},
    {-2048, 1024 * kKiB, 8, true, true},
    {2048, 512 * kKiB, 0, false, false},
    // one row: a pair of registers, as many steps as columns or more, or fewer than an update
    {2112, 2048 * kKiB, 1, true, true},
    {64, kKiB, 1, true, false},
    {64, 2 * kKiB, 1, false, false},
    {512, 64 * kKiB, 1, true, true},
    {256, 64 * kKiB, 1, true, false},
    {1024, 4 * kKiB, 1, true, true},
    {1024, 3 * kKiB, 1, false, false},
};

// The same of one thread's half of B's columns.
constexpr UpdatedProduct kUpdatedHalves[] = {
    {2048, 1024 * kKiB, 2, true, true},   {2048, 1024 * kKiB, 3, false, false},
    {2048, 510 * kKiB, 2, false, false},  {4096, 2048 * kKiB, 2, true, true},
    {4096, 2048 * kKiB, 8, true, false},  {4096, 8192 * kKiB, 9, false, false},
    {8192, 4096 * kKiB, 4, true, true},   {8192, 4096 * kKiB, 5, true, false},
    {8192, 4096 * kKiB, 16, true, false}, {8192, 4096 * kKiB, 17, false, false},
    {4224, 1024 * kKiB, 1, true, true},   {4224, 2048 * kKiB, 1, false, false},
};

template <class T>
void check_updates(Report& report, const UpdatedProduct& p, int threads) {
  static T memory[64];  // of which nothing is read
  const GemmKernels<T>& kern = kernels<T>().gemm;
  const index_t size = sizeof(T), cols = std::abs(p.apart) / size / threads;
  const index_t steps = p.bytes / (cols * size);
  report.at("plan of " + std::to_string(p.rows) + " rows, B of " + std::to_string(p.bytes) +
            " bytes, " + std::to_string(p.apart) + " apart, " + std::to_string(threads) +
            " threads");
  const Matrix<const T> a{memory, p.rows, steps, steps, 1},
      b{memory, steps, cols, p.apart / size, 1};
  const Matrix<T> c{memory, p.rows, cols, cols, 1};
  const Plan plan(kern, a, b, c, GemmOptions<T>{}, Grid{1, threads});
  const bool may = kern.width * size == 32 && (size == sizeof(float) ? p.floats : p.doubles);
  report.require(plan.by_updates == may, "by updates");
  report.require(plan.bytes<T>() <= Plan::most_bytes(kern, a, c), "bytes");
}

template <class T>
void check_updates(Report& report) {
  for (const UpdatedProduct& p : kUpdated) check_updates<T>(report, p, 1);
  for (const UpdatedProduct& p : kUpdatedHalves) check_updates<T>(report, p, 2);
}

// Rows of C, beside a B of contiguous columns, that C.T is computed of instead; up to ten others turn B by groups, and
// so do these where nothing may be swapped.  Outputs of Y = X W, of which X is turned.
constexpr index_t kSwappedFloats[] = {8, 13, 14, 15, 16},
                  kSwappedDoubles[] = {4, 7, 8, 10, 11, 12, 13, 14, 15, 16};
constexpr index_t kOutputsTurnedFloats = 4, kOutputsTurnedDoubles = 2;

template <class T>
void check_turns(Report& report) {
  static T memory[64];  // of which nothing is read
  constexpr bool kFloats = sizeof(T) == sizeof(float);
  const GemmKernels<T>& kern = kernels<T>().gemm;
  if (kern.width * index_t{sizeof(T)} != 32) return;
  const index_t k = 64, n = 80;
  for (index_t rows = 1; rows <= 16; ++rows) {
    report.at("plan of " + std::to_string(rows) + " rows, B's columns contiguous");
    const Matrix<const T> a{memory, rows, k, k, 1}, b{memory, k, n, 1, k};
    const Matrix<T> c{memory, rows, n, n, 1};
    const auto among = [&](const auto& all) {
      return std::find(std::begin(all), std::end(all), rows) != std::end(all);
    };
    const bool swapped = kFloats ? among(kSwappedFloats) : among(kSwappedDoubles);
    report.require(pays_to_swap(kern, a, b, c, GemmOptions<T>{}) == swapped, "swapped");
    GemmOptions<T> with_bias;
    with_bias.columns.bias = memory;
    report.require(!pays_to_swap(kern, a, b, c, with_bias), "swapped with a bias");
    const Plan plan(kern, a, b, c, with_bias, Grid{1, 1});
    report.require(plan.turn_b == (rows <= 10), "turned by groups");
    report.require(plan.bytes<T>() <= Plan::most_bytes(kern, a, c), "bytes");
  }
  for (index_t outputs = 1; outputs < 6; ++outputs) {
    report.at("plan of " + std::to_string(outputs) + " outputs");
    const Matrix<const T> x{memory, 256, k, k, 1}, w{memory, k, outputs, outputs, 1};
    const Matrix<T> y{memory, 256, outputs, outputs, 1};
    const bool turned = outputs <= (kFloats ? kOutputsTurnedFloats : kOutputsTurnedDoubles);
    report.require(turns_swapped(kern, x, y) == turned, "X turned by groups");
  }
}

}  // namespace

void test_plan(Report& report) {
  check_updates<float>(report);
  check_updates<double>(report);
  check_turns<float>(report);
  check_turns<double>(report);
  for (const Core kind : {Core::half, Core::whole, Core::deep}) {
    check_pairs<float>(report, kind);
    check_pairs<double>(report, kind);
  }
}

}  // namespace fastbn::selftest
