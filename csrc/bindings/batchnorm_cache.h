// What the bindings of batch norm, alone and in the fused block, have in common.
#pragma once

#include <memory>

#include "bindings/array_view.h"
#include "fastbn/batchnorm.h"

namespace fastbn::bindings {

// What the backward pass needs: references to the arrays, and one small buffer of statistics.
struct BatchNormCache {
  py::array x;
  py::array statistics;  // (groups, 6, channels): mean, mean_low, var, invstd, scale, shift
  std::optional<py::array> weights;
  Shape shape;           // of y, as the caller sees it
  int axis;              // the channel axis, not negative
  bool training, relu;
  bool overwritten;  // y took the place of x

  template <class T>
  BatchNormStatistics<T> view() const {
    T* p = data<T>(statistics);
    const index_t c = channels();
    return {p, p + c, p + 2 * c, p + 3 * c, p + 4 * c, p + 5 * c, 6 * c};
  }
  template <class T>
  BatchNormCounting<T> counting() const {
    return {data<T>(weights), groups(), groups() == 1 ? 1 : shape.front()};
  }
  py::ssize_t groups() const { return statistics.shape(0); }
  py::ssize_t channels() const { return statistics.shape(2); }
  py::array row(int i) const {  // read-only: the backward pass relies on it
    const py::object group = groups() == 1 ? py::object(py::int_(0))
                                           : py::object(py::slice(py::none(), py::none(), py::none()));
    py::array values =
        py::reinterpret_borrow<py::array>(statistics[py::make_tuple(group, py::int_(i))]);
    values.attr("setflags")(py::arg("write") = false);
    return values;
  }
};

constexpr const char* kBothWritten = ", and both are written";

// A checked per-channel argument.
std::optional<py::array> channel_vector(const py::object& object, const char* name,
                                        const py::array& x, py::ssize_t channels);
void require_statistics(const py::object& mean, const py::object& var, bool training);
void require_number(const char* name, double value, double low, double high);
// The smallest group: `groups` near-equal parts of the samples, of equally many values each.
void require_enough_values(const Shape& shape, int axis, py::ssize_t groups);

// Where two results share memory, or a result and what the backward pass needs, no order of writing
// is right.
void require_apart(const py::array& a, const char* a_name, const py::array& b, const char* b_name,
                   const char* why);

// The caller's running statistics, which a training pass updates in place; empty if there are none.
struct RunningStatistics {
  std::optional<Output> mean, var;

  RunningStatistics(const py::object& mean, const py::object& var, bool float32,
                    py::ssize_t channels);
  bool tracked() const { return mean.has_value(); }
  void require_apart_from(const py::array& other, const char* name, const char* why) const;
  void take() {
    if (tracked()) mean->take(), var->take();
  }
};

}  // namespace fastbn::bindings
