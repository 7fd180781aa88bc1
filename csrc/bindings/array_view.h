// The only file, with its .cpp, that knows Python arrays: from objects to checked arrays and views.
//
// Every binding goes the same way: input() and Output check and prepare all arguments, raising
// before anything is written; with_dtype() picks float or double; the kernel runs on views without
// the GIL; Output::take() hands the result over.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fastbn/views.h"

namespace fastbn::bindings {

namespace py = pybind11;

using Shape = std::vector<py::ssize_t>;

constexpr int kNumpyFloat32 = 11, kNumpyFloat64 = 12;  // NPY_FLOAT, NPY_DOUBLE: part of NumPy's ABI
py::handle ndarray_type();

// A float32 or float64 array, aligned, native, strides in whole elements: `object` itself where it
// is one, a copy where only its memory is unusual, a view of anything that numpy.from_dlpack or
// numpy.asarray can see.
// TypeError for another dtype, a masked array, or what is no array.
py::array input(const py::handle& object, const char* name);

// The same, and C-contiguous.
py::array contiguous_input(const py::handle& object, const char* name);

// Copies `array` to C-contiguous memory unless it is so already.
py::array contiguous(const py::array& array);

// An integer vector as index_t, copied if its dtype differs; TypeError for other kinds.
py::array_t<index_t> index_input(const py::handle& object, const char* name);

Shape shape_of(const py::array& array);
std::string to_string(const Shape& shape);  // "(8, 10)"
std::string type_name(const py::handle& object);
std::string dtype_name(const py::array& array);

bool is_ndarray(const py::handle& object);  // itself, and of no subclass
bool is_native(const py::dtype& dtype);     // in its byte order
bool is_plain(const py::array& array);      // aligned, strides in whole elements
bool is_contiguous(const py::array& array);
bool is_float32(const py::array& array);
void require_same_dtype(const py::array& a, const char* a_name, const py::array& b,
                        const char* b_name);
void require_ndim(const py::array& array, const char* name, int ndim);
// ValueError "name has shape (3,), expected (4,): why"
void require_shape(const py::array& array, const char* name, const Shape& shape,
                   std::string_view why);

py::array new_array(bool float32, const Shape& shape);

// Whether elements of the two may share memory: never false where they do, and true where they do
// not only if that is too hard to tell.
bool may_overlap(const py::array& a, const py::array& b);
// Where an array's lowest byte lies, and what follows its highest.
struct Bounds {
  std::uintptr_t low, high;
};
Bounds bounds_of(const py::array& array);
// Whether no byte of the one lies between two of the other.
inline bool apart(const Bounds& a, const Bounds& b) {
  return a.low >= b.high || b.low >= a.high;
}
// The same memory element for element: an elementwise kernel may work in place.
bool same_memory(const py::array& a, const py::array& b);

// Makes `input` a copy if it overlaps `output`.
void separate(py::array& input, const py::array& output);

// Where a result goes: a new array, the caller's `out=`, checked for dtype, shape, writability and for
// elements that share memory, or one that a layer's workspace lends.
class Output {
 public:
  // `out` is None or the caller's array.
  Output(const py::handle& out, const char* name, bool float32, const Shape& shape);

  // `out` may be a ResultWorkspace, too: for results that are written before they are read, as what it lends
  // holds arbitrary values.
  static Output lendable(const py::handle& out, const char* name, bool float32, const Shape& shape);

  // The caller's array or the new or lent one.
  const py::array& array() const { return array_; }
  // Memory for a kernel that takes any strides, or for one that takes C-contiguous arrays alone:
  // the array itself, or a temporary that take() copies.  With `load`, the temporary starts with
  // the array's values.
  const py::array& strided(bool load = false);
  const py::array& contiguous(bool load = false);
  // Copies a temporary back and returns the array.
  py::array take();

 private:
  explicit Output(py::array array) : array_(std::move(array)) {}
  const py::array& temporary(bool load);

  py::array array_;
  std::optional<py::array> temporary_;
};

template <class T>
T* data(const py::array& array) {
  return static_cast<T*>(const_cast<void*>(array.data()));
}
template <class T>
T* data(const std::optional<py::array>& array) {  // null where there is none
  return array ? data<T>(*array) : nullptr;
}

// Of nothing where there is none.
inline py::handle handle_of(const std::optional<py::array>& array) {
  return array ? py::handle(*array) : py::handle();
}

template <class T>
Matrix<T> matrix(const py::array& a) {  // of a 2-D array
  const auto size = static_cast<py::ssize_t>(sizeof(T));
  using Element = std::remove_const_t<T>;
  return {data<Element>(a), a.shape(0), a.shape(1), a.strides(0) / size, a.strides(1) / size};
}

template <class T>
Matrix<T> transposed(const Matrix<T>& m) {
  return {m.data, m.cols, m.rows, m.col_stride, m.row_stride};
}

// f(float()) or f(double()), by the dtype of `array`.
template <class F>
auto with_dtype(const py::array& array, F&& f) {
  return is_float32(array) ? f(float()) : f(double());
}

// Which of the accepted words a string argument is: its index, or ValueError naming all of them.
int one_of(const char* name, const std::string& value, std::initializer_list<const char*> accepted);
// activation=None or "relu".
bool wants_relu(const py::object& activation);

void register_gemm(py::module_& m);
void register_matmul(py::module_& m);
void register_batchnorm(py::module_& m);
void register_block(py::module_& m);
void register_nn(py::module_& m);
void register_data(py::module_& m);
void register_loss(py::module_& m);
void register_probe(py::module_& m);
void register_runtime(py::module_& m);
void register_capi(py::module_& m);

}  // namespace fastbn::bindings
