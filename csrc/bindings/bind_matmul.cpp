// matmul(a, b, out): numpy.matmul's call for the case that nets make, two matrices of one dtype, at
// the least cost around the kernel; everything else is a sentinel that tells Python to see to it.
//
// At 8 x 10 x 128 the product takes some 150 ns, so this is written against CPython's own calling
// convention: an argument costs a pointer, where a cast by pybind11 costs tens of nanoseconds.
#include <algorithm>
#include <new>

#include "bindings/array_view.h"
#include "fastbn/gemm.h"

namespace fastbn::bindings {
namespace {

using ArrayProxy = py::detail::PyArray_Proxy;

struct Operand {
  const ArrayProxy* array;
  int type;

  py::ssize_t rows() const { return array->dimensions[0]; }
  py::ssize_t cols() const { return array->dimensions[1]; }

  template <class T>
  Matrix<T> view() const {
    constexpr auto size = static_cast<py::ssize_t>(sizeof(T));
    return {reinterpret_cast<T*>(array->data), rows(), cols(), array->strides[0] / size,
            array->strides[1] / size};
  }
  // Lowest and one past the highest byte; not of an empty matrix.
  std::pair<const char*, const char*> bounds() const {
    const char *low = array->data, *high = array->data;
    for (int i = 0; i < 2; ++i) {
      const py::ssize_t span = array->strides[i] * (array->dimensions[i] - 1);
      (span < 0 ? low : high) += span;
    }
    return {low, high + (type == kNumpyFloat32 ? sizeof(float) : sizeof(double))};
  }
};

// Whether the object is exactly an ndarray, a matrix of native floats whose strides are whole
// elements.
bool as_operand(PyObject* object, Operand* operand) {
  if (reinterpret_cast<PyObject*>(Py_TYPE(object)) != ndarray_type().ptr()) return false;
  const ArrayProxy* a = py::detail::array_proxy(object);
  if (a->nd != 2 || (a->flags & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0) return false;
  const py::dtype dtype = py::reinterpret_borrow<py::dtype>(a->descr);
  const int type = dtype.num();
  if ((type != kNumpyFloat32 && type != kNumpyFloat64) || !is_native(dtype)) return false;
  const py::ssize_t mask = (type == kNumpyFloat32 ? sizeof(float) : sizeof(double)) - 1;
  if (((a->strides[0] | a->strides[1]) & mask) != 0) return false;
  *operand = {a, type};
  return true;
}

bool overlap(const Operand& a, const Operand& b) {
  const auto [a_low, a_high] = a.bounds();
  const auto [b_low, b_high] = b.bounds();
  return a_low < b_high && b_low < a_high;
}

// Whether `out` takes the product as it is: writable rows of unit stride beside all else.
bool fits(const Operand& out, const Operand& a, const Operand& b) {
  return out.type == a.type && out.rows() == a.rows() && out.cols() == b.cols() &&
         (out.array->flags & py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_) != 0 &&
         (out.array->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) != 0 && !overlap(out, a) &&
         !overlap(out, b);
}

template <class T>
void multiply(const Operand& a, const Operand& b, T* out) {
  const auto av = a.view<const T>(), bv = b.view<const T>();
  const Matrix<T> c{out, a.rows(), b.cols(), b.cols(), 1};
  py::gil_scoped_release release;
  gemm(av, bv, c, GemmOptions<T>{});
}

template <class T>
PyObject* product(const Operand& a, const Operand& b, PyObject* out, const Operand& c) {
  if (out != Py_None) {
    multiply<T>(a, b, reinterpret_cast<T*>(c.array->data));
    return Py_NewRef(out);
  }
  py::array_t<T> result({a.rows(), b.cols()});
  multiply<T>(a, b, result.mutable_data());
  return result.release().ptr();
}

PyObject* matmul(PyObject*, PyObject* const* args, Py_ssize_t count) {
  if (count != 3) {
    PyErr_SetString(PyExc_TypeError, "matmul takes exactly a, b and out");
    return nullptr;
  }
  Operand a, b, c;
  if (!as_operand(args[0], &a) || !as_operand(args[1], &b) || a.type != b.type ||
      a.cols() != b.rows() || a.rows() == 0 || a.cols() == 0 || b.cols() == 0 ||
      (args[2] != Py_None && (!as_operand(args[2], &c) || !fits(c, a, b)))) {
    return Py_NewRef(Py_NotImplemented);
  }
  try {
    return a.type == kNumpyFloat32 ? product<float>(a, b, args[2], c)
                                   : product<double>(a, b, args[2], c);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

PyMethodDef matmul_method = {"matmul",
                             reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&matmul)),
                             METH_FASTCALL, "matmul(a, b, out, /)\n--\n\nmatmul(a, b, out, /)"};

}  // namespace

void register_matmul(py::module_& m) {
  m.attr("matmul") =
      py::reinterpret_steal<py::object>(PyCFunction_NewEx(&matmul_method, nullptr, nullptr));
}

}  // namespace fastbn::bindings
