#include "runtime/workspace.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace fastbn {
namespace {

constexpr std::size_t kPage = 4096;

// The blocks that a thread keeps, the larger one first.
struct Kept {
  Workspace::Block larger, smaller;

  ~Kept() {
    std::free(larger.data);
    std::free(smaller.data);
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

}  // namespace

Workspace::Workspace(std::size_t bytes) {
  if (bytes == 0) return;
  block_ = kept.take(bytes);
  if (block_.data) return;
  block_.bytes = (bytes + kPage - 1) / kPage * kPage;
  block_.data = std::aligned_alloc(kPage, block_.bytes);
  if (!block_.data) throw std::bad_alloc();
}

Workspace::~Workspace() {
  kept.put(block_);
}

}  // namespace fastbn
