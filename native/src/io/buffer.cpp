#include "shoestring/io/buffer.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <string>

namespace shoestring::io {

Block::~Block() { pool_->give_back(data_, capacity_); }

BufferPool::~BufferPool() { drop_idle(); }

Result<std::shared_ptr<Block>> BufferPool::take(std::uint64_t nbytes) {
  const std::uint64_t size = round_up(std::max<std::uint64_t>(nbytes, 1));
  std::byte* data = nullptr;
  std::uint64_t capacity = size;
  {
    const std::lock_guard lock(mutex_);
    auto best = idle_.end();
    for (auto it = idle_.begin(); it != idle_.end(); ++it) {
      const bool fits = it->capacity >= size && it->capacity - size <= size / 4;
      if (fits && (best == idle_.end() || it->capacity < best->capacity)) best = it;
    }
    if (best != idle_.end()) {
      data = best->data;
      capacity = best->capacity;
      stats_.idle -= capacity;
      idle_.erase(best);
    }
    stats_.in_use += capacity;
    stats_.peak_in_use = std::max(stats_.peak_in_use, stats_.in_use);
  }
  if (data == nullptr) {
    void* fresh = nbytes > (std::uint64_t{1} << 47)
                      ? MAP_FAILED
                      : ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fresh == MAP_FAILED) {
      const std::lock_guard lock(mutex_);
      stats_.in_use -= capacity;
      return Error{ErrorKind::memory, ENOMEM, -1, "no memory for a buffer of " + std::to_string(size) + " bytes", ""};
    }
    data = static_cast<std::byte*>(fresh);
  }
  return std::make_shared<Block>(data, capacity, size, shared_from_this());
}

void BufferPool::give_back(std::byte* data, std::uint64_t capacity) noexcept {
  {
    const std::lock_guard lock(mutex_);
    stats_.in_use -= capacity;
    if (stats_.idle + capacity <= max_idle_) {
      idle_.push_back({data, capacity});
      stats_.idle += capacity;
      return;
    }
  }
  ::munmap(data, capacity);
}

void BufferPool::drop_idle() noexcept {
  const std::lock_guard lock(mutex_);
  for (const auto& block : idle_) ::munmap(block.data, block.capacity);
  idle_.clear();
  stats_.idle = 0;
}

PoolStats BufferPool::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

}  // namespace shoestring::io
