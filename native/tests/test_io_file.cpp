#include <cerrno>
#include <chrono>

#include "check.hpp"
#include "shoestring/io/file.hpp"

using namespace shoestring::io;

namespace {

void sizes_are_reserved_and_rounded_up(const check::Folder& folder) {
  auto file = std::move(File::open(folder / "a", Mode::create, 5000, Direct::automatic, false).value());
  CHECK(file->size() == 8192);
  CHECK(file->fixed_size());
  CHECK(std::filesystem::file_size(folder / "a") == 8192);
  CHECK(file->sync().ok());
  CHECK(file->close().ok());
  CHECK(file->close().ok());
  CHECK(!file->begin());
}

void refused_direct_falls_back_and_says_why(const check::Folder& folder) {
  auto file = std::move(File::open(folder / "b", Mode::create, 0, Direct::automatic, true).value());
  CHECK(!file->direct());
  CHECK(!file->fallback().empty());
  auto required = File::open(folder / "b", Mode::create, 0, Direct::required, true);
  CHECK(!required.ok() && required.error().code == EINVAL);
  auto off = std::move(File::open(folder / "b", Mode::create, 0, Direct::off, true).value());
  CHECK(!off->direct() && off->fallback().empty());
}

void direct_is_given_up_once(const check::Folder& folder) {
  auto file = std::move(File::open(folder / "c", Mode::create, 4096, Direct::automatic, false).value());
  if (!file->direct()) return;
  CHECK(file->drop_direct());
  CHECK(!file->drop_direct());
  CHECK(!file->direct());
}

void errors_carry_errno_and_path(const check::Folder& folder) {
  auto missing = File::open(folder / "no/such", Mode::read, 0, Direct::automatic, false);
  CHECK(!missing.ok() && missing.error().code == ENOENT && missing.error().path == folder / "no/such");
  auto is_folder = File::open(std::filesystem::temp_directory_path().string(), Mode::read, 0, Direct::off, false);
  CHECK(!is_folder.ok() && is_folder.error().code == EINVAL);
  auto huge = File::open(folder / "huge", Mode::create, std::uint64_t{1} << 60, Direct::automatic, false);
  CHECK(!huge.ok() && (huge.error().code == ENOSPC || huge.error().code == EFBIG));
  CHECK(!huge.ok() && huge.error().text.find("1152921504606846976") != std::string::npos);
  CHECK(!std::filesystem::exists(folder / "huge"));
}

void idle_is_waited_for(const check::Folder& folder) {
  auto file = std::move(File::open(folder / "d", Mode::create, 4096, Direct::automatic, false).value());
  CHECK(file->wait_idle(std::chrono::milliseconds(0)));
  CHECK(file->begin());
  CHECK(!file->wait_idle(std::chrono::milliseconds(1)));
  file->end();
  CHECK(file->wait_idle(std::chrono::milliseconds(0)));
}

}  // namespace

int main() {
  const check::Folder folder;
  sizes_are_reserved_and_rounded_up(folder);
  refused_direct_falls_back_and_says_why(folder);
  direct_is_given_up_once(folder);
  errors_carry_errno_and_path(folder);
  idle_is_waited_for(folder);
  return check::report();
}
