#include "nn/reference.h"

#include <cmath>

namespace fastbn::reference {
namespace {

double phi(double x) {
  return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0));
}
double normal_cdf(double x) {
  return std::erfc(-x / std::sqrt(2.0)) / 2;
}

double value(ActivationKind kind, double x, double slope) {
  switch (kind) {
    case ActivationKind::relu:
      return x <= 0 ? 0 : x;
    case ActivationKind::leaky_relu:
      return x <= 0 ? slope * x : x;
    case ActivationKind::sigmoid:
      return 1 / (1 + std::exp(-x));
    case ActivationKind::tanh:
      return std::tanh(x);
    case ActivationKind::gelu:
      return std::isinf(x) ? (x < 0 ? -0.0 : x) : x * normal_cdf(x);
  }
  return x;
}

double gradient(ActivationKind kind, double dy, double saved, double slope) {
  switch (kind) {
    case ActivationKind::relu:
      return saved <= 0 ? 0 : dy;
    case ActivationKind::leaky_relu:
      return saved <= 0 ? slope * dy : dy;
    case ActivationKind::sigmoid:
      return dy * (saved * (1 - saved));
    case ActivationKind::tanh:
      return dy * ((1 - saved) * (1 + saved));
    case ActivationKind::gelu:
      return dy * (normal_cdf(saved) + (std::isinf(saved) ? 0 : saved * phi(saved)));
  }
  return dy;
}

template <class T>
double row_max(index_t n, const T* x) {
  double m = x[0];
  for (index_t j = 1; j < n; ++j) m = x[j] > m ? double(x[j]) : m;
  return m;
}

template <class T>
double log_sum_exp(index_t n, const T* x, double m) {
  double sum = 0;
  for (index_t j = 0; j < n; ++j) sum += std::exp(double(x[j]) - m);
  return std::log(sum);
}

}  // namespace

template <class T>
void activation_forward(ActivationKind kind, index_t n, const T* x, T* y, T slope) {
  for (index_t i = 0; i < n; ++i) y[i] = static_cast<T>(value(kind, x[i], slope));
}

template <class T>
void activation_backward(ActivationKind kind, index_t n, const T* dy, const T* saved, T* dx,
                         T slope) {
  for (index_t i = 0; i < n; ++i) dx[i] = static_cast<T>(gradient(kind, dy[i], saved[i], slope));
}

template <class T>
void softmax(index_t rows, index_t cols, const T* x, T* y) {
  for (index_t r = 0; r < rows; ++r, x += cols, y += cols) {
    const double m = row_max(cols, x), l = log_sum_exp(cols, x, m);
    for (index_t j = 0; j < cols; ++j) y[j] = static_cast<T>(std::exp(double(x[j]) - m - l));
  }
}

template <class T>
void softmax_backward(index_t rows, index_t cols, const T* dy, const T* y, T* dx) {
  for (index_t r = 0; r < rows; ++r, dy += cols, y += cols, dx += cols) {
    double dot = 0;
    for (index_t j = 0; j < cols; ++j) dot += double(dy[j]) * double(y[j]);
    for (index_t j = 0; j < cols; ++j) dx[j] = static_cast<T>(y[j] * (dy[j] - dot));
  }
}

template <class T>
double cross_entropy(index_t rows, index_t cols, const T* logits, const index_t* labels,
                     double smoothing) {
  double total = 0;
  for (index_t r = 0; r < rows; ++r, logits += cols) {
    const double m = row_max(cols, logits), l = log_sum_exp(cols, logits, m);
    for (index_t j = 0; j < cols; ++j) {
      const double q = (j == labels[r] ? 1 - smoothing : 0) + smoothing / double(cols);
      if (q != 0) total += q * (l + (m - double(logits[j])));
    }
  }
  return total / double(rows);
}

template <class T>
void cross_entropy_backward(index_t rows, index_t cols, const T* logits, const index_t* labels,
                            double smoothing, T* dlogits) {
  for (index_t r = 0; r < rows; ++r, logits += cols, dlogits += cols) {
    const double m = row_max(cols, logits), l = log_sum_exp(cols, logits, m);
    for (index_t j = 0; j < cols; ++j) {
      const double q = (j == labels[r] ? 1 - smoothing : 0) + smoothing / double(cols);
      dlogits[j] = static_cast<T>((std::exp(double(logits[j]) - m - l) - q) / double(rows));
    }
  }
}

template <class T>
double squared_error(index_t n, const T* x, const T* t) {
  double total = 0;
  for (index_t i = 0; i < n; ++i) {
    const double d = x[i] - t[i];  // rounded to T, as it is kept for the gradient
    total += d * d;
  }
  return total;
}

template <class T>
void sgd_update(index_t n, T* p, const T* g, T* velocity, const SgdOptions& o) {
  for (index_t i = 0; i < n; ++i) {
    double direction = g[i] + o.weight_decay * p[i];
    if (velocity) {
      const double v = o.momentum * velocity[i] + direction;
      velocity[i] = static_cast<T>(v);
      direction = o.nesterov ? direction + o.momentum * v : v;
    }
    p[i] = static_cast<T>(p[i] - o.lr * direction);
  }
}

template <class T>
void adam_update(index_t n, T* p, const T* g, T* m, T* v, const AdamOptions& o) {
  const double correction1 = 1 - std::pow(o.beta1, double(o.step));
  const double correction2 = 1 - std::pow(o.beta2, double(o.step));
  for (index_t i = 0; i < n; ++i) {
    const double gradient = g[i] + (o.decoupled ? 0 : o.weight_decay * p[i]);
    const double decayed = o.decoupled ? p[i] * (1 - o.lr * o.weight_decay) : p[i];
    const double first = o.beta1 * m[i] + (1 - o.beta1) * gradient;
    const double second = o.beta2 * v[i] + (1 - o.beta2) * gradient * gradient;
    m[i] = static_cast<T>(first);
    v[i] = static_cast<T>(second);
    p[i] = static_cast<T>(decayed - o.lr / correction1 * first /
                                        (std::sqrt(second) / std::sqrt(correction2) + o.eps));
  }
}

#define FASTBN_INSTANTIATE(T)                                                                      \
  template void activation_forward<T>(ActivationKind, index_t, const T*, T*, T);                   \
  template void activation_backward<T>(ActivationKind, index_t, const T*, const T*, T*, T);        \
  template void softmax<T>(index_t, index_t, const T*, T*);                                        \
  template void softmax_backward<T>(index_t, index_t, const T*, const T*, T*);                     \
  template double cross_entropy<T>(index_t, index_t, const T*, const index_t*, double);            \
  template void cross_entropy_backward<T>(index_t, index_t, const T*, const index_t*, double, T*); \
  template double squared_error<T>(index_t, const T*, const T*);                                   \
  template void sgd_update<T>(index_t, T*, const T*, T*, const SgdOptions&);                       \
  template void adam_update<T>(index_t, T*, const T*, T*, T*, const AdamOptions&);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn::reference
