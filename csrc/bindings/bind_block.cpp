// Several operations in one call: the gradients of an affine layer, and the fused block of product, batch
// norm and ReLU.  Called by the layers and by functional/, which see to what depends on both: options,
// and the composition where it is due.
#include <pybind11/stl.h>

#include <cmath>

#include "bindings/batchnorm_arguments.h"
#include "bindings/tape.h"
#include "fastbn/gemm.h"
#include "fastbn/linear_batchnorm.h"

namespace fastbn::bindings {
namespace {

struct Result {
  Output* output;
  const char* name;
};

void require_product(const py::array& x, const py::array& weight) {
  require_ndim(x, "x", 2);
  require_ndim(weight, "weight", 2);
  require_same_dtype(weight, "weight", x, "x");
  if (x.shape(1) == weight.shape(0)) return;
  throw py::value_error("x has shape " + to_string(shape_of(x)) + ", but weight has " +
                        to_string(shape_of(weight)));
}

py::tuple linear_batch_norm_binding(const py::object& x_object, const py::object& weight_object,
                                    const py::object& bias_object, const py::object& gamma_object,
                                    const py::object& beta_object, const py::object& mean_object,
                                    const py::object& var_object, std::optional<double> momentum,
                                    double eps, bool unbiased, bool relu,
                                    const py::object& z_object, const py::object& y_object,
                                    const py::object& count_object) {
  py::array x = input(x_object, "x"), weight = input(weight_object, "weight");
  require_product(x, weight);
  const bool float32 = is_float32(x);
  const Shape shape{x.shape(0), weight.shape(1)};
  const py::ssize_t channels = shape[1];
  auto bias = channel_vector(bias_object, "bias", x, channels);
  auto gamma = channel_vector(gamma_object, "gamma", x, channels);
  auto beta = channel_vector(beta_object, "beta", x, channels);
  require_statistics(mean_object, var_object, true);
  BatchCount count(count_object);
  const BatchNormMomentum taken = count.momentum(momentum, unbiased, !mean_object.is_none());
  require_number("eps", eps, 0, HUGE_VAL);
  require_enough_values(shape, 1, 1);
  Output z = Output::lendable(z_object, "z", float32, shape);
  Output y = Output::lendable(y_object, "out", float32, shape);
  RunningStatistics running(mean_object, var_object, float32, channels);
  constexpr const char* needed = ", which the backward pass needs; give another array";
  for (const auto& [out, name] : {Result{&z, "z"}, Result{&y, "out"}}) {
    require_apart(out->array(), name, x, "x", needed);
    require_apart(out->array(), name, weight, "weight", needed);
    running.require_apart_from(out->array(), name, kBothWritten);
    for (auto* in : {&bias, &gamma, &beta}) {
      if (*in) separate(**in, out->array());
    }
  }
  require_apart(z.array(), "z", y.array(), "out", kBothWritten);
  running.require_apart_from(x, "x", needed);
  running.require_apart_from(weight, "weight", needed);

  const py::array z_to = z.contiguous(), y_to = y.contiguous();
  const NewCache made =
      new_cache({z_to, std::nullopt, shape, 1, /*training=*/true, relu, /*overwritten=*/false,
                 /*groups=*/1, channels, nullptr});
  const BatchNormCache& cache = made.cache;
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    if (shape[0] == 0 || channels == 0) return;
    const auto xv = matrix<const T>(x), wv = matrix<const T>(weight);
    const auto zv = matrix<T>(z_to), yv = matrix<T>(y_to);
    const auto statistics = cache.template view<T>();
    const BatchNormParameters<T> parameters{data<T>(gamma), data<T>(beta), eps, relu};
    const T* const b = data<T>(bias);
    const bool tracks = running.tracked();
    T* const running_mean = tracks ? data<T>(running.mean->contiguous(true)) : nullptr;
    T* const running_var = tracks ? data<T>(running.var->contiguous(true)) : nullptr;
    const double n = double(shape[0]);
    void* const counter = count.counter();
    perform({x, weight, handle_of(bias), handle_of(gamma), handle_of(beta), z_to, y_to,
             statistics_on_tape(cache), mean_object, var_object, count_object},
            [=](const Operands& now) {
              linear_batch_norm_training(now(xv), wv, b, parameters, zv, now.to(yv), statistics);
              if (tracks) {
                update_running(channels, &n, 1, taken, statistics, running_mean, running_var);
              }
              count_batches(counter, 1);
            });
  });
  running.take();
  return py::make_tuple(y.take(), made.object);
}

py::array linear_batch_norm_inference_binding(
    const py::object& x_object, const py::object& weight_object, const py::object& bias_object,
    const py::object& gamma_object, const py::object& beta_object, const py::object& mean_object,
    const py::object& var_object, double eps, bool relu) {
  py::array x = input(x_object, "x"), weight = input(weight_object, "weight");
  require_product(x, weight);
  const py::ssize_t channels = weight.shape(1);
  const auto bias = channel_vector(bias_object, "bias", x, channels);
  const auto gamma = channel_vector(gamma_object, "gamma", x, channels);
  const auto beta = channel_vector(beta_object, "beta", x, channels);
  require_statistics(mean_object, var_object, false);
  const auto mean = channel_vector(mean_object, "running_mean", x, channels);
  const auto var = channel_vector(var_object, "running_var", x, channels);
  require_number("eps", eps, 0, HUGE_VAL);
  py::array y = new_array(is_float32(x), {x.shape(0), channels});
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const auto xv = matrix<const T>(x), wv = matrix<const T>(weight);
    const auto yv = matrix<T>(y);
    const BatchNormParameters<T> parameters{data<T>(gamma), data<T>(beta), eps, relu};
    const T *const b = data<T>(bias), *const m = data<T>(mean), *const v = data<T>(var);
    perform({x, weight, y, handle_of(bias), handle_of(gamma), handle_of(beta), handle_of(mean),
             handle_of(var)},
            [=](const Operands& now) {
              linear_batch_norm_inference(now(xv), wv, b, parameters, m, v, now.to(yv));
            });
  });
  return y;
}

// Refuses results that share memory, and copies operands that share it with a result.
void separate_results(std::initializer_list<Result> results,
                      std::initializer_list<py::array*> operands) {
  for (const Result& a : results) {
    for (const Result* b = results.begin(); b != &a; ++b) {
      require_apart(a.output->array(), a.name, b->output->array(), b->name, kBothWritten);
    }
    for (py::array* in : operands) separate(*in, a.output->array());
  }
}

py::object taken(Output& out, bool asked) {
  return asked ? py::object(out.take()) : py::none();
}

// A cache of another function may hold other statistics, or fewer, than there are columns, or what took the
// place of the product.
void require_columns(const BatchNormCache& cache) {
  require_kept(cache);
  if (cache.axis == 1 && cache.groups == 1 && !cache.weights) return;
  throw py::value_error(
      "the cache must be of batch norm over all rows of (N, C) without weights, not of axis " +
      std::to_string(cache.axis) + (cache.weights ? " with weights" : "") + " in " +
      std::to_string(cache.groups) + " groups");
}

// dx, dweight, dbias, dgamma, dbeta.
py::tuple linear_batch_norm_backward_binding(
    const py::object& dy_object, const py::object& x_object, const py::object& weight_object,
    const BatchNormCache& cache, bool need_dx, bool need_dbias, const py::object& dx_object,
    const py::object& dz_object, const py::object& dweight_object, const py::object& dbias_object,
    const py::object& dgamma_object, const py::object& dbeta_object) {
  py::array dy = input(dy_object, "dy"), x = input(x_object, "x");
  py::array weight = input(weight_object, "weight"), z = cache.x;
  require_product(x, weight);
  require_same_dtype(dy, "dy", x, "x");
  require_shape(dy, "dy", {x.shape(0), weight.shape(1)}, "rows of x by columns of weight");
  require_same_dtype(z, "the forward pass's product", x, "x");
  require_shape(z, "the forward pass's product", shape_of(dy), "the shape of dy");
  require_columns(cache);
  const bool float32 = is_float32(x);
  const py::ssize_t channels = cache.channels;
  // Results that are not asked for have no elements.
  Output dx = Output::lendable(need_dx ? dx_object : py::none(), "dx", float32,
                               need_dx ? shape_of(x) : Shape{0, 0});
  Output dz = Output::lendable(need_dx ? dz_object : py::none(), "dz", float32,
                               need_dx ? shape_of(dy) : Shape{0, 0});
  Output dweight(dweight_object, "dweight", float32, shape_of(weight));
  Output dbias(need_dbias ? dbias_object : py::none(), "dbias", float32,
               Shape{need_dbias ? channels : 0});
  Output dgamma(dgamma_object, "dgamma", float32, {channels});
  Output dbeta(dbeta_object, "dbeta", float32, {channels});
  separate_results({{&dx, "dx"},
                    {&dz, "dz"},
                    {&dweight, "dweight"},
                    {&dbias, "dbias"},
                    {&dgamma, "dgamma"},
                    {&dbeta, "dbeta"}},
                   {&dy, &x, &weight, &z});
  if (dy.shape(1) > 1 && dy.strides(1) != dy.itemsize()) dy = contiguous(dy);
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const auto to = [](Output& out) { return data<T>(out.contiguous()); };
    LinearBatchNormGradients<T> gradients{};
    if (need_dx) {
      gradients.dx = matrix<T>(dx.contiguous());
      gradients.dz = matrix<T>(dz.contiguous());
    }
    gradients.dweight = matrix<T>(dweight.contiguous());
    gradients.dbias = need_dbias ? to(dbias) : nullptr;
    gradients.dgamma = to(dgamma), gradients.dbeta = to(dbeta);
    const auto dyv = matrix<const T>(dy), xv = matrix<const T>(x), wv = matrix<const T>(weight),
               zv = matrix<const T>(z);
    const auto statistics = cache.view<T>();
    const bool training = cache.training, relu = cache.relu;
    perform({dy, x, weight, z, dx.array(), dz.array(), dweight.array(), dbias.array(),
             dgamma.array(), dbeta.array(), statistics_on_tape(cache)},
            [=](const Operands& now) {
              LinearBatchNormGradients<T> to = gradients;
              to.dx = now.to(to.dx);
              linear_batch_norm_backward(now(dyv), now(xv), wv, zv, statistics, training, relu, to);
            });
  });
  return py::make_tuple(taken(dx, need_dx), dweight.take(), taken(dbias, need_dbias), dgamma.take(),
                        dbeta.take());
}

// dx, dweight, dbias of y = x weight + bias: one call where a layer would make three.
py::tuple linear_backward_binding(const py::object& dy_object, const py::object& x_object,
                                  const py::object& weight_object, bool need_dx, bool need_dbias,
                                  const py::object& dx_object, const py::object& dweight_object,
                                  const py::object& dbias_object) {
  py::array dy = input(dy_object, "dy"), x = input(x_object, "x");
  py::array weight = input(weight_object, "weight");
  require_product(x, weight);
  require_same_dtype(dy, "dy", x, "x");
  require_shape(dy, "dy", {x.shape(0), weight.shape(1)}, "rows of x by columns of weight");
  const bool float32 = is_float32(x);
  // Results that are not asked for have no elements.
  Output dx = Output::lendable(need_dx ? dx_object : py::none(), "dx", float32,
                               need_dx ? shape_of(x) : Shape{0, 0});
  Output dweight(dweight_object, "dweight", float32, shape_of(weight));
  Output dbias(need_dbias ? dbias_object : py::none(), "dbias", float32,
               Shape{need_dbias ? weight.shape(1) : 0});
  separate_results({{&dx, "dx"}, {&dweight, "dweight"}, {&dbias, "dbias"}}, {&dy, &x, &weight});
  if (dy.shape(1) > 1 && dy.strides(1) != dy.itemsize()) dy = contiguous(dy);
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const auto dyv = matrix<const T>(dy), xv = matrix<const T>(x), wv = matrix<const T>(weight);
    const auto dwv = matrix<T>(dweight.strided()), dxv = matrix<T>(dx.strided());
    T* const to_bias = data<T>(dbias.contiguous());
    perform({dy, x, weight, dx.array(), dweight.array(), dbias.array()}, [=](const Operands& now) {
      const auto d = now(dyv);
      gemm(transposed(now(xv)), d, dwv, GemmOptions<T>{});
      if (need_dbias) column_sums(d, to_bias);
      if (need_dx) gemm(d, transposed(wv), now.to(dxv), GemmOptions<T>{});
    });
  });
  return py::make_tuple(taken(dx, need_dx), dweight.take(), taken(dbias, need_dbias));
}

}  // namespace

void register_block(py::module_& m) {
  using py::arg;
  m.def("linear_backward", &linear_backward_binding, arg("dy"), arg("x"), arg("weight"),
        arg("need_dx") = true, arg("need_dbias") = true, arg("dx") = py::none(),
        arg("dweight") = py::none(), arg("dbias") = py::none());
  m.def("linear_batch_norm", &linear_batch_norm_binding, arg("x"), arg("weight"), arg("bias"),
        arg("gamma"), arg("beta"), arg("running_mean"), arg("running_var"), arg("momentum"),
        arg("eps"), arg("unbiased"), arg("relu"), arg("z") = py::none(), arg("out") = py::none(),
        arg("num_batches_tracked") = py::none());
  m.def("linear_batch_norm_inference", &linear_batch_norm_inference_binding, arg("x"),
        arg("weight"), arg("bias"), arg("gamma"), arg("beta"), arg("running_mean"),
        arg("running_var"), arg("eps"), arg("relu"));
  m.def("linear_batch_norm_backward", &linear_batch_norm_backward_binding, arg("dy"), arg("x"),
        arg("weight"), arg("cache"), arg("need_dx"), arg("need_dbias"), arg("dx") = py::none(),
        arg("dz") = py::none(), arg("dweight") = py::none(), arg("dbias") = py::none(),
        arg("dgamma") = py::none(), arg("dbeta") = py::none());
}

}  // namespace fastbn::bindings
