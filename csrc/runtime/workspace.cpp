#include "runtime/workspace.h"

#include <cstdlib>
#include <new>

namespace fastbn {
namespace {

constexpr std::size_t kPage = 4096;

struct Cache {
  void* data = nullptr;
  std::size_t bytes = 0;
  ~Cache() { std::free(data); }
};
thread_local Cache cache;

}  // namespace

Workspace::Workspace(std::size_t bytes) : data_(nullptr), bytes_(0) {
  if (bytes == 0) return;
  if (cache.bytes >= bytes) {
    data_ = cache.data;
    bytes_ = cache.bytes;
    cache.data = nullptr;
    cache.bytes = 0;
    return;
  }
  bytes_ = (bytes + kPage - 1) / kPage * kPage;
  data_ = std::aligned_alloc(kPage, bytes_);
  if (!data_) throw std::bad_alloc();
}

Workspace::~Workspace() {
  if (bytes_ > cache.bytes) {
    std::free(cache.data);
    cache.data = data_;
    cache.bytes = bytes_;
  } else {
    std::free(data_);
  }
}

}  // namespace fastbn
