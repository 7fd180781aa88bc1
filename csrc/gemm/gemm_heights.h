// Tiles of each number of rows are compiled apart, with that number as a constant: their accumulators are registers.
#pragma once

#include <type_traits>

#include "gemm/gemm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

// make(constant R), R = rows, which is 1 to kMost.  The highest is looked for first: most tiles of four rows or more
// are of it.
template <int kMost, class Make>
FASTBN_INLINE void of_height(index_t rows, const Make& make) {
  if constexpr (kMost > 0) {
    if (rows == kMost) return make(std::integral_constant<int, kMost>{});
    of_height<kMost - 1>(rows, make);
  }
}

}  // namespace
}  // namespace fastbn
