// What module.cpp calls: each function fills the submodule that it is given.
#pragma once

#include <nanobind/nanobind.h>

void bind_dram(nanobind::module_& m);
void bind_io(nanobind::module_& m);
void bind_partition(nanobind::module_& m);
void bind_sim(nanobind::module_& m);
void bind_sparse(nanobind::module_& m);
