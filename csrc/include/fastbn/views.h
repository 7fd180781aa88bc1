// Views of memory that somebody else owns, at a multiple of an element's size.  Strides count elements and may
// be negative or zero.
#pragma once

#include <cstddef>

namespace fastbn {

using index_t = std::ptrdiff_t;

template <class T>
struct Matrix {  // element (i, j) at data[i * row_stride + j * col_stride]
  T* data;
  index_t rows, cols;
  index_t row_stride, col_stride;
};

}  // namespace fastbn
