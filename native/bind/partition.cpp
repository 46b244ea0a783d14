#include <nanobind/nanobind.h>

void bind_partition(nanobind::module_& module);
void bind_partition(nanobind::module_& /*module*/) {}
