// The whole test framework: CHECK prints what failed and lets the test end with code 1.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace check {

inline int failures = 0;

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      ++check::failures;                                                             \
      std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition); \
    }                                                                                \
  } while (false)

// A folder that goes away with the test.
class Folder {
  std::filesystem::path path_;

 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "shoestring-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const char* name) const { return (path_ / name).string(); }
};

inline int report() { return failures == 0 ? 0 : 1; }

}  // namespace check
