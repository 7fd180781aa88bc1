// fastbn.matmul(a, b, out=None): the cases that nets make, two matrices of one dtype, a matrix and a vector, or stacks,
// at the least cost around the kernel.  Every other call goes to a function of Python, which sees to the rest of
// numpy.matmul's semantics.
//
// At 8 x 10 x 128 the product takes some 280 ns (Zen 4), so this is written against CPython's own calling
// convention: an argument costs a pointer, where a cast by pybind11 costs tens of nanoseconds, and what users
// call is this function itself: a Python function around it took 50.
#include <algorithm>
#include <new>
#include <string>

#include "bindings/array_view.h"
#include "bindings/matmul_arrays.h"
#include "bindings/matmul_stacks.h"
#include "bindings/tape.h"
#include "fastbn/gemm.h"

namespace fastbn::bindings {
namespace {

// A matrix, or a vector as one: a row on the left, a column on the right, as numpy.matmul has it.
struct Operand {
  const ArrayProxy* array;
  int type;
  py::ssize_t shape[2], strides[2];

  py::ssize_t rows() const { return shape[0]; }
  py::ssize_t cols() const { return shape[1]; }
  bool is_vector() const { return array->nd == 1; }

  // Whether elements follow one another along one dimension, and no two lie in one place.
  bool has_contiguous_lines() const {
    const py::ssize_t size = size_of(type);
    const auto lines = [&](int along, int across) {
      const py::ssize_t length = shape[along];
      return (length == 1 || strides[along] == size) &&
             (shape[across] == 1 || strides[across] >= length * size);
    };
    return lines(1, 0) || lines(0, 1);
  }

  template <class T>
  Matrix<T> view() const {
    constexpr auto size = static_cast<py::ssize_t>(sizeof(T));
    return {reinterpret_cast<T*>(array->data), rows(), cols(), strides[0] / size,
            strides[1] / size};
  }
};

// Where a vector's elements lie along: the columns of a row, or the rows of a column.
enum class Vector { row, column };

// Whether the object is a matrix or a vector that as_array() takes.
bool as_operand(PyObject* object, Vector vector, Operand* operand) {
  int type;
  const ArrayProxy* a = as_array(object, &type);
  if (!a || a->nd < 1 || a->nd > 2) return false;
  *operand = {a, type, {1, 1}, {size_of(type), size_of(type)}};
  // The dimension that a vector lacks has one place, whose stride does not count.
  const int first = a->nd == 1 && vector == Vector::row ? 1 : 0;
  for (int i = 0; i < a->nd; ++i) {
    operand->shape[first + i] = a->dimensions[i], operand->strides[first + i] = a->strides[i];
  }
  return true;
}

// Whether `out` takes the product as it is: writable rows or columns beside all else.
bool fits(const Operand& out, const Operand& a, const Operand& b) {
  return out.type == a.type && out.rows() == a.rows() && out.cols() == b.cols() &&
         out.is_vector() == (a.is_vector() || b.is_vector()) && out.has_contiguous_lines() &&
         is_apart_and_writable(out.array, a.array, b.array, a.type);
}

template <class T>
void multiply(const Operand& a, const Operand& b, Matrix<T> c) {
  const auto av = a.view<const T>(), bv = b.view<const T>();
  // NumPy gives a dimension of one any stride.
  if (c.cols == 1) c.col_stride = 1;
  if (c.rows == 1) c.row_stride = c.cols * c.col_stride;
  spoil_tape();
  const GilReleasedFor released(double(c.rows), double(c.cols), double(av.cols));
  gemm(av, bv, c, GemmOptions<T>{});
}

template <class T>
PyObject* product(const Operand& a, const Operand& b, PyObject* out, const Operand& c) {
  if (out != Py_None) {
    multiply<T>(a, b, c.view<T>());
    return Py_NewRef(out);
  }
  py::array_t<T> result = a.is_vector()   ? py::array_t<T>(b.cols())
                          : b.is_vector() ? py::array_t<T>(a.rows())
                                          : py::array_t<T>({a.rows(), b.cols()});
  multiply<T>(a, b, {result.mutable_data(), a.rows(), b.cols(), b.cols(), 1});
  return result.release().ptr();
}

// The product of two plain matrices, or of one and a vector, NotImplemented where they are none, or null with an
// exception set.  (That of two vectors is a scalar.)
PyObject* plain_product(PyObject* left, PyObject* right, PyObject* out) {
  Operand a, b, c;
  if (!as_operand(left, Vector::row, &a) || !as_operand(right, Vector::column, &b) ||
      (a.is_vector() && b.is_vector()) || a.type != b.type || a.cols() != b.rows() ||
      a.rows() == 0 || a.cols() == 0 || b.cols() == 0) {
    return Py_NotImplemented;
  }
  const Vector lies = a.is_vector() ? Vector::row : Vector::column;
  if (out != Py_None && (!as_operand(out, lies, &c) || !fits(c, a, b))) return Py_NotImplemented;
  try {
    return a.type == kNumpyFloat32 ? product<float>(a, b, out, c) : product<double>(a, b, out, c);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

// ---- stacks of matrices ---------------------------------------------------------------------------

template <class T>
PyObject* product_of(const Stacks& s, PyObject* out, const ArrayProxy* c) {
  if (c) {
    multiply_stacks(s, reinterpret_cast<T*>(c->data));
    return Py_NewRef(out);
  }
  py::array_t<T> result(s.shape_of_product());
  multiply_stacks(s, result.mutable_data());
  return result.release().ptr();
}

// The product of two stacks, or of one and a matrix, as plain_product() has it.
PyObject* stacked_product(PyObject* left, PyObject* right, PyObject* out) {
  Stacks s;
  if (!s.of(left, right)) return Py_NotImplemented;
  int type;
  const ArrayProxy* const c = out != Py_None ? as_array(out, &type) : nullptr;
  if (out != Py_None && !(c && type == s.type && s.fits(c))) return Py_NotImplemented;
  try {
    return s.type == kNumpyFloat32 ? product_of<float>(s, out, c) : product_of<double>(s, out, c);
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  } catch (py::error_already_set& error) {
    error.restore();
    return nullptr;
  }
}

// ---- the call -------------------------------------------------------------------------------------

// What every other call goes to, and the name of the one argument that may have one here: set when fastbn is
// imported, kept as long as the process lives.  (As the builtin's `self` the function would be in the way of pickle.)
PyObject *general = nullptr, *name_of_out = nullptr;

// A builtin's definition, which must live as long as it does: for ever.
struct Definition {
  std::string name, doc;
  PyMethodDef def;
};

// `out` of matmul(a, b), matmul(a, b, out) or matmul(a, b, out=out); null if the call is none of them.
PyObject* out_of_call(PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (!names) return count == 3 ? args[2] : count == 2 ? Py_None : nullptr;
  const bool by_name = PyTuple_GET_SIZE(names) == 1 && PyTuple_GET_ITEM(names, 0) == name_of_out;
  return count == 2 && by_name ? args[2] : nullptr;
}

PyObject* matmul(PyObject*, PyObject* const* args, Py_ssize_t count, PyObject* names) {
  if (PyObject* const out = out_of_call(args, count, names)) {
    PyObject* result = plain_product(args[0], args[1], out);
    if (result == Py_NotImplemented) result = stacked_product(args[0], args[1], out);
    if (result != Py_NotImplemented) return result;
  }
  return PyObject_Vectorcall(general, args, static_cast<size_t>(count), names);
}

// A builtin of the name, the module and the docstring of the function that it falls back to.
py::object plain_matrices_first(const py::function& function) {
  PyObject* const out = PyUnicode_InternFromString("out");
  if (!out) throw py::error_already_set();
  auto* const d = new Definition{py::str(function.attr("__name__")), {}, {}};
  const py::object text = function.attr("__doc__");  // none if Python was told to drop docstrings
  d->doc =
      d->name + "(a, b, out=None)\n--\n\n" + (text.is_none() ? "" : std::string(py::str(text)));
  d->def = {d->name.c_str(), reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&matmul)),
            METH_FASTCALL | METH_KEYWORDS, d->doc.c_str()};
  general = py::object(function).release().ptr(), name_of_out = out;
  const py::object module = function.attr("__module__");
  return py::reinterpret_steal<py::object>(PyCFunction_NewEx(&d->def, nullptr, module.ptr()));
}

}  // namespace

void register_matmul(py::module_& m) {
  m.def("plain_matrices_first", &plain_matrices_first, py::arg("general"), py::pos_only());
}

}  // namespace fastbn::bindings
