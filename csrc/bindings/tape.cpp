#include "bindings/tape.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include <pybind11/critical_section.h>
#include <pybind11/stl.h>

#include "bindings/array_view.h"
#include "bindings/labels.h"

namespace fastbn::bindings {
namespace {

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

// An array that a call uses.
struct Used {
  py::array array;
  Bounds bounds;
  bool writeable;
};

class Tape;
thread_local Tape* recording = nullptr;

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
  // The step has been taken.
  void end() {
    given_ = py::handle();
    if (samples_) whole_ = whole_ && (labels_ != nullptr) != targets_.has_value();
  }
  bool whole() const { return whole_; }
  std::size_t calls() const { return calls_.size(); }
  std::size_t results() const { return results_.size(); }

  bool of_step() const { return samples_.has_value(); }
  void spoil() { whole_ = false; }
  void add(TapedCall call, std::initializer_list<py::handle> used) {
    calls_.push_back(std::move(call));
    for (const py::handle& object : used) hold(object);
  }
  // The tape holds only while these arrays are as they are.
  void watch(const std::vector<py::array>& arrays) {
    for (const py::array& array : arrays) hold(array);
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

 private:
  void hold(const py::handle& object);
  bool unmoved() const;
  bool holds(const py::array& x, const py::array& y) const;
  bool fits(const Form& form, const py::array& x) const;
  void put(const py::array& y, Operands& operands);

  std::optional<Form> samples_, targets_;
  py::handle given_;  // the labels or targets, while it records
  bool whole_ = true;
  std::vector<TapedCall> calls_;
  std::vector<Used> arrays_;
  std::vector<py::object> others_;
  std::vector<std::shared_ptr<const double>> results_;
  std::vector<index_t>* labels_ = nullptr;  // a cache's among the others
  index_t classes_ = 0;
  std::atomic_flag runs_ = ATOMIC_FLAG_INIT;
};

// But for the samples and targets, which are each step's own.
void Tape::hold(const py::handle& object) {
  if (!object || object.is_none()) return;
  if (!py::isinstance<py::array>(object)) {
    others_.push_back(py::reinterpret_borrow<py::object>(object));
    return;
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  const auto is_of = [&](const std::optional<Form>& form) {
    return form && array.data() == form->taped;
  };
  if (is_of(samples_) || is_of(targets_)) return;
  const Bounds bounds = bounds_of(array);
  const bool writeable = array.writeable();
  arrays_.push_back({std::move(array), bounds, writeable});
}

// Samples and targets may lie in nothing that a call writes.
bool Tape::fits(const Form& form, const py::array& x) const {
  if (!form.fits(x)) return false;
  const Bounds bounds = bounds_of(x);
  return std::all_of(arrays_.begin(), arrays_.end(),
                     [&](const Used& used) { return apart(bounds, used.bounds); });
}

// A parameter that moves leaves a read-only array behind.
bool Tape::unmoved() const {
  return std::all_of(arrays_.begin(), arrays_.end(),
                     [](const Used& used) { return used.array.writeable() == used.writeable; });
}

// Targets that were the samples must be so again, since calls cannot tell which they read, and others must not have
// become them.
bool Tape::holds(const py::array& x, const py::array& y) const {
  if (!unmoved() || !fits(*samples_, x)) return false;
  if (!targets_) return y.ndim() > 0 && y.shape(0) == x.shape(0);
  return fits(*targets_, y) && (targets_->taped == samples_->taped) == (y.data() == x.data());
}

py::dict attributes_of(const py::handle& object) {
  auto dict = py::reinterpret_steal<py::dict>(PyObject_GenericGetDict(object.ptr(), nullptr));
  if (!dict) throw py::error_already_set();
  return dict;
}

// Whether a dict still has these keys and these very values; any value where `...` is expected.
bool holds_the_same(const py::handle& dict, const py::handle& keys, const py::handle& values) {
  const py::scoped_critical_section guard(dict);
  const py::ssize_t size = PyTuple_GET_SIZE(keys.ptr());
  if (PyDict_Size(dict.ptr()) != size || PyTuple_GET_SIZE(values.ptr()) != size) return false;
  PyObject *key, *value;
  py::ssize_t at = 0;
  for (py::ssize_t i = 0; PyDict_Next(dict.ptr(), &at, &key, &value); ++i) {
    PyObject* const expected = PyTuple_GET_ITEM(values.ptr(), i);
    if (key != PyTuple_GET_ITEM(keys.ptr(), i)) return false;
    if (value != expected && expected != Py_Ellipsis) return false;
  }
  return true;
}

// Whether objects are still what they were, each as (object, its type, keys and values of its attributes); those of a
// dict are what it holds.  Read as they lie: the tuples hold them.
bool unchanged(const py::tuple& watched) {
  for (const py::handle& item : watched) {
    if (!PyTuple_Check(item.ptr()) || PyTuple_GET_SIZE(item.ptr()) != 4)
      throw py::type_error("what a tape watches is (object, type, keys, values)");
    const py::handle object = PyTuple_GET_ITEM(item.ptr(), 0),
                     type = PyTuple_GET_ITEM(item.ptr(), 1), keys = PyTuple_GET_ITEM(item.ptr(), 2),
                     values = PyTuple_GET_ITEM(item.ptr(), 3);
    if (!PyTuple_Check(keys.ptr()) || !PyTuple_Check(values.ptr()))
      throw py::type_error("keys and values that a tape watches are tuples");
    if (!py::type::handle_of(object).is(type)) return false;
    const bool same = PyDict_Check(object.ptr())
                          ? holds_the_same(object, keys, values)
                          : holds_the_same(attributes_of(object), keys, values);
    if (!same) return false;
  }
  return true;
}

// The attribute that counts the updates of an optimizer.
class Counter {
 public:
  Counter(const py::handle& object, py::str name)
      : attributes_(attributes_of(object)), name_(std::move(name)) {
    const py::scoped_critical_section guard(attributes_);
    PyObject* const count = PyDict_GetItemWithError(attributes_.ptr(), name_.ptr());  // borrowed
    if (!count && PyErr_Occurred()) throw py::error_already_set();
    if (!count || !PyLong_CheckExact(count)) return;
    int overflow = 0;
    count_ = PyLong_AsLongLongAndOverflow(count, &overflow);
    if (overflow != 0) count_ = -1;
  }
  // Whether it is a number to which one can be added.
  bool counts() const { return count_ >= 0 && count_ < std::numeric_limits<long long>::max(); }
  index_t next() const { return static_cast<index_t>(count_) + 1; }
  void advance() { attributes_[name_] = py::int_(next()); }

 private:
  py::dict attributes_;
  py::str name_;
  long long count_ = -1;
};

// One thread at a time: another one's step goes the long way, and has memory of its own.
class Turn {
 public:
  explicit Turn(std::atomic_flag& flag) : flag_(flag), mine_(!flag.test_and_set()) {}
  ~Turn() {
    if (mine_) flag_.clear();
  }
  bool mine() const { return mine_; }

 private:
  std::atomic_flag& flag_;
  bool mine_;
};

// The tape that records in this thread, as long as this stands.
class Recording {
 public:
  explicit Recording(Tape& tape) : before_(std::exchange(recording, &tape)) {}
  ~Recording() { recording = before_; }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

 private:
  Tape* const before_;
};

// What step() returns, and the tape of its kernel calls; of an update without samples.
py::tuple record(const py::object& step, const std::optional<py::array>& x, const py::object& y,
                 const std::vector<py::array>& arrays) {
  auto tape = x ? std::make_unique<Tape>(*x, y) : std::make_unique<Tape>();
  tape->watch(arrays);
  py::object result;
  {
    const Recording here(*tape);
    result = step();
  }
  tape->end();
  return py::make_tuple(result, std::move(tape));
}

// The step's own labels, or where its targets lie.
void Tape::put(const py::array& y, Operands& operands) {
  if (targets_) {
    operands.targets = {targets_->taped, y.data()};
    return;
  }
  // Into the same memory: another thread may be going back from this very cache.
  const auto labels = checked_labels(y, static_cast<index_t>(labels_->size()), classes_);
  std::copy(labels.begin(), labels.end(), labels_->begin());
}

py::object Tape::run(const py::object& x_object, const py::object& y_object,
                     const py::tuple& watched, const py::tuple& names,
                     const std::optional<Update>& update) {
  if (!whole_ || !samples_) return py::none();
  if (names.size() != results_.size())
    throw py::value_error("a tape of " + std::to_string(results_.size()) + " results got " +
                          std::to_string(names.size()) + " names");
  // Of a subclass bindings ask more, which would run code of its own here.
  if (!is_ndarray(x_object) || !is_ndarray(y_object)) return py::none();
  const auto x = py::reinterpret_borrow<py::array>(x_object),
             y = py::reinterpret_borrow<py::array>(y_object);
  const Turn turn(runs_);
  if (!turn.mine() || !holds(x, y) || !unchanged(watched)) return py::none();
  Operands operands{{samples_->taped, x.data()}, {}, 0};
  const Tape* then = nullptr;
  std::optional<Counter> counter;
  if (update) {
    counter.emplace(std::get<2>(*update), std::get<3>(*update));
    const Tape* const tape = std::get<0>(*update);
    const bool held = tape && tape->whole_ && tape->unmoved() && counter->counts() &&
                      unchanged(std::get<1>(*update));
    if (held) {
      then = tape;
      operands.updates = counter->next();
    }
  }
  put(y, operands);
  {
    const py::gil_scoped_release release;
    for (const TapedCall& call : calls_) call(operands);
    if (then) {
      for (const TapedCall& call : then->calls_) call(operands);
    }
  }
  if (then) counter->advance();
  py::dict results;
  for (std::size_t i = 0; i < results_.size(); ++i) results[names[i]] = py::float_(*results_[i]);
  return py::make_tuple(std::move(results), then != nullptr);
}

}  // namespace

bool taping() {
  return recording != nullptr;
}
void spoil_tape() {
  if (recording) recording->spoil();
}
void spoil_tape_of_step() {
  if (recording && recording->of_step()) recording->spoil();
}
void put_on_tape(TapedCall call, std::initializer_list<py::handle> used) {
  if (recording) recording->add(std::move(call), used);
}
void tape_result(std::shared_ptr<const double> value) {
  if (recording) recording->add_result(std::move(value));
}
void tape_labels(const py::handle& given, std::vector<index_t>* labels, index_t classes) {
  if (recording) recording->read_labels(given, labels, classes);
}
void tape_targets(const py::handle& given) {
  if (recording) recording->read_targets(given);
}
const std::vector<index_t>* taped_labels(const py::handle& given) {
  return recording ? recording->labels_of(given) : nullptr;
}

void register_tape(py::module_& m) {
  using py::arg;
  py::class_<Tape>(m, "Tape")
      .def_property_readonly("whole", &Tape::whole)
      .def_property_readonly("calls", &Tape::calls)
      .def_property_readonly("results", &Tape::results)
      .def("run", &Tape::run, arg("x"), arg("y"), arg("watched"), arg("names"),
           arg("update") = py::none());
  m.def("record", &record, arg("step"), arg("x") = py::none(), arg("y") = py::none(),
        arg("arrays") = py::tuple());
}

}  // namespace fastbn::bindings
