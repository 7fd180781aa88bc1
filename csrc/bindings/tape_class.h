// The tape itself: of a step or an update (tape.cpp), or of a pass (tape_pass.cpp).
#pragma once

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <tuple>
#include <utility>

#include "bindings/array_view.h"
#include "bindings/tape.h"

namespace fastbn::bindings {

// Samples or targets as the taped step had them.  Those of other steps differ in where they lie.
struct Form {
  const void* taped;
  int type_number;
  Shape shape, strides;

  explicit Form(const py::array& x)
      : taped(x.data()),
        type_number(x.dtype().num()),
        shape(shape_of(x)),
        strides(x.strides(), x.strides() + x.ndim()) {}

  bool fits(const py::array& x) const {
    return x.dtype().num() == type_number && is_native(x.dtype()) && is_plain(x) &&
           x.ndim() == static_cast<py::ssize_t>(shape.size()) &&
           std::equal(shape.begin(), shape.end(), x.shape()) &&
           std::equal(strides.begin(), strides.end(), x.strides());
  }
};

// What a pass made when it was taped.
struct Made {
  const void* taped;
  py::dtype dtype;
  Shape shape;
};

// An array that a call uses.
struct Used {
  py::array array;
  Bounds bounds;
  const void* data;
  py::ssize_t ndim;
  bool writeable;
  bool asked;  // whether the call asks where it lies

  Used(const py::array& a, bool is_asked)
      : array(a),
        bounds(bounds_of(a)),
        data(a.data()),
        ndim(a.ndim()),
        writeable(a.writeable()),
        asked(is_asked) {}
  bool is_unmoved() const {
    return array.data() == data && array.ndim() == ndim && array.writeable() == writeable;
  }
};

class Tape {
 public:
  // The tape of an update, what it holds for, and an object's attribute that counts updates.
  using Update = std::tuple<const Tape*, py::tuple, py::object, py::str>;

  // Of an optimizer's update, which has no samples.
  Tape() = default;
  // Of the step that is about to be taken with them.
  Tape(const py::array& x, const py::handle& y) : samples_(x), given_(y) {
    whole_ = is_contiguous(x) && is_plain(x);  // of other samples layers make copies
  }
  // Of a net's forward, or with dy its backward.
  Tape(const py::array& x, const std::optional<py::array>& dy)
      : samples_(x), passed_({x, handle_of(dy)}) {
    whole_ = is_contiguous(x) && is_plain(x);
    if (!dy) return;
    targets_.emplace(*dy);
    whole_ = whole_ && is_contiguous(*dy) && is_plain(*dy);
  }
  // The pass has been made.
  void end_pass(const py::array& x, const std::optional<py::array>& dy, const py::object& result);
  // The step has been taken.
  void end() {
    given_ = py::handle();
    if (samples_) whole_ = whole_ && (labels_ != nullptr) != targets_.has_value();
  }
  bool whole() const { return whole_; }
  bool runs() const { return runs_; }
  std::size_t calls() const { return calls_.size(); }
  std::size_t results() const { return results_.size(); }

  bool of_step() const { return samples_.has_value(); }
  void spoil() { whole_ = false; }
  void add(TapedCall call, std::initializer_list<py::handle> used,
           const std::vector<const void*>& asked) {
    calls_.push_back(std::move(call));
    for (const py::handle& object : used) hold(object, asked);
  }
  // The tape holds only while these arrays are as they are.
  void watch(const std::vector<py::array>& arrays) {
    for (const py::array& array : arrays) arrays_.emplace_back(array, false);
  }
  void add_result(std::shared_ptr<const double> value) { results_.push_back(std::move(value)); }
  void read_labels(const py::handle& given, std::vector<index_t>* labels, index_t classes) {
    if (!given_ || !given.is(given_) || labels_ != nullptr) return spoil();
    labels_ = labels, classes_ = classes;
  }
  void read_targets(const py::handle& given) {
    if (!given_ || !given.is(given_) || !py::isinstance<py::array>(given) || targets_) {
      return spoil();
    }
    targets_.emplace(py::reinterpret_borrow<py::array>(given));
  }
  const std::vector<index_t>* labels_of(const py::handle& given) {
    if (given.is(given_) && labels_ != nullptr) return labels_;
    spoil();
    return nullptr;
  }

  // The results of a step by their names, and whether `update`, which follows it, held too; or None where this tape
  // does not hold for it: nothing is written then.
  py::object run(const py::object& x_object, const py::object& y, const py::tuple& watched,
                 const py::tuple& names, const std::optional<Update>& update);
  // The result of a pass, which `workspace` lends (None makes it anew), or True if it has none; None where this tape
  // does not hold for it.
  py::object run_pass(const py::object& x_object, const py::object& dy_object,
                      const py::object& workspace, const py::tuple& watched);

 private:
  void hold(const py::handle& object, const std::vector<const void*>& asked);
  bool unmoved() const;
  bool holds(const py::array& x, const py::array& y) const;
  bool fit_targets(const py::array& x, const py::array& y) const;
  bool fits(const Form& form, const py::array& x) const;
  bool apart_from_all(const py::array& x) const;
  void put(const py::array& y, Operands& operands);

  std::optional<Form> samples_, targets_;  // of a pass x and dy
  std::optional<Made> made_;
  std::optional<std::pair<py::handle, py::handle>> passed_;  // x and dy, while it records a pass
  py::handle given_;  // the labels or targets, while it records
  bool whole_ = true;
  std::vector<TapedCall> calls_;
  std::vector<Used> arrays_;
  std::vector<py::object> others_;
  std::vector<std::shared_ptr<const double>> results_;
  std::vector<index_t>* labels_ = nullptr;  // a cache's among the others
  index_t classes_ = 0;
  std::atomic<bool> runs_{false};
};

// One thread at a time: another one's step or pass goes the long way.
class Turn {
 public:
  explicit Turn(std::atomic<bool>& taken) : taken_(taken), mine_(!taken.exchange(true)) {}
  ~Turn() {
    if (mine_) taken_ = false;
  }
  bool mine() const { return mine_; }

 private:
  std::atomic<bool>& taken_;
  bool mine_;
};

// The tape that records in this thread, as long as this stands.
class Recording {
 public:
  explicit Recording(Tape& tape);
  ~Recording();
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  Tape* const before_;
  const bool collects_;
};

// A pass of layers, x to y or dy to dx, and the tape of it, which holds only while `arrays` are as they are, too; None
// in its place where it cannot be repeated, what is watched is not as it was, before and after, or another tape records
// in this thread, whose calls these are.
py::tuple record_pass(const py::object& pass, const py::tuple& watched,
                      const std::vector<py::array>& arrays, const py::array& x,
                      const std::optional<py::array>& dy);

}  // namespace fastbn::bindings
