#include "bindings/array_view.h"
#include "bindings/tape.h"
#include "fastbn/gemm.h"

namespace fastbn::bindings {
namespace {

void require_product_shapes(const py::array& a, bool trans_a, const py::array& b, bool trans_b) {
  require_ndim(a, "a", 2);
  require_ndim(b, "b", 2);
  const py::ssize_t k_a = a.shape(trans_a ? 0 : 1), k_b = b.shape(trans_b ? 1 : 0);
  if (k_a == k_b) return;
  throw py::value_error("inner dimensions differ: a" + std::string(trans_a ? ".T" : "") + " has " +
                        std::to_string(k_a) + " columns (shape " + to_string(shape_of(a)) + "), b" +
                        (trans_b ? ".T" : "") + " has " + std::to_string(k_b) + " rows (shape " +
                        to_string(shape_of(b)) + ")");
}

py::array gemm_binding(const py::object& a_object, const py::object& b_object,
                       const py::object& c_object, double alpha, double beta, bool trans_a,
                       bool trans_b, const py::object& bias_object, const py::object& activation) {
  py::array a = input(a_object, "a"), b = input(b_object, "b");
  require_same_dtype(a, "a", b, "b");
  require_product_shapes(a, trans_a, b, trans_b);
  const py::ssize_t m = a.shape(trans_a ? 1 : 0), n = b.shape(trans_b ? 0 : 1);
  std::optional<py::array> bias;
  if (!bias_object.is_none()) {
    bias = contiguous_input(bias_object, "bias");
    require_same_dtype(*bias, "bias", a, "a");
    require_shape(*bias, "bias", {n}, "one value a column of the product");
  }
  const bool relu = wants_relu(activation);
  if (beta != 0 && c_object.is_none()) {
    throw py::value_error("beta is " + std::to_string(beta) +
                          " but c is None: there is nothing to scale");
  }
  const Shape shape{m, n};
  Output c = beta == 0 ? Output::lendable(c_object, "c", is_float32(a), shape)
                       : Output(c_object, "c", is_float32(a), shape);
  if (!c_object.is_none()) {
    separate(a, c.array());
    separate(b, c.array());
    if (bias) separate(*bias, c.array());
  }
  const py::array target = c.strided(beta != 0);
  with_dtype(a, [&](auto zero) {
    using T = decltype(zero);
    auto av = matrix<const T>(a), bv = matrix<const T>(b);
    if (trans_a) av = transposed(av);
    if (trans_b) bv = transposed(bv);
    const Matrix<T> cv = matrix<T>(target);
    GemmOptions<T> options;
    options.alpha = static_cast<T>(alpha), options.beta = static_cast<T>(beta);
    options.columns.bias = data<T>(bias);
    options.relu = relu;
    perform({a, b, target, handle_of(bias)},
            [=](const Operands& now) { gemm(now(av), now(bv), now.to(cv), options); });
  });
  return c.take();
}

py::array column_sums_binding(const py::object& x_object, const py::object& out) {
  py::array x = input(x_object, "x");
  require_ndim(x, "x", 2);
  if (x.shape(1) > 1 && x.strides(1) != x.itemsize()) x = contiguous(x);
  Output sums(out, "out", is_float32(x), {x.shape(1)});
  if (!out.is_none()) separate(x, sums.array());
  const py::array target = sums.contiguous();
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const auto view = matrix<const T>(x);
    T* const to = data<T>(target);
    const Unlocked unlocked;
    column_sums(view, to);
  });
  return sums.take();
}

}  // namespace

void register_gemm(py::module_& m) {
  using py::arg;
  // Of a call by layers a keyword costs 0.15 us, where all of the call costs 0.5: none is required.
  m.def("gemm", &gemm_binding, arg("a"), arg("b"), arg("c") = py::none(), arg("alpha") = 1.0,
        arg("beta") = 0.0, arg("trans_a") = false, arg("trans_b") = false, arg("bias") = py::none(),
        arg("activation") = py::none());
  m.def("column_sums", &column_sums_binding, arg("x"), arg("out") = py::none());
}

}  // namespace fastbn::bindings
