// What happens to samples before a net sees them: rows are gathered, bytes become numbers.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "bindings/array_view.h"
#include "bindings/tape.h"
#include "fastbn/nn.h"

namespace fastbn::bindings {
namespace {

constexpr int kNumpyUint8 = 2;                 // NPY_UBYTE
constexpr std::uint64_t kItemRefcount = 0x01;  // NPY_ITEM_REFCOUNT: elements that are objects
constexpr int kCContiguous = py::array::c_style;

bool is_index_vector(const py::array& a) {
  return a.ndim() == 1 && a.dtype().kind() == 'i' && a.itemsize() == sizeof(index_t) &&
         is_native(a.dtype()) && (a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) != 0;
}

// The indices, copied, since another thread may write to the caller's while rows are read; x and out fit them.
std::vector<index_t> checked_batch(const py::array& x, const py::array& indices,
                                   const py::array& out) {
  if (!is_index_vector(indices)) {
    throw py::type_error("indices must be a vector of intp, not " + std::to_string(indices.ndim()) +
                         "-D " + dtype_name(indices));
  }
  if (!out.dtype().is(x.dtype()) && !out.dtype().equal(x.dtype())) {
    throw py::type_error("out has dtype " + dtype_name(out) + ", x has " + dtype_name(x));
  }
  Shape wanted = shape_of(x);
  if (wanted.empty()) throw py::value_error("x has no rows: its shape is ()");
  const py::ssize_t samples = wanted[0], rows = wanted[0] = indices.shape(0);
  const bool fits = out.ndim() == x.ndim() && out.shape(0) >= rows &&
                    std::equal(wanted.begin() + 1, wanted.end(), out.shape() + 1);
  if (!fits || (out.flags() & kCContiguous) == 0) {
    throw py::value_error("out must be contiguous with at least shape " + to_string(wanted) +
                          ", not " + to_string(shape_of(out)));
  }
  if (!out.writeable()) throw py::value_error("out is read-only");
  std::vector<index_t> checked(static_cast<std::size_t>(rows));
  const auto* at = static_cast<const char*>(indices.data());
  for (index_t& row : checked) {
    row = *reinterpret_cast<const index_t*>(at);
    at += indices.strides(0);
    if (row < 0 || row >= samples) {
      throw py::index_error("row " + std::to_string(row) + " of " + std::to_string(samples) +
                            " rows");
    }
  }
  return checked;
}

// Whether the kernel takes them: plain memory, none of it shared.
bool is_plain_batch(const py::array& x, const py::array& out) {
  return (x.flags() & kCContiguous) != 0 && (x.dtype().flags() & kItemRefcount) == 0 &&
         !may_overlap(x, out);
}

// None, or the checked rows, of which nothing is copied yet.
py::object gather_rows_binding(const py::array& x, const py::array& indices, const py::array& out) {
  const std::vector<index_t> rows = checked_batch(x, indices, out);
  if (!is_plain_batch(x, out)) {
    return py::array_t<index_t>(static_cast<py::ssize_t>(rows.size()), rows.data());
  }
  if (out.size() == 0 || x.shape(0) == 0) return py::none();
  const auto row_bytes = static_cast<std::size_t>(x.nbytes() / x.shape(0));
  const void* const from = x.data();
  void* const to = const_cast<void*>(out.data());
  {
    const Unlocked unlocked;
    gather_rows(from, row_bytes, rows.data(), static_cast<index_t>(rows.size()), to);
  }
  return py::none();
}

py::array rescale_binding(const py::array& x_object, const py::array& out, double scale,
                          double offset) {
  if (x_object.dtype().num() != kNumpyUint8) {
    throw py::type_error("x must be uint8, got " + dtype_name(x_object));
  }
  py::array x = contiguous(x_object);
  Output y(out, "out", is_float32(input(out, "out")), shape_of(x));
  separate(x, y.array());
  const py::array target = y.contiguous();
  with_dtype(target, [&](auto zero) {
    using T = decltype(zero);
    const auto* const from = static_cast<const unsigned char*>(x.data());
    T* const to = data<T>(target);
    const index_t n = x.size();
    perform({x, target}, [=](const Operands& now) {
      rescale(n, now(from), to, static_cast<T>(scale), static_cast<T>(offset));
    });
  });
  return y.take();
}

}  // namespace

void register_data(py::module_& m) {
  using py::arg;
  m.def("gather_rows", &gather_rows_binding, arg("x"), arg("indices"), arg("out"));
  m.def("rescale", &rescale_binding, arg("x"), arg("out"), arg("scale"), arg("offset"));
}

}  // namespace fastbn::bindings
