#include "bindings/batchnorm_arguments.h"
#include "bindings/tape.h"

#include <pybind11/stl.h>

#include <cmath>
#include <utility>
#include <vector>

namespace fastbn::bindings {
namespace {

int channel_axis(const py::array& x, int axis) {
  const int ndim = static_cast<int>(x.ndim());
  if (ndim < 2) {
    throw py::value_error("x must have at least 2 dimensions, got shape " + to_string(shape_of(x)));
  }
  const int positive = axis < 0 ? axis + ndim : axis;
  if (positive < 0 || positive >= ndim) {
    throw py::value_error("axis " + std::to_string(axis) + " is out of range for x of shape " +
                          to_string(shape_of(x)));
  }
  return positive;
}

// Whether axes [begin, end) step through memory like one axis; its stride in elements.
bool merges(const py::array& a, int begin, int end, py::ssize_t* stride) {
  *stride = 0;
  bool first = true;
  py::ssize_t expected = 0;
  for (int i = end - 1; i >= begin; --i) {
    if (a.shape(i) == 1) continue;
    if (first) {
      *stride = a.strides(i) / a.itemsize();
      first = false;
    } else if (a.strides(i) / a.itemsize() != expected) {
      return false;
    }
    expected = a.strides(i) / a.itemsize() * a.shape(i);
  }
  return true;
}

// The layout that the kernels take, if the array has it.
template <class T>
bool channel_view(const py::array& a, int axis, ChannelView<T>* view) {
  const Shape shape = shape_of(a);
  const int ndim = static_cast<int>(a.ndim());
  view->data = data<std::remove_const_t<T>>(a);
  view->outer = values_along(shape, 0, axis);
  view->channels = shape[static_cast<std::size_t>(axis)];
  view->inner = values_along(shape, axis + 1, ndim);
  view->channel_stride = a.strides(axis) / a.itemsize();
  py::ssize_t inner_stride;
  if (!merges(a, 0, axis, &view->outer_stride) || !merges(a, axis + 1, ndim, &inner_stride)) {
    return false;
  }
  if (view->inner == 1) {
    if (view->channels == 1) view->channel_stride = 1;
    return view->channel_stride == 1;
  }
  return inner_stride == 1;
}

bool fits_kernels(const py::array& a, int axis) {
  ChannelView<float> unused;  // strides count elements: the type does not matter
  return channel_view(a, axis, &unused);
}

py::array fitting(const py::array& a, int axis) {
  return fits_kernels(a, axis) ? a : contiguous(a);
}

template <class T>
ChannelView<T> view_of(const py::array& a, int axis) {
  ChannelView<T> view;
  channel_view(a, axis, &view);
  return view;
}

// The array that a kernel writes to: `out`'s own where its layout fits.
const py::array& destination(Output& out, int axis) {
  return fits_kernels(out.array(), axis) ? out.strided() : out.contiguous();
}

// One weight a position, none of them negative.
std::optional<py::array> checked_weights(const py::object& object, const py::array& x, int axis) {
  if (object.is_none()) return std::nullopt;
  py::array w = contiguous_input(object, "weights");
  require_same_dtype(w, "weights", x, "x");
  Shape positions = shape_of(x);
  positions.erase(positions.begin() + axis);
  require_shape(w, "weights", positions, "one weight for each position of x");
  with_dtype(w, [&](auto zero) {
    const auto* p = data<decltype(zero)>(w);
    for (py::ssize_t i = 0; i < w.size(); ++i) {
      if (p[i] >= 0 && std::isfinite(p[i])) continue;
      throw py::value_error("weights must be finite and at least 0, got " +
                            std::to_string(double(p[i])));
    }
  });
  return w;
}

template <class T>
void require_enough_weights(const T* weights, const ChannelView<const T>& x,
                            const BatchNormCounting<T>& counting) {
  const py::ssize_t of_sample = x.outer * x.inner / counting.samples;
  for (index_t g = 0; g < counting.groups; ++g) {
    const T* w = weights + counting.first_sample(g) * of_sample;
    const T* end = weights + counting.first_sample(g + 1) * of_sample;
    py::ssize_t counted = 0;
    for (; w < end; ++w) counted += *w > 0;
    if (counted > 1) continue;
    throw py::value_error(std::string(kTooFew) + ", got " + std::to_string(counted) +
                          " of weight above 0");
  }
}

void separate(std::optional<py::array>& input, const py::array& output) {
  if (input) bindings::separate(*input, output);
}

py::tuple batch_norm_binding(const py::object& x_object, const py::object& gamma_object,
                             const py::object& beta_object, const py::object& mean_object,
                             const py::object& var_object, bool training,
                             std::optional<double> momentum, double eps, int axis, bool unbiased,
                             const py::object& activation, const py::object& out_object,
                             const py::object& weights_object, py::ssize_t groups,
                             const py::object& count_object) {
  py::array x = input(x_object, "x");
  axis = channel_axis(x, axis);
  const Shape shape = shape_of(x);
  const py::ssize_t channels = shape[static_cast<std::size_t>(axis)];
  auto gamma = channel_vector(gamma_object, "gamma", x, channels);
  auto beta = channel_vector(beta_object, "beta", x, channels);
  require_statistics(mean_object, var_object, training);
  auto mean = channel_vector(mean_object, "running_mean", x, channels);
  auto var = channel_vector(var_object, "running_var", x, channels);
  auto weights = checked_weights(weights_object, x, axis);
  BatchCount count(count_object);
  const BatchNormMomentum taken =
      count.momentum(momentum, unbiased, training && !mean_object.is_none());
  require_number("eps", eps, 0, HUGE_VAL);
  if (!training) groups = 1;
  if (groups < 1) throw py::value_error("groups must be at least 1, got " + std::to_string(groups));
  if (training) require_enough_values(shape, axis, groups);
  const bool relu = wants_relu(activation);
  Output out = Output::lendable(out_object, "out", is_float32(x), shape);
  RunningStatistics running(training ? mean_object : py::none(), var_object, is_float32(x),
                            channels);
  if (training) {
    constexpr const char* why =
        ", which the backward pass needs; give another array, or training=False";
    require_apart(out.array(), "out", x, "x", why);
    if (weights) require_apart(out.array(), "out", *weights, "weights", why);
  } else if (!same_memory(x, out.array())) {
    bindings::separate(x, out.array());
  }
  constexpr const char* needed = ", which the backward pass needs; give another array";
  running.require_apart_from(x, "x", needed);
  running.require_apart_from(out.array(), "out", kBothWritten);
  if (weights) running.require_apart_from(*weights, "weights", needed);
  for (auto* input : {&gamma, &beta, &mean, &var, &weights}) separate(*input, out.array());
  x = fitting(x, axis);

  const NewCache made = new_cache({x, weights, shape, axis, training, relu,
                                   same_memory(x, out.array()), groups, channels, nullptr});
  const BatchNormCache& cache = made.cache;
  const py::array y = destination(out, axis);
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const auto xv = view_of<const T>(x, axis);
    const auto yv = view_of<T>(y, axis);
    const auto statistics = cache.template view<T>();
    const BatchNormParameters<T> parameters{data<T>(gamma), data<T>(beta), eps, relu};
    if (xv.outer * xv.inner == 0 || channels == 0) return;
    const auto counting = cache.template counting<T>();
    if (training && weights) require_enough_weights(data<T>(weights), xv, counting);
    const bool tracks = running.tracked();
    T* const running_mean = tracks ? data<T>(running.mean->contiguous(true)) : nullptr;
    T* const running_var = tracks ? data<T>(running.var->contiguous(true)) : nullptr;
    if (!training) {
      const T *const given_mean = data<T>(mean), *const given_var = data<T>(var);
      return perform({x, handle_of(gamma), handle_of(beta), handle_of(weights), handle_of(mean),
                      handle_of(var), y, statistics_on_tape(cache)},
                     [=](const Operands& now) {
                       batch_norm_inference(now(xv), parameters, given_mean, given_var, now.to(yv),
                                            statistics, counting);
                     });
    }
    std::vector<double> n(static_cast<std::size_t>(groups));
    values_of_groups(xv, counting, n.data());
    void* const counter = count.counter();
    perform({x, handle_of(gamma), handle_of(beta), handle_of(weights), y, statistics_on_tape(cache),
             mean_object, var_object, count_object},
            [=](const Operands& now) {
              batch_norm_training(now(xv), parameters, now.to(yv), statistics, counting);
              if (tracks) {
                update_running(channels, n.data(), groups, taken, statistics, running_mean,
                               running_var);
              }
              count_batches(counter, groups);
            });
  });
  running.take();
  return py::make_tuple(out.take(), made.object);
}

py::tuple batch_norm_backward_binding(const py::object& dy_object, const BatchNormCache& cache,
                                      const py::object& out_object, const py::object& dgamma_object,
                                      const py::object& dbeta_object) {
  require_kept(cache);
  py::array dy = input(dy_object, "dy");
  require_same_dtype(dy, "dy", cache.x, "x");
  require_shape(dy, "dy", cache.shape, "the shape of x in the forward pass");
  const bool float32 = is_float32(cache.x);
  const py::ssize_t channels = cache.channels;
  Output out = Output::lendable(out_object, "out", float32, cache.shape);
  Output dgamma(dgamma_object, "dgamma", float32, {channels});
  Output dbeta(dbeta_object, "dbeta", float32, {channels});
  constexpr const char* why = " of the forward pass";
  require_apart(out.array(), "out", cache.x, "the x", why);
  require_apart(dgamma.array(), "dgamma", cache.x, "the x", why);
  require_apart(dbeta.array(), "dbeta", cache.x, "the x", why);
  if (cache.weights) {
    require_apart(out.array(), "out", *cache.weights, "the weights", why);
    require_apart(dgamma.array(), "dgamma", *cache.weights, "the weights", why);
    require_apart(dbeta.array(), "dbeta", *cache.weights, "the weights", why);
  }
  require_apart(dgamma.array(), "dgamma", out.array(), "out", kBothWritten);
  require_apart(dbeta.array(), "dbeta", out.array(), "out", kBothWritten);
  require_apart(dgamma.array(), "dgamma", dbeta.array(), "dbeta", kBothWritten);
  if (!same_memory(dy, out.array())) bindings::separate(dy, out.array());
  bindings::separate(dy, dgamma.array());
  bindings::separate(dy, dbeta.array());
  dy = fitting(dy, cache.axis);
  const py::array dx = destination(out, cache.axis);
  const py::array gamma_to = dgamma.contiguous(), beta_to = dbeta.contiguous();
  with_dtype(dy, [&](auto zero) {
    using T = decltype(zero);
    const auto dyv = view_of<const T>(dy, cache.axis), xv = view_of<const T>(cache.x, cache.axis);
    const auto dxv = view_of<T>(dx, cache.axis);
    const auto statistics = cache.view<T>();
    T *const g = data<T>(gamma_to), *const b = data<T>(beta_to);
    if (xv.outer * xv.inner == 0) {
      for (index_t c = 0; c < channels; ++c) g[c] = b[c] = T(0);
      return;
    }
    const bool training = cache.training, relu = cache.relu;
    const auto counting = cache.counting<T>();
    perform({dy, cache.x, dx, gamma_to, beta_to, statistics_on_tape(cache)},
            [=](const Operands& now) {
              batch_norm_backward(now(dyv), now(xv), statistics, training, relu, now.to(dxv), g, b,
                                  counting);
            });
  });
  return py::make_tuple(out.take(), dgamma.take(), dbeta.take());
}

}  // namespace

void register_batchnorm(py::module_& m) {
  using py::arg;
  py::class_<BatchNormCache>(m, "BatchNormCache")
      .def_readonly("x", &BatchNormCache::x)
      .def_readonly("training", &BatchNormCache::training)
      .def_readonly("weights", &BatchNormCache::weights)
      .def_readonly("groups", &BatchNormCache::groups)
      .def_property_readonly("mean", [](const BatchNormCache& c) { return c.row(0); })
      .def_property_readonly("var", [](const BatchNormCache& c) { return c.row(2); })
      .def_property_readonly("invstd", [](const BatchNormCache& c) { return c.row(3); });
  // Called by position: a keyword costs some 80 ns, which is most of a small call's time.
  m.def("batch_norm", &batch_norm_binding, arg("x"), arg("gamma"), arg("beta"),
        arg("running_mean") = py::none(), arg("running_var") = py::none(), arg("training") = false,
        arg("momentum") = 0.1, arg("eps") = 1e-5, arg("axis") = 1, arg("unbiased") = true,
        arg("activation") = py::none(), arg("out") = py::none(), arg("weights") = py::none(),
        arg("groups") = 1, arg("num_batches_tracked") = py::none());
  m.def("batch_norm_backward", &batch_norm_backward_binding, arg("dy"), arg("cache"),
        arg("out") = py::none(), arg("dgamma") = py::none(), arg("dbeta") = py::none());
}

}  // namespace fastbn::bindings
