// One lane, plain C++: runs on every CPU, and is what the other targets are compared with.
#pragma once

#include <cstdint>

#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kVectorRegisters = 16;
constexpr bool kStreamsPastCaches = false;

FASTBN_INLINE void stream_fence() {}

template <class T>
struct Vec {
  static constexpr int kWidth = 1;
  static constexpr int kGroup = 0;
  using Mask = bool;
  T v;

  static Vec zero() { return {T(0)}; }
  static Vec broadcast(T s) { return {s}; }
  template <class P>
  static Vec load(const P* p) {
    return {static_cast<T>(*p)};
  }
  template <class P>
  static Vec load_first(const P* p, int n) {
    return {n > 0 ? static_cast<T>(*p) : T(0)};
  }
  template <class P>
  static void store(P* p, Vec a) {
    *p = static_cast<P>(a.v);
  }
  static void stream(T* p, Vec a) { store(p, a); }
  template <class P>
  static void store_first(P* p, Vec a, int n) {
    if (n > 0) *p = static_cast<P>(a.v);
  }
  static Vec keep_first(Vec a, int n) { return {n > 0 ? a.v : T(0)}; }
};

template <class T>
FASTBN_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) {
  return {a.v + b.v};
}
template <class T>
FASTBN_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) {
  return {a.v - b.v};
}
template <class T>
FASTBN_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) {
  return {a.v * b.v};
}
template <class T>
FASTBN_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) {
  return {a.v / b.v};
}
// Two roundings: a CPU without FMA would emulate std::fma some hundred times slower.
template <class T>
FASTBN_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
  return {a.v * b.v + c.v};
}
FASTBN_INLINE Vec<float> sqrt(Vec<float> a) {
  return {__builtin_sqrtf(a.v)};
}
FASTBN_INLINE Vec<double> sqrt(Vec<double> a) {
  return {__builtin_sqrt(a.v)};
}
FASTBN_INLINE Vec<float> abs(Vec<float> a) {
  return {__builtin_fabsf(a.v)};
}
FASTBN_INLINE Vec<double> abs(Vec<double> a) {
  return {__builtin_fabs(a.v)};
}
FASTBN_INLINE Vec<float> copy_sign(Vec<float> a, Vec<float> s) {
  return {__builtin_copysignf(a.v, s.v)};
}
FASTBN_INLINE Vec<double> copy_sign(Vec<double> a, Vec<double> s) {
  return {__builtin_copysign(a.v, s.v)};
}
template <class T>
FASTBN_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
  return {a.v > b.v ? a.v : b.v};
}
template <class T>
FASTBN_INLINE bool less(Vec<T> a, Vec<T> b) {
  return a.v < b.v;
}
template <class T>
FASTBN_INLINE bool less_equal(Vec<T> a, Vec<T> b) {
  return a.v <= b.v;
}
template <class T>
FASTBN_INLINE bool is_nan(Vec<T> a) {
  return a.v != a.v;
}
template <class T>
FASTBN_INLINE Vec<T> select(bool m, Vec<T> a, Vec<T> b) {
  return m ? a : b;
}
FASTBN_INLINE Vec<float> round(Vec<float> a) {
  return {__builtin_rintf(a.v)};
}
FASTBN_INLINE Vec<double> round(Vec<double> a) {
  return {__builtin_rint(a.v)};
}
// n + 1.5 * 2^23 holds n in its low bits, two's complement: the exponent field, but for the bias.
// ldexp would be a call, and a cast of NaN to an integer is undefined.
FASTBN_INLINE Vec<float> pow2(Vec<float> n) {
  const float shifted = n.v + 0x1.8p23f;
  std::uint32_t bits;
  __builtin_memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + 127) << 23;
  Vec<float> power;
  __builtin_memcpy(&power.v, &bits, sizeof(bits));
  return power;
}
FASTBN_INLINE Vec<double> pow2(Vec<double> n) {
  const double shifted = n.v + 0x1.8p52;
  std::uint64_t bits;
  __builtin_memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + 1023) << 52;
  Vec<double> power;
  __builtin_memcpy(&power.v, &bits, sizeof(bits));
  return power;
}
FASTBN_INLINE Vec<float> exponent(Vec<float> a) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &a.v, sizeof(bits));
  return {static_cast<float>(static_cast<std::int32_t>(bits >> 23) - 127)};
}
FASTBN_INLINE Vec<double> exponent(Vec<double> a) {
  std::uint64_t bits;
  __builtin_memcpy(&bits, &a.v, sizeof(bits));
  return {static_cast<double>(static_cast<std::int32_t>(bits >> 52) - 1023)};
}
template <class T>
FASTBN_INLINE T sum(Vec<T> a) {
  return a.v;
}
template <class T>
FASTBN_INLINE T max_lane(Vec<T> a) {
  return a.v;
}
template <class T>
FASTBN_INLINE void transpose(Vec<T> (&)[1]) {}

}  // namespace
}  // namespace fastbn
