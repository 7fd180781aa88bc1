# The table of targets, best first.  A new instruction set is a header in simd/ and a row here: the
# row compiles dispatch/kernels.cpp twice more and enrols the target in dispatch and in the tests.
#
#   fastbn_target(<name> ARCH <regex of CMAKE_SYSTEM_PROCESSOR> FLAGS <compiler flags>
#                 NEEDS <CPU features, as __builtin_cpu_supports names them>)
#
# The header is simd/<name>.h.  (-mprfchw has lines asked for to write, where a CPU before it, such as Haswell, does nothing.)

fastbn_target(avx512
  ARCH  "x86_64|AMD64"
  FLAGS -mavx512f -mavx512vl -mavx512bw -mavx512dq -mfma -mprfchw -mprefer-vector-width=512
  NEEDS avx512f avx512vl avx512bw avx512dq fma)

fastbn_target(avx2
  ARCH  "x86_64|AMD64"
  FLAGS -mavx2 -mfma -mprfchw
  NEEDS avx2 fma)

fastbn_target(neon
  ARCH  "aarch64|arm64"
  FLAGS
  NEEDS)

fastbn_target(scalar
  ARCH  ".*"
  FLAGS
  NEEDS)
