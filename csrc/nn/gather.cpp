// Rows of a batch, gathered from all over the samples: memory, not arithmetic.
//
// A row begins where no hardware prefetcher expects it, and those stop at each page besides.  So the
// next row is asked for, line by line, while this one is copied; of short rows, such as labels, one
// farther ahead.
#include <algorithm>
#include <cstring>

#include "fastbn/nn.h"
#include "runtime/threads.h"

namespace fastbn {
namespace {

constexpr std::size_t kLine = 64;
// Copying so much hides most of the way to memory: 1,024 labels of 8 bytes take 12 us with one row
// ahead, 6 with 32; rows of 3 KiB the same with 1 to 4.
constexpr std::size_t kBytesAhead = 256;
// Rows come out of memory at some 8 GB/s a thread: 32 KiB take 4 us, twice what a second one costs.
constexpr double kGatheredBytesPerThread = 32 * 1024;

void copy_row(const char* from, const char* next, std::size_t bytes, char* to) {
  std::size_t i = 0;
  for (; i + kLine <= bytes; i += kLine) {
    __builtin_prefetch(next + i);
    std::memcpy(to + i, from + i, kLine);
  }
  __builtin_prefetch(next + i);
  std::memcpy(to + i, from + i, bytes - i);
}

}  // namespace

void gather_rows(const void* from, std::size_t row_bytes, const index_t* rows, index_t count,
                 void* to) {
  const char* const samples = static_cast<const char*>(from);
  const auto row = [=](index_t r) {
    return samples + static_cast<std::size_t>(rows[r]) * row_bytes;
  };
  const index_t ahead = std::max<index_t>(1, kBytesAhead / std::max<std::size_t>(1, row_bytes));
  const double bytes = static_cast<double>(count) * static_cast<double>(row_bytes);
  const int parts = threads_for(count, bytes, kGatheredBytesPerThread);
  parallel(parts, [=](int i) {
    const Range r = share(count, 1, parts, i);
    char* out = static_cast<char*>(to) + static_cast<std::size_t>(r.begin) * row_bytes;
    for (index_t k = r.begin; k < r.end; ++k, out += row_bytes) {
      copy_row(row(k), row(std::min(k + ahead, r.end - 1)), row_bytes, out);
    }
  });
}

}  // namespace fastbn
