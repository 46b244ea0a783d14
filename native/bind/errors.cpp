#include "errors.hpp"

#include <nanobind/stl/string.h>

namespace nb = nanobind;
using shoestring::Error;
using shoestring::ErrorKind;

nb::object decode_path(const std::string& path) {
  return nb::steal(PyUnicode_DecodeFSDefaultAndSize(path.data(), static_cast<Py_ssize_t>(path.size())));
}

nb::object to_exception(const Error& error) {
  if (error.kind == ErrorKind::memory) return nb::borrow(PyExc_MemoryError)(error.text);
  const nb::module_ errors = nb::module_::import_("shoestring.core.errors");
  if (error.kind == ErrorKind::config) {
    return errors.attr("ConfigError")(error.path.empty() ? error.text : error.path + ": " + error.text);
  }
  const nb::object file = error.path.empty() ? nb::none() : decode_path(error.path);
  nb::object exception = errors.attr("StorageError")(error.code, error.text, file);
  exception.attr("offset") = error.offset < 0 ? nb::none() : nb::object(nb::int_(error.offset));
  return exception;
}

void raise_error(const Error& error) {
  const nb::object exception = to_exception(error);
  PyErr_SetObject(exception.type().ptr(), exception.ptr());
  throw nb::python_error();
}
