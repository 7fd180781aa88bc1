// A tape: the kernel calls of a training step, made again in one call.
//
//   the first steps     Python: layers, loss  ->  bindings: checks, views  ->  kernel, kernel, ...
//   a steady step       Tape.run                                          ->  kernel, kernel, ...
//
// A steady step makes the same calls on the same memory each time; only its samples and targets differ, and how many
// updates its optimizer has made.  The way through layers and bindings takes 25 us where all of it is in cache, and 100
// us where a batch has displaced it; that of the optimizer 15 to 50.
//
// A pass, which is a net's forward or backward in a loop of one's own, or its inference, has a tape likewise: x and dy
// are its samples and targets, and it has a result besides, which is another array each time.
//
// While a tape records, in its thread, a binding hands its kernel call to perform(), which keeps it as well: also that
// of a finalizer or a signal handler that Python runs meanwhile.  What could not be repeated spoils the tape: a kernel
// that is called otherwise (Unlocked), an operand or a result that is copied.  What is no kernel call leaves no trace;
// which layers make no other, how many they make, and whether they are still what they were, is for Python to say
// (layers/taping.py, passes.py, inference.py, train/steady.py).
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <vector>

#include <pybind11/pybind11.h>

#include "fastbn/views.h"

namespace fastbn::bindings {

// What a step has of its own.  Its samples and targets are put in the place of those that lay elsewhere when the call
// was taped.
struct Operands {
  struct Place {
    const void *taped = nullptr, *now = nullptr;
  };
  Place samples, targets;
  Place result;         // of a pass: see run_pass()
  index_t updates = 0;  // of the optimizer, with the one of this step; 0 while a call is taped
  std::vector<const void*>* asked = nullptr;  // while a call is taped: the places that it asks for

  template <class T>
  const T* operator()(const T* p) const {
    if (asked) asked->push_back(p);
    for (const Place& place : {samples, targets, result}) {
      if (place.taped != nullptr && p == place.taped) return static_cast<const T*>(place.now);
    }
    return p;
  }
  template <class T, template <class> class View>
  View<const T> operator()(View<const T> view) const {
    view.data = (*this)(view.data);
    return view;
  }
  // Where to write what is a pass's result, or not.
  template <class T>
  T* to(T* p) const {
    if (asked) asked->push_back(p);
    return p != nullptr && p == result.taped ? static_cast<T*>(const_cast<void*>(result.now)) : p;
  }
  template <class T, template <class> class View>
  View<T> to(View<T> view) const {
    view.data = to(view.data);
    return view;
  }
};

using TapedCall = std::function<void(const Operands&)>;

// Whether a tape records in this thread.  The others do nothing where none does.
bool taping();
void spoil_tape();
// Of a step: an update in the midst of one would not know its number.
void spoil_tape_of_step();
// What a call asked for is where it can be sent elsewhere.
void put_on_tape(TapedCall call, std::initializer_list<pybind11::handle> used,
                 const std::vector<const void*>& asked);
// How many kernel calls this thread made: of what a tape may not be, such as a finalizer's, too.
std::size_t& calls_of_thread();
// A number that a step returns, written by the call before.
void tape_result(std::shared_ptr<const double> value);
// The labels that calls read; each step puts its own there, checked for `classes` of them, before its first call.
void tape_labels(const pybind11::handle& given, std::vector<index_t>* labels, index_t classes);
// The targets that calls read where they lie, instead of labels.
void tape_targets(const pybind11::handle& given);
// The labels of the step, if they were made of `given`: else null, and the tape is spoilt.
const std::vector<index_t>* taped_labels(const pybind11::handle& given);

// Runs a kernel without the GIL.  The arrays and caches that it uses (handles of nothing are passed over) live as
// long as a tape that keeps the call; what it captures it captures by value.
template <class Call>
void perform(std::initializer_list<pybind11::handle> used, const Call& call) {
  ++calls_of_thread();
  std::vector<const void*> asked;
  Operands operands;
  if (taping()) operands.asked = &asked;
  {
    const pybind11::gil_scoped_release release;
    call(operands);
  }
  if (taping()) put_on_tape(call, used, asked);
}

// The Python object of a cache, for the list of what a taped call uses.
template <class Cache>
pybind11::object object_on_tape(const Cache& cache) {
  if (!taping()) return pybind11::none();
  return pybind11::cast(&cache, pybind11::return_value_policy::reference);
}

// Runs what no tape repeats without the GIL.
class Unlocked {
  pybind11::gil_scoped_release release_;

 public:
  Unlocked() { spoil_tape(); }
};

void register_tape(pybind11::module_& m);

}  // namespace fastbn::bindings
