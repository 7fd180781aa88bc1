// What the two ways of matmul share: the arrays that they take, and when they let other threads of Python run.
#pragma once

#include <utility>

#include "bindings/array_view.h"

namespace fastbn::bindings {
namespace {

using ArrayProxy = py::detail::PyArray_Proxy;

py::ssize_t size_of(int type) {
  return type == kNumpyFloat32 ? sizeof(float) : sizeof(double);
}

// The array if the object is exactly an ndarray of native floats whose strides are whole elements, else null.
const ArrayProxy* as_array(PyObject* object, int* type) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != ndarray_type().ptr()) return nullptr;
  const ArrayProxy* a = py::detail::array_proxy(object);
  if ((a->flags & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0) return nullptr;
  const py::dtype dtype = py::reinterpret_borrow<py::dtype>(a->descr);
  *type = dtype.num();
  if ((*type != kNumpyFloat32 && *type != kNumpyFloat64) || !is_native(dtype)) return nullptr;
  for (int i = 0; i < a->nd; ++i) {
    if ((a->strides[i] & (size_of(*type) - 1)) != 0) return nullptr;
  }
  return a;
}

// Lowest and one past the highest byte of an array of elements of `size` bytes, of which it has one at least.
std::pair<const char*, const char*> bounds_of(const ArrayProxy* a, py::ssize_t size) {
  const char *low = a->data, *high = a->data;
  for (int i = 0; i < a->nd; ++i) {
    const py::ssize_t span = a->strides[i] * (a->dimensions[i] - 1);
    (span < 0 ? low : high) += span;
  }
  return {low, high + size};
}

// Whether `out` may be written while a and b are read, all three of one type.
bool is_apart_and_writable(const ArrayProxy* out, const ArrayProxy* a, const ArrayProxy* b,
                           int type) {
  const auto [low, high] = bounds_of(out, size_of(type));
  const auto apart = [&, from = low, to = high](const ArrayProxy* read) {
    const auto [first, last] = bounds_of(read, size_of(type));
    return last <= from || to <= first;
  };
  return (out->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) != 0 && apart(a) && apart(b);
}

// Lets other threads of Python run meanwhile, unless the product is small, some 2 us with AVX-512: giving the GIL back
// and taking it again costs 30 ns.  An element of C counts as eight multiply-adds, as it is written.  What keeps the
// GIL is computed by one thread, so that nobody who holds it waits for the pool (see flop_per_thread() in gemm.cpp).
class GilReleasedFor {
 public:
  GilReleasedFor(double m, double n, double k)
      : state_(2 * m * n * (k + 8) > kMostFlop ? PyEval_SaveThread() : nullptr) {}
  ~GilReleasedFor() {
    if (state_) PyEval_RestoreThread(state_);
  }
  GilReleasedFor(const GilReleasedFor&) = delete;
  GilReleasedFor& operator=(const GilReleasedFor&) = delete;

 private:
  static constexpr double kMostFlop = 2.5e5;
  PyThreadState* const state_;
};

}  // namespace
}  // namespace fastbn::bindings
