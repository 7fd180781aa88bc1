// Arrays that a layer lends out for its results and takes back when nobody holds them any more.
//
// A training step that allocates its activations anew pays for it twice: in page faults, and in
// results that are no longer in cache.  A layer therefore keeps its results' memory.  But a user may
// keep a result (y1 = layer(x1, training=True)), and it must not change under his hands when the layer
// runs again.  Python counts who holds an array.  Every view of an array, and every view of a view,
// holds the array that owns the memory: what has one reference, the workspace's own, can be lent.
#pragma once

#include <pybind11/numpy.h>

#include <vector>

namespace fastbn::bindings {

bool is_workspace(const pybind11::handle& object);

// A C-contiguous array that nobody else holds, at a multiple of 64 bytes; its values are arbitrary.  The
// same memory again once it is free; a smaller array lies at the start of a larger block, so that the last,
// smaller batch of an epoch does not cost the large block.  Several threads may ask one workspace.  (Python 3.13
// without the GIL cannot say who holds an array: there each is new.)
pybind11::array lend(const pybind11::handle& workspace, const pybind11::dtype& dtype,
                     const std::vector<pybind11::ssize_t>& shape);

void register_workspace(pybind11::module_& m);

}  // namespace fastbn::bindings
