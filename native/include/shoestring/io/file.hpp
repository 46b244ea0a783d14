// An open file of the engine: direct where the file system allows it, otherwise buffered and kept out of the page cache.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "shoestring/util/fd.hpp"
#include "shoestring/util/result.hpp"

namespace shoestring::io {

enum class Mode { create, read, update };
enum class Direct { automatic, required, off };

class File {
  std::string path_;
  Fd fd_;
  bool writable_;
  bool fixed_size_;
  std::atomic<bool> direct_;
  std::atomic<std::uint64_t> size_;
  std::string fallback_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::int64_t in_flight_ = 0;
  bool closed_ = false;

 public:
  File(std::string path, Fd fd, bool writable, bool fixed_size, bool direct, std::uint64_t size, std::string fallback)
      : path_(std::move(path)), fd_(std::move(fd)), writable_(writable), fixed_size_(fixed_size), direct_(direct), size_(size),
        fallback_(std::move(fallback)) {}

  // `size` preallocates (mode create only; 0 does not). `refuse_direct` makes O_DIRECT appear refused, for tests.
  static Result<std::shared_ptr<File>> open(const std::string& path, Mode mode, std::uint64_t size, Direct direct,
                                            bool refuse_direct);

  const std::string& path() const noexcept { return path_; }
  int fd() const noexcept { return fd_.get(); }
  bool writable() const noexcept { return writable_; }
  bool fixed_size() const noexcept { return fixed_size_; }
  bool direct() const noexcept { return direct_.load(std::memory_order_relaxed); }
  std::uint64_t size() const noexcept { return size_.load(std::memory_order_relaxed); }
  const std::string& fallback() const noexcept { return fallback_; }  // why it is not direct, or empty

  // The kernel refused a direct request that was aligned: go on buffered. True for the caller that switched it.
  bool drop_direct() noexcept;
  void grew_to(std::uint64_t size) noexcept;
  // Buffered data that nobody will read again leaves the page cache (reads), or starts on its way to the disk (writes).
  void leave_cache(bool write, std::uint64_t offset, std::uint64_t length) const noexcept;

  bool begin();  // false if the file is closed
  void end();
  bool wait_idle(std::chrono::milliseconds timeout);
  Result<Done> sync();
  Result<Done> close();  // waits for nothing: call wait_idle first
  bool closed() const;
};

}  // namespace shoestring::io
