// Aligned memory for direct I/O. A block goes back to its pool when the last owner lets go of it: a caller, an array that
// shares the memory, or a request in flight.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "shoestring/util/result.hpp"

namespace shoestring::io {

inline constexpr std::uint64_t kAlign = 4096;

constexpr std::uint64_t round_up(std::uint64_t n) noexcept { return (n + kAlign - 1) & ~(kAlign - 1); }
constexpr std::uint64_t round_down(std::uint64_t n) noexcept { return n & ~(kAlign - 1); }
constexpr bool is_aligned(std::uint64_t n) noexcept { return (n & (kAlign - 1)) == 0; }

class BufferPool;

class Block {
  std::byte* data_;
  std::uint64_t capacity_;
  std::uint64_t size_;
  std::shared_ptr<BufferPool> pool_;

 public:
  Block(std::byte* data, std::uint64_t capacity, std::uint64_t size, std::shared_ptr<BufferPool> pool) noexcept
      : data_(data), capacity_(capacity), size_(size), pool_(std::move(pool)) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block();
  std::byte* data() const noexcept { return data_; }
  std::uint64_t size() const noexcept { return size_; }  // a multiple of kAlign
};

struct PoolStats {
  std::uint64_t in_use = 0;
  std::uint64_t idle = 0;
  std::uint64_t peak_in_use = 0;
};

// Idle memory is bounded: what does not fit under the bound goes back to the system at once.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
  struct Idle {
    std::byte* data;
    std::uint64_t capacity;
  };
  mutable std::mutex mutex_;
  std::vector<Idle> idle_;
  std::uint64_t max_idle_;
  PoolStats stats_;

  friend class Block;
  void give_back(std::byte* data, std::uint64_t capacity) noexcept;

 public:
  explicit BufferPool(std::uint64_t max_idle) : max_idle_(max_idle) {}
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;
  ~BufferPool();
  // A block of at least `nbytes`, rounded up to kAlign; its content is what the last owner left in it.
  Result<std::shared_ptr<Block>> take(std::uint64_t nbytes);
  void drop_idle() noexcept;
  PoolStats stats() const;
};

}  // namespace shoestring::io
