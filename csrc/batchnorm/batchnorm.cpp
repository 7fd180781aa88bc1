// The batch-norm driver.
//
// The values of a channel are cut into pieces by their shape alone.  Each piece has moments of its
// own, which are merged in order, so that neither the number of threads nor who computes what shows
// in the bits:
//
//   moments    of each piece                           reads x
//   finish     merge; mean, variance, scale, shift     a few values a channel
//   apply      to each piece                           reads x, writes y
//
// cut.h has the pieces, arrays.h the arrays of a call, stages.h these stages and those of the way
// back, sharing.h their way to the threads.  Here are the public operations, and those of serial.h.
#include "fastbn/batchnorm.h"

#include <algorithm>

#include "batchnorm/arrays.h"
#include "batchnorm/cut.h"
#include "batchnorm/serial.h"
#include "batchnorm/sharing.h"
#include "batchnorm/stages.h"
#include "dispatch/dispatch.h"
#include "runtime/threads.h"
#include "runtime/workspace.h"

namespace fastbn {

template <class T>
void values_of_groups(const ChannelView<const T>& x, const BatchNormCounting<T>& counting,
                      double* n) {
  for (index_t g = 0; g < counting.groups; ++g) {
    const Range rows = group_rows(x, counting, g);
    n[g] = count_of(counting.weights, {rows.begin, rows.end - rows.begin, 0, x.inner}, x.inner);
  }
}

template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& s,
                         const BatchNormCounting<T>& counting) {
  const Arrays<T> all{kernels<T>().batchnorm, x, {}, y, counting.weights, s, p.relu, 2};
  const index_t pieces = most_pieces(x, counting), bytes = Sums<T>::bytes(pieces, x.channels);
  const int parts = threads_for_groups(x, counting.groups);
  const Workspace workspace(static_cast<std::size_t>(parts * bytes));
  const auto sums_of = [&](int id) {
    return Sums<T>(workspace.as<char>(static_cast<std::size_t>(id * bytes)), pieces, x.channels);
  };
  if (counting.groups == 1) {
    const Cut cut(x.outer, x.inner);
    const Sums<T> sums = sums_of(0);
    return run<T>(Forward<T>{all, p, cut, sums}, x, cut);
  }
  for_each_group<T>(counting.groups, parts, [&](index_t g, int id) {
    const Range rows = group_rows(x, counting, g);
    const Arrays<T> a = all.rows(rows.begin, rows.end - rows.begin, g);
    const Cut cut(a.x.outer, x.inner);
    const Sums<T> sums = sums_of(id);
    run_alone<T>(Forward<T>{a, p, cut, sums}, a.x, cut);
  });
}

template <class T>
void fill_inference_statistics(index_t channels, const BatchNormParameters<T>& p, const T* mean,
                               const T* var, const BatchNormStatistics<T>& s) {
  for (index_t c = 0; c < channels; ++c) {
    s.mean[c] = mean[c], s.mean_low[c] = T(0), s.var[c] = var[c];
  }
  kernels<T>().batchnorm.affine(finish_args(p, s, 0, channels, 1));
}

namespace {

template <class T>
void apply_rows(const Arrays<T>& a) {
  const int parts = threads_for(a.x.outer, bytes_of(a.x), kBytesPerThread);
  parallel(parts, [=](int id) {
    const Range rows = share(a.x.outer, 1, parts, id);
    a.layout().apply(a.block({rows.begin, rows.end - rows.begin, 0, 1}, 0, a.x.channels));
  });
}

// Memory is walked through in order: the channels of a sample, sample by sample.  (Zen 4, one thread, channel by
// channel of all samples instead: 32 x 256 x 14 x 14 1.0 to 2.8 times as slow, the more the less of L3 is free.)
template <class T>
void apply_images(const Arrays<T>& a) {
  const index_t channels = a.x.channels, items = a.x.outer * channels;
  const int parts = threads_for(items, bytes_of(a.x), kBytesPerThread);
  parallel(parts, [=](int id) {
    const Range range = share(items, 1, parts, id);
    for (index_t i = range.begin; i < range.end;) {
      const index_t c = i % channels, some = std::min(channels - c, range.end - i);
      a.layout().apply(a.sample(i / channels, c, some));
      i += some;
    }
  });
}

}  // namespace

template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& s, const BatchNormCounting<T>& counting) {
  fill_inference_statistics(x.channels, p, mean, var, s);
  const Arrays<T> a{kernels<T>().batchnorm, x, {}, y, counting.weights, s, p.relu, 1};
  x.inner == 1 ? apply_rows(a) : apply_images(a);
}

template <class T>
void update_running(index_t channels, const double* n, index_t groups, const BatchNormMomentum& m,
                    const BatchNormStatistics<T>& s, T* running_mean, T* running_var) {
  for (index_t g = 0; g < groups; ++g) {
    const double add = m.batches < 0 ? m.momentum : 1.0 / double(m.batches + g + 1);
    const double correction = m.unbiased && n[g] > 1 ? n[g] / (n[g] - 1) : 1.0;
    const index_t at = g * s.next;
    kernels<T>().batchnorm.update_running({channels, 1 - add, add, correction, s.mean + at,
                                           s.mean_low + at, s.var + at, running_mean, running_var});
  }
}

template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& s, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta,
                         const BatchNormCounting<T>& counting) {
  const Arrays<T> all{kernels<T>().batchnorm, x, dy, dx, counting.weights, s, relu, 2};
  const index_t pieces = most_pieces(x, counting), bytes = Sums<T>::bytes(pieces, x.channels);
  const index_t groups = counting.groups, channels = x.channels;
  const int parts = threads_for_groups(x, groups);
  // Before the threads' sums: n of each group, and its own dgamma and dbeta.
  const index_t of_groups = rounded_up(
      groups * index_t{sizeof(double)} + groups * 2 * channels * index_t{sizeof(T)}, kLineBytes);
  const Workspace workspace(static_cast<std::size_t>(of_groups + parts * bytes));
  double* const n = workspace.as<double>();
  T* const gradients = reinterpret_cast<T*>(n + groups);
  values_of_groups(x, counting, n);
  const auto sums_of = [&](int id) {
    return Sums<T>(workspace.as<char>(static_cast<std::size_t>(of_groups + id * bytes)), pieces,
                   channels);
  };
  if (groups == 1) {
    const Cut cut(x.outer, x.inner);
    const Sums<T> sums = sums_of(0);
    return run<T>(Backward<T>{all, cut, sums, n[0], dgamma, dbeta, training}, x, cut);
  }
  for_each_group<T>(groups, parts, [&](index_t g, int id) {
    const Range rows = group_rows(x, counting, g);
    const Arrays<T> a = all.rows(rows.begin, rows.end - rows.begin, g);
    const Cut cut(a.x.outer, x.inner);
    const Sums<T> sums = sums_of(id);
    T* const own = gradients + 2 * g * channels;
    run_alone<T>(Backward<T>{a, cut, sums, n[g], own, own + channels, training}, a.x, cut);
  });
  for (index_t c = 0; c < channels; ++c) {
    double to_gamma = 0, to_beta = 0;
    for (index_t g = 0; g < groups; ++g) {
      to_gamma += double(gradients[2 * g * channels + c]);
      to_beta += double(gradients[(2 * g + 1) * channels + c]);
    }
    dgamma[c] = static_cast<T>(to_gamma), dbeta[c] = static_cast<T>(to_beta);
  }
}

template <class T>
std::size_t serial_batch_norm_bytes(const ChannelView<const T>& x) {
  return static_cast<std::size_t>(Sums<T>::bytes(Cut(x.outer, x.inner).count(), x.channels));
}

template <class T>
void serial_batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                                const ChannelView<T>& y, const BatchNormStatistics<T>& s,
                                void* scratch) {
  const Arrays<T> a{kernels<T>().batchnorm, x, {}, y, nullptr, s, p.relu, 2};
  const Cut cut(x.outer, x.inner);
  const Sums<T> sums(scratch, cut.count(), x.channels);
  run_panel<T>(Forward<T>{a, p, cut, sums}, cut, 0, x.channels);
}

template <class T>
void serial_batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                                const BatchNormStatistics<T>& s, bool training, bool relu,
                                const ChannelView<T>& dx, T* dgamma, T* dbeta, void* scratch) {
  const Arrays<T> a{kernels<T>().batchnorm, x, dy, dx, nullptr, s, relu, 2};
  const Cut cut(x.outer, x.inner);
  const Sums<T> sums(scratch, cut.count(), x.channels);
  const double n = double(x.outer) * double(x.inner);
  run_panel<T>(Backward<T>{a, cut, sums, n, dgamma, dbeta, training}, cut, 0, x.channels);
}

#define FASTBN_INSTANTIATE(T)                                                                      \
  template std::size_t serial_batch_norm_bytes<T>(const ChannelView<const T>&);                    \
  template void fill_inference_statistics<T>(index_t, const BatchNormParameters<T>&, const T*,     \
                                             const T*, const BatchNormStatistics<T>&);             \
  template void serial_batch_norm_training<T>(                                                     \
      const ChannelView<const T>&, const BatchNormParameters<T>&, const ChannelView<T>&,           \
      const BatchNormStatistics<T>&, void*);                                                       \
  template void serial_batch_norm_backward<T>(                                                     \
      const ChannelView<const T>&, const ChannelView<const T>&, const BatchNormStatistics<T>&,     \
      bool, bool, const ChannelView<T>&, T*, T*, void*);                                           \
  template void values_of_groups<T>(const ChannelView<const T>&, const BatchNormCounting<T>&,      \
                                    double*);                                                      \
  template void batch_norm_training<T>(const ChannelView<const T>&, const BatchNormParameters<T>&, \
                                       const ChannelView<T>&, const BatchNormStatistics<T>&,       \
                                       const BatchNormCounting<T>&);                               \
  template void batch_norm_inference<T>(                                                           \
      const ChannelView<const T>&, const BatchNormParameters<T>&, const T*, const T*,              \
      const ChannelView<T>&, const BatchNormStatistics<T>&, const BatchNormCounting<T>&);          \
  template void update_running<T>(index_t, const double*, index_t, const BatchNormMomentum&,       \
                                  const BatchNormStatistics<T>&, T*, T*);                          \
  template void batch_norm_backward<T>(                                                            \
      const ChannelView<const T>&, const ChannelView<const T>&, const BatchNormStatistics<T>&,     \
      bool, bool, const ChannelView<T>&, T*, T*, const BatchNormCounting<T>&);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
