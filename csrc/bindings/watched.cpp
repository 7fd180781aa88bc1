#include "bindings/watched.h"

#include <pybind11/critical_section.h>

namespace fastbn::bindings {
namespace {

// Whether a dict still has these keys and these very values; any value where `...` is expected.
bool holds_the_same(const py::handle& dict, const py::handle& keys, const py::handle& values) {
  const py::scoped_critical_section guard(dict);
  const py::ssize_t size = PyTuple_GET_SIZE(keys.ptr());
  if (PyDict_Size(dict.ptr()) != size || PyTuple_GET_SIZE(values.ptr()) != size) return false;
  PyObject *key, *value;
  py::ssize_t at = 0;
  for (py::ssize_t i = 0; PyDict_Next(dict.ptr(), &at, &key, &value); ++i) {
    PyObject* const expected = PyTuple_GET_ITEM(values.ptr(), i);
    if (key != PyTuple_GET_ITEM(keys.ptr(), i)) return false;
    if (value != expected && expected != Py_Ellipsis) return false;
  }
  return true;
}

// The same of an object with slots alone.
bool slots_are_the_same(const py::handle& object, const py::handle& keys,
                        const py::handle& values) {
  const py::ssize_t size = PyTuple_GET_SIZE(keys.ptr());
  if (PyTuple_GET_SIZE(values.ptr()) != size) return false;
  for (py::ssize_t i = 0; i < size; ++i) {
    const py::object value = py::getattr(object, py::handle(PyTuple_GET_ITEM(keys.ptr(), i)));
    if (value.ptr() != PyTuple_GET_ITEM(values.ptr(), i)) return false;
  }
  return true;
}

bool is_the_same(const py::handle& object, const py::handle& keys, const py::handle& values) {
  if (PyDict_Check(object.ptr())) return holds_the_same(object, keys, values);
  if (Py_TYPE(object.ptr())->tp_dictoffset == 0) return slots_are_the_same(object, keys, values);
  return holds_the_same(attributes_of(object), keys, values);
}

}  // namespace

py::dict attributes_of(const py::handle& object) {
  auto dict = py::reinterpret_steal<py::dict>(PyObject_GenericGetDict(object.ptr(), nullptr));
  if (!dict) throw py::error_already_set();
  return dict;
}

bool unchanged(const py::tuple& watched) {
  for (const py::handle& item : watched) {
    if (!PyTuple_Check(item.ptr()) || PyTuple_GET_SIZE(item.ptr()) != 4)
      throw py::type_error("what a tape watches is (object, type, keys, values)");
    const py::handle object = PyTuple_GET_ITEM(item.ptr(), 0),
                     type = PyTuple_GET_ITEM(item.ptr(), 1), keys = PyTuple_GET_ITEM(item.ptr(), 2),
                     values = PyTuple_GET_ITEM(item.ptr(), 3);
    if (!PyTuple_Check(keys.ptr()) || !PyTuple_Check(values.ptr()))
      throw py::type_error("keys and values that a tape watches are tuples");
    if (!py::type::handle_of(object).is(type)) return false;
    if (!is_the_same(object, keys, values)) return false;
  }
  return true;
}

}  // namespace fastbn::bindings
