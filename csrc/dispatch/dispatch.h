// Which target's kernels are in force.
#pragma once

#include <string>
#include <vector>

#include "dispatch/kernel_table.h"

namespace fastbn {

template <class T>  // float or double
const Kernels<T>& kernels();
template <>
const Kernels<float>& kernels<float>();
template <>
const Kernels<double>& kernels<double>();

}  // namespace fastbn
