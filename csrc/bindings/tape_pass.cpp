// Tapes of passes: forward and backward of a net, which a loop of its own calls (layers/passes.py).
#include "bindings/result_workspace.h"
#include "bindings/tape_class.h"
#include "bindings/watched.h"

namespace fastbn::bindings {

py::tuple record_pass(const py::object& pass, const py::tuple& watched,
                      const std::vector<py::array>& arrays, const py::array& x,
                      const std::optional<py::array>& dy) {
  if (taping() || !unchanged(watched)) return py::make_tuple(pass(), py::none());
  auto tape = std::make_unique<Tape>(x, dy);
  tape->watch(arrays);
  py::object result;
  {
    const Recording here(*tape);
    result = pass();
  }
  tape->end_pass(x, dy, result);
  if (!tape->whole() || !unchanged(watched)) return py::make_tuple(result, py::none());
  return py::make_tuple(result, std::move(tape));
}

// Nothing that the calls use may be x or dy but for them.  The result of this pass is the caller's, and the tape does
// not touch it again: it has each pass write its own, which every call that uses it has to ask for.
void Tape::end_pass(const py::array& x, const std::optional<py::array>& dy,
                    const py::object& result) {
  passed_.reset();
  whole_ = whole_ && apart_from_all(x) && (!dy || apart_from_all(*dy));
  if (!whole_ || result.is_none()) return;
  const auto array = py::reinterpret_borrow<py::array>(result);
  whole_ = is_ndarray(result) && is_contiguous(array);
  if (!whole_) return;
  made_ = Made{array.data(), array.dtype(), shape_of(array)};
  const auto rest = std::stable_partition(arrays_.begin(), arrays_.end(), [&](const Used& used) {
    return used.array.data() != made_->taped;
  });
  whole_ = rest != arrays_.end() &&
           std::all_of(rest, arrays_.end(), [](const Used& used) { return used.asked; });
  arrays_.erase(rest, arrays_.end());
}

py::object Tape::run_pass(const py::object& x_object, const py::object& dy_object,
                          const py::object& workspace, const py::tuple& watched) {
  if (taping() || !whole_ || !samples_ || !is_ndarray(x_object)) return py::none();
  if (dy_object.is_none() == targets_.has_value()) return py::none();
  if (targets_ && !is_ndarray(dy_object)) return py::none();
  const auto x = py::reinterpret_borrow<py::array>(x_object);
  const Turn turn(runs_);
  if (!turn.mine() || !unmoved() || !fits(*samples_, x)) return py::none();
  Operands operands{{samples_->taped, x.data()}, {}, {}, 0};
  if (targets_) {
    const auto dy = py::reinterpret_borrow<py::array>(dy_object);
    if (!fit_targets(x, dy)) return py::none();
    operands.targets = {targets_->taped, dy.data()};
  }
  if (!unchanged(watched)) return py::none();
  py::object result = py::bool_(true);
  if (made_) {
    py::array made = workspace.is_none() ? py::array(made_->dtype, made_->shape)
                                         : lend(workspace, made_->dtype, made_->shape);
    operands.result = {made_->taped, made.data()};
    result = std::move(made);
  }
  {
    const py::gil_scoped_release release;
    for (const TapedCall& call : calls_) call(operands);
  }
  return result;
}

}  // namespace fastbn::bindings
