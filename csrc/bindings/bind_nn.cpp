#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include <pybind11/stl.h>

#include "bindings/array_view.h"
#include "bindings/tape.h"
#include "fastbn/nn.h"

namespace fastbn::bindings {
namespace {

std::string text(double value) {
  return py::str(py::float_(value));
}

// Also false for NaN.
void require_number(const char* name, double value, bool accepted, const char* range) {
  if (accepted) return;
  throw py::value_error(std::string(name) + " must be " + range + ", got " + text(value));
}

void require_not_negative(const char* name, double value) {
  require_number(name, value, value >= 0 && std::isfinite(value), "finite and not negative");
}

// Contiguous, and free of `out` but for being the very same memory: kernels work in place.
void prepare(py::array& x, const Output& out) {
  if (!same_memory(x, out.array())) separate(x, out.array());
  x = contiguous(x);
}

// --- activations --------------------------------------------------------------------------------

ActivationKind kind_of(const std::string& name) {
  return static_cast<ActivationKind>(
      one_of("name", name, {"relu", "leaky_relu", "sigmoid", "tanh", "gelu"}));
}

py::array activation_forward_binding(const std::string& name, const py::object& x_object,
                                     const py::object& out_object, double slope) {
  const ActivationKind kind = kind_of(name);
  py::array x = input(x_object, "x");
  require_not_negative("slope", slope);  // else y would not tell the sign of x
  Output out = Output::lendable(out_object, "out", is_float32(x), shape_of(x));
  prepare(x, out);
  const py::array y = out.contiguous();
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const T* const from = data<T>(x);
    T* const to = data<T>(y);
    const index_t n = x.size();
    perform({x, y}, [=](const Operands& now) {
      activation_forward(kind, n, now(from), now.to(to), static_cast<T>(slope));
    });
  });
  return out.take();
}

// dy and the array that the forward pass kept, of one dtype and shape.
std::pair<py::array, py::array> gradient_operands(const py::object& dy_object,
                                                  const py::object& saved_object,
                                                  const char* saved_name) {
  py::array dy = input(dy_object, "dy"), saved = input(saved_object, saved_name);
  require_same_dtype(dy, "dy", saved, saved_name);
  require_shape(dy, "dy", shape_of(saved), "the shape of " + std::string(saved_name));
  return {std::move(dy), std::move(saved)};
}

py::array activation_backward_binding(const std::string& name, const py::object& dy_object,
                                      const py::object& saved_object, const py::object& out_object,
                                      double slope) {
  const ActivationKind kind = kind_of(name);
  auto [dy, saved] = gradient_operands(dy_object, saved_object, "saved");
  require_not_negative("slope", slope);
  Output out = Output::lendable(out_object, "out", is_float32(dy), shape_of(dy));
  prepare(dy, out);
  prepare(saved, out);
  const py::array dx = out.contiguous();
  with_dtype(dy, [&, &dy = dy, &saved = saved](auto zero) {
    using T = decltype(zero);
    const T *const d = data<T>(dy), *const s = data<T>(saved);
    T* const to = data<T>(dx);
    const index_t n = dy.size();
    perform({dy, saved, dx}, [=](const Operands& now) {
      activation_backward(kind, n, now(d), now(s), now.to(to), static_cast<T>(slope));
    });
  });
  return out.take();
}

// --- softmax ------------------------------------------------------------------------------------

// An array as rows along its last axis.
struct Rows {
  index_t rows, cols;
};
Rows rows_of(const py::array& x, const char* name) {
  if (x.ndim() == 0) {
    throw py::value_error(std::string(name) + " must have at least 1 dimension, got shape ()");
  }
  const index_t cols = x.shape(x.ndim() - 1);
  return {cols == 0 ? 0 : x.size() / cols, cols};
}

py::array softmax_binding(const py::object& x_object, const py::object& out_object) {
  py::array x = input(x_object, "x");
  const Rows shape = rows_of(x, "x");
  Output out = Output::lendable(out_object, "out", is_float32(x), shape_of(x));
  prepare(x, out);
  const py::array y = out.contiguous();
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const T* const from = data<T>(x);
    T* const to = data<T>(y);
    perform({x, y},
            [=](const Operands& now) { softmax(shape.rows, shape.cols, now(from), now.to(to)); });
  });
  return out.take();
}

py::array softmax_backward_binding(const py::object& dy_object, const py::object& y_object,
                                   const py::object& out_object) {
  auto [dy, y] = gradient_operands(dy_object, y_object, "y");
  const Rows shape = rows_of(dy, "dy");
  Output out = Output::lendable(out_object, "out", is_float32(dy), shape_of(dy));
  prepare(dy, out);
  prepare(y, out);
  const py::array dx = out.contiguous();
  with_dtype(dy, [&, &dy = dy, &y = y](auto zero) {
    using T = decltype(zero);
    const T *const d = data<T>(dy), *const s = data<T>(y);
    T* const to = data<T>(dx);
    const Unlocked unlocked;
    softmax_backward(shape.rows, shape.cols, d, s, to);
  });
  return out.take();
}

// --- optimizers ---------------------------------------------------------------------------------

// An array that is read and written in place, of the shape and dtype of `param`.
Output updated(const py::object& object, const char* name, const py::array& param) {
  if (object.is_none()) {
    throw py::type_error(std::string(name) + " must be a numpy.ndarray, got None");
  }
  if (py::isinstance<py::array>(object)) {
    const auto a = py::reinterpret_borrow<py::array>(object);
    require_same_dtype(a, name, param, "param");
    require_shape(a, name, shape_of(param), "the shape of param");
  }
  return Output(object, name, is_float32(param), shape_of(param));
}

void require_separate(const Output& a, const char* a_name, const Output& b, const char* b_name) {
  if (!may_overlap(a.array(), b.array())) return;
  throw py::value_error(std::string(a_name) + " and " + b_name + " overlap, but both are updated");
}

py::array gradient(const py::object& object, const py::array& param) {
  const py::array grad = input(object, "grad");
  require_same_dtype(grad, "grad", param, "param");
  require_shape(grad, "grad", shape_of(param), "the shape of param");
  return grad;
}

// Parts that keep what they point to, as a taped call needs them.
struct KeptParts {
  std::vector<index_t> ends, cols;
  Parts view() const {
    return {ends.data(), static_cast<index_t>(ends.size()), cols.empty() ? nullptr : cols.data()};
  }
};

// Where the parts of `n` elements end.
KeptParts parts_of(std::vector<index_t> ends, std::vector<index_t> cols, index_t n) {
  if (!cols.empty() && cols.size() != ends.size()) {
    throw py::value_error("cols must have a value for each of ends, " +
                          std::to_string(ends.size()) + ", got " + std::to_string(cols.size()));
  }
  for (std::size_t q = 0; q < ends.size(); ++q) {
    const index_t least = q == 0 ? 0 : ends[q - 1];
    if (ends[q] < least || ends[q] > n) {
      throw py::value_error("ends must ascend to the size of param, " + std::to_string(n) +
                            ", got " + std::to_string(ends[q]) + " after " + std::to_string(least));
    }
    const index_t size = ends[q] - least, c = cols.empty() ? 0 : cols[q];
    if (c < 0 || (c > 0 && size % c != 0)) {
      throw py::value_error("cols must be 0 or divide the part's size, " + std::to_string(size) +
                            ", got " + std::to_string(c));
    }
  }
  if (!ends.empty() && ends.back() != n) {
    throw py::value_error("the last of ends must be the size of param, " + std::to_string(n) +
                          ", got " + std::to_string(ends.back()));
  }
  return {std::move(ends), std::move(cols)};
}

void sgd_update_binding(const py::object& param_object, const py::object& grad_object,
                        const py::object& velocity_object, double lr, double momentum,
                        bool nesterov, double weight_decay, std::vector<index_t> ends,
                        std::vector<index_t> cols) {
  const py::array given = input(param_object, "param");
  py::array grad = gradient(grad_object, given);
  Output param = updated(param_object, "param", given);
  const bool moving = !velocity_object.is_none();
  Output velocity = moving ? updated(velocity_object, "velocity", given) : param;
  require_not_negative("lr", lr);
  require_not_negative("momentum", momentum);
  require_not_negative("weight_decay", weight_decay);
  if (!moving && (momentum != 0 || nesterov)) {
    throw py::value_error("momentum is " + text(momentum) + " and nesterov " +
                          (nesterov ? "True" : "False") + ", but velocity is None");
  }
  if (moving) require_separate(param, "param", velocity, "velocity");
  const KeptParts parts = parts_of(std::move(ends), std::move(cols), given.size());
  prepare(grad, param);
  if (moving) prepare(grad, velocity);
  const py::array p = param.contiguous(true);
  const py::array v = moving ? velocity.contiguous(true) : p;
  with_dtype(given, [&](auto zero) {
    using T = decltype(zero);
    T *const to = data<T>(p), *const velocity_data = moving ? data<T>(v) : nullptr;
    const T* const g = data<T>(grad);
    const index_t n = grad.size();
    const SgdOptions options{lr, momentum, weight_decay, nesterov};
    spoil_tape_of_step();
    perform({p, grad, v},
            [=](const Operands&) { sgd_update(n, to, g, velocity_data, options, parts.view()); });
  });
  param.take();
  if (moving) velocity.take();
}

void require_adam_options(const AdamOptions& o) {
  if (o.step < 1) throw py::value_error("step counts from 1, got " + std::to_string(o.step));
  require_not_negative("lr", o.lr);
  require_number("beta1", o.beta1, o.beta1 >= 0 && o.beta1 < 1, "at least 0 and less than 1");
  require_number("beta2", o.beta2, o.beta2 >= 0 && o.beta2 < 1, "at least 0 and less than 1");
  require_not_negative("eps", o.eps);
  require_not_negative("weight_decay", o.weight_decay);
}

void adam_update_binding(const py::object& param_object, const py::object& grad_object,
                         const py::object& m_object, const py::object& v_object, index_t step,
                         double lr, double beta1, double beta2, double eps, double weight_decay,
                         bool decoupled, std::vector<index_t> ends, std::vector<index_t> cols) {
  const py::array given = input(param_object, "param");
  py::array grad = gradient(grad_object, given);
  Output param = updated(param_object, "param", given), m = updated(m_object, "m", given);
  Output v = updated(v_object, "v", given);
  const AdamOptions options{lr, beta1, beta2, eps, weight_decay, decoupled, step};
  require_adam_options(options);
  const KeptParts parts = parts_of(std::move(ends), std::move(cols), given.size());
  require_separate(param, "param", m, "m");
  require_separate(param, "param", v, "v");
  require_separate(m, "m", v, "v");
  for (const Output* written : {&param, &m, &v}) prepare(grad, *written);
  const py::array p = param.contiguous(true);
  const py::array m_to = m.contiguous(true), v_to = v.contiguous(true);
  with_dtype(given, [&](auto zero) {
    using T = decltype(zero);
    T *const to = data<T>(p), *const first = data<T>(m_to), *const second = data<T>(v_to);
    const T* const g = data<T>(grad);
    const index_t n = grad.size();
    spoil_tape_of_step();
    perform({p, grad, m_to, v_to}, [=](const Operands& now) {
      AdamOptions of_step = options;
      if (now.updates > 0) of_step.step = now.updates;
      adam_update(n, to, g, first, second, of_step, parts.view());
    });
  });
  param.take(), m.take(), v.take();
}

}  // namespace

void register_nn(py::module_& m) {
  using py::arg;
  m.def("activation_forward", &activation_forward_binding, arg("name"), arg("x"),
        arg("out") = py::none(), arg("slope") = 0.01);
  m.def("activation_backward", &activation_backward_binding, arg("name"), arg("dy"), arg("saved"),
        arg("out") = py::none(), arg("slope") = 0.01);
  m.def("softmax", &softmax_binding, arg("x"), arg("out") = py::none());
  m.def("softmax_backward", &softmax_backward_binding, arg("dy"), arg("y"),
        arg("out") = py::none());
  m.def("sgd_update", &sgd_update_binding, arg("param"), arg("grad"), arg("velocity"), arg("lr"),
        arg("momentum") = 0.0, arg("nesterov") = false, arg("weight_decay") = 0.0,
        arg("ends") = py::tuple(), arg("cols") = py::tuple());
  m.def("adam_update", &adam_update_binding, arg("param"), arg("grad"), arg("m"), arg("v"),
        py::kw_only(), arg("step"), arg("lr"), arg("beta1") = 0.9, arg("beta2") = 0.999,
        arg("eps") = 1e-8, arg("weight_decay") = 0.0, arg("decoupled") = false,
        arg("ends") = py::tuple(), arg("cols") = py::tuple());
}

}  // namespace fastbn::bindings
