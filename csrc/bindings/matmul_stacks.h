// Stacks of matrices, as numpy.matmul broadcasts them: the product of each place, one after the other.
#pragma once

#include <algorithm>
#include <vector>

#include "bindings/matmul_arrays.h"
#include "bindings/tape.h"
#include "fastbn/gemm.h"

namespace fastbn::bindings {
namespace {

// Multiply-adds of one matrix of a stack, below which NumPy's loop over the stack is the faster.
constexpr double kSmallOfStack = 4096;

// Two stacks of matrices, broadcast against each other: what they have in common, places from the last dimension on.
struct Stacks {
  static constexpr int kMostDimensions = 64;  // NumPy's
  const ArrayProxy *a, *b;
  int type, dimensions;  // of the stack, without the two of a matrix
  py::ssize_t shape[kMostDimensions], a_stride[kMostDimensions], b_stride[kMostDimensions];
  py::ssize_t places, m, n, k;

  // Whether NumPy's rules make stacks of them, whose products are worth the kernels.
  bool of(PyObject* left, PyObject* right) {
    int type_b;
    a = as_array(left, &type), b = as_array(right, &type_b);
    if (!a || !b || type != type_b || a->nd < 2 || b->nd < 2) return false;
    m = a->dimensions[a->nd - 2], k = a->dimensions[a->nd - 1], n = b->dimensions[b->nd - 1];
    dimensions = std::max(a->nd, b->nd) - 2;
    if (k != b->dimensions[b->nd - 2] || double(m) * double(n) * double(k) < kSmallOfStack) {
      return false;
    }
    places = 1;
    for (int i = 0; i < dimensions; ++i) {
      const py::ssize_t of_a = length(a, i), of_b = length(b, i);
      if (of_a != of_b && of_a != 1 && of_b != 1) return false;
      shape[i] = of_a == 1 ? of_b : of_a;
      a_stride[i] = of_a == 1 ? 0 : a->strides[a->nd - 3 - i];
      b_stride[i] = of_b == 1 ? 0 : b->strides[b->nd - 3 - i];
      if (__builtin_mul_overflow(places, shape[i], &places)) return false;  // NumPy's to say
    }
    return places > 0;
  }

  // Whether an array of this type takes the product as it is.
  bool fits(const ArrayProxy* out) const {
    if (out->nd != dimensions + 2 || out->dimensions[out->nd - 2] != m ||
        out->dimensions[out->nd - 1] != n) {
      return false;
    }
    for (int i = 0; i < dimensions; ++i) {
      if (length(out, i) != shape[i]) return false;
    }
    return (out->flags & py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_) != 0 &&
           is_apart_and_writable(out, a, b, type);
  }

  static py::ssize_t length(const ArrayProxy* array, int i) {
    const int dimension = array->nd - 3 - i;
    return dimension < 0 ? 1 : array->dimensions[dimension];
  }

  std::vector<py::ssize_t> shape_of_product() const {
    std::vector<py::ssize_t> whole(shape, shape + dimensions);
    std::reverse(whole.begin(), whole.end());
    whole.insert(whole.end(), {m, n});
    return whole;
  }

  // The matrix of a stack that begins at `data`.
  template <class T>
  Matrix<const T> matrix(const ArrayProxy* array, const char* data) const {
    constexpr auto size = static_cast<py::ssize_t>(sizeof(T));
    const int rows = array->nd - 2;
    return {reinterpret_cast<const T*>(data), array->dimensions[rows], array->dimensions[rows + 1],
            array->strides[rows] / size, array->strides[rows + 1] / size};
  }

  // body(matrix of a, matrix of b) for each place, the last dimension fastest.
  template <class T, class Body>
  void for_each_place(const Body& body) const {
    py::ssize_t index[kMostDimensions] = {};
    const char *at_a = a->data, *at_b = b->data;
    for (py::ssize_t left = places; left > 0; --left) {
      body(matrix<T>(a, at_a), matrix<T>(b, at_b));
      for (int i = 0; i < dimensions; ++i) {
        at_a += a_stride[i], at_b += b_stride[i];
        if (++index[i] < shape[i]) break;
        at_a -= index[i] * a_stride[i], at_b -= index[i] * b_stride[i], index[i] = 0;
      }
    }
  }
};

// Into C-contiguous memory.  One product of all rows where each matrix of a lies behind the one before and b is one.
template <class T>
void multiply_stacks(const Stacks& s, T* c) {
  spoil_tape();
  const GilReleasedFor released(double(s.places) * double(s.m), double(s.n), double(s.k));
  if (s.b->nd == 2 && (s.a->flags & py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_) != 0) {
    const index_t rows = s.places * s.m;
    const Matrix<const T> a{reinterpret_cast<const T*>(s.a->data), rows, s.k, s.k, 1};
    return gemm(a, s.template matrix<T>(s.b, s.b->data), Matrix<T>{c, rows, s.n, s.n, 1},
                GemmOptions<T>{});
  }
  s.template for_each_place<T>([&](const Matrix<const T>& a, const Matrix<const T>& b) {
    gemm(a, b, Matrix<T>{c, s.m, s.n, s.n, 1}, GemmOptions<T>{});
    c += s.m * s.n;
  });
}

}  // namespace
}  // namespace fastbn::bindings
