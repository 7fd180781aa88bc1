#include "runtime/workspace.h"

#include <cstdlib>
#include <new>
#include <utility>

namespace fastbn {
namespace {

constexpr std::size_t kPage = 4096;

// The blocks that a thread keeps, one for each use.
struct Kept {
  Workspace::Block of[2];

  ~Kept() {
    for (Workspace::Block& block : of) std::free(block.data);
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

Workspace::Workspace(std::size_t bytes, Use use, std::size_t spare) : use_(use) {
  if (bytes == 0) return;
  block_ = std::exchange(kept.of[use], {});
  if (block_.bytes >= bytes) return;
  std::free(std::exchange(block_, {}).data);  // before: there are never two
  block_ = allocated(bytes + spare);
}

// Of two calls one inside the other, the larger one's is kept.
Workspace::~Workspace() {
  Block& place = kept.of[use_];
  if (block_.bytes > place.bytes) std::swap(block_, place);
  std::free(block_.data);
}

}  // namespace fastbn
