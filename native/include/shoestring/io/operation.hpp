// One asynchronous call of a user (read, write, many pages), cut into pieces that a backend hands to the kernel.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "shoestring/io/buffer.hpp"
#include "shoestring/io/file.hpp"

namespace shoestring::io {

class Operation;

// Counters of an engine, and the failures that nobody has looked at.
struct Ledger {
  std::atomic<std::uint64_t> bytes_read{0};
  std::atomic<std::uint64_t> bytes_written{0};
  std::atomic<std::uint64_t> read_requests{0};
  std::atomic<std::uint64_t> write_requests{0};
  std::atomic<std::uint64_t> retries{0};
  std::atomic<std::uint64_t> late_fallbacks{0};  // files that lost O_DIRECT after they were opened

  std::mutex mutex;
  std::condition_variable idle;
  std::int64_t active = 0;                                // operations not finished
  std::vector<std::shared_ptr<Operation>> unread;         // failed, result not asked for
};

// A contiguous request: `length` is asked of the kernel, `need` is what the user wants of it (less at the end of a file).
struct Piece {
  Operation* op = nullptr;
  std::byte* data = nullptr;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t need = 0;
  std::uint64_t done = 0;
  unsigned stalls = 0;
};

struct OperationSpec {
  std::shared_ptr<File> file;
  std::shared_ptr<Block> block;
  std::uint64_t at = 0;  // where in the block
  bool write = false;
  std::uint64_t offset = 0;
  std::uint64_t need = 0;
  std::vector<std::int64_t> pages;  // offsets in the file; empty for a contiguous operation
  std::uint64_t page_bytes = 0;
  std::uint64_t max_request = 0;
};

class Operation {
  OperationSpec spec_;
  std::shared_ptr<Ledger> ledger_;
  std::shared_ptr<Operation> self_;  // keeps it alive while it is in flight
  std::uint64_t cursor_ = 0;         // bytes, or pages, handed out so far
  std::atomic<std::int64_t> outstanding_{1};  // pieces in flight, and one for those not handed out
  std::atomic<bool> failing_{false};
  int code_ = 0;
  std::uint64_t failed_at_ = 0;
  mutable std::mutex mutex_;
  std::condition_variable finished_;
  bool done_ = false;
  bool observed_ = false;

  Piece contiguous_piece() noexcept;
  Piece page_piece() noexcept;
  void fail(int code, std::uint64_t offset) noexcept;
  void drop_one() noexcept;

 public:
  Operation(OperationSpec spec, std::shared_ptr<Ledger> ledger) : spec_(std::move(spec)), ledger_(std::move(ledger)) {}

  bool write() const noexcept { return spec_.write; }
  File& file() const noexcept { return *spec_.file; }
  const std::shared_ptr<File>& shared_file() const noexcept { return spec_.file; }

  // Called once, before the operation is given to a backend.
  static void start(const std::shared_ptr<Operation>& op);
  // The next piece; false when all were handed out (then call `exhausted` once). One caller at a time.
  bool take(Piece& piece) noexcept;
  void exhausted() noexcept { drop_one(); }
  // Digests an answer of the kernel (bytes or -errno). True: ask again for the rest. False: the piece is over, do not touch it.
  bool settle(Piece& piece, std::int64_t answer) noexcept;

  bool wait(std::chrono::milliseconds timeout) const;
  bool done() const;
  // Bytes moved for the user, or the failure; marks it as looked at. Only after `done`.
  Result<std::uint64_t> result();
  bool observed() const;
};

}  // namespace shoestring::io
