// The driver of rescaling: equal pieces, one a thread.
#include "dispatch/dispatch.h"
#include "fastbn/nn.h"
#include "nn/split.h"

namespace fastbn {

template <class T>
void rescale(index_t n, const unsigned char* x, T* y, T scale, T offset) {
  const auto kernel = kernels<T>().nn.rescale;
  parallel_elements(n, 1 + sizeof(T), kBytesPerThread, [=](index_t begin, index_t size) {
    kernel(size, x + begin, y + begin, scale, offset);
  });
}

template void rescale<float>(index_t, const unsigned char*, float*, float, float);
template void rescale<double>(index_t, const unsigned char*, double*, double, double);

}  // namespace fastbn
