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

// Where a thread reads more than L2 keeps and a part of L3, the elementwise passes ask for their next strip.  They go
// (but for the ones of kRowsAtOnce) through four rows to and fro, 256 bytes of each in turn, in which prefetchers see
// no stream if a row is more than that and less than a page; four rows of a page or more are four streams.  (Zen 5, two
// threads, 65536 x 256, without and with it in turn: forward 1.3 times as fast, backward 1.4, inference 1.8; where L3
// has all, 0.90 to 0.95.  Row by row, memory is read as well, but each load of a coefficient serves one row: 0.7 to 0.8
// where L3 has all.)
//
// Channels first, the sums of a channel ask for the next one's: its rows, an image of each sample, are as short and lie
// far apart.  (Of x that is in no cache, backward 32 x 512 x 14 x 14 1.2 times as fast, 64 x 128 x 16 x 16 1.1 to 1.3,
// forward 64 x 128 x 20 x 20 1.3, others 0.97 to 1.1; rows of 3 KB 0.8 to 1.0, half of such an x 0.84 to 1.0.)  An L2
// of 512 KiB must hold a channel and the next.  (Zen 3, images of 16 x 16; a channel of x, backward of x and dy, has
// 256 KiB: forward 1.14 times as fast, backward 1.01; 512 KiB: 1.03 and 0.97; 1 MiB: 1.01 and 0.91; 2 MiB: 0.89 and
// 0.86.)
constexpr double kAheadBytes = 5 << 20, kAheadChannel = 256 << 10;
constexpr index_t kLeastAhead = 512, kStreams = 4096, kStreamsFirst = 2048;  // bytes of a row

// What a call reads and writes in all its passes, in sizes of the last cache, from which on it writes past the caches.
// A pass of such a call finds little of the one before, and leaves little to the caller's next step.  Of ghost batches
// each counts for itself: it is read twice in a row.  (Zen 5, 32 MiB shared, two threads, around these sizes: of x that
// is in no cache 1.1 to 1.4 times as fast, inference up to 1.6; called over and over with the same arrays, channels
// last 0.9 to 1.2, first 0.6 to 0.9 from the lower size on.)
constexpr double kStreamedShare = 0.9, kStreamedShareFirst = 1.25;  // channels last and first

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

  bool ahead() const {
    const index_t row = (channels_last() ? x.channels : x.inner) * index_t{sizeof(T)};
    const double read = bytes_of(x) + bytes_of(dy);
    if (read <= kAheadBytes * num_threads() || row < kLeastAhead) return false;
    if (channels_last()) return row < kStreams;
    return row < kStreamsFirst && read <= kAheadChannel * double(x.channels);
  }

  // Whether what is written goes past the caches (kStreamedShare).
  bool stream() const {
    const double moved = reads * (bytes_of(x) + bytes_of(dy)) + bytes_of(out);
    const double share = channels_last() ? kStreamedShare : kStreamedShareFirst;
    return last_level_bytes() > 0 && moved >= share * double(last_level_bytes());
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
    g.relu = relu, g.stream = stream();
    g.ahead = ahead() && (channels_last() || c + channels < x.channels);
    g.x_next = x.channel_stride, g.dy_next = dy.channel_stride;
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
