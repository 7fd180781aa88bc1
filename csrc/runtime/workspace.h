// Scratch memory of one call, aligned to a page.
//
// Each calling thread keeps the largest block it has used, and lends it to the next call, since blocks of this size
// would else come from mmap and pay page faults each time.  What one call inside another hands to the next, as a block
// of layers does whose operations follow one another, is kept apart (with one block for both, backward at 1,024 rows of
// 784 x 512 took 5 ms, not 4; with any two, both grew to the size of the larger).  Nothing is shared between threads.
#pragma once

#include <cstddef>

namespace fastbn {

class Workspace {
 public:
  enum Use { scratch, between_calls };
  struct Block {
    void* data = nullptr;
    std::size_t bytes = 0;
  };

  // `spare` bytes more if a block is allocated, for later calls that need a little more.  Throws std::bad_alloc.
  explicit Workspace(std::size_t bytes, Use use = scratch, std::size_t spare = 0);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as(std::size_t byte_offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(block_.data) + byte_offset);
  }

 private:
  const Use use_;
  Block block_;
};

}  // namespace fastbn
