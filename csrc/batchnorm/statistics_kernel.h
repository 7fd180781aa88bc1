// From sums to statistics, channel by channel, in double: what lies between the passes over x.
#pragma once

#include "batchnorm/batchnorm_args.h"
#include "simd/vec.h"

namespace fastbn {
namespace {

using Doubles = Vec<double>;

// max(v, 0) that keeps NaN.
FASTBN_INLINE Doubles not_negative(Doubles v) {
  return select(less(v, Doubles::zero()), Doubles::zero(), v);
}

// Chan, Golub and LeVeque, "Algorithms for computing the sample variance" (1983): with d the
// distance of the two means,  squares = squares_a + squares_b + d^2 * n * more / (n + more).  No term
// is the difference of two large ones, so the result is as exact as that of two passes.
template <class T>
void merge_moments(index_t channels, const BatchNormMoments<T>& into, double n,
                   const BatchNormMoments<T>& from, double more) {
  const double all = n + more;
  const Doubles part = Doubles::broadcast(more / all), weight = Doubles::broadcast(n * more / all);
  for_each_vector<double>(channels, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    const Doubles offset = lanes.load(into.offset + j);
    const Doubles d = (lanes.load(from.center + j) - lanes.load(into.center + j)) +
                      (lanes.load(from.offset + j) - offset);
    const Doubles squares = lanes.load(into.squares + j) + lanes.load(from.squares + j);
    lanes.store(into.offset + j, fma(d, part, offset));
    lanes.store(into.squares + j, fma(d * d, weight, squares));
  });
}

// invstd = 1 / sqrt(var + eps); 0 where that root is 0, since 0 / 0 would make NaN of a constant.
// What is kept is what is used: scale comes from the rounded invstd, shift from the rounded scale.
template <class T, class Lanes>
FASTBN_INLINE void affine_of(const BatchNormFinish<T>& f, index_t j, Lanes lanes, Doubles var) {
  const Doubles one = Doubles::broadcast(1);
  const Doubles v = var + Doubles::broadcast(f.eps);
  lanes.store(f.invstd + j,
              select(less_equal(abs(v), Doubles::zero()), Doubles::zero(), one / sqrt(v)));
  const Doubles invstd = lanes.load(f.invstd + j);
  lanes.store(f.scale + j, f.gamma ? lanes.load(f.gamma + j) * invstd : invstd);
  const Doubles beta = f.beta ? lanes.load(f.beta + j) : Doubles::zero();
  lanes.store(f.shift + j, beta - lanes.load(f.mean_low + j) * lanes.load(f.scale + j));
}

template <class T>
bool finish_statistics(const BatchNormFinish<T>& f) {
  const Doubles n = Doubles::broadcast(f.n);
  double largest[Doubles::kWidth] = {};
  Doubles infinite = Doubles::zero();
  for_each_vector<double>(f.channels, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    const Doubles center = lanes.load(f.moments.center + j);
    const Doubles offset = lanes.load(f.moments.offset + j);
    lanes.store(f.mean + j, center + offset);
    lanes.store(f.mean_low + j, (center - lanes.load(f.mean + j)) + offset);
    const Doubles var = not_negative(lanes.load(f.moments.squares + j) / n);
    infinite = max(infinite, lanes.keep(select(is_nan(var), Doubles::zero(), var)));
    lanes.store(f.var + j, var);
    affine_of(f, j, lanes, var);
  });
  Doubles::store(largest, infinite);
  for (double v : largest) {
    if (v > 1.7976931348623157e308) return true;
  }
  return false;
}

template <class T>
void finish_affine(const BatchNormFinish<T>& f) {
  for_each_vector<double>(f.channels, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    affine_of(f, j, lanes, lanes.load(f.var + j));
  });
}

// dx = scale * (g - mean(g) - xhat * mean(g * xhat)),  xhat = (x - mean - mean_low) * invstd
template <class T>
void finish_backward(const BatchNormBackwardFinish<T>& f) {
  const Doubles minus_one_nth = Doubles::broadcast(-1 / f.n);
  for_each_vector<double>(f.channels, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    const Doubles sum = lanes.load(f.sum + j), low = lanes.load(f.mean_low + j);
    const Doubles invstd = lanes.load(f.invstd + j), scale = lanes.load(f.scale + j);
    const Doubles dgamma = invstd * (lanes.load(f.products + j) - low * sum);
    const Doubles slope = scale * invstd * dgamma * minus_one_nth;
    lanes.store(f.dgamma + j, dgamma);
    lanes.store(f.dbeta + j, sum);
    lanes.store(f.slope + j, slope);
    lanes.store(f.constant + j, scale * sum * minus_one_nth - slope * low);
  });
}

template <class T>
void update_running_statistics(const BatchNormRunning<T>& r) {
  const Doubles keep = Doubles::broadcast(r.keep), add = Doubles::broadcast(r.add),
                correction = Doubles::broadcast(r.correction);
  for_each_vector<double>(r.channels, [&](index_t j, auto lanes) FASTBN_INLINE_LAMBDA {
    const Doubles mean = lanes.load(r.mean + j) + lanes.load(r.mean_low + j);
    const Doubles var = lanes.load(r.var + j) * correction;
    lanes.store(r.running_mean + j, keep * lanes.load(r.running_mean + j) + add * mean);
    lanes.store(r.running_var + j, keep * lanes.load(r.running_var + j) + add * var);
  });
}

}  // namespace
}  // namespace fastbn
