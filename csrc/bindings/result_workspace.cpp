#include "bindings/result_workspace.h"

#include <pybind11/critical_section.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>

#include "bindings/array_view.h"

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

// To keep a block that can never be told idle would be to waste it.
#if defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030E0000
constexpr bool kTellsWhatIsIdle = false;
#else
constexpr bool kTellsWhatIsIdle = true;
#endif

// Whether the workspace alone holds the array.  Without the GIL a count is two numbers that are not read at
// once, one of the thread that made the array and one of all others: only the maker can tell, and any
// other thread is lent new memory.  Python 3.13 without the GIL has no such question to ask.
bool is_idle(const py::array& owner) {
#if !defined(Py_GIL_DISABLED)
  return Py_REFCNT(owner.ptr()) == 1;
#elif PY_VERSION_HEX >= 0x030E0000
  if (!PyUnstable_Object_IsUniquelyReferenced(owner.ptr())) return false;
  // What the last holder did in another thread comes before what is written now.
  std::atomic_thread_fence(std::memory_order_acquire);
  return true;
#else
  return false;
#endif
}

class ResultWorkspace {
 public:
  // By value: the caller holds the memory, so that nobody else is lent it.
  py::array owner_of(py::ssize_t bytes);

 private:
  struct Block {
    py::array owner;
    py::ssize_t bytes;
  };
  void keep(Block made);
  std::vector<Block> blocks_;
};

// No iterator outlives the allocation, in which another thread may be let in.
py::array ResultWorkspace::owner_of(py::ssize_t bytes) {
  for (const Block& block : blocks_) {
    if (block.bytes >= bytes && is_idle(block.owner)) return block.owner;
  }
  py::array owner = py::array_t<std::uint8_t>(bytes + kAlignment);
  if (kTellsWhatIsIdle) keep({owner, bytes});
  return owner;
}

// In the place of an idle block, which was too small, or else of the oldest.
void ResultWorkspace::keep(Block made) {
  auto replaced = blocks_.end();
  for (auto block = blocks_.begin(); block != blocks_.end(); ++block) {
    if (is_idle(block->owner)) replaced = block;
  }
  if (replaced == blocks_.end() && blocks_.size() >= kMostBlocks) --replaced;
  if (replaced != blocks_.end()) blocks_.erase(replaced);
  blocks_.insert(blocks_.begin(), std::move(made));
}

py::ssize_t bytes_of(const py::dtype& dtype, const std::vector<py::ssize_t>& shape) {
  py::ssize_t bytes = dtype.itemsize();
  for (const py::ssize_t n : shape) {
    if (n < 0) throw py::value_error("a size must be at least 0, got shape " + to_string(shape));
    if (__builtin_mul_overflow(bytes, n, &bytes) || bytes > PY_SSIZE_T_MAX - kAlignment) {
      throw py::value_error("no memory holds shape " + to_string(shape));
    }
  }
  return bytes;
}

// Of numbers only: a reference at an arbitrary address, as in objects and strings, would be followed.
void require_numbers(const py::dtype& dtype) {
  if (std::string("biufc").find(dtype.kind()) == std::string::npos) {
    throw py::type_error("dtype must be of numbers, got " + std::string(py::str(dtype)));
  }
}

}  // namespace

bool is_workspace(const py::handle& object) {
  return py::type::handle_of(object).is(the_type);
}

py::array lend(const py::handle& workspace, const py::dtype& dtype,
               const std::vector<py::ssize_t>& shape) {
  const py::ssize_t bytes = bytes_of(dtype, shape);
  const py::scoped_critical_section guard(
      workspace);  // the object's own lock, where there is no GIL
  const py::array owner = workspace.cast<ResultWorkspace&>().owner_of(bytes);
  return py::array(dtype, shape, py::detail::c_strides(shape, dtype.itemsize()), aligned(owner),
                   owner);
}

void register_workspace(py::module_& m) {
  the_type = py::class_<ResultWorkspace>(m, "Workspace")
                 .def(py::init<>())
                 .def(
                     "lend",
                     [](const py::object& self, const py::tuple& shape, const py::dtype& dtype) {
                       if (!is_workspace(self)) {
                         throw py::type_error("self must be a Workspace, got " + type_name(self));
                       }
                       require_numbers(dtype);
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
