// The batch-norm driver.
//
// The values of a channel are cut into pieces by their shape alone.  Each piece has moments of its
// own, which are merged in order, so that neither the number of threads nor who computes what shows
// in the bits:
//
//   moments    of each piece                           reads x
//   finish     merge; mean, variance, scale, shift     a few values a channel
//   apply      to each piece                           reads x, writes y
//
// By channels: a thread takes its channels through all three, in panels that stay in L2 between the
// passes.  That is for one thread, and for channels first, where a channel's values lie apart from
// its neighbours'.
//
// By stages: three regions.  Channels last, rows are shared out where they can be: threads that
// write to the two halves of each row slow one another down, as the prefetcher of one fetches what
// the other is about to write (96 x 1024 by channels: no faster on two threads than on one); and of
// tall x a panel of channels would be a narrow strip, of which L2 keeps no more than some 256 rows
// if they are a page apart, whatever their width.
#include "fastbn/batchnorm.h"

#include <algorithm>
#include <cmath>

#include "batchnorm/serial.h"
#include "dispatch/dispatch.h"
#include "runtime/threads.h"
#include "runtime/workspace.h"

namespace fastbn {
namespace {

// A second thread is worth its wake-up from about this much data on each.
constexpr double kBytesPerThread = 64 * 1024;
// A panel is read two or three times: it should stay in L2, with its output beside it.
constexpr index_t kPanelBytes = 512 * 1024;
constexpr index_t kLineBytes = 64;

// Rows of a piece, channels last: four strips of 32, of which the first gives the center.
constexpr index_t kPieceRows = 128;
// Values of a piece, channels first.
constexpr index_t kPieceValues = 16 * 1024;
// Columns that a thread takes of a piece at a time, where threads share pieces.
constexpr index_t kPieceCols = 1024;

index_t pieces_of(index_t n, index_t step) {
  return (n + step - 1) / step;
}

index_t rounded_up(index_t n, index_t multiple) {
  return pieces_of(n, multiple) * multiple;
}

template <class T>
double bytes_of(const ChannelView<T>& v) {
  return double(v.outer) * double(v.channels) * double(v.inner) * sizeof(T);
}

// A rectangle of positions: rows of outer, columns of inner (one column where channels come last).
struct Piece {
  index_t row, rows, col, cols;
};

// How one group's positions are cut.
struct Cut {
  index_t outer, inner, rows, cols, row_pieces, col_pieces;

  Cut(index_t outer_, index_t inner_) : outer(outer_), inner(inner_) {
    cols = std::min(inner, kPieceValues);
    rows = inner == 1 ? kPieceRows : std::max<index_t>(1, kPieceValues / cols);
    row_pieces = pieces_of(outer, rows), col_pieces = pieces_of(inner, cols);
  }
  index_t count() const { return row_pieces * col_pieces; }
  Piece piece(index_t i) const {
    const index_t row = i / col_pieces * rows, col = i % col_pieces * cols;
    return {row, std::min(rows, outer - row), col, std::min(cols, inner - col)};
  }
};

// Rows of an elementwise strip, channels last.  Four rows share each load of the coefficients; 32 rows
// a page apart would share few sets of L1 (16 x 1024: 7.2 us for inference, 4.9 with four).  Memory
// is fastest read in one stream: of more than a cache keeps, one row (16384 x 256: 568 us, 1,228
// with four).
constexpr index_t kStripRows = 4;
constexpr double kStreamedBytes = 8 << 20;

// The arrays of one call.
template <class T>
struct Arrays {
  ChannelView<const T> x, dy;
  ChannelView<T> out;
  const T* weights;
  BatchNormStatistics<T> statistics;
  bool relu;

  bool channels_last() const { return x.inner == 1; }
  const BatchNormLayoutKernels<T>& kernels() const {
    const BatchNormKernels<T>& k = fastbn::kernels<T>().batchnorm;
    return channels_last() ? k.channels_last : k.channels_first;
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
    g.strip = bytes_of(x) > kStreamedBytes ? 1 : kStripRows;
    g.relu = relu;
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

template <class T>
Range group_rows(const ChannelView<const T>& x, const BatchNormCounting<T>& counting, index_t g) {
  const index_t rows = x.outer / counting.samples;
  return {counting.first_sample(g) * rows, counting.first_sample(g + 1) * rows};
}

// Scratch for one group: moments or sums, two doubles and a T for every piece and channel; a
// backward pass's coefficients, two T a channel; and what each piece counts.
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

// The three stages of one group's forward pass.
template <class T>
struct Forward {
  const Arrays<T>& a;
  const BatchNormParameters<T>& parameters;
  const Cut& cut;
  const Sums<T>& sums;

  Forward(const Arrays<T>& arrays, const BatchNormParameters<T>& p, const Cut& c, const Sums<T>& s)
      : a(arrays), parameters(p), cut(c), sums(s) {
    for (index_t i = 0; i < cut.count(); ++i) sums.counts[i] = counted(a, cut.piece(i));
  }

  void reduce(index_t piece, index_t c, index_t channels) const {
    const Counted& count = sums.counts[piece];
    if (count.n == 0) return;
    const T* first = a.x.data + count.first + c * a.x.channel_stride;
    a.kernels().moments(a.block(cut.piece(piece), c, channels), first, count.n,
                        sums.moments(piece, c));
  }

  void finish(index_t c, index_t channels) const {
    const BatchNormKernels<T>& kern = kernels<T>().batchnorm;
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
    kernels<T>().batchnorm.finish(f);
  }

  void apply(const Piece& p, index_t c, index_t channels) const {
    a.kernels().apply(a.block(p, c, channels));
  }
};

// The three stages of one group's backward pass.
template <class T>
struct Backward {
  const Arrays<T>& a;
  const Cut& cut;
  const Sums<T>& sums;
  double n;
  T *dgamma, *dbeta;
  bool training;

  void reduce(index_t piece, index_t c, index_t channels) const {
    const index_t i = sums.at(piece, c);
    a.kernels().backward_sums(a.block(cut.piece(piece), c, channels), sums.first + i,
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
    kernels<T>().batchnorm.finish_backward({channels, n, sum, products, s.mean_low + c,
                                            s.invstd + c, s.scale + c, dgamma + c, dbeta + c,
                                            sums.slope + c, sums.constant + c});
  }

  void apply(const Piece& p, index_t c, index_t channels) const {
    BatchNormBlock<T> g = a.block(p, c, channels);
    if (training) g.slope = sums.slope + c, g.constant = sums.constant + c;
    a.kernels().backward_apply(g);
  }
};

// Channels that a thread takes through all stages at a time, or through one pass of pieces.
template <class T>
index_t panel_channels(const ChannelView<const T>& x) {
  if (x.inner != 1) return 1;
  const index_t most = kPanelBytes / (2 * x.outer * index_t{sizeof(T)});
  return std::max(kChannelPadding, most / kChannelPadding * kChannelPadding);
}

template <class T, class Stages>
void run_panel(const Stages& stages, const Cut& cut, index_t c, index_t channels) {
  for (index_t i = 0; i < cut.count(); ++i) stages.reduce(i, c, channels);
  stages.finish(c, channels);
  // Backwards: of a channel larger than a cache the last pieces are still there.
  for (index_t i = cut.count(); i-- > 0;) stages.apply(cut.piece(i), c, channels);
}

// Each thread takes channels through all three stages: one of images, or a panel of rows' columns.
template <class T, class Stages>
void run_by_channels(const Stages& stages, const ChannelView<const T>& x, const Cut& cut,
                     int parts) {
  const index_t grain = x.inner == 1 ? kChannelPadding : 1, width = panel_channels(x);
  parallel(parts, [&](int id) {
    const Range range = share(x.channels, grain, parts, id);
    for (index_t c = range.begin; c < range.end; c += width) {
      run_panel<T>(stages, cut, c, std::min(width, range.end - c));
    }
  });
}

// A region a stage.  Sums: pieces, and panels of channels of each where the pieces are few.
template <class T, class Stages>
void run_by_stages(const Stages& stages, const ChannelView<const T>& x, const Cut& cut, int parts) {
  const index_t pieces = cut.count();
  const index_t fair = rounded_up(pieces_of(x.channels * pieces, parts), kChannelPadding);
  const index_t width = x.inner == 1 ? std::min(kPieceCols, fair) : 1;
  const index_t panels = pieces_of(x.channels, width), items = pieces * panels;
  const auto channels = [&](index_t c) { return std::min(width, x.channels - c); };
  parallel(parts, [&](int id) {
    const Range range = share(items, 1, parts, id);
    for (index_t i = range.begin; i < range.end; ++i) {
      const index_t c = i % panels * width;
      stages.reduce(i / panels, c, channels(c));
    }
  });
  const double merged = 32.0 * double(pieces) * double(x.channels);
  const int finishers =
      threads_for(pieces_of(x.channels, kChannelPadding), merged, kBytesPerThread);
  parallel(finishers, [&](int id) {
    const Range range = share(x.channels, kChannelPadding, finishers, id);
    if (range.begin < range.end) stages.finish(range.begin, range.end - range.begin);
  });
  // Backwards: of what is larger than a cache the last rows are still there.
  parallel(parts, [&](int id) {
    if (x.inner == 1) {
      const Range rows = share(x.outer, 1, parts, id);
      for (index_t end = rows.end; end > rows.begin; end -= kPieceRows) {
        const index_t begin = std::max(rows.begin, end - kPieceRows);
        stages.apply({begin, end - begin, 0, 1}, 0, x.channels);
      }
      return;
    }
    const Range range = share(items, 1, parts, id);
    for (index_t i = range.end; i-- > range.begin;)
      stages.apply(cut.piece(i / panels), i % panels, 1);
  });
}

template <class T, class Stages>
void run(const Stages& stages, const ChannelView<const T>& x, const Cut& cut) {
  const bool last = x.inner == 1;
  const index_t items =
      last ? pieces_of(x.channels, kChannelPadding) * cut.row_pieces : x.channels * cut.count();
  const int parts = threads_for(items, bytes_of(x), kBytesPerThread);
  const bool by_stages = last ? parts > 1 || cut.count() > 1 : x.channels < 2 * parts;
  if (by_stages) {
    run_by_stages<T>(stages, x, cut, parts);
  } else {
    run_by_channels<T>(stages, x, cut, static_cast<int>(std::min<index_t>(parts, x.channels)));
  }
}

// Many small batches in one: each is one thread's, from its first pass to its last.
template <class T, class Body>
void for_each_group(index_t groups, int parts, const Body& body) {
  parallel(parts, [&](int id) {
    const Range range = share(groups, 1, parts, id);
    for (index_t g = range.begin; g < range.end; ++g) body(g, id);
  });
}

template <class T>
int threads_for_groups(const ChannelView<const T>& x, index_t groups) {
  return groups == 1 ? 1 : threads_for(groups, bytes_of(x), kBytesPerThread);
}

template <class T, class Stages>
void run_alone(const Stages& stages, const ChannelView<const T>& x, const Cut& cut) {
  const index_t width = panel_channels(x);
  for (index_t c = 0; c < x.channels; c += width) {
    run_panel<T>(stages, cut, c, std::min(width, x.channels - c));
  }
}

// The most pieces that a group has.
template <class T>
index_t most_pieces(const ChannelView<const T>& x, const BatchNormCounting<T>& counting) {
  const index_t samples = pieces_of(counting.samples, counting.groups);
  return Cut(samples * (x.outer / counting.samples), x.inner).count();
}

}  // namespace

template <class T>
void values_of_groups(const ChannelView<const T>& x, const BatchNormCounting<T>& counting,
                      double* n) {
  for (index_t g = 0; g < counting.groups; ++g) {
    const Range rows = group_rows(x, counting, g);
    n[g] = count_of(counting.weights, {rows.begin, rows.end - rows.begin, 0, x.inner}, x.inner);
  }
}

template <class T>
void batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                         const ChannelView<T>& y, const BatchNormStatistics<T>& s,
                         const BatchNormCounting<T>& counting) {
  const Arrays<T> all{x, {}, y, counting.weights, s, p.relu};
  const index_t pieces = most_pieces(x, counting), bytes = Sums<T>::bytes(pieces, x.channels);
  const int parts = threads_for_groups(x, counting.groups);
  const Workspace workspace(static_cast<std::size_t>(parts * bytes));
  const auto sums_of = [&](int id) {
    return Sums<T>(workspace.as<char>(static_cast<std::size_t>(id * bytes)), pieces, x.channels);
  };
  if (counting.groups == 1) {
    const Cut cut(x.outer, x.inner);
    const Sums<T> sums = sums_of(0);
    return run<T>(Forward<T>{all, p, cut, sums}, x, cut);
  }
  for_each_group<T>(counting.groups, parts, [&](index_t g, int id) {
    const Range rows = group_rows(x, counting, g);
    const Arrays<T> a = all.rows(rows.begin, rows.end - rows.begin, g);
    const Cut cut(a.x.outer, x.inner);
    const Sums<T> sums = sums_of(id);
    run_alone<T>(Forward<T>{a, p, cut, sums}, a.x, cut);
  });
}

template <class T>
void fill_inference_statistics(index_t channels, const BatchNormParameters<T>& p, const T* mean,
                               const T* var, const BatchNormStatistics<T>& s) {
  for (index_t c = 0; c < channels; ++c) {
    s.mean[c] = mean[c], s.mean_low[c] = T(0), s.var[c] = var[c];
  }
  kernels<T>().batchnorm.affine(finish_args(p, s, 0, channels, 1));
}

template <class T>
void batch_norm_inference(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                          const T* mean, const T* var, const ChannelView<T>& y,
                          const BatchNormStatistics<T>& s, const BatchNormCounting<T>& counting) {
  fill_inference_statistics(x.channels, p, mean, var, s);
  const Arrays<T> a{x, {}, y, counting.weights, s, p.relu};
  // Elementwise: rows are shared out where a row has all channels, else channels.
  const bool by_rows = x.inner == 1;
  const index_t items = by_rows ? x.outer : x.channels;
  const int parts = threads_for(items, bytes_of(x), kBytesPerThread);
  parallel(parts, [&](int id) {
    const Range range = share(items, 1, parts, id);
    const index_t n = range.end - range.begin;
    if (by_rows) return a.kernels().apply(a.block({range.begin, n, 0, 1}, 0, x.channels));
    for (index_t c = range.begin; c < range.end; ++c) {
      a.kernels().apply(a.block({0, x.outer, 0, x.inner}, c, 1));
    }
  });
}

template <class T>
void update_running(index_t channels, const double* n, index_t groups, const BatchNormMomentum& m,
                    const BatchNormStatistics<T>& s, T* running_mean, T* running_var) {
  for (index_t g = 0; g < groups; ++g) {
    const double add = m.batches < 0 ? m.momentum : 1.0 / double(m.batches + g + 1);
    const double correction = m.unbiased && n[g] > 1 ? n[g] / (n[g] - 1) : 1.0;
    const index_t at = g * s.next;
    kernels<T>().batchnorm.update_running({channels, 1 - add, add, correction, s.mean + at,
                                           s.mean_low + at, s.var + at, running_mean, running_var});
  }
}

template <class T>
void batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                         const BatchNormStatistics<T>& s, bool training, bool relu,
                         const ChannelView<T>& dx, T* dgamma, T* dbeta,
                         const BatchNormCounting<T>& counting) {
  const Arrays<T> all{x, dy, dx, counting.weights, s, relu};
  const index_t pieces = most_pieces(x, counting), bytes = Sums<T>::bytes(pieces, x.channels);
  const index_t groups = counting.groups, channels = x.channels;
  const int parts = threads_for_groups(x, groups);
  // Before the threads' sums: n of each group, and its own dgamma and dbeta.
  const index_t of_groups = rounded_up(
      groups * index_t{sizeof(double)} + groups * 2 * channels * index_t{sizeof(T)}, kLineBytes);
  const Workspace workspace(static_cast<std::size_t>(of_groups + parts * bytes));
  double* const n = workspace.as<double>();
  T* const gradients = reinterpret_cast<T*>(n + groups);
  values_of_groups(x, counting, n);
  const auto sums_of = [&](int id) {
    return Sums<T>(workspace.as<char>(static_cast<std::size_t>(of_groups + id * bytes)), pieces,
                   channels);
  };
  if (groups == 1) {
    const Cut cut(x.outer, x.inner);
    const Sums<T> sums = sums_of(0);
    return run<T>(Backward<T>{all, cut, sums, n[0], dgamma, dbeta, training}, x, cut);
  }
  for_each_group<T>(groups, parts, [&](index_t g, int id) {
    const Range rows = group_rows(x, counting, g);
    const Arrays<T> a = all.rows(rows.begin, rows.end - rows.begin, g);
    const Cut cut(a.x.outer, x.inner);
    const Sums<T> sums = sums_of(id);
    T* const own = gradients + 2 * g * channels;
    run_alone<T>(Backward<T>{a, cut, sums, n[g], own, own + channels, training}, a.x, cut);
  });
  for (index_t c = 0; c < channels; ++c) {
    double to_gamma = 0, to_beta = 0;
    for (index_t g = 0; g < groups; ++g) {
      to_gamma += double(gradients[2 * g * channels + c]);
      to_beta += double(gradients[(2 * g + 1) * channels + c]);
    }
    dgamma[c] = static_cast<T>(to_gamma), dbeta[c] = static_cast<T>(to_beta);
  }
}

template <class T>
std::size_t serial_batch_norm_bytes(const ChannelView<const T>& x) {
  return static_cast<std::size_t>(Sums<T>::bytes(Cut(x.outer, x.inner).count(), x.channels));
}

template <class T>
void serial_batch_norm_training(const ChannelView<const T>& x, const BatchNormParameters<T>& p,
                                const ChannelView<T>& y, const BatchNormStatistics<T>& s,
                                void* scratch) {
  const Arrays<T> a{x, {}, y, nullptr, s, p.relu};
  const Cut cut(x.outer, x.inner);
  const Sums<T> sums(scratch, cut.count(), x.channels);
  run_panel<T>(Forward<T>{a, p, cut, sums}, cut, 0, x.channels);
}

template <class T>
void serial_batch_norm_backward(const ChannelView<const T>& dy, const ChannelView<const T>& x,
                                const BatchNormStatistics<T>& s, bool training, bool relu,
                                const ChannelView<T>& dx, T* dgamma, T* dbeta, void* scratch) {
  const Arrays<T> a{x, dy, dx, nullptr, s, relu};
  const Cut cut(x.outer, x.inner);
  const Sums<T> sums(scratch, cut.count(), x.channels);
  const double n = double(x.outer) * double(x.inner);
  run_panel<T>(Backward<T>{a, cut, sums, n, dgamma, dbeta, training}, cut, 0, x.channels);
}

#define FASTBN_INSTANTIATE(T)                                                                      \
  template std::size_t serial_batch_norm_bytes<T>(const ChannelView<const T>&);                    \
  template void fill_inference_statistics<T>(index_t, const BatchNormParameters<T>&, const T*,     \
                                             const T*, const BatchNormStatistics<T>&);             \
  template void serial_batch_norm_training<T>(                                                     \
      const ChannelView<const T>&, const BatchNormParameters<T>&, const ChannelView<T>&,           \
      const BatchNormStatistics<T>&, void*);                                                       \
  template void serial_batch_norm_backward<T>(                                                     \
      const ChannelView<const T>&, const ChannelView<const T>&, const BatchNormStatistics<T>&,     \
      bool, bool, const ChannelView<T>&, T*, T*, void*);                                           \
  template void values_of_groups<T>(const ChannelView<const T>&, const BatchNormCounting<T>&,      \
                                    double*);                                                      \
  template void batch_norm_training<T>(const ChannelView<const T>&, const BatchNormParameters<T>&, \
                                       const ChannelView<T>&, const BatchNormStatistics<T>&,       \
                                       const BatchNormCounting<T>&);                               \
  template void batch_norm_inference<T>(                                                           \
      const ChannelView<const T>&, const BatchNormParameters<T>&, const T*, const T*,              \
      const ChannelView<T>&, const BatchNormStatistics<T>&, const BatchNormCounting<T>&);          \
  template void update_running<T>(index_t, const double*, index_t, const BatchNormMomentum&,       \
                                  const BatchNormStatistics<T>&, T*, T*);                          \
  template void batch_norm_backward<T>(                                                            \
      const ChannelView<const T>&, const ChannelView<const T>&, const BatchNormStatistics<T>&,     \
      bool, bool, const ChannelView<T>&, T*, T*, const BatchNormCounting<T>&);
FASTBN_INSTANTIATE(float)
FASTBN_INSTANTIATE(double)
#undef FASTBN_INSTANTIATE

}  // namespace fastbn
