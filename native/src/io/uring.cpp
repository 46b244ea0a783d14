// One io_uring, driven by one thread: requests go to the kernel in batches, completions come back in batches.
#include <cerrno>
#include <system_error>

#include "shoestring/io/backend.hpp"

#ifndef SHOESTRING_HAVE_LIBURING

namespace shoestring::io {

Result<std::unique_ptr<Backend>> make_uring(const BackendOptions& /*options*/) {
  return Error{ErrorKind::unsupported, ENOSYS, -1, "built without liburing", ""};
}

}  // namespace shoestring::io

#else

#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

#include "shoestring/util/fd.hpp"

namespace shoestring::io {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::uint64_t kWake = ~std::uint64_t{0};
constexpr unsigned kReap = 64;
constexpr unsigned kWakeShare = 4;  // a quarter of what is in flight comes back at once

class UringBackend final : public Backend {
  BackendOptions options_;
  io_uring ring_{};
  bool ring_made_ = false;
  Fd wake_;
  std::uint64_t wake_value_ = 0;
  bool wake_armed_ = false;

  std::mutex mutex_;                // guards the three below
  std::vector<Operation*> inbox_;
  bool asleep_ = false;             // the driver waits in the ring and must be woken through the eventfd
  bool stop_ = false;

  std::vector<Operation*> arrived_;  // the rest belongs to the driver
  std::deque<Operation*> queue_;
  std::vector<Piece> pieces_;
  std::vector<unsigned> free_;
  bool held_ = false;  // a piece that the throttle keeps back
  Piece held_piece_;
  Clock::time_point held_until_{};
  std::thread driver_;

  unsigned in_flight() const noexcept { return options_.queue_depth - static_cast<unsigned>(free_.size()); }

  // Puts a piece into the submission queue; false if faults ended it before that.
  bool enqueue(const Piece& piece) noexcept {
    const unsigned slot = free_.back();
    pieces_[slot] = piece;
    if (!ask(slot)) return false;
    free_.pop_back();
    return true;
  }

  bool ask(unsigned slot) noexcept {
    Piece& piece = pieces_[slot];
    std::uint64_t length = piece.length - piece.done;
    if (options_.faults->active()) {
      if (options_.faults->delay_us() != 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(options_.faults->delay_us()));
      }
      auto decision = options_.faults->before(length, piece.op->file().direct());
      while (decision.code != 0) {
        if (!piece.op->settle(piece, -decision.code)) return false;
        length = piece.length - piece.done;
        decision = options_.faults->before(length, piece.op->file().direct());
      }
      length = decision.length;
    }
    io_uring_sqe* sqe = next_entry();
    const int fd = piece.op->file().fd();
    const std::uint64_t offset = piece.offset + piece.done;
    if (piece.op->write()) {
      io_uring_prep_write(sqe, fd, piece.data + piece.done, static_cast<unsigned>(length), offset);
    } else {
      io_uring_prep_read(sqe, fd, piece.data + piece.done, static_cast<unsigned>(length), offset);
    }
    io_uring_sqe_set_data64(sqe, slot);
    return true;
  }

  // The queue has more entries than pieces, so after a submission one is always free.
  io_uring_sqe* next_entry() noexcept {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    while (sqe == nullptr) {
      io_uring_submit(&ring_);
      sqe = io_uring_get_sqe(&ring_);
    }
    return sqe;
  }

  void fill() noexcept {
    while (!free_.empty()) {
      if (held_) {
        if (Clock::now() < held_until_) return;
        held_ = false;
        enqueue(held_piece_);
        continue;
      }
      if (queue_.empty()) return;
      Operation* op = queue_.front();
      Piece piece;
      if (!op->take(piece)) {
        queue_.pop_front();
        op->exhausted();
      } else if (options_.throttle->active()) {
        held_ = true;
        held_piece_ = piece;
        held_until_ = options_.throttle->book(piece.length);
      } else {
        enqueue(piece);
      }
    }
  }

  void reap() noexcept {
    std::array<io_uring_cqe*, kReap> batch{};
    while (true) {
      const unsigned n = io_uring_peek_batch_cqe(&ring_, batch.data(), kReap);
      for (unsigned i = 0; i < n; ++i) {
        const std::uint64_t slot = io_uring_cqe_get_data64(batch[i]);
        if (slot == kWake) {
          wake_armed_ = false;
          continue;
        }
        Piece& piece = pieces_[slot];
        const bool again = piece.op->settle(piece, batch[i]->res) && ask(static_cast<unsigned>(slot));
        if (!again) free_.push_back(static_cast<unsigned>(slot));
      }
      io_uring_cq_advance(&ring_, n);
      if (n < kReap) return;
    }
  }

  // Takes what was submitted; with nothing in flight it sleeps until there is something. False: stop.
  bool intake() {
    {
      std::unique_lock lock(mutex_);
      asleep_ = false;
      if (inbox_.empty() && stop_ && queue_.empty() && !held_ && in_flight() == 0) return false;
      arrived_.swap(inbox_);
    }
    queue_.insert(queue_.end(), arrived_.begin(), arrived_.end());
    arrived_.clear();
    return true;
  }

  void arm_wake() noexcept {
    if (wake_armed_) return;
    io_uring_sqe* sqe = next_entry();
    io_uring_prep_read(sqe, wake_.get(), &wake_value_, sizeof wake_value_, 0);
    io_uring_sqe_set_data64(sqe, kWake);
    wake_armed_ = true;
  }

  void wait() noexcept {
    arm_wake();
    {
      const std::lock_guard lock(mutex_);
      if (!inbox_.empty() || (stop_ && in_flight() == 0 && !held_)) return;
      asleep_ = true;
    }
    int answer = 0;
    if (held_) {
      const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(held_until_ - Clock::now()).count();
      if (left > 0) {
        __kernel_timespec limit{left / 1000000000, left % 1000000000};
        io_uring_cqe* cqe = nullptr;
        answer = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &limit, nullptr);
      }
    } else {
      // A wake-up for every completion costs more than the request; the rest of the queue keeps the device busy.
      answer = io_uring_submit_and_wait(&ring_, std::max(1u, in_flight() / kWakeShare));
    }
    // EINTR, EAGAIN, EBUSY and ETIME are all answered by another round; anything else must not spin.
    if (answer < 0 && answer != -EINTR && answer != -ETIME) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }

  void run() noexcept {
    while (intake()) {
      fill();
      wait();
      reap();
    }
  }

 public:
  explicit UringBackend(const BackendOptions& options) : options_(options) {}
  ~UringBackend() override {
    if (driver_.joinable()) {
      {
        const std::lock_guard lock(mutex_);
        stop_ = true;
      }
      knock();
      driver_.join();
    }
    if (ring_made_) io_uring_queue_exit(&ring_);
  }

  void knock() noexcept {
    const std::uint64_t one = 1;
    while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
    }
  }

  // Newer kernels (6.1) deliver completions in batches to the one thread that waits for them; older ones refuse the flags.
  int make_ring() noexcept {
    const unsigned entries = 2 * options_.queue_depth + 2;
    int code = -EINVAL;
#ifdef IORING_SETUP_DEFER_TASKRUN
    code = io_uring_queue_init(
        entries, &ring_,
        IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
#endif
    if (code == -EINVAL) code = io_uring_queue_init(entries, &ring_, IORING_SETUP_CLAMP);
    ring_made_ = code == 0;
    return -code;
  }

  // The ring belongs to the thread that drives it, so that one makes it.
  int start() {
    wake_ = Fd(::eventfd(0, EFD_CLOEXEC));
    if (wake_.get() < 0) return errno;
    pieces_.resize(options_.queue_depth);
    for (unsigned i = options_.queue_depth; i > 0; --i) free_.push_back(i - 1);
    std::promise<int> made;
    std::future<int> outcome = made.get_future();
    try {
      driver_ = std::thread([this, &made] {
        int code = make_ring();
        if (code == 0) code = probe();
        made.set_value(code);
        if (code == 0) run();
      });
    } catch (const std::system_error& e) {
      return e.code().value();
    }
    const int code = outcome.get();
    if (code != 0) driver_.join();
    return code;
  }

  // An old kernel makes a ring and does not know plain reads and writes (5.6).
  int probe() noexcept {
    io_uring_probe* known = io_uring_get_probe_ring(&ring_);
    if (known == nullptr) return ENOSYS;
    const bool enough = io_uring_opcode_supported(known, IORING_OP_READ) != 0 && io_uring_opcode_supported(known, IORING_OP_WRITE) != 0;
    io_uring_free_probe(known);
    return enough ? 0 : ENOSYS;
  }

  void submit(Operation* op) override {
    bool wake = false;
    {
      const std::lock_guard lock(mutex_);
      inbox_.push_back(op);
      wake = asleep_;
      asleep_ = false;
    }
    if (wake) knock();
  }
  const char* name() const noexcept override { return "io_uring"; }
};

}  // namespace

Result<std::unique_ptr<Backend>> make_uring(const BackendOptions& options) {
  auto backend = std::make_unique<UringBackend>(options);
  const int code = backend->start();
  if (code != 0) {
    return Error{ErrorKind::storage, code, -1, "the kernel refuses io_uring: " + std::generic_category().message(code), ""};
  }
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace shoestring::io

#endif
