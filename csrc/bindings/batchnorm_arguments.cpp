#include "bindings/batchnorm_arguments.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "bindings/tape.h"

namespace fastbn::bindings {

py::ssize_t values_along(const Shape& shape, int begin, int end) {
  py::ssize_t n = 1;
  for (int i = begin; i < end; ++i) n *= shape[static_cast<std::size_t>(i)];
  return n;
}

py::array BatchNormCache::row(int i) const {
  py::array values =
      new_array(is_float32(x), groups == 1 ? Shape{channels} : Shape{groups, channels});
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const T* from = reinterpret_cast<const T*>(statistics.get()) + i * channels;
    for (py::ssize_t g = 0; g < groups; ++g, from += 6 * channels) {
      std::copy(from, from + channels, data<T>(values) + g * channels);
    }
  });
  values.attr("setflags")(py::arg("write") = false);  // writing to it would change nothing here
  return values;
}

std::optional<py::array> channel_vector(const py::object& object, const char* name,
                                        const py::array& x, py::ssize_t channels) {
  if (object.is_none()) return std::nullopt;
  py::array v = contiguous_input(object, name);
  require_same_dtype(v, name, x, "x");
  if (v.ndim() != 1 || v.shape(0) != channels) {  // the words are made only where they are needed
    require_shape(v, name, {channels},
                  "one value for each of the " + std::to_string(channels) + " channels of x");
  }
  return v;
}

void require_kept(const BatchNormCache& cache) {
  if (!cache.overwritten) return;
  throw py::value_error(
      "the forward pass wrote its result over x, which the backward pass needs; give another out");
}

void require_statistics(const py::object& mean, const py::object& var, bool training) {
  if (mean.is_none() != var.is_none()) {
    throw py::value_error("running_mean and running_var must be given together; " +
                          std::string(mean.is_none() ? "running_mean" : "running_var") +
                          " is None");
  }
  if (!training && mean.is_none()) {
    throw py::value_error(
        "training is False but running_mean and running_var are None: there are no statistics to "
        "normalize with");
  }
}

void require_number(const char* name, double value, double low, double high) {
  if (value >= low && value <= high) return;
  throw py::value_error(std::string(name) + " must be from " +
                        py::str(py::float_(low)).cast<std::string>() + " to " +
                        py::str(py::float_(high)).cast<std::string>() + ", got " +
                        py::str(py::float_(value)).cast<std::string>());
}

void require_enough_values(const Shape& shape, int axis, py::ssize_t groups) {
  const py::ssize_t channels = shape[static_cast<std::size_t>(axis)];
  const py::ssize_t n =
      values_along(shape, 0, axis) * values_along(shape, axis + 1, static_cast<int>(shape.size()));
  if (n == 0 || channels == 0) return;
  const py::ssize_t samples = axis == 0 ? 1 : shape.front();
  if (groups > samples) {
    throw py::value_error("x of shape " + to_string(shape) + " has fewer samples than the " +
                          std::to_string(groups) + " groups");
  }
  const py::ssize_t fewest = samples / groups * (n / samples);
  if (fewest > 1) return;
  throw py::value_error(std::string(kTooFew) + ", got 1 in " + (groups == 1 ? "" : "a group of ") +
                        "x of shape " + to_string(shape));
}

void require_apart(const py::array& a, const char* a_name, const py::array& b, const char* b_name,
                   const char* why) {
  if (!may_overlap(a, b)) return;
  throw py::value_error(std::string(a_name) + " overlaps " + b_name + why);
}

NewCache new_cache(BatchNormCache fields) {
  auto made = std::make_unique<BatchNormCache>(std::move(fields));
  made->allocate();
  BatchNormCache& cache = *made;
  return {py::cast(std::move(made)), cache};
}

py::object statistics_on_tape(const BatchNormCache& cache) {
  using Statistics = std::shared_ptr<double[]>;
  if (!taping()) return py::none();
  return py::capsule(new Statistics(cache.statistics),
                     [](void* p) { delete static_cast<Statistics*>(p); });
}

BatchCount::BatchCount(const py::object& object) {
  if (object.is_none()) return;
  if (!py::isinstance<py::array>(object)) {
    throw py::type_error("num_batches_tracked must be an array of int64, got " + type_name(object));
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  const py::dtype dtype = array.dtype();
  if (dtype.kind() != 'i' || dtype.itemsize() != sizeof(std::int64_t) || !is_native(dtype)) {
    throw py::type_error("num_batches_tracked must be an array of int64, got " + dtype_name(array));
  }
  if (array.ndim() != 0) {
    throw py::value_error("num_batches_tracked must have shape (), got " +
                          to_string(shape_of(array)));
  }
  if (!array.writeable()) throw py::value_error("num_batches_tracked is read-only");
  count_ = std::move(array);
}

BatchNormMomentum BatchCount::momentum(std::optional<double> momentum, bool unbiased,
                                       bool tracked) const {
  if (momentum) {
    require_number("momentum", *momentum, 0, 1);
    return {*momentum, unbiased};
  }
  if (!tracked) return {0, unbiased};
  spoil_tape();  // each step's weight is another
  if (!count_) {
    throw py::value_error(
        "momentum=None, the cumulative average, needs num_batches_tracked, got None");
  }
  return {0, unbiased, value()};
}

// By memcpy: the array may be unaligned.
std::int64_t BatchCount::value() const {
  std::int64_t count;
  std::memcpy(&count, count_->data(), sizeof(count));
  return count;
}

void count_batches(void* counter, std::int64_t batches) {
  if (!counter) return;
  std::int64_t count;
  std::memcpy(&count, counter, sizeof(count));
  count += batches;
  std::memcpy(counter, &count, sizeof(count));
}

RunningStatistics::RunningStatistics(const py::object& mean_object, const py::object& var_object,
                                     bool float32, py::ssize_t channels) {
  if (mean_object.is_none()) return;
  mean.emplace(mean_object, "running_mean", float32, Shape{channels});
  var.emplace(var_object, "running_var", float32, Shape{channels});
  require_apart(mean->array(), "running_mean", var->array(), "running_var", kBothWritten);
}

void RunningStatistics::require_apart_from(const py::array& other, const char* name,
                                           const char* why) const {
  if (!tracked()) return;
  require_apart(mean->array(), "running_mean", other, name, why);
  require_apart(var->array(), "running_var", other, name, why);
}

}  // namespace fastbn::bindings
