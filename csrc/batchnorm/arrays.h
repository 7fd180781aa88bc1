// The arrays of a call, the blocks of them that the kernels are given, and what of them counts.
#pragma once

#include "batchnorm/cut.h"
#include "dispatch/dispatch.h"
#include "fastbn/batchnorm.h"
#include "fastbn/runtime.h"

namespace fastbn {
namespace {

template <class T>
double bytes_of(const ChannelView<T>& v) {
  return double(v.outer) * double(v.channels) * double(v.inner) * sizeof(T);
}

// Rows of an elementwise strip, channels last.  Four rows share each load of the coefficients; 32 rows
// a page apart would share few sets of L1 (16 x 1024: 7.2 us for inference, 4.9 with four).
constexpr index_t kStripRows = 4;
// Where a thread reads more than L2 keeps and a part of L3, memory should be read in streams that prefetchers can
// follow, and they look for them within a page.  Four rows of a page or more are four streams, and better than one;
// four short rows lie one after the other.  Those between would be read to and fro within a page, and are taken
// one by one.  (Zen 4, one thread, inference, four rows in turn with one: 2048 x 1024 600 and 747 us; 6272 x 256 970
// and 383, but 250 and 300 in an hour when the machine's neighbours left it more of the shared L3.)
constexpr double kStreamedBytes = 5 << 20;
constexpr index_t kLeastStreamed = 512, kPage = 4096;  // bytes of a row

// What a call reads and writes in all its passes, in sizes of the last cache, from which on it writes past the caches.
// A pass of such a call finds little of the one before, and leaves little to the caller's next step.  (Zen 5, 32 MiB
// shared, two threads: forward and backward 1.1 to 1.3 times as fast, inference 1.1 to 1.4; 0.6 to 0.9 where all fits.)
constexpr double kStreamedShare = 1.25;

// The arrays of one call.
template <class T>
struct Arrays {
  const BatchNormKernels<T>& kernels;  // looked up once a call: another target may be put in force
  ChannelView<const T> x, dy;
  ChannelView<T> out;
  const T* weights;
  BatchNormStatistics<T> statistics;
  bool relu;
  int reads;  // passes that read x and dy

  bool channels_last() const { return x.inner == 1; }
  const BatchNormLayoutKernels<T>& layout() const {
    return channels_last() ? kernels.channels_last : kernels.channels_first;
  }

  index_t strip_rows() const {
    const index_t row = x.channels * index_t{sizeof(T)};
    const double read = (bytes_of(x) + bytes_of(dy)) / num_threads();
    return read > kStreamedBytes && row >= kLeastStreamed && row < kPage ? 1 : kStripRows;
  }

  // Whether what is written goes past the caches (kStreamedShare).
  bool stream() const {
    const double moved = reads * (bytes_of(x) + bytes_of(dy)) + bytes_of(out);
    return last_level_bytes() > 0 && moved >= kStreamedShare * double(last_level_bytes());
  }

  // Rows [row, row + rows) of outer, as arrays of their own.
  Arrays rows(index_t row, index_t rows, index_t group) const {
    Arrays a = *this;
    const auto cut = [&](auto& view) {
      if (view.data) view.data += row * view.outer_stride;
      view.outer = rows;
    };
    cut(a.x), cut(a.dy), cut(a.out);
    if (weights) a.weights += row * x.inner;
    BatchNormStatistics<T>& s = a.statistics;
    for (T** p : {&s.mean, &s.mean_low, &s.var, &s.invstd, &s.scale, &s.shift}) {
      *p += group * s.next;
    }
    return a;
  }

  // Channels first: `channels` channels of one sample from c on, a row each.
  BatchNormBlock<T> sample(index_t row, index_t c, index_t channels) const {
    BatchNormBlock<T> g = block({row, channels, 0, x.inner}, c, 1);
    g.x_row = x.channel_stride, g.out_row = out.channel_stride, g.weight_row = 0;
    g.channel_step = 1;
    return g;
  }

  // A piece of `channels` channels from c on: all of them, or one.
  BatchNormBlock<T> block(const Piece& p, index_t c, index_t channels) const {
    BatchNormBlock<T> g{};
    g.rows = p.rows;
    g.cols = channels_last() ? channels : p.cols;
    const auto at = [&](const auto& view) {
      return view.data + p.row * view.outer_stride + c * view.channel_stride + p.col;
    };
    g.x = at(x), g.x_row = x.outer_stride;
    if (dy.data) g.dy = at(dy), g.dy_row = dy.outer_stride;
    if (out.data) g.out = at(out), g.out_row = out.outer_stride;
    if (weights) g.weight = weights + p.row * x.inner + p.col, g.weight_row = x.inner;
    g.mean = statistics.mean + c, g.scale = statistics.scale + c, g.shift = statistics.shift + c;
    g.strip = strip_rows();
    g.relu = relu, g.stream = stream();
    return g;
  }
};

// The sum of the weights of a rectangle of positions, or their number.
template <class T>
double count_of(const T* weights, const Piece& p, index_t inner) {
  if (!weights) return double(p.rows) * double(p.cols);
  double n = 0;
  for (index_t i = p.row; i < p.row + p.rows; ++i) {
    for (index_t j = p.col; j < p.col + p.cols; ++j) n += double(weights[i * inner + j]);
  }
  return n;
}

// What a piece's values count in all, and where in x the first is that counts.
struct Counted {
  double n;
  index_t first;
};

template <class T>
Counted counted(const Arrays<T>& a, const Piece& p) {
  const double n = count_of(a.weights, p, a.x.inner);
  for (index_t i = p.row; a.weights && i < p.row + p.rows; ++i) {
    for (index_t j = p.col; j < p.col + p.cols; ++j) {
      if (a.weights[i * a.x.inner + j] > 0) return {n, i * a.x.outer_stride + j};
    }
  }
  return {n, p.row * a.x.outer_stride + p.col};
}

}  // namespace
}  // namespace fastbn
