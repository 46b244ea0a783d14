// Who carries pieces to the kernel: a pool of threads with pread and pwrite, or one io_uring.
#pragma once

#include <memory>
#include <string>

#include "shoestring/io/faults.hpp"
#include "shoestring/io/operation.hpp"
#include "shoestring/io/throttle.hpp"

namespace shoestring::io {

class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;  // all operations must have finished
  // Takes a started operation. Never blocks on I/O.
  virtual void submit(Operation* op) = 0;
  virtual const char* name() const noexcept = 0;
};

struct BackendOptions {
  unsigned queue_depth = 64;
  unsigned threads = 4;
  Faults* faults = nullptr;      // outlive the backend
  Throttle* throttle = nullptr;
};

Result<std::unique_ptr<Backend>> make_threads(const BackendOptions& options);
// Fails with the errno of the kernel's refusal; ENOSYS with kind `unsupported` if it was built without liburing.
Result<std::unique_ptr<Backend>> make_uring(const BackendOptions& options);

}  // namespace shoestring::io
