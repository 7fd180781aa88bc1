// Every kernel, for one target: compiled once per row of targets.cmake, with that target's flags.
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

#define FASTBN_CONCAT_(a, b) a##b
#define FASTBN_CONCAT(a, b) FASTBN_CONCAT_(a, b)

namespace fastbn {

extern const KernelTable FASTBN_CONCAT(kernel_table_, FASTBN_TARGET_NAME);

constexpr KernelTable FASTBN_CONCAT(kernel_table_, FASTBN_TARGET_NAME) = {
    {gemm_kernels<float>(), batchnorm_kernels<float>(), nn_kernels<float>(),
     probe_kernels<float>()},
    {gemm_kernels<double>(), batchnorm_kernels<double>(), nn_kernels<double>(),
     probe_kernels<double>()},
};

}  // namespace fastbn
