// Class numbers as the kernels take them.
#pragma once

#include <vector>

#include "bindings/array_view.h"

namespace fastbn::bindings {

// A copy of `object`, a vector of an integer dtype; ValueError unless there are `rows`, each from 0 to
// classes - 1.  A copy: the kernels write where labels point, so that nobody may change them any more.
std::vector<index_t> checked_labels(const py::handle& object, index_t rows, index_t classes);

}  // namespace fastbn::bindings
