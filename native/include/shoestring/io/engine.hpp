// The I/O engine: files, aligned buffers, asynchronous reads and writes. Thread-safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shoestring/io/backend.hpp"
#include "shoestring/io/buffer.hpp"
#include "shoestring/io/faults.hpp"
#include "shoestring/io/file.hpp"
#include "shoestring/io/operation.hpp"
#include "shoestring/io/throttle.hpp"
#include "shoestring/util/result.hpp"

namespace shoestring::io {

enum class Choice { automatic, uring, threads };

struct EngineOptions {
  Choice backend = Choice::automatic;
  unsigned queue_depth = 64;
  unsigned threads = 4;
  std::uint64_t max_request = 1 << 20;
  std::uint64_t pool_bytes = 64 << 20;  // idle buffers kept for reuse
  double limit_bytes_per_s = 0;         // 0: no limit
  FaultPlan faults;
  bool refuse_uring = false;   // for tests: behave as if the kernel said EPERM
  bool refuse_direct = false;  // for tests: behave as if the file system said EINVAL
};

struct EngineStats {
  std::uint64_t bytes_read, bytes_written, read_requests, write_requests, retries, late_fallbacks;
  PoolStats pool;
};

class Engine {
  EngineOptions options_;
  pid_t owner_;
  bool closed_ = false;
  std::shared_ptr<Ledger> ledger_ = std::make_shared<Ledger>();
  std::shared_ptr<BufferPool> pool_;
  std::unique_ptr<Faults> faults_;
  std::unique_ptr<Throttle> throttle_;
  std::unique_ptr<Backend> backend_;
  std::string uring_refusal_;

  Result<Done> check_usable() const;
  Result<std::shared_ptr<Operation>> submit(OperationSpec spec);

 public:
  explicit Engine(const EngineOptions& options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();  // waits for everything in flight
  static Result<std::unique_ptr<Engine>> make(const EngineOptions& options);

  Result<std::shared_ptr<File>> open(const std::string& path, Mode mode, std::uint64_t size, Direct direct);
  Result<std::shared_ptr<Block>> buffer(std::uint64_t nbytes);
  Result<std::shared_ptr<Operation>> transfer(bool write, std::shared_ptr<File> file, std::uint64_t offset,
                                              std::shared_ptr<Block> block, std::uint64_t nbytes, std::uint64_t at);
  Result<std::shared_ptr<Operation>> read_pages(std::shared_ptr<File> file, std::span<const std::int64_t> offsets,
                                                std::uint64_t page_bytes, std::shared_ptr<Block> block, std::uint64_t at);
  bool wait_idle(std::chrono::milliseconds timeout);
  // Failures of operations whose result nobody asked for; they count as seen afterwards. `file` null: of all files.
  std::vector<Error> take_unread(const File* file);
  void close();  // call wait_idle first
  bool closed() const noexcept { return closed_; }

  const char* backend() const noexcept { return backend_->name(); }
  const std::string& uring_refusal() const noexcept { return uring_refusal_; }
  EngineStats stats() const;
};

}  // namespace shoestring::io
