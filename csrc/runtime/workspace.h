// Scratch memory of one call, aligned to a page.
//
// Each calling thread keeps the largest block it has used and lends it to the next call, since
// blocks of this size would else come from mmap and pay page faults each time.  Nothing is shared
// between threads; a call inside a call gets a block of its own.
#pragma once

#include <cstddef>

namespace fastbn {

class Workspace {
 public:
  explicit Workspace(std::size_t bytes);  // throws std::bad_alloc
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <class T>
  T* as(std::size_t byte_offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(data_) + byte_offset);
  }

 private:
  void* data_;
  std::size_t bytes_;
};

}  // namespace fastbn
