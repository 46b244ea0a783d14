#include "shoestring/io/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "shoestring/io/buffer.hpp"

namespace shoestring::io {
namespace {

std::string reason(int code) { return std::generic_category().message(code); }

Error failed(int code, const std::string& text, const std::string& path) {
  return Error{ErrorKind::storage, code, -1, text, path};
}

Error open_error(int code, const std::string& path, Mode mode) {
  std::string text = "could not open for " + std::string(mode == Mode::read ? "reading" : "writing") + ": " + reason(code);
  if (code == ENOENT) text += mode == Mode::create ? ". Make the folder first" : ". Make the file first (mode 'create')";
  if (code == EACCES || code == EPERM || code == EROFS) text += ". Choose a folder that this user may write to";
  if (code == EMFILE || code == ENFILE) text += ". Close files, or raise the limit (ulimit -n)";
  return failed(code, text, path);
}

Error space_error(int code, std::uint64_t size, const std::string& path, int fd) {
  std::string text = "could not reserve " + std::to_string(size) + " bytes: " + reason(code);
  struct statvfs info{};
  if (::fstatvfs(fd, &info) == 0) {
    text += "; " + std::to_string(static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize) + " bytes are free there";
  }
  if (code == ENOSPC || code == EDQUOT) text += ". Free space, or put the storage on a larger disk";
  return failed(code, text, path);
}

// Reserves the whole length now, so that a full disk shows before the work and not in its midst.
int reserve(int fd, std::uint64_t size) {
  int code = 0;
  do {
    code = ::posix_fallocate(fd, 0, static_cast<off_t>(size));
  } while (code == EINTR);
  if (code != EOPNOTSUPP && code != EINVAL) return code;
  return ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno;
}

int open_retrying(const char* path, int flags) {
  int fd = -1;
  do {
    fd = ::open(path, flags | O_CLOEXEC, 0666);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

}  // namespace

Result<std::shared_ptr<File>> File::open(const std::string& path, Mode mode, std::uint64_t size, Direct direct,
                                         bool refuse_direct) {
  const int access = mode == Mode::read ? O_RDONLY : O_RDWR;
  const int flags = access | (mode == Mode::create ? O_CREAT | O_TRUNC : 0);
  bool is_direct = false;
  std::string fallback;
  int fd = -1;
  if (direct != Direct::off) {
    fd = refuse_direct ? -1 : open_retrying(path.c_str(), flags | O_DIRECT);
    const int code = refuse_direct ? EINVAL : errno;
    is_direct = fd >= 0;
    if (!is_direct && code != EINVAL && code != EOPNOTSUPP) return open_error(code, path, mode);
    if (!is_direct && direct == Direct::required) {
      return failed(code, "the file system refuses O_DIRECT. Use direct='auto', or a folder on another file system", path);
    }
    if (!is_direct) fallback = "the file system refuses O_DIRECT (" + reason(code) + ")";
  }
  if (fd < 0) fd = open_retrying(path.c_str(), flags);
  if (fd < 0) return open_error(errno, path, mode);
  Fd owned(fd);
  struct stat info{};
  if (::fstat(fd, &info) != 0) return open_error(errno, path, mode);
  if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
    return failed(EINVAL, "not a regular file; the engine reads and writes regular files and block devices", path);
  }
  std::uint64_t length = static_cast<std::uint64_t>(info.st_size);
  if (S_ISBLK(info.st_mode)) {
    const off_t end = ::lseek(fd, 0, SEEK_END);
    length = end > 0 ? static_cast<std::uint64_t>(end) : 0;
  }
  if (mode == Mode::create && size > 0) {
    const int code = reserve(fd, round_up(size));
    if (code != 0) {
      Error error = space_error(code, round_up(size), path, fd);
      ::unlink(path.c_str());
      return error;
    }
    length = round_up(size);
  }
  return std::make_shared<File>(path, std::move(owned), mode != Mode::read, mode == Mode::create && size > 0, is_direct, length,
                                std::move(fallback));
}

bool File::drop_direct() noexcept {
  if (!direct_.exchange(false)) return false;
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags >= 0) ::fcntl(fd_.get(), F_SETFL, flags & ~O_DIRECT);
  return true;
}

void File::grew_to(std::uint64_t size) noexcept {
  std::uint64_t known = size_.load(std::memory_order_relaxed);
  while (known < size && !size_.compare_exchange_weak(known, size, std::memory_order_relaxed)) {
  }
}

void File::leave_cache(bool write, std::uint64_t offset, std::uint64_t length) const noexcept {
  const auto from = static_cast<off_t>(offset);
  const auto count = static_cast<off_t>(length);
  if (write) {
    ::sync_file_range(fd_.get(), from, count, SYNC_FILE_RANGE_WRITE);
  } else {
    ::posix_fadvise(fd_.get(), from, count, POSIX_FADV_DONTNEED);
  }
}

bool File::begin() {
  const std::lock_guard lock(mutex_);
  if (closed_) return false;
  ++in_flight_;
  return true;
}

void File::end() {
  const std::lock_guard lock(mutex_);
  if (--in_flight_ == 0) idle_.notify_all();
}

bool File::wait_idle(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, timeout, [this] { return in_flight_ == 0; });
}

Result<Done> File::sync() {
  int code = 0;
  do {
    code = ::fdatasync(fd_.get()) == 0 ? 0 : errno;
  } while (code == EINTR);
  if (code != 0) {
    return failed(code, "could not make the data durable: " + reason(code) + ". What was written since the last sync may be lost",
                  path_);
  }
  if (!direct()) ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  return Done{};
}

Result<Done> File::close() {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return Done{};
    closed_ = true;
  }
  if (!direct()) ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED);
  // Linux frees the descriptor even when close reports EINTR, so it is not tried again.
  if (::close(fd_.release()) != 0 && errno != EINTR) {
    return failed(errno, "closing reported: " + reason(errno) + ". Late writes may be lost", path_);
  }
  return Done{};
}

bool File::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

}  // namespace shoestring::io
