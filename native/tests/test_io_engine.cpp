// Every test runs on both backends; where the kernel refuses io_uring, on the thread pool alone.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>

#include "check.hpp"
#include "shoestring/io/engine.hpp"

using namespace shoestring::io;
using namespace std::chrono_literals;

namespace {

std::unique_ptr<Engine> make(EngineOptions options) { return std::move(Engine::make(options).value()); }

std::shared_ptr<File> create(Engine& engine, const std::string& path, std::uint64_t size) {
  return std::move(engine.open(path, Mode::create, size, Direct::automatic).value());
}

std::shared_ptr<Block> block(Engine& engine, std::uint64_t nbytes) { return std::move(engine.buffer(nbytes).value()); }

void fill(const Block& b, unsigned seed) {
  std::mt19937 random(seed);
  for (std::uint64_t i = 0; i < b.size(); ++i) b.data()[i] = static_cast<std::byte>(random());
}

shoestring::Result<std::uint64_t> finish(shoestring::Result<std::shared_ptr<Operation>> submitted) {
  if (!submitted.ok()) return submitted.error();
  while (!submitted.value()->wait(1s)) {
  }
  return submitted.value()->result();
}

void what_is_written_is_read(const EngineOptions& options, const check::Folder& folder) {
  auto engine = make(options);
  const std::uint64_t largest = 300 * 1024 + 1;
  auto file = create(*engine, folder / "round", largest);
  auto out = block(*engine, largest);
  auto in = block(*engine, largest);
  fill(*out, 1);
  for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{4095}, std::uint64_t{4097}, largest}) {
    std::memset(in->data(), 0, in->size());
    auto wrote = finish(engine->transfer(true, file, 0, out, n, 0));
    CHECK(wrote.ok() && wrote.value() == n);
    auto read = finish(engine->transfer(false, file, 0, in, n, 0));
    CHECK(read.ok() && read.value() == n);
    CHECK(std::memcmp(in->data(), out->data(), n) == 0);
  }
  CHECK(file->sync().ok());
}

void long_requests_are_split(EngineOptions options, const check::Folder& folder) {
  options.max_request = 8192;
  auto engine = make(options);
  auto file = create(*engine, folder / "split", 40960);
  auto buffer = block(*engine, 40960);
  CHECK(finish(engine->transfer(true, file, 0, buffer, 40960, 0)).ok());
  CHECK(finish(engine->transfer(false, file, 0, buffer, 40960, 0)).ok());
  CHECK(engine->stats().write_requests == 5);
  CHECK(engine->stats().read_requests == 5);
  CHECK(engine->stats().bytes_written == 40960);
}

void pages_land_in_the_order_asked_for(const EngineOptions& options, const check::Folder& folder) {
  constexpr std::uint64_t pages = 200;
  auto engine = make(options);
  auto file = create(*engine, folder / "pages", pages * kAlign);
  auto out = block(*engine, pages * kAlign);
  auto in = block(*engine, pages * kAlign);
  fill(*out, 2);
  CHECK(finish(engine->transfer(true, file, 0, out, pages * kAlign, 0)).ok());
  std::vector<std::int64_t> offsets;
  for (std::uint64_t i = 0; i < pages; ++i) offsets.push_back(static_cast<std::int64_t>(i * kAlign));
  std::shuffle(offsets.begin(), offsets.end(), std::mt19937(3));
  auto read = finish(engine->read_pages(file, offsets, kAlign, in, 0));
  CHECK(read.ok() && read.value() == pages * kAlign);
  for (std::uint64_t i = 0; i < pages; ++i) {
    CHECK(std::memcmp(in->data() + i * kAlign, out->data() + offsets[i], kAlign) == 0);
  }
  const auto before = engine->stats().read_requests;
  std::sort(offsets.begin(), offsets.end());
  CHECK(finish(engine->read_pages(file, offsets, kAlign, in, 0)).ok());
  CHECK(engine->stats().read_requests == before + 1);  // all neighbours: one request
  CHECK(std::memcmp(in->data(), out->data(), pages * kAlign) == 0);
}

void the_last_page_of_an_odd_file_is_read(const EngineOptions& options, const check::Folder& folder) {
  auto engine = make(options);
  auto buffer = block(*engine, 8192);
  fill(*buffer, 4);
  std::FILE* plain = std::fopen((folder / "odd").c_str(), "wb");
  CHECK(std::fwrite(buffer->data(), 1, 5000, plain) == 5000);
  std::fclose(plain);
  auto file = std::move(engine->open(folder / "odd", Mode::read, 0, Direct::automatic).value());
  auto in = block(*engine, 8192);
  const std::vector<std::int64_t> last{4096};
  CHECK(finish(engine->read_pages(file, last, kAlign, in, 0)).ok());
  CHECK(std::memcmp(in->data(), buffer->data() + 4096, 5000 - 4096) == 0);
  CHECK(finish(engine->transfer(false, file, 0, in, 5000, 0)).ok());
  CHECK(std::memcmp(in->data(), buffer->data(), 5000) == 0);
  auto past = engine->transfer(false, file, 0, in, 5001, 0);
  CHECK(!past.ok() && past.error().kind == shoestring::ErrorKind::config);
}

void a_file_that_was_cut_is_an_error_and_not_zeros(const EngineOptions& options, const check::Folder& folder) {
  auto engine = make(options);
  auto file = create(*engine, folder / "cut", 65536);
  std::filesystem::resize_file(folder / "cut", 10000);
  auto read = finish(engine->transfer(false, file, 0, block(*engine, 65536), 65536, 0));
  CHECK(!read.ok() && read.error().code == ENODATA);
}

void short_answers_and_interruptions_are_carried_on(EngineOptions options, const check::Folder& folder) {
  options.max_request = 16384;
  options.faults.short_every = 2;
  options.faults.eintr_every = 3;
  options.faults.eagain_every = 5;
  what_is_written_is_read(options, folder);
  auto engine = make(options);
  auto file = create(*engine, folder / "short", 1 << 20);
  auto out = block(*engine, 1 << 20);
  auto in = block(*engine, 1 << 20);
  fill(*out, 5);
  CHECK(finish(engine->transfer(true, file, 0, out, 1 << 20, 0)).ok());
  CHECK(finish(engine->transfer(false, file, 0, in, 1 << 20, 0)).ok());
  CHECK(std::memcmp(in->data(), out->data(), 1 << 20) == 0);
  CHECK(engine->stats().retries > 0);
  CHECK(engine->stats().bytes_read == 1 << 20);
}

void a_full_disk_is_reported_with_its_place(EngineOptions options, const check::Folder& folder) {
  options.max_request = 4096;
  options.faults.fail_after_bytes = 20480;
  options.faults.fail_code = ENOSPC;
  options.queue_depth = 1;
  options.threads = 1;
  auto engine = make(options);
  auto file = create(*engine, folder / "full", 65536);
  auto wrote = finish(engine->transfer(true, file, 0, block(*engine, 65536), 65536, 0));
  CHECK(!wrote.ok() && wrote.error().code == ENOSPC && wrote.error().offset == 20480);
  CHECK(engine->take_unread(nullptr).empty());
}

void failures_that_nobody_read_come_up_later(EngineOptions options, const check::Folder& folder) {
  options.faults.fail_after_bytes = 0;
  auto engine = make(options);
  auto file = create(*engine, folder / "unread", 4096);
  auto other = create(*engine, folder / "other", 4096);
  CHECK(engine->transfer(true, file, 0, block(*engine, 4096), 4096, 0).ok());  // dropped at once
  CHECK(engine->wait_idle(10s));
  CHECK(engine->take_unread(other.get()).empty());
  const auto errors = engine->take_unread(file.get());
  CHECK(errors.size() == 1 && errors[0].code == EIO);
  CHECK(engine->take_unread(nullptr).empty());
}

void dropped_operations_end_before_the_engine(EngineOptions options, const check::Folder& folder) {
  options.faults.delay_us = 200;
  auto engine = make(options);
  auto file = create(*engine, folder / "dropped", 1 << 20);
  for (unsigned i = 0; i < 50; ++i) {
    CHECK(engine->transfer(i % 2 == 0, file, 4096 * i, block(*engine, 4096), 4096, 0).ok());
  }
  file.reset();
  engine.reset();  // waits; the sanitizer sees any use after that
}

void many_threads_share_one_engine(const EngineOptions& options, const check::Folder& folder) {
  auto engine = make(options);
  auto file = create(*engine, folder / "shared", 64 * 8192);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      auto out = block(*engine, 8192);
      auto in = block(*engine, 8192);
      for (unsigned i = t; i < 64; i += 4) {
        fill(*out, i);
        if (!finish(engine->transfer(true, file, 8192 * i, out, 8192, 0)).ok()) ++wrong;
        if (!finish(engine->transfer(false, file, 8192 * i, in, 8192, 0)).ok()) ++wrong;
        if (std::memcmp(in->data(), out->data(), 8192) != 0) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

void a_limit_is_kept(EngineOptions options, const check::Folder& folder) {
  options.limit_bytes_per_s = 4e6;
  options.max_request = 65536;
  auto engine = make(options);
  auto file = create(*engine, folder / "slow", 1 << 20);
  const auto start = std::chrono::steady_clock::now();
  CHECK(finish(engine->transfer(true, file, 0, block(*engine, 1 << 20), 1 << 20, 0)).ok());
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  CHECK(took.count() > 0.25 && took.count() < 2.0);  // 0.262 s on the emulated device
}

void wrong_requests_are_refused(const EngineOptions& options, const check::Folder& folder) {
  auto engine = make(options);
  auto file = create(*engine, folder / "checked", 8192);
  auto buffer = block(*engine, 8192);
  const auto refused = [&](auto result) { return !result.ok() && result.error().kind == shoestring::ErrorKind::config; };
  CHECK(refused(engine->transfer(false, file, 1, buffer, 10, 0)));
  CHECK(refused(engine->transfer(false, file, 0, buffer, 10, 5)));
  CHECK(refused(engine->transfer(true, file, 4096, buffer, 8192, 0)));
  CHECK(refused(engine->transfer(true, file, 0, buffer, 8193, 0)));
  CHECK(refused(engine->transfer(true, file, 0, buffer, ~std::uint64_t{0}, 4096)));
  for (const std::int64_t offset : {std::int64_t{-4096}, std::int64_t{7}, std::int64_t{8192}}) {
    const std::vector<std::int64_t> offsets{offset};
    CHECK(refused(engine->read_pages(file, offsets, 4096, buffer, 0)));
  }
  const std::vector<std::int64_t> none;
  auto empty = finish(engine->read_pages(file, none, 4096, buffer, 0));
  CHECK(empty.ok() && empty.value() == 0);
  auto reader = std::move(engine->open(folder / "checked", Mode::read, 0, Direct::automatic).value());
  CHECK(refused(engine->transfer(true, reader, 0, buffer, 10, 0)));
  CHECK(file->close().ok());
  CHECK(refused(engine->transfer(true, file, 0, buffer, 10, 0)));
  engine->close();
  CHECK(refused(engine->buffer(1)));
}

void all(const EngineOptions& options) {
  const check::Folder folder;
  what_is_written_is_read(options, folder);
  long_requests_are_split(options, folder);
  pages_land_in_the_order_asked_for(options, folder);
  the_last_page_of_an_odd_file_is_read(options, folder);
  a_file_that_was_cut_is_an_error_and_not_zeros(options, folder);
  short_answers_and_interruptions_are_carried_on(options, folder);
  a_full_disk_is_reported_with_its_place(options, folder);
  failures_that_nobody_read_come_up_later(options, folder);
  dropped_operations_end_before_the_engine(options, folder);
  many_threads_share_one_engine(options, folder);
  a_limit_is_kept(options, folder);
  wrong_requests_are_refused(options, folder);
}

}  // namespace

int main() {
  EngineOptions options;
  options.backend = Choice::threads;
  all(options);
  options.refuse_direct = true;
  all(options);
  options = EngineOptions{};
  auto engine = make(options);
  if (engine->uring_refusal().empty()) {
    CHECK(std::string(engine->backend()) == "io_uring");
    all(options);
    options.refuse_direct = true;
    all(options);
  } else {
    std::fprintf(stderr, "io_uring is not tested: %s\n", engine->uring_refusal().c_str());
  }
  options.refuse_uring = true;
  auto refused = make(options);
  CHECK(std::string(refused->backend()) == "threads");
  CHECK(!refused->uring_refusal().empty());
  return check::report();
}
