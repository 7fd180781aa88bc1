// Losses: the cross-entropy of scores and labels, and the share of right answers; the mean squared error.
#include <limits>
#include <memory>
#include <utility>

#include "bindings/labels.h"
#include "bindings/tape.h"
#include "fastbn/nn.h"

namespace fastbn::bindings {

std::vector<index_t> checked_labels(const py::handle& object, index_t rows, index_t classes) {
  const auto given = index_input(object, "labels");
  const auto scores = [=] { return "logits of shape " + to_string({rows, classes}); };
  if (given.ndim() != 1 || given.shape(0) != rows) {  // the words are made only where needed
    require_shape(given, "labels", {rows}, "one label for each row of " + scores());
  }
  std::vector<index_t> labels(given.data(), given.data() + rows);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0 && labels[i] < classes) continue;
    throw py::value_error("label " + std::to_string(labels[i]) + " of row " + std::to_string(i) +
                          " is outside 0.." + std::to_string(classes - 1) + ", the " +
                          std::to_string(classes) + " classes of " + scores());
  }
  return labels;
}

namespace {

// What the backward pass needs.
struct CrossEntropyCache {
  py::array logits;
  std::vector<index_t> labels;
  py::array statistics;  // (2, rows): each row's maximum, and its sum of exp(x - maximum)
  double smoothing;
};

void require_apart(const Output& out, const py::array& input, const char* name) {
  if (may_overlap(input, out.array())) {
    throw py::value_error("the result overlaps " + std::string(name));
  }
}

py::tuple cross_entropy_binding(const py::object& logits_object, const py::object& labels_object,
                                double smoothing) {
  const py::array logits = contiguous_input(logits_object, "logits");
  require_ndim(logits, "logits", 2);
  const index_t rows = logits.shape(0), cols = logits.shape(1);
  auto labels = checked_labels(labels_object, rows, cols);
  if (rows == 0) {
    throw py::value_error("the mean of no rows is not defined, got logits of shape " +
                          to_string(shape_of(logits)));
  }
  if (!(smoothing >= 0 && smoothing <= 1)) {
    throw py::value_error("label_smoothing must be from 0 to 1, got " +
                          py::str(py::float_(smoothing)).cast<std::string>());
  }
  auto made = std::make_unique<CrossEntropyCache>(CrossEntropyCache{
      logits, std::move(labels), new_array(is_float32(logits), {2, rows}), smoothing});
  CrossEntropyCache* const cache = made.get();
  const py::object cache_object = py::cast(std::move(made));
  tape_labels(labels_object, &cache->labels, cols);
  const auto loss = std::make_shared<double>();
  with_dtype(logits, [&](auto zero) {
    using T = decltype(zero);
    const T* const x = data<T>(logits);
    T* const statistics = data<T>(cache->statistics);
    perform({logits, cache_object}, [=](const Operands& now) {
      *loss = cross_entropy(rows, cols, now(x), cache->labels.data(), smoothing, statistics,
                            statistics + rows);
    });
  });
  tape_result(loss);
  return py::make_tuple(*loss, cache_object);
}

py::array cross_entropy_backward_binding(const CrossEntropyCache& kept,
                                         const py::object& out_object) {
  const CrossEntropyCache* const cache = &kept;
  const py::array& logits = cache->logits;
  const index_t rows = logits.shape(0), cols = logits.shape(1);
  Output out = Output::lendable(out_object, "out", is_float32(logits), shape_of(logits));
  if (may_overlap(logits, out.array())) {
    throw py::value_error("out overlaps the logits of the forward pass");
  }
  const py::array dlogits = out.contiguous();
  with_dtype(logits, [&](auto zero) {
    using T = decltype(zero);
    const T *const x = data<T>(logits), *const statistics = data<T>(cache->statistics);
    T* const to = data<T>(dlogits);
    perform({logits, dlogits, object_on_tape(kept)}, [=](const Operands& now) {
      cross_entropy_backward(rows, cols, now(x), cache->labels.data(), cache->smoothing, statistics,
                             statistics + rows, to);
    });
  });
  return out.take();
}

double accuracy_binding(const py::object& logits_object, const py::object& labels_object) {
  const py::array logits = contiguous_input(logits_object, "logits");
  require_ndim(logits, "logits", 2);
  const index_t rows = logits.shape(0), cols = logits.shape(1);
  const auto labels = index_input(labels_object, "labels");
  require_shape(labels, "labels", {rows}, "one label for each row of logits");
  if (rows == 0) return std::numeric_limits<double>::quiet_NaN();
  if (cols == 0)
    throw py::value_error("no class is the largest of none, got logits of shape " +
                          to_string(shape_of(logits)));
  const std::vector<index_t>* const taped = taped_labels(labels_object);
  const auto share = std::make_shared<double>();
  with_dtype(logits, [&](auto zero) {
    using T = decltype(zero);
    const T* const x = data<T>(logits);
    const index_t* const given = labels.data();
    perform({logits}, [=](const Operands& now) {
      const index_t* const right = taped ? taped->data() : given;
      *share = double(count_right(rows, cols, now(x), right)) / double(rows);
    });
  });
  tape_result(share);
  return *share;
}

// The mean of (predictions - targets)^2; the differences go to `difference`.
py::tuple squared_error_binding(const py::object& predictions_object,
                                const py::object& targets_object,
                                const py::object& difference_object) {
  const py::array predictions = contiguous_input(predictions_object, "predictions");
  const py::array targets = contiguous_input(targets_object, "targets");
  require_same_dtype(predictions, "predictions", targets, "targets");
  require_shape(targets, "targets", shape_of(predictions), "the shape of predictions");
  const index_t n = predictions.size();
  if (n == 0) {
    throw py::value_error("the mean of no elements is not defined, got shape " +
                          to_string(shape_of(predictions)));
  }
  Output difference = Output::lendable(difference_object, "difference", is_float32(predictions),
                                       shape_of(predictions));
  require_apart(difference, predictions, "predictions"),
      require_apart(difference, targets, "targets");
  const py::array to_array = difference.contiguous();
  tape_targets(targets_object);
  const auto loss = std::make_shared<double>();
  with_dtype(predictions, [&](auto zero) {
    using T = decltype(zero);
    const T *const x = data<T>(predictions), *const t = data<T>(targets);
    T* const to = data<T>(to_array);
    perform({predictions, targets, to_array},
            [=](const Operands& now) { *loss = squared_error(n, now(x), now(t), to) / double(n); });
  });
  tape_result(loss);
  return py::make_tuple(*loss, difference.take());
}

py::array scale_binding(const py::object& x_object, double factor, const py::object& out_object) {
  const py::array x = contiguous_input(x_object, "x");
  Output out = Output::lendable(out_object, "out", is_float32(x), shape_of(x));
  require_apart(out, x, "x");
  const py::array y = out.contiguous();
  with_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const T* const from = data<T>(x);
    T* const to = data<T>(y);
    const index_t n = x.size();
    perform({x, y}, [=](const Operands& now) { scale(n, now(from), static_cast<T>(factor), to); });
  });
  return out.take();
}

}  // namespace

void register_loss(py::module_& m) {
  using py::arg;
  py::class_<CrossEntropyCache>(m, "CrossEntropyCache");
  m.def("cross_entropy", &cross_entropy_binding, arg("logits"), arg("labels"), py::kw_only(),
        arg("label_smoothing") = 0.0);
  m.def("cross_entropy_backward", &cross_entropy_backward_binding, arg("cache"),
        arg("out") = py::none());
  m.def("squared_error", &squared_error_binding, arg("predictions"), arg("targets"),
        arg("difference") = py::none());
  m.def("scale", &scale_binding, arg("x"), arg("factor"), arg("out") = py::none());
  m.def("accuracy", &accuracy_binding, arg("logits"), arg("labels"));
}

}  // namespace fastbn::bindings
