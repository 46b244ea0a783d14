// The one place where an error of the core becomes a Python exception.
#pragma once

#include <nanobind/nanobind.h>

#include "shoestring/util/result.hpp"

// Builds the exception without raising it: StorageError with errno, filename and `offset`; ConfigError; MemoryError.
nanobind::object to_exception(const shoestring::Error& error);
// File names are bytes to the system, and need not be text.
nanobind::object decode_path(const std::string& path);
[[noreturn]] void raise_error(const shoestring::Error& error);

template <class T>
T unwrap(shoestring::Result<T> result) {
  if (!result.ok()) raise_error(result.error());
  return std::move(result.value());
}
