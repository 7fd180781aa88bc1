// The stages of the forward and of the backward pass of one group, and their scratch.
//
//   reduce     a piece's moments (forward) or sums (backward)
//   finish     the pieces' merged; statistics, or dgamma, dbeta and the coefficients of dx
//   apply      a piece of y or dx
//
// A stage knows no threads: sharing.h says who takes which pieces and which channels.
#pragma once

#include <cmath>

#include "batchnorm/arrays.h"
#include "batchnorm/cut.h"
#include "dispatch/dispatch.h"

namespace fastbn {
namespace {

// Scratch for one group: moments or sums, two doubles and a T for every piece and channel; a
// backward pass's coefficients, two T a channel; and what each piece counts.  In whole cache lines, so that each
// thread's begins on one.
template <class T>
struct Sums {
  index_t channels;  // padded
  double *first, *second;
  T *center, *slope, *constant;
  Counted* counts;

  static index_t bytes(index_t pieces, index_t count) {
    const index_t channels = rounded_up(count, kChannelPadding);
    return rounded_up(
        pieces * (channels * index_t{2 * sizeof(double) + sizeof(T)} + index_t{sizeof(Counted)}) +
            2 * channels * index_t{sizeof(T)},
        kLineBytes);
  }
  Sums(void* memory, index_t pieces, index_t count)
      : channels(rounded_up(count, kChannelPadding)), first(static_cast<double*>(memory)) {
    second = first + pieces * channels;
    counts = reinterpret_cast<Counted*>(second + pieces * channels);
    center = reinterpret_cast<T*>(counts + pieces);
    slope = center + pieces * channels;
    constant = slope + channels;
  }
  index_t at(index_t piece, index_t c) const { return piece * channels + c; }
  BatchNormMoments<T> moments(index_t piece, index_t c) const {
    const index_t i = at(piece, c);
    return {center + i, first + i, second + i};
  }
};

// The squares of float values beyond some 1e19 are infinite in float: such a channel, and no other,
// is gone through once more in double.
template <class T>
double squares_in_double(const Arrays<T>& a, index_t c, double mean) {
  double total = 0;
  for (index_t o = 0; o < a.x.outer; ++o) {
    const T* run = a.x.data + o * a.x.outer_stride + c * a.x.channel_stride;
    for (index_t i = 0; i < a.x.inner; ++i) {
      const double w = a.weights ? double(a.weights[o * a.x.inner + i]) : 1;
      const double d = static_cast<double>(run[i]) - mean;
      if (w > 0) total += w * d * d;
    }
  }
  return total;
}

template <class T>
BatchNormFinish<T> finish_args(const BatchNormParameters<T>& p, const BatchNormStatistics<T>& s,
                               index_t c, index_t channels, double n) {
  BatchNormFinish<T> f{};
  f.channels = channels, f.n = n, f.eps = p.eps;
  f.gamma = p.gamma ? p.gamma + c : nullptr;
  f.beta = p.beta ? p.beta + c : nullptr;
  f.mean = s.mean + c, f.mean_low = s.mean_low + c, f.var = s.var + c;
  f.invstd = s.invstd + c, f.scale = s.scale + c, f.shift = s.shift + c;
  return f;
}

// The three stages of one group's forward pass; copies, for threads to fetch at once.
template <class T>
struct Forward {
  const Arrays<T> a;
  const BatchNormParameters<T> parameters;
  const Cut cut;
  const Sums<T> sums;

  Forward(const Arrays<T>& arrays, const BatchNormParameters<T>& p, const Cut& c, const Sums<T>& s)
      : a(arrays), parameters(p), cut(c), sums(s) {
    for (index_t i = 0; i < cut.count(); ++i) sums.counts[i] = counted(a, cut.piece(i));
  }

  void reduce(index_t piece, index_t c, index_t channels) const {
    const Counted& count = sums.counts[piece];
    if (count.n == 0) return;
    const T* first = a.x.data + count.first + c * a.x.channel_stride;
    a.layout().moments(a.block(cut.piece(piece), c, channels), first, count.n,
                       sums.moments(piece, c));
  }

  void finish(index_t c, index_t channels) const {
    const BatchNormKernels<T>& kern = a.kernels;
    double n = 0;
    index_t into = 0;
    for (index_t i = 0; i < cut.count(); ++i) {
      const double more = sums.counts[i].n;
      if (more == 0) continue;
      if (n == 0) {
        into = i;
      } else {
        kern.merge(channels, sums.moments(into, c), n, sums.moments(i, c), more);
      }
      n += more;
    }
    BatchNormFinish<T> f = finish_args(parameters, a.statistics, c, channels, n);
    f.moments = sums.moments(into, c);
    if (kern.finish(f)) finish_overflown(f, c);
  }

  void finish_overflown(BatchNormFinish<T> f, index_t c) const {
    for (index_t j = 0; j < f.channels; ++j) {
      const double offset = f.moments.offset[j];
      if (!std::isinf(f.moments.squares[j]) || !std::isfinite(offset)) continue;
      f.moments.squares[j] = squares_in_double(a, c + j, double(f.moments.center[j]) + offset);
    }
    a.kernels.finish(f);
  }

  void apply(const Piece& p, index_t c, index_t channels) const {
    a.layout().apply(a.block(p, c, channels));
  }
};

// The three stages of one group's backward pass.
template <class T>
struct Backward {
  const Arrays<T> a;
  const Cut cut;
  const Sums<T> sums;
  double n;
  T *dgamma, *dbeta;
  bool training;

  void reduce(index_t piece, index_t c, index_t channels) const {
    const index_t i = sums.at(piece, c);
    a.layout().backward_sums(a.block(cut.piece(piece), c, channels), sums.first + i,
                             sums.second + i);
  }

  void finish(index_t c, index_t channels) const {
    double *sum = sums.first + c, *products = sums.second + c;
    for (index_t i = 1; i < cut.count(); ++i) {
      for (index_t j = 0; j < channels; ++j) {
        sum[j] += sums.first[sums.at(i, c + j)];
        products[j] += sums.second[sums.at(i, c + j)];
      }
    }
    const BatchNormStatistics<T>& s = a.statistics;
    a.kernels.finish_backward({channels, n, sum, products, s.mean_low + c, s.invstd + c,
                               s.scale + c, dgamma + c, dbeta + c, sums.slope + c,
                               sums.constant + c});
  }

  void apply(const Piece& p, index_t c, index_t channels) const {
    BatchNormBlock<T> g = a.block(p, c, channels);
    if (training) g.slope = sums.slope + c, g.constant = sums.constant + c;
    a.layout().backward_apply(g);
  }
};

}  // namespace
}  // namespace fastbn
