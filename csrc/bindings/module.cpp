// The compiled module fastbn._core: see src/fastbn/_core.pyi for its contract.
#include "bindings/array_view.h"
#include "bindings/result_workspace.h"
#include "bindings/tape.h"

// No kernel or binding keeps state that threads share, but for the two settings of runtime.h, which are
// atomic, the pool of threads, which one caller has at a time, the memory of results (result_workspace.h),
// which is lent under the object's own lock, tapes, which one thread runs at a time and which record in their
// own (tape.h), and the function behind matmul, which is set on import: the module needs no GIL.
PYBIND11_MODULE(_core, m, pybind11::mod_gil_not_used()) {
  m.attr("__version__") = FASTBN_VERSION;
  fastbn::bindings::register_workspace(m);
  fastbn::bindings::register_gemm(m);
  fastbn::bindings::register_matmul(m);
  fastbn::bindings::register_batchnorm(m);
  fastbn::bindings::register_block(m);
  fastbn::bindings::register_nn(m);
  fastbn::bindings::register_loss(m);
  fastbn::bindings::register_tape(m);
  fastbn::bindings::register_data(m);
  fastbn::bindings::register_probe(m);
  fastbn::bindings::register_runtime(m);
  fastbn::bindings::register_capi(m);
}
