// Matrix products and column sums.
#include "fastbn/gemm.h"
#include "gemm/reference.h"
#include "gemm/serial.h"
#include "selftest.h"

namespace fastbn::selftest {
namespace {

constexpr double kFactors[] = {1, 0, -1, 0.7};
constexpr double kRogue = 12345;

// Values in memory of exactly the size that the strides need, from element `before` on, rogue where no element lies.
template <class T>
struct Memory {
  std::vector<T> data;
  Matrix<T> view;
  std::vector<bool> used;

  Memory(Random& random, index_t rows, index_t cols, bool by_columns, index_t padding,
         index_t before = 0) {
    const index_t lead = (by_columns ? rows : cols) + padding;
    const index_t lines = by_columns ? cols : rows;
    const bool empty = rows == 0 || cols == 0;
    data.assign(static_cast<std::size_t>(before + (empty ? 0 : lead * lines - padding)), T(kRogue));
    used.assign(data.size(), false);
    view = {data.data() + before, rows, cols, by_columns ? 1 : lead, by_columns ? lead : 1};
    for (index_t i = 0; i < rows; ++i) {
      for (index_t j = 0; j < cols; ++j) {
        const index_t at = before + i * view.row_stride + j * view.col_stride;
        data[static_cast<std::size_t>(at)] = static_cast<T>(random.uniform(-2, 2));
        used[static_cast<std::size_t>(at)] = true;
      }
    }
  }
  Memory(const Memory& other) : data(other.data), view(other.view), used(other.used) {
    view.data = data.data() + (other.view.data - other.data.data());
  }
  Memory& operator=(const Memory&) = delete;

  Matrix<const T> operand() const {
    return {view.data, view.rows, view.cols, view.row_stride, view.col_stride};
  }
  T operator()(index_t i, index_t j) const {
    return view.data[i * view.row_stride + j * view.col_stride];
  }
  bool gaps_are_intact() const {
    for (std::size_t i = 0; i < data.size(); ++i) {
      if (!used[i] && data[i] != T(kRogue)) return false;
    }
    return true;
  }
};

enum class RowsOfB { any, half_pages };

// B of any layout, or of rows that are a multiple of half a page apart.
template <class T>
Memory<T> memory_of_b(Random& random, index_t k, index_t n, RowsOfB rows) {
  constexpr index_t kHalfPage = 2048 / sizeof(T);
  const bool any = rows == RowsOfB::any;
  const bool by_columns = any && random.below(2);
  return {random, k, n, by_columns, any ? index_t(random.below(3)) : kHalfPage - n % kHalfPage};
}

template <class T>
void check_product(Report& report, Random& random, index_t m, index_t n, index_t k,
                   bool plain = false, RowsOfB rows_of_b = RowsOfB::any) {
  const Memory<T> a(random, m, k, random.below(2), random.below(3));
  const Memory<T> b = memory_of_b<T>(random, k, n, rows_of_b);
  const Memory<T> c(random, m, n, random.below(4) == 0, random.below(3), random.below(16));
  const std::vector<T> bias = random.values<T>(n), mean = random.values<T>(n),
                       scale = random.values<T>(n), shift = random.values<T>(n);
  GemmOptions<T> options;
  if (!plain) {
    options.alpha = static_cast<T>(kFactors[random.below(4)]);
    options.beta = static_cast<T>(kFactors[random.below(4)]);
    options.columns.bias = random.below(2) ? bias.data() : nullptr;
  }
  const bool normalized = !plain && random.below(3) == 0;
  if (normalized) {
    options.columns.mean = mean.data();
    options.columns.scale = scale.data();
    options.columns.shift = shift.data();
  }
  options.relu = !plain && random.below(3) == 0;
  report.at(target() + " " + type_name<T>() + " gemm " + std::to_string(m) + " x " +
            std::to_string(n) + " x " + std::to_string(k));

  Memory<T> want(c), got(c), threaded(c);
  reference::gemm(a.operand(), b.operand(), want.view, options);
  set_num_threads(1);
  gemm(a.operand(), b.operand(), got.view, options);
  set_num_threads(2);
  gemm(a.operand(), b.operand(), threaded.view, options);
  report.require(same_bits(got.data, threaded.data), "bits of two threads");
  report.require(got.gaps_are_intact(), "gaps between the rows of C");

  // k products and their sum, alpha, beta and bias; x - mean, the scaling and the shift.
  const double roundings = double(k) + 6;
  const double relative = gamma<T>(roundings) + gamma<double>(roundings) + kUnit<T>;
  for (index_t i = 0; i < m; ++i) {
    for (index_t j = 0; j < n; ++j) {
      double magnitude = 0;
      for (index_t p = 0; p < k; ++p) magnitude += std::fabs(double(a(i, p)) * double(b(p, j)));
      magnitude = magnitude * std::fabs(double(options.alpha)) +
                  std::fabs(double(options.beta) * double(c(i, j)));
      const auto at = static_cast<std::size_t>(j);
      if (options.columns.bias) magnitude += std::fabs(double(bias[at]));
      if (normalized) {
        magnitude = (magnitude + std::fabs(double(mean[at]))) * std::fabs(double(scale[at])) +
                    std::fabs(double(shift[at]));
      }
      report.close("C", got(i, j), want(i, j), relative * magnitude);
    }
  }
}

// A product in scratch of the size that is asked for, for as many columns or more, between rogue bytes: they
// stay, and the bits are those of gemm().
template <class T>
void check_serial(Report& report, Random& random, index_t m, index_t n, index_t k,
                  RowsOfB rows_of_b = RowsOfB::any) {
  const Memory<T> a(random, m, k, random.below(2), random.below(3));
  const Memory<T> b = memory_of_b<T>(random, k, n, rows_of_b);
  const Memory<T> c(random, m, n, false, random.below(3));
  report.at(target() + " " + type_name<T>() + " serial_gemm " + std::to_string(m) + " x " +
            std::to_string(n) + " x " + std::to_string(k));
  constexpr std::size_t kLine = 64, kAround = 1 << 14;
  constexpr unsigned char kRogueByte = 0xa5;
  Memory<T> wider(random, m, n + random.below(40), false, 0);
  const std::size_t bytes = serial_gemm_bytes(a.operand(), wider.view);
  std::vector<unsigned char> memory(bytes + 2 * kAround, kRogueByte);
  const std::size_t past = reinterpret_cast<std::uintptr_t>(memory.data()) % kLine;
  unsigned char* const scratch = memory.data() + kAround - past;
  Memory<T> want(c), got(c);
  set_num_threads(1);
  gemm(a.operand(), b.operand(), want.view, GemmOptions<T>{});
  serial_gemm(a.operand(), b.operand(), got.view, GemmOptions<T>{}, 1 + int(random.below(2)),
              scratch);
  report.require(same_bits(got.data, want.data), "bits of gemm()");
  bool intact = true;
  for (const unsigned char* p = memory.data(); p < memory.data() + memory.size(); ++p) {
    if (p < scratch || p >= scratch + bytes) intact = intact && *p == kRogueByte;
  }
  report.require(intact, "bytes around the scratch");
}

template <class T>
void check_column_sums(Report& report, Random& random, index_t rows, index_t cols) {
  const Memory<T> x(random, rows, cols, false, random.below(3));
  report.at(target() + " " + type_name<T>() + " column_sums " + std::to_string(rows) + " x " +
            std::to_string(cols));
  std::vector<T> want(static_cast<std::size_t>(cols)), got(want), threaded(want);
  reference::column_sums(x.operand(), want.data());
  set_num_threads(1);
  column_sums(x.operand(), got.data());
  set_num_threads(2);
  column_sums(x.operand(), threaded.data());
  report.require(same_bits(got, threaded), "bits of two threads");
  for (index_t j = 0; j < cols; ++j) {
    double magnitude = 0;
    for (index_t i = 0; i < rows; ++i) magnitude += std::fabs(double(x(i, j)));
    const auto at = static_cast<std::size_t>(j);
    report.close("sum", got[at], want[at], (relative_sum_error<T>(rows) + 2 * kUnit<T>)*magnitude);
  }
}

template <class T>
void test(Report& report) {
  Random random;
  // Around tiles of 4 or 8 rows by 3 registers of 1 to 16 lanes.
  for (const index_t m : {1, 4, 5, 8, 9, 17}) {
    for (const index_t n : {1, 2, 3, 4, 6, 7, 12, 13, 16, 24, 25, 48, 49}) {
      for (const index_t k : {0, 1, 3, 20}) check_product<T>(report, random, m, n, k);
    }
  }
  // More than one block in each of k, n and m, the last of a few rows; enough for two threads.
  const index_t shapes[][3] = {{0, 3, 4},     {3, 0, 4},      {9, 49, 400},
                               {13, 600, 20}, {200, 33, 190}, {201, 12, 1100}};
  for (int repeat = 0; repeat < 4; ++repeat) {
    for (const auto& s : shapes) check_product<T>(report, random, s[0], s[1], s[2]);
  }
  // B turned by its only row tile, or in pieces; rows of B far apart; C row by row, which plain products
  // alone are, with a narrow last block of columns in rows that are whole registers apart.
  for (int repeat = 0; repeat < 4; ++repeat) {
    check_product<T>(report, random, 8, 150, 2000);
    check_product<T>(report, random, 10, 150, 2000);
    check_product<T>(report, random, 70, 1038, 9, true);
    check_product<T>(report, random, 70, 526, 9, true);
  }
  // The same in rows of whole registers, without a gap now and then, where B wraps.
  for (int repeat = 0; repeat < 8; ++repeat) {
    for (const index_t k : {1, 8, 20}) check_product<T>(report, random, 70, 96, k, true);
  }
  check_product<T>(report, random, 40, 600, 300);
  for (const index_t k : {1, 8, 20, 48}) check_product<T>(report, random, 70, 110, k, true);
  // Columns of A that are packed, in whole blocks of tiles and in parts, beside B in whole panels and in parts:
  // the gradient of a weight.
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (const index_t m : {9, 48, 192, 200}) {
      for (const index_t n : {12, 48, 100}) {
        for (const index_t k : {8, 49, 300}) check_serial<T>(report, random, m, n, k);
      }
    }
    // Rows of C half a register apart, which are computed one by one.
    for (const index_t n : {216, 220}) check_serial<T>(report, random, 70, n, 8);
    check_serial<T>(report, random, 12, 100, 1024);  // rows of A a page apart
    // Blocks of rows that pack B anew, or strips that pass all its panels.
    check_serial<T>(report, random, 421, 50, 520);
  }
  // Rank-4 updates of registers of 32 bytes: with each rest of steps and of columns, and more than one block of them.
  const index_t updates[][3] = {
      {1, 270, 520}, {4, 261, 521}, {8, 505, 530}, {7, 512, 259}, {8, 1013, 139}};
  for (const auto& s : updates) {
    check_product<T>(report, random, s[0], s[1], s[2], true, RowsOfB::half_pages);
    check_product<T>(report, random, s[0], s[1], s[2], false, RowsOfB::half_pages);
    check_serial<T>(report, random, s[0], s[1], s[2], RowsOfB::half_pages);
  }
  for (const index_t rows : {0, 1, 31, 32, 33, 65}) {
    for (const index_t cols : {0, 1, 2, 3, 8, 15, 16, 17, 33}) {
      check_column_sums<T>(report, random, rows, cols);
    }
  }
  check_column_sums<T>(report, random, 300, 250);
}

}  // namespace

void test_gemm(Report& report) {
  test<float>(report);
  test<double>(report);
}

}  // namespace fastbn::selftest
