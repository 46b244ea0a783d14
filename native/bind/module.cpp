#include <nanobind/nanobind.h>

namespace nb = nanobind;

void bind_io(nb::module_& module);
void bind_partition(nb::module_& module);
void bind_sparse(nb::module_& module);

NB_MODULE(_core, module) {
  module.doc() = "The compiled core of Shoestring; use it through shoestring.native.";
  auto io = module.def_submodule("io");
  bind_io(io);
  auto partition = module.def_submodule("partition");
  bind_partition(partition);
  auto sparse = module.def_submodule("sparse");
  bind_sparse(sparse);
}
