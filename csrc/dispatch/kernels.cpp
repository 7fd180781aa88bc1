// Every kernel, for one target and one type of element: compiled twice per row of targets.cmake, with that
// target's flags (two files where compiling takes longest, so that it ends sooner on four CPUs).
//
// All but the table is in anonymous namespaces, and the headers below use no standard container or
// algorithm, no static with a constructor, no allocation and no OpenMP: whatever inline function
// this file shared with the rest of the library, the linker could keep in this copy, whose
// instructions the CPU may lack.
#include FASTBN_SIMD_HEADER

#include "batchnorm/batchnorm_kernel.h"
#include "dispatch/kernel_table.h"
#include "gemm/gemm_kernel.h"
#include "nn/nn_kernels.h"
#include "probe/probe_kernel.h"

#define FASTBN_TABLE_(target, type) kernels_##target##_##type
#define FASTBN_TABLE(target, type) FASTBN_TABLE_(target, type)

namespace fastbn {

using Element = FASTBN_ELEMENT;
using Table = Kernels<Element>;

extern const Table FASTBN_TABLE(FASTBN_TARGET_NAME, FASTBN_ELEMENT);

constexpr Table FASTBN_TABLE(FASTBN_TARGET_NAME, FASTBN_ELEMENT) = {
    gemm_kernels<Element>(), batchnorm_kernels<Element>(), nn_kernels<Element>(),
    probe_kernels<Element>()};

}  // namespace fastbn
