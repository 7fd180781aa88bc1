// The driver of the fused block.  Threads share out the columns, which are the channels: a channel's
// statistics need all rows of its column of z and nothing else, so that whoever computes a panel of
// columns has all that batch norm asks for.
//
//            weight                 a thread's columns, panel by panel:
//         +--+--+--+--+
//         |  |  |  |  |             forward   z panel = x weight panel + bias
//         +--+--+--+--+                       statistics, y panel: z is still in L2
//   x     z, y
//   +---+ +--+--+--+--+             backward  dz panel, dgamma, dbeta from dy, z: dz stays in L2
//   |   | |  |  |  |  |                       dweight panel = x.T dz panel, dbias
//   +---+ +--+--+--+--+             then      dx = dz weight.T, which needs all panels: a product
//                                             of its own
//
// One region forward and two backward, where the layers one by one have two and four or more.  Of so many rows that L2
// keeps a tile's width or two, backward of a few, and on deep cores, the operations follow one another instead.
#include "fastbn/linear_batchnorm.h"

#include <algorithm>
#include <vector>

#include "batchnorm/batchnorm_args.h"
#include "batchnorm/serial.h"
#include "dispatch/dispatch.h"
#include "gemm/gemm_core.h"
#include "gemm/serial.h"
#include "runtime/cpu.h"
#include "runtime/handover.h"
#include "runtime/pace.h"
#include "runtime/threads.h"
#include "runtime/workspace.h"

namespace fastbn {
namespace {

// A second thread is worth its wake-up from about this much arithmetic on each.
constexpr double kFlopPerThread = 4e5;
// A panel of z and the one beside it, y or dz, take three quarters of L2.  With half of it panels at 1,024 rows were
// one tile wide (Zen 4), and the product read x more often: 2 % slower.
constexpr index_t kL2 = 1 << 20, kSmallL2 = 512 << 10;  // bytes

// Columns of a panel are counted by so many: a tile of the widest registers, and whole tiles of others.
constexpr index_t kTile = 48;

// But at least so many: a product reads x once for each panel, and that of the weight's gradient packs it or reads it
// as often.  With two tiles at 1,024 rows, and one at 2,048, a training step took 1.04 to 1.14 and 1.2 to 1.3 times as
// long backward, 1.03 to 1.07 times forward at 1,024; four and eight tiles were no better.
constexpr index_t kLeastColumns = 6 * kTile;

// If L2 keeps fewer columns than these, products read x so often that a pass over z is less.  Backward from more on:
// each thread would pack all of x for its columns of the weight's gradient, where gemm() has each pack some of it.  (A
// training step at 1,024 and 2,048 rows 1.01 and 1.02 times as fast, at 512 1.00; two threads of Zen 4.  L2 of 512 KiB,
// beside what one of 1 MiB wants, at 512, 768, 1,024 and 2,048 rows 1.01, 1.02, 1.04, 1.01; two threads of Zen 3.)
constexpr index_t kFewForward = 2 * kTile, kFewBackward = 3 * kTile;

// Of so few rows the gradient of the weight is by far the largest array, and is written fastest if threads share its
// rows, as gemm() mostly has them do of so many steps of k, not its columns (784 x 512 at 8 and 16 rows: 1.5 and 1.25
// times as fast backward; a training step at 24, 32 and 48 rows 1.03, 1.02 and 0.99; two threads of Zen 4).  Threads
// that are far apart share its columns, as they do of more rows.
constexpr index_t kFewRows = 48;

index_t rounded_up(index_t n, index_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

template <class M>
M columns(M m, index_t j, index_t cols) {
  m.data += j * m.col_stride, m.cols = cols;
  return m;
}

template <class T>
Matrix<const T> read_only(const Matrix<T>& m) {
  return {m.data, m.rows, m.cols, m.row_stride, m.col_stride};
}

template <class T>
Matrix<T> transposed(const Matrix<T>& m) {
  return {m.data, m.cols, m.rows, m.col_stride, m.row_stride};
}

template <class T>
ChannelView<T> channels(const Matrix<T>& m) {
  return {m.data, m.rows, m.cols, 1, m.row_stride, 1};
}

template <class T>
BatchNormStatistics<T> from_channel(BatchNormStatistics<T> s, index_t j) {
  for (T** p : {&s.mean, &s.mean_low, &s.var, &s.invstd, &s.scale, &s.shift}) *p += j;
  return s;
}

// How the columns are shared out: threads, and columns of a panel.
struct Panels {
  index_t cols, width;
  int parts;
  index_t kept;  // columns that L2 keeps
  bool by_pace;
  Shares shares;

  template <class T>
  static Panels of(index_t rows, index_t inner, index_t cols, T /*dtype*/) {
    const GemmKernels<T>& kern = kernels<T>().gemm;
    const index_t tile = rounded_up(index_t{kern.vectors} * kern.width, kChannelPadding);
    const double flop = 2.0 * double(rows) * double(inner) * double(cols);
    const index_t l2 = has_small_l2(kern) ? kSmallL2 : kL2;
    const index_t kept = l2 / 4 * 3 / (2 * rows * index_t{sizeof(T)});
    const index_t width = std::max(kLeastColumns, kept / kTile * kTile);
    const int parts = threads_for((cols + tile - 1) / tile, flop, kFlopPerThread);
    const bool by_pace = goes_by_pace(parts, flop, cols / kChannelPadding);
    return {cols,    std::min(width, rounded_up(cols, kChannelPadding)), parts, kept,
            by_pace, by_pace ? pace_of(parts).shares() : Shares{}};
  }

  Range columns_of(int id) const {
    return by_pace ? share(cols, kChannelPadding, shares, id)
                   : share(cols, kChannelPadding, parts, id);
  }

  // body(first column, columns, thread) for each panel
  template <class Body>
  void for_each(const Body& body) const {
    parallel(parts, by_pace, [body, all = *this](int id) {
      const Range range = all.columns_of(id);
      const index_t width = all.width;
      const index_t n = range.end - range.begin;
      const int count = static_cast<int>((n + width - 1) / width);
      for (int i = 0; i < count; ++i) {  // near-equal: no narrow one is left at the end
        const Range panel = share(n, kChannelPadding, count, i);
        body(range.begin + panel.begin, panel.end - panel.begin, id);
      }
      return n;
    });
  }
};

// Whether threads write the columns of the weight's gradient that they will update; see handover.h.
template <class T>
bool keeps_columns(const Panels& panels) {
  return columns_for_each<T>(panels.cols, panels.parts) && far_apart(panels.parts);
}

// Deep cores keep z and dz in their 2 MiB of L2 from one operation to the next anyway, and a line that another core
// holds takes them some 200 ns: threads that share a weight's columns hand half of its gradient over to the update,
// which shares rows, and write to the halves of each row of z.  (A training step of 784-512-256-10, one operation after
// the other and panel by panel in turn in one process, two threads of Emerald Rapids: at 64 to 512 rows 1.02, 1.03,
// 1.04, 1.04 and 1.07 times as fast, below as fast; layers of 128 and 256 0.98 to 1.15; one thread 1.00 to 1.02.)
bool in_turn_on_this_core() {
  return core() == Core::deep;
}

bool forward_in_turn(const Panels& panels) {
  return panels.kept < kFewForward || in_turn_on_this_core();
}

template <class T>
bool backward_in_turn(const Panels& panels, index_t rows) {
  const bool by_rows = rows <= kFewRows || in_turn_on_this_core();
  return panels.kept < kFewBackward || (by_rows && !keeps_columns<T>(panels));
}

std::size_t in_lines(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

}  // namespace

template <class T>
void linear_batch_norm_inference(const Matrix<const T>& x, const Matrix<const T>& weight,
                                 const T* bias, const BatchNormParameters<T>& parameters,
                                 const T* mean, const T* var, const Matrix<T>& y) {
  std::vector<T> statistics(6 * static_cast<std::size_t>(y.cols));
  T* p = statistics.data();
  const index_t c = y.cols;
  const BatchNormStatistics<T> s{p, p + c, p + 2 * c, p + 3 * c, p + 4 * c, p + 5 * c};
  fill_inference_statistics(c, parameters, mean, var, s);
  GemmOptions<T> options;
  options.columns = {bias, s.mean, s.scale, s.shift};
  options.relu = parameters.relu;
  gemm(x, weight, y, options);
}

template <class T>
void linear_batch_norm_training(const Matrix<const T>& x, const Matrix<const T>& weight,
                                const T* bias, const BatchNormParameters<T>& parameters,
                                const Matrix<T>& z, const Matrix<T>& y,
                                const BatchNormStatistics<T>& statistics) {
  const Panels panels = Panels::of(x.rows, x.cols, z.cols, T());
  if (forward_in_turn(panels)) {
    GemmOptions<T> options;
    options.columns.bias = bias;
    gemm(x, weight, z, options);
    return batch_norm_training(channels(read_only(z)), parameters, channels(y), statistics);
  }
  const Matrix<T> widest = columns(z, 0, std::min(panels.width, z.cols));
  const std::size_t for_product = in_lines(serial_gemm_bytes(x, widest));
  const std::size_t bytes = for_product + serial_batch_norm_bytes(channels(read_only(widest)));
  const Workspace workspace(bytes * static_cast<std::size_t>(panels.parts));
  char* const memory = workspace.as<char>();
  const int parts = panels.parts;
  panels.for_each([=](index_t j, index_t cols, int id) {
    char* scratch = memory + bytes * static_cast<std::size_t>(id);
    const Matrix<T> z_panel = columns(z, j, cols);
    GemmOptions<T> options;
    options.columns.bias = bias ? bias + j : nullptr;
    serial_gemm(x, columns(weight, j, cols), z_panel, options, parts, scratch);
    BatchNormParameters<T> p = parameters;
    if (p.gamma) p.gamma += j;
    if (p.beta) p.beta += j;
    serial_batch_norm_training(channels(read_only(z_panel)), p, channels(columns(y, j, cols)),
                               from_channel(statistics, j), scratch + for_product);
  });
}

namespace {

// All but dx, panel by panel.
template <class T>
void backward_panels(const Matrix<const T>& dy, const Matrix<const T>& x, const Matrix<const T>& z,
                     const BatchNormStatistics<T>& statistics, bool training, bool relu,
                     const LinearBatchNormGradients<T>& to, const Panels& panels) {
  const bool need_dz = to.dx.data != nullptr;
  const index_t width = std::min(panels.width, z.cols);
  // Without dx a panel of dz is used at once and needs no memory beyond its thread's.
  const std::size_t for_dz =
      need_dz ? 0 : in_lines(sizeof(T) * static_cast<std::size_t>(z.rows * width));
  const auto dz_panel = [=](index_t j, index_t cols, char* scratch) {
    if (need_dz) return columns(to.dz, j, cols);
    return Matrix<T>{reinterpret_cast<T*>(scratch), z.rows, cols, width, 1};
  };
  const Matrix<const T> xt = transposed(x);
  const std::size_t for_product = in_lines(serial_gemm_bytes(xt, columns(to.dweight, 0, width)));
  const std::size_t bytes =
      for_dz + for_product + serial_batch_norm_bytes(channels(columns(z, 0, width)));
  const Workspace workspace(bytes * static_cast<std::size_t>(panels.parts));
  char* const memory = workspace.as<char>();
  const int parts = panels.parts;
  panels.for_each([=](index_t j, index_t cols, int id) {
    char* scratch = memory + bytes * static_cast<std::size_t>(id);
    const Matrix<T> dz = dz_panel(j, cols, scratch);
    scratch += for_dz;
    serial_batch_norm_backward(channels(columns(dy, j, cols)), channels(columns(z, j, cols)),
                               from_channel(statistics, j), training, relu, channels(dz),
                               to.dgamma + j, to.dbeta + j, scratch + for_product);
    serial_gemm(xt, read_only(dz), columns(to.dweight, j, cols), GemmOptions<T>{}, parts, scratch);
    if (to.dbias) {
      kernels<T>().gemm.column_sums(dz.rows, cols, dz.data, dz.row_stride, to.dbias + j);
    }
  });
}

// All but dx, one operation after the other.
template <class T>
void backward_operations(const Matrix<const T>& dy, const Matrix<const T>& x,
                         const Matrix<const T>& z, const BatchNormStatistics<T>& statistics,
                         bool training, bool relu, const LinearBatchNormGradients<T>& to) {
  const bool need_dz = to.dx.data != nullptr;
  const Workspace memory(need_dz ? 0 : sizeof(T) * static_cast<std::size_t>(z.rows * z.cols),
                         Workspace::between_calls);
  const Matrix<T> dz = need_dz ? to.dz : Matrix<T>{memory.as<T>(), z.rows, z.cols, z.cols, 1};
  batch_norm_backward(channels(dy), channels(z), statistics, training, relu, channels(dz),
                      to.dgamma, to.dbeta);
  gemm(transposed(x), read_only(dz), to.dweight, GemmOptions<T>{});
  if (to.dbias) column_sums(read_only(dz), to.dbias);
}

template <class T>
void sums_of_nothing(const LinearBatchNormGradients<T>& to) {
  const index_t cols = to.dweight.cols;
  std::fill_n(to.dweight.data, to.dweight.rows * cols, T(0));
  std::fill_n(to.dgamma, cols, T(0));
  std::fill_n(to.dbeta, cols, T(0));
  if (to.dbias) std::fill_n(to.dbias, cols, T(0));
}

}  // namespace

template <class T>
void linear_batch_norm_backward(const Matrix<const T>& dy, const Matrix<const T>& x,
                                const Matrix<const T>& weight, const Matrix<const T>& z,
                                const BatchNormStatistics<T>& statistics, bool training, bool relu,
                                const LinearBatchNormGradients<T>& to) {
  if (z.rows == 0 || z.cols == 0) {
    sums_of_nothing(to);
  } else {
    const Panels panels = Panels::of(x.rows, x.cols, z.cols, T());
    if (backward_in_turn<T>(panels, x.rows)) {
      backward_operations(dy, x, z, statistics, training, relu, to);
    } else {
      backward_panels(dy, x, z, statistics, training, relu, to, panels);
    }
  }
  if (to.dx.data) gemm(read_only(to.dz), transposed(weight), to.dx, GemmOptions<T>{});
}

#define FASTBN_INSTANTIATE(T)                                                                     \
  template void linear_batch_norm_inference<T>(const Matrix<const T>&, const Matrix<const T>&,    \
                                               const T*, const BatchNormParameters<T>&, const T*, \
                                               const T*, const Matrix<T>&);                       \
  template void linear_batch_norm_training<T>(                                                    \
      const Matrix<const T>&, const Matrix<const T>&, const T*, const BatchNormParameters<T>&,    \
      const Matrix<T>&, const Matrix<T>&, const BatchNormStatistics<T>&);                         \
  template void linear_batch_norm_backward<T>(const Matrix<const T>&, const Matrix<const T>&,     \
                                              const Matrix<const T>&, const Matrix<const T>&,     \
                                              const BatchNormStatistics<T>&, bool, bool,          \
                                              const LinearBatchNormGradients<T>&);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
