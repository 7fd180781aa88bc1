// Scratch memory of one call, aligned to a page.
//
// Each calling thread keeps the largest block it has used, and a second one for a call inside a call, and lends them
// to the next ones, since blocks of this size would else come from mmap and pay page faults each time (a fused block's
// backward at 1,024 rows, 784 x 512, took 5 ms with one block, 4 with two).  Nothing is shared between threads.
#pragma once

#include <cstddef>

namespace fastbn {

class Workspace {
 public:
  struct Block {
    void* data = nullptr;
    std::size_t bytes = 0;
  };

  explicit Workspace(std::size_t bytes);  // throws std::bad_alloc
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as(std::size_t byte_offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(block_.data) + byte_offset);
  }

 private:
  Block block_;
};

}  // namespace fastbn
