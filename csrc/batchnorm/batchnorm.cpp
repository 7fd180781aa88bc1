// The batch-norm driver: channels are shared out among threads, and cut into panels that stay in a
// cache between the passes over them (mean; squares; normalize), so that memory is read once.
#include "fastbn/batchnorm.h"

#include <algorithm>
#include <cmath>

#include "dispatch/dispatch.h"
#include "runtime/threads.h"
#include "runtime/workspace.h"

namespace fastbn {
namespace {

// A second thread is worth its fork and join, some 2 us, from about this much data on each.
constexpr double kBytesPerThread = 64 * 1024;
// A panel is read two or three times: it should stay in L2, with its output beside it.
constexpr double kPanelBytes = 384 * 1024;
constexpr index_t kLineBytes = 64;

template <class T>
constexpr index_t kLine = kLineBytes / sizeof(T);

template <class T>
index_t values_per_channel(const ChannelView<T>& v) {
  return v.outer * v.inner;
}

template <class T>
double bytes_of(const ChannelView<T>& v) {
  return double(v.outer) * double(v.channels) * double(v.inner) * sizeof(T);
}

// Channels that one pass of a thread takes at a time.  Channels last: as many as keep a panel in
// L2, in whole cache lines; where not even one line of each row does, nothing can be kept, and a
// wide panel streams best.  Channels first: one.
template <class T>
index_t panel_channels(const ChannelView<T>& v) {
  if (v.inner != 1) return 1;
  const double line_panel = double(v.outer) * kLineBytes;
  if (line_panel > 4 * kPanelBytes) return 16 * kLine<T>;
  return std::max<index_t>(1, static_cast<index_t>(kPanelBytes / line_panel)) * kLine<T>;
}

template <class T>
const BatchNormLayoutKernels<T>& layout_kernels(index_t inner) {
  const BatchNormKernels<T>& k = kernels<T>().batchnorm;
  return inner == 1 ? k.channels_last : k.channels_first;
}

template <class T>
BatchNormBlock<T> block_of(const ChannelView<const T>& x, const BatchNormStatistics<T>& s,
                           index_t c, index_t channels) {
  BatchNormBlock<T> g{};
  g.rows = x.outer;
  g.cols = x.inner == 1 ? channels : x.inner;
  g.x = x.data + c * x.channel_stride, g.x_row = x.outer_stride;
  g.mean = s.mean + c, g.scale = s.scale + c, g.shift = s.shift + c;
  return g;
}

template <class T>
void set_out(BatchNormBlock<T>& g, const ChannelView<T>& out, index_t c) {
  g.out = out.data + c * out.channel_stride, g.out_row = out.outer_stride;
}

// body(c, channels, scratch of 2 doubles a channel) for panels of all channels, shared out among
// threads.
template <class T, class Body>
void for_each_panel(const ChannelView<T>& x, const Body& body) {
  const index_t grain = x.inner == 1 ? kLine<T> : 1;
  const int parts = threads_for((x.channels + grain - 1) / grain, bytes_of(x), kBytesPerThread);
  const index_t width = std::min(panel_channels(x), x.channels);
  const Workspace workspace(sizeof(double) * 2 * static_cast<std::size_t>(width * parts));
  parallel(parts, [&](int id) {
    const Range range = share(x.channels, grain, parts, id);
    double* scratch = workspace.as<double>() + 2 * width * id;
    for (index_t c = range.begin; c < range.end; c += width) {
      body(c, std::min(width, range.end - c), scratch);
    }
  });
}

// The squares of float values beyond some 1e19 are infinite in float: such a channel, and no other,
// is gone through once more in double.
template <class T>
double squares_in_double(const ChannelView<const T>& x, index_t c, double mean) {
  double total = 0;
  for (index_t o = 0; o < x.outer; ++o) {
    const T* run = x.data + o * x.outer_stride + c * x.channel_stride;
    for (index_t i = 0; i < x.inner; ++i) {
      const double d = static_cast<double>(run[i]) - mean;
      total += d * d;
    }
  }
  return total;
}

template <class T>
T inverse_deviation(double var, double eps) {
  const double v = var + eps;
  return v == 0 ? T(0) : static_cast<T>(1.0 / std::sqrt(v));  // 0 / 0 would make NaN of a constant
}

// invstd, scale and shift of channel c from its mean and variance.
template <class T>
void set_affine(const BatchNormParameters<T>& p, double var, const BatchNormStatistics<T>& s,
                index_t c) {
  s.invstd[c] = inverse_deviation<T>(var, p.eps);
  s.scale[c] = p.gamma ? static_cast<T>(double(p.gamma[c]) * double(s.invstd[c])) : s.invstd[c];
  s.shift[c] = static_cast<T>((p.beta ? double(p.beta[c]) : 0.0) -
                              double(s.mean_low[c]) * double(s.scale[c]));
}

}  // namespace

template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& s) {
  const auto& kern = layout_kernels<T>(x.inner);
  const double n = double(values_per_channel(x));
  for_each_panel(x, [&](index_t c, index_t channels, double* scratch) {
    BatchNormBlock<T> g = block_of(x, s, c, channels);
    set_out(g, y, c);
    double *sum = scratch, *squares = scratch + channels;
    // First pass: the mean, from deviations from the first value, which are small where the values
    // are large and alike, and exactly 0 where they are all the same.
    for (index_t j = 0; j < channels; ++j) s.mean[c + j] = x.data[(c + j) * x.channel_stride];
    kern.sums(g, s.mean + c, sum);
    for (index_t j = 0; j < channels; ++j) {
      s.mean[c + j] = static_cast<T>(double(s.mean[c + j]) + sum[j] / n);
    }
    // Second pass: the variance, and what rounding has left of the mean.
    kern.sums_of_squares(g, s.mean + c, sum, squares);
    for (index_t j = 0; j < channels; ++j) {
      if (std::isinf(squares[j]) && std::isfinite(sum[j])) {
        squares[j] = squares_in_double(x, c + j, double(s.mean[c + j]));
      }
      const double low = sum[j] / n;
      double var = squares[j] / n - low * low;
      if (var < 0) var = 0;  // not std::max, which loses a NaN
      s.mean_low[c + j] = static_cast<T>(low);
      s.var[c + j] = static_cast<T>(var);
      set_affine(p, var, s, c + j);
    }
    // Third pass.
    g.relu = p.relu;
    kern.apply(g);
  });
}

template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& s) {
  for (index_t c = 0; c < x.channels; ++c) {
    s.mean[c] = mean[c], s.mean_low[c] = T(0), s.var[c] = var[c];
    set_affine(p, double(var[c]), s, c);
  }
  const auto& kern = layout_kernels<T>(x.inner);
  // Elementwise: rows may be shared out as well as channels, and are, where they are long.
  const bool by_rows = x.inner == 1;
  const int parts = threads_for(by_rows ? x.outer : x.channels, bytes_of(x), kBytesPerThread);
  parallel(parts, [&](int id) {
    const Range range = share(by_rows ? x.outer : x.channels, 1, parts, id);
    for (index_t i = range.begin; i < range.end;) {
      const index_t c = by_rows ? 0 : i;
      BatchNormBlock<T> g = block_of(x, s, c, by_rows ? x.channels : 1);
      set_out(g, y, c);
      g.relu = p.relu;
      if (by_rows) {
        g.rows = range.end - range.begin;
        g.x += range.begin * x.outer_stride, g.out += range.begin * y.outer_stride;
      }
      kern.apply(g);
      i += by_rows ? g.rows : 1;
    }
  });
}

template <class T>
void update_running(index_t channels, index_t n, double momentum, bool unbiased,
                    const BatchNormStatistics<T>& s, T* running_mean, T* running_var) {
  const double correction = unbiased && n > 1 ? double(n) / double(n - 1) : 1.0;
  for (index_t c = 0; c < channels; ++c) {
    const double mean = double(s.mean[c]) + double(s.mean_low[c]);
    const double var = double(s.var[c]) * correction;
    running_mean[c] = static_cast<T>((1 - momentum) * double(running_mean[c]) + momentum * mean);
    running_var[c] = static_cast<T>((1 - momentum) * double(running_var[c]) + momentum * var);
  }
}

template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& s, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta) {
  const auto& kern = layout_kernels<T>(x.inner);
  const double n = double(values_per_channel(x));
  const Workspace coefficients(sizeof(T) * 2 * static_cast<std::size_t>(x.channels));
  T *b = coefficients.as<T>(), *k = b + x.channels;
  for_each_panel(x, [&](index_t c, index_t channels, double* scratch) {
    BatchNormBlock<T> g = block_of(x, s, c, channels);
    g.dy = dy.data + c * dy.channel_stride, g.dy_row = dy.outer_stride;
    set_out(g, dx, c);
    g.relu = relu;
    double *sum = scratch, *products = scratch + channels;
    kern.backward_sums(g, sum, products);
    // dx = scale * (g - mean(g) - xhat * mean(g * xhat)),  xhat = (x - mean - mean_low) * invstd
    for (index_t j = 0; j < channels; ++j) {
      const index_t i = c + j;
      const double invstd = double(s.invstd[i]), low = double(s.mean_low[i]);
      const double dg = invstd * (products[j] - low * sum[j]);
      const double slope = -double(s.scale[i]) * invstd * dg / n;
      dgamma[i] = static_cast<T>(dg);
      dbeta[i] = static_cast<T>(sum[j]);
      b[i] = static_cast<T>(slope);
      k[i] = static_cast<T>(-double(s.scale[i]) * sum[j] / n - slope * low);
    }
    g.a = s.scale + c;
    if (training) g.b = b + c, g.c = k + c;
    kern.backward_apply(g);
  });
}

#define FASTBN_INSTANTIATE(T)                                                                      \
  template void batch_norm_training<T>(const ChannelView<const T>&, const BatchNormParameters<T>&, \
                                       const ChannelView<T>&, const BatchNormStatistics<T>&);      \
  template void batch_norm_inference<T>(const ChannelView<const T>&,                               \
                                        const BatchNormParameters<T>&, const T*, const T*,         \
                                        const ChannelView<T>&, const BatchNormStatistics<T>&);     \
  template void update_running<T>(index_t, index_t, double, bool, const BatchNormStatistics<T>&,   \
                                  T*, T*);                                                         \
  template void batch_norm_backward<T>(const ChannelView<const T>&, const ChannelView<const T>&,   \
                                       const BatchNormStatistics<T>&, bool, bool,                  \
                                       const ChannelView<T>&, T*, T*);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
