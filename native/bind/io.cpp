#include "bind.hpp"

void bind_io(nanobind::module_& m) {
#ifdef SHOESTRING_HAVE_LIBURING
  m.attr("has_liburing") = true;
#else
  m.attr("has_liburing") = false;
#endif
}
