#include <nanobind/nanobind.h>

void bind_sparse(nanobind::module_& module);
void bind_sparse(nanobind::module_& /*module*/) {}
