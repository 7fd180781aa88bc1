// The driver of elementwise activations: equal pieces, one a thread.
#include "dispatch/dispatch.h"
#include "fastbn/nn.h"
#include "nn/split.h"

namespace fastbn {
namespace {

bool is_relu(ActivationKind kind) {
  return kind == ActivationKind::relu || kind == ActivationKind::leaky_relu;
}

}  // namespace

template <class T>
void activation_forward(ActivationKind kind, index_t n, const T* x, T* y, T slope) {
  const auto kernel = kernels<T>().nn.activation[static_cast<int>(kind)];
  const double bytes_per_thread = is_relu(kind) ? kBytesPerThread : kBytesPerThreadOfExp;
  parallel_elements(n, 2 * sizeof(T), bytes_per_thread, [=](index_t begin, index_t size) {
    kernel(size, x + begin, y + begin, slope);
  });
}

template <class T>
void activation_backward(ActivationKind kind, index_t n, const T* dy, const T* saved, T* dx,
                         T slope) {
  const auto kernel = kernels<T>().nn.activation_backward[static_cast<int>(kind)];
  const bool has_exp = kind == ActivationKind::gelu;  // sigmoid and tanh have theirs in `saved`
  const double bytes_per_thread = has_exp ? kBytesPerThreadOfExp : kBytesPerThread;
  parallel_elements(n, 3 * sizeof(T), bytes_per_thread, [=](index_t begin, index_t size) {
    kernel(size, dy + begin, saved + begin, dx + begin, slope);
  });
}

#define FASTBN_INSTANTIATE(T)                                                    \
  template void activation_forward<T>(ActivationKind, index_t, const T*, T*, T); \
  template void activation_backward<T>(ActivationKind, index_t, const T*, const T*, T*, T);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
