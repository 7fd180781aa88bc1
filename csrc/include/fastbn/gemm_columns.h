// What is done to each column of a product.  Plain data, since kernels of every target see it.
#pragma once

namespace fastbn {

// v + bias, then (v - mean) * scale + shift.  One value a column each, unit stride; null: left out,
// mean, scale and shift together.
template <class T>
struct GemmColumns {
  const T *bias, *mean, *scale, *shift;
};

}  // namespace fastbn
