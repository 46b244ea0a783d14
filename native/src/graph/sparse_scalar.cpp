#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "sparse_table.hpp"

namespace shoestring::graph::scalar {

#include "sparse_kernels.ipp"

}  // namespace shoestring::graph::scalar
