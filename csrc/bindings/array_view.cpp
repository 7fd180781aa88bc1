#include "bindings/array_view.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "bindings/result_workspace.h"
#include "bindings/tape.h"

namespace fastbn::bindings {

py::handle ndarray_type() {
  return reinterpret_cast<PyObject*>(py::detail::npy_api::get().PyArray_Type_);
}

namespace {

bool has_whole_strides(const py::array& a) {
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    if (a.strides(i) % a.itemsize() != 0) return false;
  }
  return true;
}

py::array copied(const py::array& a) {
  spoil_tape();  // a step's own copies would be those of the step that was taped
  constexpr int kCOrder = 0;
  PyObject* copy = py::detail::npy_api::get().PyArray_NewCopy_(a.ptr(), kCOrder);
  if (!copy) throw py::error_already_set();
  return py::reinterpret_steal<py::array>(copy);
}

bool is_masked(const py::handle& object) {
  return py::hasattr(object, "mask") && py::hasattr(object, "filled");
}

// A view of the memory that an object of another library offers by DLPack; if it offers none, or
// refuses (a tensor that records gradients), `array` stays empty and `reason` says why.
void from_dlpack(const py::handle& object, py::array* array, std::string* reason) {
  if (!py::hasattr(object, "__dlpack__")) return;
  try {
    *array = py::module_::import("numpy").attr("from_dlpack")(object).cast<py::array>();
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_Exception)) throw;
    *reason = ": " + py::str(error.value()).cast<std::string>();
  }
}

// The object as an ndarray, without a copy where it offers its memory.
py::array as_array(const py::handle& object, const char* name) {
  if (py::isinstance<py::array>(object)) {
    if (!is_ndarray(object) && is_masked(object)) {
      throw py::type_error(std::string(name) + " is a masked array; fill or compress it first");
    }
    return py::reinterpret_borrow<py::array>(object);
  }
  if (object.is_none()) throw py::type_error(std::string(name) + " must be an array, got None");
  spoil_tape();
  py::array a = py::reinterpret_steal<py::array>(py::handle());
  std::string reason;
  from_dlpack(object, &a, &reason);
  if (!a) a = py::array::ensure(object);
  if (!a) {
    throw py::type_error(std::string(name) + " must be an array, got " + type_name(object) +
                         reason);
  }
  return a;
}

// Whether two elements may share memory: sorted by size, each stride must step over all that the
// smaller ones span.
bool overlaps_itself(const py::array& a) {
  if (is_contiguous(a)) return false;
  std::vector<std::pair<py::ssize_t, py::ssize_t>> steps;  // stride, count
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    if (a.shape(i) == 0) return false;
    if (a.shape(i) > 1) steps.emplace_back(std::abs(a.strides(i)), a.shape(i));
  }
  std::sort(steps.begin(), steps.end());
  py::ssize_t span = a.itemsize();
  for (const auto& [stride, count] : steps) {
    if (stride < span) return true;
    span += stride * (count - 1);
  }
  return false;
}

}  // namespace

bool is_plain(const py::array& array) {
  return (array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0 && has_whole_strides(array);
}

bool is_contiguous(const py::array& array) {
  return (array.flags() & py::array::c_style) != 0;
}

bool is_ndarray(const py::handle& object) {
  return py::type::handle_of(object).is(ndarray_type());
}

bool is_native(const py::dtype& dtype) {
  constexpr std::uint16_t kOne = 1;
  const char low_first =
      *reinterpret_cast<const char*>(&kOne);  // 1 where the lowest byte comes first
  const char order = dtype.byteorder();
  // A dtype may name its own order, as that of newbyteorder('<') does.
  return order == '=' || order == '|' || order == (low_first ? '<' : '>');
}

py::array input(const py::handle& object, const char* name) {
  py::array a = as_array(object, name);
  const int num = a.dtype().num();
  if ((num != kNumpyFloat32 && num != kNumpyFloat64) || !is_native(a.dtype())) {
    throw py::type_error(std::string(name) + " must be float32 or float64, got " + dtype_name(a));
  }
  return is_plain(a) ? a : copied(a);
}

py::array contiguous(const py::array& array) {
  return is_contiguous(array) ? array : copied(array);
}

py::array contiguous_input(const py::handle& object, const char* name) {
  return contiguous(input(object, name));
}

py::array_t<index_t> index_input(const py::handle& object, const char* name) {
  const py::array a = as_array(object, name);
  const char kind = a.dtype().kind();
  if (kind != 'i' && kind != 'u') {
    throw py::type_error(std::string(name) + " must be of an integer dtype, got " + dtype_name(a));
  }
  const bool as_it_is = kind == 'i' && a.itemsize() == py::ssize_t{sizeof(index_t)} &&
                        is_native(a.dtype()) && is_contiguous(a) && is_plain(a);
  if (as_it_is) return py::reinterpret_borrow<py::array_t<index_t>>(a);
  return py::array_t<index_t, py::array::c_style | py::array::forcecast>::ensure(a);
}

Shape shape_of(const py::array& array) {
  return Shape(array.shape(), array.shape() + array.ndim());
}

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i ? ", " : "") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::string type_name(const py::handle& object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
}

std::string dtype_name(const py::array& array) {
  return py::str(array.dtype());
}

bool is_float32(const py::array& array) {
  return array.dtype().num() == kNumpyFloat32;
}

void require_same_dtype(const py::array& a, const char* a_name, const py::array& b,
                        const char* b_name) {
  if (a.dtype().num() == b.dtype().num()) return;
  throw py::type_error(std::string(a_name) + " is " + dtype_name(a) + " but " + b_name + " is " +
                       dtype_name(b) + "; all arrays of a call must have one dtype");
}

void require_ndim(const py::array& array, const char* name, int ndim) {
  if (array.ndim() == ndim) return;
  throw py::value_error(std::string(name) + " must have " + std::to_string(ndim) +
                        " dimensions, got " + std::to_string(array.ndim()) + " in shape " +
                        to_string(shape_of(array)));
}

void require_shape(const py::array& array, const char* name, const Shape& shape,
                   std::string_view why) {
  const auto ndim = static_cast<std::size_t>(array.ndim());
  if (ndim == shape.size() && std::equal(shape.begin(), shape.end(), array.shape())) return;
  throw py::value_error(std::string(name) + " has shape " + to_string(shape_of(array)) +
                        ", expected " + to_string(shape) + (why.empty() ? "" : ": ") +
                        std::string(why));
}

py::array new_array(bool float32, const Shape& shape) {
  if (float32) return py::array_t<float>(shape);
  return py::array_t<double>(shape);
}

Bounds bounds_of(const py::array& a) {
  auto low = reinterpret_cast<std::uintptr_t>(a.data());
  if (is_contiguous(a)) return {low, low + static_cast<std::uintptr_t>(a.nbytes())};
  auto high = low;
  for (py::ssize_t i = 0; i < a.ndim(); ++i) {
    if (a.shape(i) == 0) return {low, low};
    const py::ssize_t span = a.strides(i) * (a.shape(i) - 1);
    (span < 0 ? low : high) += static_cast<std::uintptr_t>(span);
  }
  return {low, high + static_cast<std::uintptr_t>(a.itemsize())};
}

bool may_overlap(const py::array& a, const py::array& b) {
  if (apart(bounds_of(a), bounds_of(b))) return false;
  // Neighbouring columns of one array have overlapping bounds and no element in common.
  constexpr int kMaxWork = 1000;
  return py::module_::import("numpy").attr("may_share_memory")(a, b, kMaxWork).cast<bool>();
}

bool same_memory(const py::array& a, const py::array& b) {
  if (a.data() != b.data() || a.ndim() != b.ndim() || !a.dtype().is(b.dtype())) return false;
  return std::equal(a.shape(), a.shape() + a.ndim(), b.shape()) &&
         std::equal(a.strides(), a.strides() + a.ndim(), b.strides());
}

void separate(py::array& input, const py::array& output) {
  if (may_overlap(input, output)) input = copied(input);
}

namespace {

py::array checked_out(const py::handle& out, const char* name, bool float32, const Shape& shape) {
  if (!py::isinstance<py::array>(out)) {
    throw py::type_error(std::string(name) +
                         " must be a numpy.ndarray to be written in place, got " + type_name(out));
  }
  py::array a = as_array(out, name);
  if (a.dtype().num() != (float32 ? kNumpyFloat32 : kNumpyFloat64) || !is_native(a.dtype())) {
    throw py::type_error(std::string(name) + " is " + dtype_name(a) + " but the inputs are " +
                         (float32 ? "float32" : "float64"));
  }
  require_shape(a, name, shape, "the shape of the result");
  if (!a.writeable()) throw py::value_error(std::string(name) + " is read-only");
  if (overlaps_itself(a)) {
    throw py::value_error(std::string(name) + " has elements that share memory");
  }
  return a;
}

}  // namespace

Output::Output(const py::handle& out, const char* name, bool float32, const Shape& shape)
    : array_(out.is_none() ? new_array(float32, shape) : checked_out(out, name, float32, shape)) {}

Output Output::lendable(const py::handle& out, const char* name, bool float32, const Shape& shape) {
  if (!is_workspace(out)) return Output(out, name, float32, shape);
  return Output(lend(out, py::dtype(float32 ? kNumpyFloat32 : kNumpyFloat64), shape));
}

const py::array& Output::strided(bool load) {
  return is_plain(array_) ? array_ : temporary(load);
}

const py::array& Output::contiguous(bool load) {
  return is_contiguous(array_) && is_plain(array_) ? array_ : temporary(load);
}

const py::array& Output::temporary(bool load) {
  spoil_tape();  // take() is no kernel call
  temporary_ = load ? copied(array_) : new_array(is_float32(array_), shape_of(array_));
  return *temporary_;
}

py::array Output::take() {
  if (temporary_) array_.attr("__setitem__")(py::ellipsis(), *temporary_);
  return array_;
}

int one_of(const char* name, const std::string& value,
           std::initializer_list<const char*> accepted) {
  int i = 0;
  std::string all;
  for (const char* word : accepted) {
    if (value == word) return i;
    all += (i++ ? ", '" : "'") + std::string(word) + "'";
  }
  throw py::value_error(std::string(name) + " must be one of " + all + ", got '" + value + "'");
}

bool wants_relu(const py::object& activation) {
  if (activation.is_none()) return false;
  if (!py::isinstance<py::str>(activation)) {
    throw py::type_error("activation must be None or 'relu', got " + type_name(activation));
  }
  one_of("activation", activation.cast<std::string>(), {"relu"});
  return true;
}

}  // namespace fastbn::bindings
