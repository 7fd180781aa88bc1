#include "bindings/tape_class.h"

#include <limits>

#include <pybind11/critical_section.h>

#include "bindings/labels.h"
#include "bindings/watched.h"

namespace fastbn::bindings {
namespace {
thread_local Tape* recording = nullptr;
}  // namespace

// Without the collector, whose callbacks and finalizers could call kernels as well.
Recording::Recording(Tape& tape)
    : before_(std::exchange(recording, &tape)), collects_(PyGC_Disable() != 0) {}
Recording::~Recording() {
  recording = before_;
  if (collects_) PyGC_Enable();
}

// The samples and targets are each step's own and are not held, but a call that does not ask where they lie would read
// those of the step that was taped.  Those of a pass are these very objects: others may begin where they do.
void Tape::hold(const py::handle& object, const std::vector<const void*>& asked) {
  if (!object || object.is_none()) return;
  if (!py::isinstance<py::array>(object)) {
    others_.push_back(py::reinterpret_borrow<py::object>(object));
    return;
  }
  const auto array = py::reinterpret_borrow<py::array>(object);
  const bool asks = std::find(asked.begin(), asked.end(), array.data()) != asked.end();
  const auto is_of = [&](const std::optional<Form>& form) {
    return form && array.data() == form->taped;
  };
  const bool given = passed_ ? array.is(passed_->first) || array.is(passed_->second)
                             : is_of(samples_) || is_of(targets_);
  if (given) {
    whole_ = whole_ && asks;
    return;
  }
  arrays_.emplace_back(array, asks);
}

// Samples and targets may lie in nothing that a call writes.
bool Tape::fits(const Form& form, const py::array& x) const {
  return form.fits(x) && apart_from_all(x);
}

bool Tape::apart_from_all(const py::array& x) const {
  const Bounds bounds = bounds_of(x);
  return std::all_of(arrays_.begin(), arrays_.end(),
                     [&](const Used& used) { return apart(bounds, used.bounds); });
}

// A parameter that moves leaves a read-only array behind.
bool Tape::unmoved() const {
  return std::all_of(arrays_.begin(), arrays_.end(),
                     [](const Used& used) { return used.is_unmoved(); });
}

// Targets that were the samples must be so again, since calls cannot tell which they read, and others must not have
// become them.
bool Tape::holds(const py::array& x, const py::array& y) const {
  if (!unmoved() || !fits(*samples_, x)) return false;
  if (!targets_) return y.ndim() > 0 && y.shape(0) == x.shape(0);
  return fit_targets(x, y);
}

bool Tape::fit_targets(const py::array& x, const py::array& y) const {
  return fits(*targets_, y) && (targets_->taped == samples_->taped) == (y.data() == x.data());
}

namespace {

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

}  // namespace

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
  Operands operands{{samples_->taped, x.data()}, {}, {}, 0};
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

bool taping() {
  return recording != nullptr;
}
void spoil_tape() {
  if (recording) recording->spoil();
}
void spoil_tape_of_step() {
  if (recording && recording->of_step()) recording->spoil();
}
void put_on_tape(TapedCall call, std::initializer_list<py::handle> used,
                 const std::vector<const void*>& asked) {
  if (recording) recording->add(std::move(call), used, asked);
}
std::size_t& calls_of_thread() {
  thread_local std::size_t calls = 0;
  return calls;
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
      .def_property_readonly("runs", &Tape::runs)
      .def_property_readonly("calls", &Tape::calls)
      .def_property_readonly("results", &Tape::results)
      .def("run", &Tape::run, arg("x"), arg("y"), arg("watched"), arg("names"),
           arg("update") = py::none())
      .def("run_pass", &Tape::run_pass, arg("x"), arg("dy"), arg("workspace"), arg("watched"));
  m.def("record", &record, arg("step"), arg("x") = py::none(), arg("y") = py::none(),
        arg("arrays") = py::tuple());
  m.def("kernel_calls", &calls_of_thread);
  m.def("record_pass", &record_pass, arg("pass_"), arg("watched"), arg("arrays"), arg("x"),
        arg("dy") = py::none());
}

}  // namespace fastbn::bindings
