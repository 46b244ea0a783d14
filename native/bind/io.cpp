#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <unistd.h>

#include <chrono>
#include <span>

#include "bind.hpp"
#include "errors.hpp"
#include "shoestring/io/engine.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace shoestring::io;

namespace {

using Bytes = nb::ndarray<nb::numpy, std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Offsets = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
constexpr std::chrono::milliseconds kSlice{50};  // between two looks for Ctrl-C

// Calls `wait(slice)` without the GIL until it says true, lets Ctrl-C through, and gives up after `timeout_s` (below 0: never).
template <class Wait>
bool wait_interruptible(Wait wait, double timeout_s) {
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    auto slice = kSlice;
    if (timeout_s >= 0) {
      const std::chrono::duration<double> left = std::chrono::duration<double>(timeout_s) - (std::chrono::steady_clock::now() - start);
      if (left < kSlice) slice = std::max(std::chrono::milliseconds(0), std::chrono::duration_cast<std::chrono::milliseconds>(left));
    }
    bool over = false;
    {
      const nb::gil_scoped_release release;
      over = wait(slice);
    }
    if (over) return true;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
    if (timeout_s >= 0 && std::chrono::steady_clock::now() - start >= std::chrono::duration<double>(timeout_s)) return false;
  }
}

class Buffer {
  std::shared_ptr<Block> block_;

 public:
  explicit Buffer(std::shared_ptr<Block> block) : block_(std::move(block)) {}
  const std::shared_ptr<Block>& block() const {
    if (!block_) raise_error({shoestring::ErrorKind::config, 0, -1, "the buffer was given back. Ask the engine for another one", ""});
    return block_;
  }
  Bytes array() const {
    auto owner = std::make_unique<std::shared_ptr<Block>>(block());
    nb::capsule keep(owner.get(), [](void* p) noexcept { delete static_cast<std::shared_ptr<Block>*>(p); });
    const std::shared_ptr<Block>& block = *owner.release();
    return Bytes(block->data(), {static_cast<size_t>(block->size())}, keep);
  }
  std::uint64_t nbytes() const { return block()->size(); }
  void release() { block_.reset(); }
};

// A std::shared_ptr<File> that nanobind makes of an argument would hold the Python object, and let go of it in a thread of the
// engine, which would then wait for the GIL. So the handle holds the pointer.
class FileHandle {
  std::shared_ptr<File> file_;

 public:
  explicit FileHandle(std::shared_ptr<File> file) : file_(std::move(file)) {}
  const std::shared_ptr<File>& shared() const { return file_; }
  File& operator*() const { return *file_; }
  File* operator->() const { return file_.get(); }
};

// The engine's destructor waits for what is in flight, and must not keep other Python threads from running.
class EngineHandle {
  std::unique_ptr<Engine> engine_;

 public:
  explicit EngineHandle(const EngineOptions& options) : engine_(unwrap(Engine::make(options))) {}
  EngineHandle(const EngineHandle&) = delete;
  EngineHandle& operator=(const EngineHandle&) = delete;
  ~EngineHandle() {
    const nb::gil_scoped_release release;
    engine_.reset();
  }
  Engine& operator*() const { return *engine_; }
  Engine* operator->() const { return engine_.get(); }
};

class Future {
  std::shared_ptr<Operation> op_;
  pid_t owner_ = ::getpid();

 public:
  explicit Future(std::shared_ptr<Operation> op) : op_(std::move(op)) {}
  bool done() const { return op_->done(); }
  std::uint64_t result(double timeout_s) {
    if (!op_->done()) {
      if (::getpid() != owner_) {
        raise_error({shoestring::ErrorKind::config, 0, -1, "a request of the parent process cannot be waited for after a fork", ""});
      }
      if (!wait_interruptible([this](auto slice) { return op_->wait(slice); }, timeout_s)) {
        PyErr_SetString(PyExc_TimeoutError, "the request is not over yet; ask again, or wait without a timeout");
        throw nb::python_error();
      }
    }
    return unwrap(op_->result());
  }
};

FileHandle open_file(const EngineHandle& engine, const nb::bytes& name, int mode, std::uint64_t size, int direct) {
  const std::string path(name.c_str(), name.size());
  auto opened = [&] {
    const nb::gil_scoped_release release;
    return engine->open(path, static_cast<Mode>(mode), size, static_cast<Direct>(direct));
  }();
  return FileHandle(unwrap(std::move(opened)));
}

void close_file(const FileHandle& file) {
  wait_interruptible([&](auto slice) { return file->wait_idle(slice); }, -1);
  auto closed = [&] {
    const nb::gil_scoped_release release;
    return file->close();
  }();
  unwrap(std::move(closed));
}

void sync_file(const FileHandle& file) {
  wait_interruptible([&](auto slice) { return file->wait_idle(slice); }, -1);
  if (file->closed()) raise_error({shoestring::ErrorKind::config, 0, -1, "the file is closed. Open it again", file->path()});
  auto synced = [&] {
    const nb::gil_scoped_release release;
    return file->sync();
  }();
  unwrap(std::move(synced));
}

Future read_pages(const EngineHandle& engine, const FileHandle& file, const Offsets& offsets, std::uint64_t page_bytes,
                  const Buffer& buffer, std::uint64_t at) {
  auto submitted = [&] {
    const std::shared_ptr<Block> block = buffer.block();
    const nb::gil_scoped_release release;
    return engine->read_pages(file.shared(), std::span(offsets.data(), offsets.shape(0)), page_bytes, block, at);
  }();
  return Future(unwrap(std::move(submitted)));
}

template <bool write>
Future transfer(const EngineHandle& engine, const FileHandle& file, std::uint64_t offset, const Buffer& buffer, std::uint64_t nbytes,
                std::uint64_t at) {
  return Future(unwrap(engine->transfer(write, file.shared(), offset, buffer.block(), nbytes, at)));
}

nb::list take_unread(const EngineHandle& engine, const FileHandle* file) {
  nb::list exceptions;
  for (const auto& error : engine->take_unread(file == nullptr ? nullptr : file->shared().get())) exceptions.append(to_exception(error));
  return exceptions;
}

nb::dict stats(const EngineHandle& engine) {
  const EngineStats s = engine->stats();
  nb::dict d;
  d["backend"] = engine->backend();
  d["bytes_read"] = s.bytes_read;
  d["bytes_written"] = s.bytes_written;
  d["read_requests"] = s.read_requests;
  d["write_requests"] = s.write_requests;
  d["retries"] = s.retries;
  d["late_fallbacks"] = s.late_fallbacks;
  d["pool_in_use"] = s.pool.in_use;
  d["pool_idle"] = s.pool.idle;
  d["pool_peak_in_use"] = s.pool.peak_in_use;
  return d;
}

void bind_values(nb::module_& m) {
  nb::class_<Buffer>(m, "Buffer", "Aligned memory of an engine; goes back to it when nothing uses it any more.")
      .def_prop_ro("array", &Buffer::array, nb::rv_policy::reference, "The memory as uint8 [nbytes]; stays valid as long as the array lives.")
      .def_prop_ro("nbytes", &Buffer::nbytes, "Size in bytes, a multiple of 4096.")
      .def("release", &Buffer::release, "Let go of the memory; requests in flight and arrays keep it until they end.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); }, nb::sig("def __enter__(self) -> Buffer"))
      .def("__exit__", [](Buffer& self, const nb::args&) { self.release(); }, nb::sig("def __exit__(self, *args: object) -> None"));
  nb::class_<FileHandle>(m, "File", "An open file of an engine.")
      .def_prop_ro("path", [](const FileHandle& f) { return decode_path(f->path()); }, nb::sig("def path(self) -> str"))
      .def_prop_ro("size_bytes", [](const FileHandle& f) { return f->size(); }, "Length now; preallocated files are rounded up to 4096.")
      .def_prop_ro("direct", [](const FileHandle& f) { return f->direct(); }, "Whether requests bypass the page cache.")
      .def_prop_ro("fallback", [](const FileHandle& f) { return f->fallback(); }, "Why O_DIRECT is not used, or ''.")
      .def_prop_ro("closed", [](const FileHandle& f) { return f->closed(); })
      .def("close", &close_file, "Wait for the requests in flight, then close. Twice is allowed.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); }, nb::sig("def __enter__(self) -> File"))
      .def("__exit__", [](const FileHandle& self, const nb::args&) { close_file(self); }, nb::sig("def __exit__(self, *args: object) -> None"));
  nb::class_<Future>(m, "Future", "A request under way. It goes on even if this object is dropped.")
      .def("done", &Future::done, "Whether it is over, well or not.")
      .def("result", &Future::result, "timeout_s"_a = -1.0,
           "Wait, and return the bytes moved; raises StorageError if it failed, TimeoutError after `timeout_s` seconds (below 0: never).");
}

}  // namespace

void bind_io(nb::module_& m) {
#ifdef SHOESTRING_HAVE_LIBURING
  m.attr("has_liburing") = true;
#else
  m.attr("has_liburing") = false;
#endif
  bind_values(m);
  nb::class_<FaultPlan>(m, "FaultPlan", "Faults on demand, for tests.")
      .def(nb::init<>())
      .def_rw("short_every", &FaultPlan::short_every)
      .def_rw("eintr_every", &FaultPlan::eintr_every)
      .def_rw("eagain_every", &FaultPlan::eagain_every)
      .def_rw("fail_after_bytes", &FaultPlan::fail_after_bytes)
      .def_rw("fail_code", &FaultPlan::fail_code)
      .def_rw("delay_us", &FaultPlan::delay_us);
  nb::class_<EngineOptions>(m, "EngineOptions", "What `Engine` takes; checked by shoestring.native.io.")
      .def(nb::init<>())
      .def_prop_rw("backend", [](const EngineOptions& o) { return static_cast<int>(o.backend); },
                   [](EngineOptions& o, int v) { o.backend = static_cast<Choice>(v); }, "0 automatic, 1 io_uring, 2 threads")
      .def_rw("queue_depth", &EngineOptions::queue_depth)
      .def_rw("threads", &EngineOptions::threads)
      .def_rw("max_request", &EngineOptions::max_request)
      .def_rw("pool_bytes", &EngineOptions::pool_bytes)
      .def_rw("limit_bytes_per_s", &EngineOptions::limit_bytes_per_s)
      .def_rw("faults", &EngineOptions::faults)
      .def_rw("refuse_uring", &EngineOptions::refuse_uring)
      .def_rw("refuse_direct", &EngineOptions::refuse_direct);
  nb::class_<EngineHandle>(m, "Engine", "Use shoestring.native.io.Engine.")
      .def(nb::init<const EngineOptions&>(), "options"_a)
      .def("open", &open_file, "path"_a, "mode"_a, "size"_a, "direct"_a)
      .def("buffer", [](const EngineHandle& e, std::uint64_t nbytes) { return Buffer(unwrap(e->buffer(nbytes))); }, "nbytes"_a)
      .def("read", &transfer<false>, "file"_a, "offset"_a, "buffer"_a, "nbytes"_a, "at"_a = 0)
      .def("write", &transfer<true>, "file"_a, "offset"_a, "buffer"_a, "nbytes"_a, "at"_a = 0)
      .def("read_pages", &read_pages, "file"_a, "offsets"_a, "page_bytes"_a, "buffer"_a, "at"_a = 0)
      .def("sync", [](const EngineHandle&, const FileHandle& file) { sync_file(file); }, "file"_a)
      .def("wait_idle", [](const EngineHandle& e) { wait_interruptible([&](auto slice) { return e->wait_idle(slice); }, -1); })
      .def("take_unread", &take_unread, "file"_a.none(), nb::sig("def take_unread(self, file: File | None) -> list[Exception]"))
      .def("close", [](const EngineHandle& e) { e->close(); }, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("closed", [](const EngineHandle& e) { return e->closed(); })
      .def_prop_ro("backend", [](const EngineHandle& e) { return e->backend(); })
      .def_prop_ro("uring_refusal", [](const EngineHandle& e) { return e->uring_refusal(); })
      .def("stats", &stats, nb::sig("def stats(self) -> dict[str, int | str]"));
}
