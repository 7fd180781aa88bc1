// How the stages (stages.h) are shared out to threads.
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
#pragma once

#include <algorithm>

#include "batchnorm/arrays.h"
#include "batchnorm/cut.h"
#include "runtime/threads.h"

namespace fastbn {
namespace {

// A second thread is worth its wake-up from about this much data on each.
constexpr double kBytesPerThread = 64 * 1024;
// A panel is read two or three times: it should stay in L2, with its output beside it.
constexpr index_t kPanelBytes = 512 * 1024;
// Columns that a thread takes of a piece at a time, where threads share pieces.
constexpr index_t kPieceCols = 1024;

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
  parallel(parts, [=](int id) {
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
  const auto channels = [=](index_t c) { return std::min(width, x.channels - c); };
  parallel(parts, [=](int id) {
    const Range range = share(items, 1, parts, id);
    for (index_t i = range.begin; i < range.end; ++i) {
      const index_t c = i % panels * width;
      stages.reduce(i / panels, c, channels(c));
    }
  });
  const double merged = 32.0 * double(pieces) * double(x.channels);
  const int finishers =
      threads_for(pieces_of(x.channels, kChannelPadding), merged, kBytesPerThread);
  parallel(finishers, [=](int id) {
    const Range range = share(x.channels, kChannelPadding, finishers, id);
    if (range.begin < range.end) stages.finish(range.begin, range.end - range.begin);
  });
  // Backwards: of what is larger than a cache the last rows are still there.
  parallel(parts, [=](int id) {
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
  parallel(parts, [=](int id) {
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

}  // namespace
}  // namespace fastbn
