// The compiled module shoestring.native._core: one submodule for each part of the core.
#include "bind.hpp"

NB_MODULE(_core, m) {
  m.doc() = "Native core of Shoestring: I/O engine, partitioners, sparse kernels, accelerator core.";
  auto dram = m.def_submodule("dram", "DRAM: commands, and a checker of traces.");
  bind_dram(dram);
  auto io = m.def_submodule("io", "Asynchronous file I/O with aligned buffers.");
  bind_io(io);
  auto partition = m.def_submodule("partition", "Graph partitioners.");
  bind_partition(partition);
  auto sim = m.def_submodule("sim", "Accelerator core: cache, engines, DRAM banks.");
  bind_sim(sim);
  auto sparse = m.def_submodule("sparse", "Sparse graph kernels.");
  bind_sparse(sparse);
}
