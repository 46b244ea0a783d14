#include "shoestring/io/operation.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace shoestring::io {
namespace {

constexpr std::int64_t kSector = 512;
constexpr unsigned kMaxInterruptions = 10000;  // EINTR and EAGAIN of one piece
constexpr unsigned kMaxStalls = 16;            // answers without progress

std::string advice(int code) {
  switch (code) {
    case ENOSPC:
    case EDQUOT: return ". Free space, or put the storage on a larger disk";
    case EIO: return ". The device may be failing: look at the system log";
    case ENODATA: return "the file ends before that. It was cut, or it is not the file that was written";
    case EFBIG: return ". The file system or a limit (ulimit -f) does not allow files of that size";
    default: return "";
  }
}

}  // namespace

void Operation::start(const std::shared_ptr<Operation>& op) {
  op->self_ = op;
  const std::lock_guard lock(op->ledger_->mutex);
  ++op->ledger_->active;
}

Piece Operation::contiguous_piece() noexcept {
  Piece piece;
  piece.op = this;
  piece.data = spec_.block->data() + spec_.at + cursor_;
  piece.offset = spec_.offset + cursor_;
  piece.need = std::min(spec_.max_request, spec_.need - cursor_);
  cursor_ += piece.need;
  return piece;
}

Piece Operation::page_piece() noexcept {
  Piece piece;
  piece.op = this;
  const auto first = static_cast<std::uint64_t>(spec_.pages[cursor_]);
  piece.data = spec_.block->data() + spec_.at + cursor_ * spec_.page_bytes;
  piece.offset = first;
  std::uint64_t length = 0;
  do {
    length += spec_.page_bytes;
    ++cursor_;
  } while (cursor_ < spec_.pages.size() && static_cast<std::uint64_t>(spec_.pages[cursor_]) == first + length &&
           length + spec_.page_bytes <= spec_.max_request);
  const std::uint64_t left = spec_.file->size() - first;  // the last page of a file may be cut
  piece.need = std::min(length, left);
  return piece;
}

bool Operation::take(Piece& piece) noexcept {
  const bool pages = !spec_.pages.empty();
  const std::uint64_t end = pages ? spec_.pages.size() : spec_.need;
  if (cursor_ >= end || failing_.load(std::memory_order_relaxed)) return false;
  outstanding_.fetch_add(1, std::memory_order_relaxed);
  piece = pages ? page_piece() : contiguous_piece();
  piece.length = spec_.file->direct() ? round_up(piece.need) : piece.need;
  auto& requests = spec_.write ? ledger_->write_requests : ledger_->read_requests;
  requests.fetch_add(1, std::memory_order_relaxed);
  return true;
}

bool Operation::settle(Piece& piece, std::int64_t answer) noexcept {
  if (answer > 0) {
    auto& counter = spec_.write ? ledger_->bytes_written : ledger_->bytes_read;
    counter.fetch_add(static_cast<std::uint64_t>(answer), std::memory_order_relaxed);
    std::uint64_t reached = piece.done + static_cast<std::uint64_t>(answer);
    if (reached < piece.need && spec_.file->direct()) {
      if (!spec_.write && answer % kSector != 0) {  // only the end of a file cuts a direct read inside a sector
        fail(ENODATA, piece.offset + reached);
        drop_one();
        return false;
      }
      reached = round_down(reached);
    }
    if (reached > piece.done) piece.stalls = 0;
    piece.done = reached;
    if (piece.done >= piece.need) {
      if (!spec_.file->direct()) spec_.file->leave_cache(spec_.write, piece.offset, piece.need);
      if (spec_.write) spec_.file->grew_to(piece.offset + piece.need);
      drop_one();
      return false;
    }
  }
  int code = answer < 0 ? static_cast<int>(-answer) : 0;
  if (answer == 0 && !spec_.write) code = ENODATA;
  bool again = code == EINTR || code == EAGAIN ? ++piece.stalls < kMaxInterruptions : code == 0 && ++piece.stalls < kMaxStalls;
  if (code == EINVAL && spec_.file->direct()) {
    if (spec_.file->drop_direct()) ledger_->late_fallbacks.fetch_add(1);
    again = true;
  } else if (code == EINVAL && piece.length != piece.need) {
    piece.length = piece.need;  // asked for as a direct request, while another one switched the file to buffered
    again = true;
  }
  if (again) {
    ledger_->retries.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  fail(code == 0 ? EIO : code, piece.offset + piece.done);
  drop_one();
  return false;
}

void Operation::fail(int code, std::uint64_t offset) noexcept {
  const std::lock_guard lock(mutex_);
  if (code_ == 0) {
    code_ = code;
    failed_at_ = offset;
  }
  failing_.store(true, std::memory_order_relaxed);
}

void Operation::drop_one() noexcept {
  if (outstanding_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const std::shared_ptr<Operation> self = std::move(self_);
  const std::shared_ptr<Ledger> ledger = ledger_;
  spec_.block.reset();
  spec_.file->end();
  {
    const std::lock_guard lock(ledger->mutex);
    if (code_ != 0) {
      std::erase_if(ledger->unread, [](const auto& op) { return op->observed(); });
      ledger->unread.push_back(self);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    done_ = true;
    finished_.notify_all();
  }
  const std::lock_guard lock(ledger->mutex);
  if (--ledger->active == 0) ledger->idle.notify_all();
}

bool Operation::wait(std::chrono::milliseconds timeout) const {
  std::unique_lock lock(mutex_);
  return const_cast<std::condition_variable&>(finished_).wait_for(lock, timeout, [this] { return done_; });
}

bool Operation::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

bool Operation::observed() const {
  const std::lock_guard lock(mutex_);
  return observed_;
}

Result<std::uint64_t> Operation::result() {
  const std::lock_guard lock(mutex_);
  observed_ = true;
  if (code_ == 0) return spec_.pages.empty() ? spec_.need : spec_.pages.size() * spec_.page_bytes;
  std::string text = std::string(spec_.write ? "could not write " : "could not read ");
  text += spec_.pages.empty() ? std::to_string(spec_.need) + " bytes at offset " + std::to_string(spec_.offset)
                              : std::to_string(spec_.pages.size()) + " pages of " + std::to_string(spec_.page_bytes) + " bytes";
  text += " (stopped at offset " + std::to_string(failed_at_) + "): ";
  text += (code_ == ENODATA ? "" : std::generic_category().message(code_)) + advice(code_);
  return Error{ErrorKind::storage, code_, static_cast<std::int64_t>(failed_at_), text, spec_.file->path()};
}

}  // namespace shoestring::io
