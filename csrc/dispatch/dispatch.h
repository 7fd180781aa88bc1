// Which target's kernels are in force.
#pragma once

#include <string>
#include <vector>

#include "dispatch/kernel_table.h"

namespace fastbn {

const KernelTable& active_table();

template <class T>
const Kernels<T>& kernels();
template <>
inline const Kernels<float>& kernels<float>() {
  return active_table().f32;
}
template <>
inline const Kernels<double>& kernels<double>() {
  return active_table().f64;
}

}  // namespace fastbn
