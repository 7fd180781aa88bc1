// Objects of Python that a tape watches: are they still what they were?
#pragma once

#include <pybind11/pybind11.h>

namespace fastbn::bindings {

namespace py = pybind11;

py::dict attributes_of(const py::handle& object);

// Whether objects are still what they were, each as (object, its type, keys and values of its attributes); those of a
// dict are what it holds.  Read as they lie: the tuples hold them.
bool unchanged(const py::tuple& watched);

}  // namespace fastbn::bindings
