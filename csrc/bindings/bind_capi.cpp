// The table of the C interface as a capsule, under the name that fastbn/capi.h gives it.
#include "bindings/array_view.h"
#include "capi/capi.h"

namespace fastbn::bindings {

void register_capi(py::module_& m) {
  m.attr("_C_API") = py::capsule(&capi(), FASTBN_CAPI_CAPSULE);
}

}  // namespace fastbn::bindings
