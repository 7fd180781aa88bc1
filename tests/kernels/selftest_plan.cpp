// Which products a plan has read B by pairs of lines: no bit tells.
#include "dispatch/dispatch.h"
#include "gemm/gemm_plan.h"
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

}  // namespace

void test_plan(Report& report) {
  for (const Core kind : {Core::half, Core::whole, Core::deep}) {
    check_pairs<float>(report, kind);
    check_pairs<double>(report, kind);
  }
}

}  // namespace fastbn::selftest
