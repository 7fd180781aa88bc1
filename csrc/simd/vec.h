// The contract of a SIMD header, and the few helpers that follow from it.
//
// kernels.cpp includes exactly one of scalar.h, avx2.h, avx512.h, neon.h.  Each defines, in an
// anonymous namespace, `Vec<float>` and `Vec<double>` with the operations below and nothing else:
// no algorithm lives there, and no intrinsic lives anywhere else.
//
//   Vec<T>::kWidth, Vec<T>::Mask          lanes of a register; the result of a comparison
//   kVectorRegisters                      architectural registers, from which tile sizes follow
//   zero() broadcast(s)
//   load(p) load_first(p, n)              unaligned; the second touches p[0..n) alone: 0 elsewhere
//   store(p, v) store_first(p, v, n)      unaligned; the second touches p[0..n) alone
//                                         Vec<double> also loads and stores float: converted
//   kStreamsPastCaches                    whether stream() is more than a store
//   stream(p, v)                          p aligned to the register; past the caches, where the target
//                                         can: then stream_fence() before another thread may look
//   keep_first(v, n)                      lanes >= n become +0
//   load_rest(p, n, v)                    v, but lanes >= n are p[n..kWidth), which alone it touches
//   store_rest(p, v, n)                   touches p[n..kWidth) alone; both of AVX-512 alone
//   + - * /   fma(a, b, c) = a * b + c    one rounding where the target has FMA
//   sqrt abs  copy_sign(magnitude, sign)
//   max(a, b)                             a NaN in either operand may be lost: callers select()
//   less(a, b) less_equal(a, b)           false where either is NaN
//   is_nan(v)   select(mask, a, b)        mask ? a : b, lane by lane
//   round(v)                              to nearest, ties to even
//   pow2(n)                               2^n for integral n within the exponents of normal numbers
//   exponent(v)                           floor(log2(v)) of a positive normal number, its inverse
//   sum(v) max_lane(v)                    one fixed tree each, so that equal lanes give equal bits
//   transpose(rows)                       a square of kWidth registers, rows to columns, in place
//   kGroup                                elements of 16 bytes, a half or a quarter of a register, if the target has
//                                         the next two; else 0
//   load_groups(p, q) (p, q, r, s)        its two or four groups are the kGroup elements at each
//   transpose_groups(rows)                each group of kGroup registers, rows to columns, in place
//   transpose_lanes(rows)                 four registers as 4 x 4 such groups, rows to columns, in place: of four
//                                         groups alone
//
// load_first and store_first take 0 <= n <= kWidth.
#pragma once

#include <cstddef>

#define FASTBN_INLINE inline __attribute__((always_inline))
// For lambdas, whose attribute stands between the parameter list and the body.
#define FASTBN_INLINE_LAMBDA __attribute__((always_inline))
// Before a loop over a register tile: an array of registers stays in registers only if every index
// is a constant, and compilers leave longer loop bodies rolled.  By two: a loop of any number of rounds.
#if defined(__clang__)
#define FASTBN_UNROLL _Pragma("unroll")
#define FASTBN_UNROLL_BY_2 _Pragma("unroll 2")
#else
#define FASTBN_UNROLL _Pragma("GCC unroll 32")
#define FASTBN_UNROLL_BY_2 _Pragma("GCC unroll 2")
#endif

namespace fastbn {

using index_t = std::ptrdiff_t;

namespace {

// Keeps a pointer or a number in a register of its own: the compiler derives no others from it.
template <class T>
FASTBN_INLINE void opaque(T& x) {
  __asm__("" : "+r"(x));
}

template <class T>
struct Vec;

// A full register, or the first n lanes of one: the same body serves both, so no tail is a copy.
template <class T>
struct AllLanes {
  static constexpr bool kPartial = false;
  template <class P>
  FASTBN_INLINE Vec<T> load(const P* p) const {
    return Vec<T>::load(p);
  }
  template <class P>
  FASTBN_INLINE void store(P* p, Vec<T> v) const {
    Vec<T>::store(p, v);
  }
  FASTBN_INLINE void stream(T* p, Vec<T> v) const { Vec<T>::stream(p, v); }
  FASTBN_INLINE Vec<T> keep(Vec<T> v) const { return v; }
  FASTBN_INLINE index_t count() const { return Vec<T>::kWidth; }
};

template <class T>
struct FirstLanes {
  static constexpr bool kPartial = true;
  int n;
  template <class P>
  FASTBN_INLINE Vec<T> load(const P* p) const {
    return Vec<T>::load_first(p, n);
  }
  template <class P>
  FASTBN_INLINE void store(P* p, Vec<T> v) const {
    Vec<T>::store_first(p, v, n);
  }
  FASTBN_INLINE void stream(T* p, Vec<T> v) const { store(p, v); }
  FASTBN_INLINE Vec<T> keep(Vec<T> v) const { return Vec<T>::keep_first(v, n); }
  FASTBN_INLINE index_t count() const { return n; }
};

// body(i, lanes) for every register of n consecutive elements; the last may be partial.
template <class T, class Body>
FASTBN_INLINE void for_each_vector(index_t n, Body body) {
  constexpr index_t w = Vec<T>::kWidth;
  index_t i = 0;
  for (; i + w <= n; i += w) body(i, AllLanes<T>{});
  if (i < n) body(i, FirstLanes<T>{static_cast<int>(n - i)});
}

// max(v, 0) that keeps NaN: v <= 0 is false for NaN, so NaN passes; -0 becomes +0.
template <class T>
FASTBN_INLINE Vec<T> relu(Vec<T> v) {
  return select(less_equal(v, Vec<T>::zero()), Vec<T>::zero(), v);
}

}  // namespace
}  // namespace fastbn
