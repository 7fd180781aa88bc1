#include "runtime/workspace.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace fastbn {
namespace {

constexpr std::size_t kPage = 4096;

// The blocks that a thread keeps, and how many are lent.
struct Kept {
  Workspace::Block larger, smaller;
  int lent = 0;

  ~Kept() { clear(); }
  void clear() {
    std::free(std::exchange(larger, {}).data);
    std::free(std::exchange(smaller, {}).data);
  }
  // The smallest that is large enough, or none.
  Workspace::Block take(std::size_t bytes) {
    if (smaller.bytes >= bytes) return std::exchange(smaller, {});
    if (larger.bytes >= bytes) return std::exchange(larger, std::exchange(smaller, {}));
    return {};
  }
  void put(Workspace::Block block) {
    if (block.bytes > larger.bytes) std::swap(block, larger);
    if (block.bytes > smaller.bytes) std::swap(block, smaller);
    std::free(block.data);
  }
};
thread_local Kept kept;

Workspace::Block allocated(std::size_t bytes) {
  Workspace::Block block;
  block.bytes = (bytes + kPage - 1) / kPage * kPage;
  block.data = std::aligned_alloc(kPage, block.bytes);
  if (!block.data) throw std::bad_alloc();
  return block;
}

}  // namespace

Workspace::Workspace(std::size_t bytes) {
  if (bytes == 0) return;
  block_ = kept.take(bytes);
  if (!block_.data) {
    // A call inside no other needs one block: what is too small for it goes.
    if (kept.lent == 0) kept.clear();
    block_ = allocated(bytes);
  }
  ++kept.lent;
}

Workspace::~Workspace() {
  if (!block_.data) return;
  --kept.lent;
  kept.put(block_);
}

}  // namespace fastbn
