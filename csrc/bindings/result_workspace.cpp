#include "bindings/result_workspace.h"

#include <pybind11/critical_section.h>

#include <atomic>
#include <cstdint>
#include <utility>

namespace fastbn::bindings {

namespace py = pybind11;

namespace {

constexpr py::ssize_t kAlignment = 64;  // a cache line, and the widest vector

// Two: the user's loop still holds the last step's result, `y = net(x, training=True)`, while the
// next one is computed.  Results that nobody holds from step to step only ever need one.
constexpr std::size_t kMostBlocks = 2;

py::handle the_type;

char* aligned(const py::array& owner) {
  const auto start = reinterpret_cast<std::uintptr_t>(owner.data());
  return reinterpret_cast<char*>((start + kAlignment - 1) / kAlignment * kAlignment);
}

bool is_idle(const py::array& owner) {
  if (Py_REFCNT(owner.ptr()) > 1) return false;
  // Without the GIL, what the last holder did in another thread comes before what is written now.
  std::atomic_thread_fence(std::memory_order_acquire);
  return true;
}

class ResultWorkspace {
 public:
  struct Block {
    py::array owner;
    py::ssize_t bytes;
  };
  const Block& block_of(py::ssize_t bytes);

 private:
  std::vector<Block> blocks_;
};

const ResultWorkspace::Block& ResultWorkspace::block_of(py::ssize_t bytes) {
  auto unfit = blocks_.end();
  for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
    if (!is_idle(block->owner)) continue;
    if (block->bytes >= bytes) return *block;
    unfit = block;
  }
  Block made{py::array_t<std::uint8_t>(bytes + kAlignment), bytes};
  if (unfit == blocks_.end() && blocks_.size() == kMostBlocks) --unfit;  // the oldest
  if (unfit != blocks_.end()) blocks_.erase(unfit);
  return *blocks_.insert(blocks_.begin(), std::move(made));
}

}  // namespace

bool is_workspace(const py::handle& object) {
  return py::type::handle_of(object).is(the_type);
}

py::array lend(const py::handle& workspace, const py::dtype& dtype,
               const std::vector<py::ssize_t>& shape) {
  py::ssize_t bytes = dtype.itemsize();
  for (const py::ssize_t n : shape) bytes *= n;
  // Where there is no GIL, the object's own lock: until the new array holds the block.
  const py::scoped_critical_section guard(workspace);
  const auto& block = workspace.cast<ResultWorkspace&>().block_of(bytes);
  return py::array(dtype, shape, py::detail::c_strides(shape, dtype.itemsize()),
                   aligned(block.owner), block.owner);
}

void register_workspace(py::module_& m) {
  the_type = py::class_<ResultWorkspace>(m, "Workspace")
                 .def(py::init<>())
                 .def(
                     "lend",
                     [](const py::object& self, const py::tuple& shape, const py::dtype& dtype) {
                       // Of numbers only: a reference at an arbitrary address would be followed.
                       if (dtype.kind() == 'O') throw py::type_error("no memory for objects");
                       std::vector<py::ssize_t> sizes;
                       for (const py::handle& n : shape) sizes.push_back(n.cast<py::ssize_t>());
                       return lend(self, dtype, sizes);
                     },
                     py::arg("shape"), py::arg("dtype"))
                 // A copy of a layer grows its own.
                 .def("__reduce__", [](const py::object& self) {
                   return py::make_tuple(py::type::of(self), py::tuple());
                 });
}

}  // namespace fastbn::bindings
