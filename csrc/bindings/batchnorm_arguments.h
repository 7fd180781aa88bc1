// What the bindings of batch norm, alone and in the fused block, have in common.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "bindings/array_view.h"
#include "fastbn/batchnorm.h"

namespace fastbn::bindings {

// What the backward pass needs: references to the arrays, and one small buffer of statistics.
struct BatchNormCache {
  py::array x;
  std::optional<py::array> weights;
  Shape shape;  // of y, as the caller sees it
  int axis;     // the channel axis, not negative
  bool training, relu;
  bool overwritten;  // y took the place of x
  py::ssize_t groups, channels;
  // groups x 6 x channels of x's dtype: mean, mean_low, var, invstd, scale, shift.  Plain memory: an
  // array would cost a small call a tenth of its time.
  std::shared_ptr<double[]> statistics;

  void allocate() {
    const py::ssize_t bytes = groups * 6 * channels * x.itemsize();
    statistics.reset(new double[static_cast<std::size_t>(bytes) / sizeof(double) + 1]);
  }
  template <class T>
  BatchNormStatistics<T> view() const {
    T* p = reinterpret_cast<T*>(statistics.get());
    const index_t c = channels;
    return {p, p + c, p + 2 * c, p + 3 * c, p + 4 * c, p + 5 * c, 6 * c};
  }
  template <class T>
  BatchNormCounting<T> counting() const {
    return {data<T>(weights), groups, groups == 1 ? 1 : shape.front()};
  }
  // A copy of the i-th of the six: (channels,), or (groups, channels) of more than one group.
  py::array row(int i) const;
};

// A cache with room for its statistics, and the Python object that owns it.
struct NewCache {
  py::object object;
  BatchNormCache& cache;
};
NewCache new_cache(BatchNormCache fields);
// The statistics, if a tape is to keep them: not the cache, which has hold of x.
py::object statistics_on_tape(const BatchNormCache& cache);

constexpr const char* kTooFew = "batch statistics need more than 1 value per channel when training";
constexpr const char* kBothWritten = ", and both are written";

// How many values axes [begin, end) make.
py::ssize_t values_along(const Shape& shape, int begin, int end);
// A checked per-channel argument.
std::optional<py::array> channel_vector(const py::object& object, const char* name,
                                        const py::array& x, py::ssize_t channels);
// The backward pass needs x as it was.
void require_kept(const BatchNormCache& cache);
void require_statistics(const py::object& mean, const py::object& var, bool training);
void require_number(const char* name, double value, double low, double high);
// The smallest group: `groups` near-equal parts of the samples, of equally many values each.
void require_enough_values(const Shape& shape, int axis, py::ssize_t groups);

// Where two results share memory, or a result and what the backward pass needs, no order of writing
// is right.
void require_apart(const py::array& a, const char* a_name, const py::array& b, const char* b_name,
                   const char* why);

// num_batches_tracked: None, or a writable array of int64 and no dimension.
class BatchCount {
 public:
  explicit BatchCount(const py::object& object);
  // What update_running asks for.  momentum=None is the cumulative average, which needs the count,
  // where anything is `tracked`.
  BatchNormMomentum momentum(std::optional<double> momentum, bool unbiased, bool tracked) const;
  // Where the count is, or null: for count_batches().
  void* counter() const { return data<char>(count_); }

 private:
  std::int64_t value() const;

  std::optional<py::array> count_;
};

// Adds to what `counter` points to, if it does.
void count_batches(void* counter, std::int64_t batches);

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
