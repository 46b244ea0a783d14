#if defined(__x86_64__)  // compiled with -mavx2; called only after cpuid was asked
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "sparse_table.hpp"

namespace shoestring::graph::avx2 {

#include "sparse_kernels.ipp"

}  // namespace shoestring::graph::avx2
#endif
