#include "batchnorm/reference.h"

#include <cmath>

namespace fastbn::reference {
namespace {

template <class T>
T& at(const ChannelView<T>& v, index_t o, index_t c, index_t i) {
  return v.data[o * v.outer_stride + c * v.channel_stride + i];
}

// One group: its rows of outer, its weights and its statistics.
template <class T>
struct Group {
  index_t begin, end, inner;
  const T* weights;
  BatchNormStatistics<T> statistics;

  template <class V>
  Group(const ChannelView<V>& v, const BatchNormCounting<T>& counting,
        const BatchNormStatistics<T>& all, index_t g)
      : inner(v.inner), weights(counting.weights), statistics(all) {
    const index_t rows = v.outer / counting.samples, size = counting.samples / counting.groups;
    const index_t larger = counting.samples % counting.groups;  // by one sample, and first
    begin = rows * (g < larger ? g * (size + 1) : g * size + larger);
    end = begin + rows * (size + (g < larger ? 1 : 0));
    const index_t skip = g * all.next;
    statistics.mean += skip, statistics.mean_low += skip, statistics.var += skip;
    statistics.invstd += skip, statistics.scale += skip, statistics.shift += skip;
  }
  double weight(index_t o, index_t i) const { return weights ? double(weights[o * inner + i]) : 1; }
  template <class Body>
  void for_each_position(const Body& body) const {
    for (index_t o = begin; o < end; ++o) {
      for (index_t i = 0; i < inner; ++i) body(o, i, weight(o, i));
    }
  }
  // Only those that count: what x holds at the others is not looked at.
  template <class Body>
  void for_each_counted(const Body& body) const {
    for_each_position([&](index_t o, index_t i, double w) {
      if (w > 0) body(o, i, w);
    });
  }
  double count() const {
    double n = 0;
    for_each_counted([&](index_t, index_t, double w) { n += w; });
    return n;
  }
};

// y of channel c for the mean mean + low.
template <class T>
void normalize(const ChannelView<const T>& x, const BatchNormParameters<T>& p, index_t c,
               double mean, double low, double var, const ChannelView<T>& y,
               const Group<T>& group) {
  const double gamma = p.gamma ? double(p.gamma[c]) : 1, beta = p.beta ? double(p.beta[c]) : 0;
  const double invstd = var + p.eps == 0 ? 0 : 1 / std::sqrt(var + p.eps);
  group.for_each_position([&](index_t o, index_t i, double w) {
    const double value =
        w > 0 ? (double(at(x, o, c, i)) - mean - low) * invstd * gamma + beta : 0.0;
    at(y, o, c, i) = static_cast<T>(p.relu && value <= 0 ? 0.0 : value);
  });
  const BatchNormStatistics<T>& s = group.statistics;
  s.mean[c] = static_cast<T>(mean);
  s.mean_low[c] = static_cast<T>(mean - double(s.mean[c]) + low);
  s.var[c] = static_cast<T>(var);
  s.invstd[c] = static_cast<T>(invstd);
  s.scale[c] = static_cast<T>(gamma * invstd);
  s.shift[c] = static_cast<T>(beta - double(s.mean_low[c]) * gamma * invstd);
}

// Two passes: the mean, then the squares about it and what rounding has left of the mean.
template <class T>
void normalize_by_batch(const ChannelView<const T>& x, const BatchNormParameters<T>& p, index_t c,
                        const ChannelView<T>& y, const Group<T>& group) {
  const double n = group.count();
  double sum = 0, rest = 0, squares = 0;
  group.for_each_counted(
      [&](index_t o, index_t i, double w) { sum += w * double(at(x, o, c, i)); });
  const double mean = sum / n;
  group.for_each_counted([&](index_t o, index_t i, double w) {
    const double d = double(at(x, o, c, i)) - mean;
    rest += w * d;
    squares += w * d * d;
  });
  rest /= n;
  const double var = squares / n - rest * rest, corrected = mean + rest;
  normalize(x, p, c, corrected, rest - (corrected - mean), var < 0 ? 0.0 : var, y, group);
}

// With g the gradient of y where ReLU let it through, xhat = (x - mean) * invstd, w the weights and n
// their sum:
//   dbeta = sum g,  dgamma = sum g * xhat,  both over what counts
//   dx = scale * (g - w * (dbeta / n + xhat * dgamma / n)),  or scale * g for constant statistics;
//   0 where w is 0
template <class T>
struct Gradients {
  double gamma = 0, beta = 0;

  Gradients(const ChannelView<const T>& dy, const ChannelView<const T>& x, index_t c, bool training,
            bool relu, const ChannelView<T>& dx, const Group<T>& group) {
    const BatchNormStatistics<T>& s = group.statistics;
    const double mean = double(s.mean[c]), low = double(s.mean_low[c]), n = group.count();
    const double invstd = double(s.invstd[c]), scale = double(s.scale[c]);
    const auto gradient = [&](index_t o, index_t i) {
      const double y = (double(at(x, o, c, i)) - mean) * scale + double(s.shift[c]);
      return relu && y <= 0 ? 0.0 : double(at(dy, o, c, i));
    };
    const auto normalized = [&](index_t o, index_t i) {
      return (double(at(x, o, c, i)) - mean - low) * invstd;
    };
    group.for_each_counted([&](index_t o, index_t i, double) {
      beta += gradient(o, i);
      gamma += gradient(o, i) * normalized(o, i);
    });
    group.for_each_position([&](index_t o, index_t i, double w) {
      double value = 0;
      if (w > 0) {
        const double shared = training ? w * (beta + normalized(o, i) * gamma) / n : 0;
        value = scale * (gradient(o, i) - shared);
      }
      at(dx, o, c, i) = static_cast<T>(value);
    });
  }
};

}  // namespace

template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& s,
                         const BatchNormCounting<T>& counting) {
  for (index_t g = 0; g < counting.groups; ++g) {
    const Group<T> group(x, counting, s, g);
    for (index_t c = 0; c < x.channels; ++c) normalize_by_batch(x, p, c, y, group);
  }
}

template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& s, const BatchNormCounting<T>& counting) {
  const Group<T> all(x, {counting.weights}, s, 0);
  for (index_t c = 0; c < x.channels; ++c) {
    normalize(x, p, c, double(mean[c]), 0, double(var[c]), y, all);
  }
}

template <class T>
void update_running(index_t channels, const double* n, index_t groups, const BatchNormMomentum& m,
                    const BatchNormStatistics<T>& s, T* running_mean, T* running_var) {
  for (index_t g = 0; g < groups; ++g) {
    const double add = m.batches < 0 ? m.momentum : 1 / double(m.batches + g + 1);
    for (index_t c = 0; c < channels; ++c) {
      const index_t i = g * s.next + c;
      const double mean = double(s.mean[i]) + double(s.mean_low[i]);
      const double var = double(s.var[i]) * (m.unbiased && n[g] > 1 ? n[g] / (n[g] - 1) : 1);
      running_mean[c] = static_cast<T>((1 - add) * double(running_mean[c]) + add * mean);
      running_var[c] = static_cast<T>((1 - add) * double(running_var[c]) + add * var);
    }
  }
}

template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& s, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta,
                         const BatchNormCounting<T>& counting) {
  for (index_t c = 0; c < x.channels; ++c) {
    double to_gamma = 0, to_beta = 0;
    for (index_t g = 0; g < counting.groups; ++g) {
      const Gradients<T> of(dy, x, c, training, relu, dx, Group<T>(x, counting, s, g));
      to_gamma += of.gamma, to_beta += of.beta;
    }
    dgamma[c] = static_cast<T>(to_gamma), dbeta[c] = static_cast<T>(to_beta);
  }
}

#define FASTBN_INSTANTIATE(T)                                                                      \
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

}  // namespace fastbn::reference
