#include "shoestring/io/engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace shoestring::io {
namespace {

Error config_error(std::string text, const std::string& path = "") {
  return Error{ErrorKind::config, 0, -1, std::move(text), path};
}

std::string number(std::uint64_t n) { return std::to_string(n); }

}  // namespace

Engine::Engine(const EngineOptions& options)
    : options_(options), owner_(::getpid()), pool_(std::make_shared<BufferPool>(options.pool_bytes)),
      faults_(std::make_unique<Faults>(options.faults)), throttle_(std::make_unique<Throttle>(options.limit_bytes_per_s)) {}

Engine::~Engine() {
  if (::getpid() != owner_) {  // a forked child has none of the threads: they cannot be joined, nor the ring be left
    static_cast<void>(backend_.release());
    static_cast<void>(faults_.release());
    static_cast<void>(throttle_.release());
    return;
  }
  while (!wait_idle(std::chrono::milliseconds(1000))) {
  }
  backend_.reset();
  ledger_->unread.clear();  // they hold the ledger, as it holds them
}

Result<std::unique_ptr<Engine>> Engine::make(const EngineOptions& options) {
  auto engine = std::make_unique<Engine>(options);
  BackendOptions inner{options.queue_depth, options.threads, engine->faults_.get(), engine->throttle_.get()};
  if (options.backend != Choice::threads) {
    auto made = options.refuse_uring
                    ? Result<std::unique_ptr<Backend>>(
                          Error{ErrorKind::storage, EPERM, -1, "the kernel refuses io_uring: Operation not permitted (simulated)", ""})
                    : make_uring(inner);
    if (made.ok()) {
      engine->backend_ = std::move(made.value());
      return engine;
    }
    engine->uring_refusal_ = made.error().text;
  }
  auto made = make_threads(inner);
  if (!made.ok()) return made.error();
  engine->backend_ = std::move(made.value());
  return engine;
}

Result<Done> Engine::check_usable() const {
  if (closed_) return config_error("the engine is closed. Open a new one");
  if (::getpid() != owner_) {
    return config_error("the engine belongs to process " + std::to_string(owner_) + ", and this is process " +
                        std::to_string(::getpid()) + ", forked from it. Make an engine of its own in every process");
  }
  return Done{};
}

Result<std::shared_ptr<File>> Engine::open(const std::string& path, Mode mode, std::uint64_t size, Direct direct) {
  if (auto usable = check_usable(); !usable.ok()) return usable.error();
  return File::open(path, mode, size, direct, options_.refuse_direct);
}

Result<std::shared_ptr<Block>> Engine::buffer(std::uint64_t nbytes) {
  if (auto usable = check_usable(); !usable.ok()) return usable.error();
  return pool_->take(nbytes);
}

Result<std::shared_ptr<Operation>> Engine::transfer(bool write, std::shared_ptr<File> file, std::uint64_t offset,
                                                    std::shared_ptr<Block> block, std::uint64_t nbytes, std::uint64_t at) {
  const std::string& path = file->path();
  if (!is_aligned(offset) || !is_aligned(at)) {
    return config_error("offset " + number(offset) + " in the file and " + number(at) + " in the buffer: both must be multiples of 4096",
                        path);
  }
  if (at > block->size() || nbytes > block->size() - at) {
    return config_error(number(nbytes) + " bytes at " + number(at) + " do not fit in a buffer of " + number(block->size()) + " bytes", path);
  }
  const std::uint64_t size = file->size();
  const bool past = offset > size || nbytes > size - offset;
  if (write && !file->writable()) return config_error("the file was opened with mode 'read'; use 'update' to write to it", path);
  if (past && (!write || file->fixed_size())) {
    return config_error(number(nbytes) + " bytes at offset " + number(offset) + " go past the end of the file, which has " + number(size) +
                            " bytes",
                        path);
  }
  return submit(OperationSpec{std::move(file), std::move(block), at, write, offset, nbytes, {}, 0, options_.max_request});
}

Result<std::shared_ptr<Operation>> Engine::read_pages(std::shared_ptr<File> file, std::span<const std::int64_t> offsets,
                                                      std::uint64_t page_bytes, std::shared_ptr<Block> block, std::uint64_t at) {
  const std::string& path = file->path();
  if (page_bytes == 0 || !is_aligned(page_bytes) || !is_aligned(at)) {
    return config_error("pages of " + number(page_bytes) + " bytes, to " + number(at) + " in the buffer: both must be multiples of 4096", path);
  }
  if (at > block->size() || offsets.size() > (block->size() - at) / page_bytes) {
    return config_error(number(offsets.size()) + " pages of " + number(page_bytes) + " bytes at " + number(at) +
                            " do not fit in a buffer of " + number(block->size()) + " bytes",
                        path);
  }
  const std::uint64_t size = file->size();
  for (const std::int64_t offset : offsets) {
    const auto place = static_cast<std::uint64_t>(offset);
    if (offset < 0 || !is_aligned(place) || place >= size) {
      return config_error("page offset " + std::to_string(offset) + ": a multiple of 4096 from 0 to below " + number(size) +
                              ", the file's size, is needed",
                          path);
    }
  }
  OperationSpec spec{std::move(file), std::move(block), at, false, 0, 0, {}, page_bytes, std::max(options_.max_request, page_bytes)};
  spec.pages.assign(offsets.begin(), offsets.end());
  return submit(std::move(spec));
}

Result<std::shared_ptr<Operation>> Engine::submit(OperationSpec spec) {
  if (auto usable = check_usable(); !usable.ok()) return usable.error();
  if (!spec.file->begin()) return config_error("the file is closed. Open it again", spec.file->path());
  auto op = std::make_shared<Operation>(std::move(spec), ledger_);
  Operation::start(op);
  backend_->submit(op.get());
  return op;
}

bool Engine::wait_idle(std::chrono::milliseconds timeout) {
  if (::getpid() != owner_) return true;
  std::unique_lock lock(ledger_->mutex);
  return ledger_->idle.wait_for(lock, timeout, [this] { return ledger_->active == 0; });
}

std::vector<Error> Engine::take_unread(const File* file) {
  std::vector<std::shared_ptr<Operation>> failed;
  {
    const std::lock_guard lock(ledger_->mutex);
    auto& unread = ledger_->unread;
    const auto split = std::stable_partition(unread.begin(), unread.end(),
                                             [file](const auto& op) { return file != nullptr && op->shared_file().get() != file; });
    failed.assign(split, unread.end());
    unread.erase(split, unread.end());
  }
  std::vector<Error> errors;
  for (const auto& op : failed) {
    if (!op->observed()) errors.push_back(op->result().error());
  }
  return errors;
}

void Engine::close() {
  closed_ = true;
  pool_->drop_idle();
}

EngineStats Engine::stats() const {
  return EngineStats{ledger_->bytes_read, ledger_->bytes_written, ledger_->read_requests, ledger_->write_requests,
                     ledger_->retries,    ledger_->late_fallbacks, pool_->stats()};
}

}  // namespace shoestring::io
