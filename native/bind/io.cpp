#include <nanobind/nanobind.h>

void bind_io(nanobind::module_& module);
void bind_io(nanobind::module_& /*module*/) {}
