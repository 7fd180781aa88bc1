#include "batchnorm/reference.h"

#include <cmath>

namespace fastbn::reference {
namespace {

template <class T>
T& at(const ChannelView<T>& v, index_t o, index_t c, index_t i) {
  return v.data[o * v.outer_stride + c * v.channel_stride + i];
}

template <class T, class Body>
void for_each_position(const ChannelView<T>& v, const Body& body) {
  for (index_t o = 0; o < v.outer; ++o) {
    for (index_t i = 0; i < v.inner; ++i) body(o, i);
  }
}

// y of channel c for the mean mean + low.
template <class T>
void normalize(const ChannelView<const T>& x, const BatchNormParameters<T>& p, index_t c,
               double mean, double low, double var, const ChannelView<T>& y,
               const BatchNormStatistics<T>& s) {
  const double gamma = p.gamma ? double(p.gamma[c]) : 1, beta = p.beta ? double(p.beta[c]) : 0;
  const double invstd = var + p.eps == 0 ? 0 : 1 / std::sqrt(var + p.eps);
  for_each_position(x, [&](index_t o, index_t i) {
    const double value = (double(at(x, o, c, i)) - mean - low) * invstd * gamma + beta;
    at(y, o, c, i) = static_cast<T>(p.relu && value <= 0 ? 0.0 : value);
  });
  s.mean[c] = static_cast<T>(mean);
  s.mean_low[c] = static_cast<T>(mean - double(s.mean[c]) + low);
  s.var[c] = static_cast<T>(var);
  s.invstd[c] = static_cast<T>(invstd);
  s.scale[c] = static_cast<T>(gamma * invstd);
  s.shift[c] = static_cast<T>(beta - double(s.mean_low[c]) * gamma * invstd);
}

}  // namespace

template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& s) {
  const double n = double(x.outer * x.inner);
  for (index_t c = 0; c < x.channels; ++c) {
    double sum = 0;
    for_each_position(x, [&](index_t o, index_t i) { sum += double(at(x, o, c, i)); });
    const double mean = sum / n;
    double rest = 0,
           squares = 0;  // of the deviations, which say what rounding has left of the mean
    for_each_position(x, [&](index_t o, index_t i) {
      const double d = double(at(x, o, c, i)) - mean;
      rest += d;
      squares += d * d;
    });
    rest /= n;
    const double var = squares / n - rest * rest, corrected = mean + rest;
    normalize(x, p, c, corrected, rest - (corrected - mean), var < 0 ? 0.0 : var, y, s);
  }
}

template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& s) {
  for (index_t c = 0; c < x.channels; ++c) {
    normalize(x, p, c, double(mean[c]), 0, double(var[c]), y, s);
  }
}

template <class T>
void update_running(index_t channels, index_t n, double momentum, bool unbiased,
                    const BatchNormStatistics<T>& s, T* running_mean, T* running_var) {
  for (index_t c = 0; c < channels; ++c) {
    const double mean = double(s.mean[c]) + double(s.mean_low[c]);
    const double var = double(s.var[c]) * (unbiased && n > 1 ? double(n) / double(n - 1) : 1);
    running_mean[c] = static_cast<T>((1 - momentum) * double(running_mean[c]) + momentum * mean);
    running_var[c] = static_cast<T>((1 - momentum) * double(running_var[c]) + momentum * var);
  }
}

// With g the gradient of y where ReLU let it through and xhat = (x - mean) * invstd:
//   dbeta = sum g,  dgamma = sum g * xhat
//   dx = scale * (g - dbeta / n - xhat * dgamma / n),  or scale * g for constant statistics
template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& s, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta) {
  const double n = double(x.outer * x.inner);
  for (index_t c = 0; c < x.channels; ++c) {
    const double mean = double(s.mean[c]), low = double(s.mean_low[c]);
    const double invstd = double(s.invstd[c]), scale = double(s.scale[c]);
    const auto gradient = [&](index_t o, index_t i) {
      const double y = (double(at(x, o, c, i)) - mean) * scale + double(s.shift[c]);
      return relu && y <= 0 ? 0.0 : double(at(dy, o, c, i));
    };
    const auto normalized = [&](index_t o, index_t i) {
      return (double(at(x, o, c, i)) - mean - low) * invstd;
    };
    double sum = 0, products = 0;
    for_each_position(x, [&](index_t o, index_t i) {
      sum += gradient(o, i);
      products += gradient(o, i) * normalized(o, i);
    });
    dgamma[c] = static_cast<T>(products);
    dbeta[c] = static_cast<T>(sum);
    for_each_position(x, [&](index_t o, index_t i) {
      const double mean_part = training ? sum / n + normalized(o, i) * products / n : 0;
      at(dx, o, c, i) = static_cast<T>(scale * (gradient(o, i) - mean_part));
    });
  }
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

}  // namespace fastbn::reference
