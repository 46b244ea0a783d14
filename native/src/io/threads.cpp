// pread and pwrite in a pool of threads: works everywhere, and is the specification of the other backend.
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "shoestring/io/backend.hpp"

namespace shoestring::io {
namespace {

class ThreadBackend final : public Backend {
  BackendOptions options_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<Operation*> queue_;
  bool stop_ = false;
  std::vector<std::thread> workers_;

  std::int64_t ask(const Piece& piece) noexcept {
    std::uint64_t length = piece.length - piece.done;
    if (options_.faults->active()) {
      if (options_.faults->delay_us() != 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(options_.faults->delay_us()));
      }
      const auto decision = options_.faults->before(length, piece.op->file().direct());
      if (decision.code != 0) return -decision.code;
      length = decision.length;
    }
    const int fd = piece.op->file().fd();
    const auto offset = static_cast<off_t>(piece.offset + piece.done);
    const ssize_t n = piece.op->write() ? ::pwrite(fd, piece.data + piece.done, length, offset)
                                        : ::pread(fd, piece.data + piece.done, length, offset);
    return n < 0 ? -errno : n;
  }

  void carry(Piece& piece) noexcept {
    if (options_.throttle->active()) std::this_thread::sleep_until(options_.throttle->book(piece.length));
    while (piece.op->settle(piece, ask(piece))) {
    }
  }

  void run() noexcept {
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      Operation* op = queue_.front();
      Piece piece;
      if (op->take(piece)) {
        lock.unlock();
        carry(piece);
      } else {
        queue_.pop_front();
        lock.unlock();
        op->exhausted();
      }
      lock.lock();
    }
  }

 public:
  explicit ThreadBackend(const BackendOptions& options) : options_(options) {}
  ~ThreadBackend() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    work_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  int start() {
    try {
      for (unsigned i = 0; i < options_.threads; ++i) workers_.emplace_back([this] { run(); });
    } catch (const std::system_error& e) {
      return workers_.empty() ? e.code().value() : 0;  // fewer threads than asked for still work
    }
    return 0;
  }

  void submit(Operation* op) override {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(op);
    }
    work_.notify_all();
  }
  const char* name() const noexcept override { return "threads"; }
};

}  // namespace

Result<std::unique_ptr<Backend>> make_threads(const BackendOptions& options) {
  auto backend = std::make_unique<ThreadBackend>(options);
  const int code = backend->start();
  if (code != 0) {
    return Error{ErrorKind::storage, code, -1, "could not start a thread: " + std::generic_category().message(code), ""};
  }
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace shoestring::io
