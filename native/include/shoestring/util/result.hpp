// A value or an error; nothing in the core throws on purpose.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace shoestring {

enum class ErrorKind { storage, config, memory, unsupported };

// `code` is an errno or 0, `offset` the position in the file or -1.
struct Error {
  ErrorKind kind = ErrorKind::storage;
  int code = 0;
  std::int64_t offset = -1;
  std::string text;
  std::string path;
};

template <class T>
class [[nodiscard]] Result {
  std::variant<T, Error> content_;

 public:
  Result(T value) : content_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : content_(std::in_place_index<1>, std::move(error)) {}
  bool ok() const noexcept { return content_.index() == 0; }
  T& value() noexcept { return *std::get_if<0>(&content_); }
  const Error& error() const noexcept { return *std::get_if<1>(&content_); }
};

// An outcome without a value.
struct Done {};

}  // namespace shoestring
