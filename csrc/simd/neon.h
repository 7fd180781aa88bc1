// AArch64 Advanced SIMD (NEON): 32 registers of 16 bytes, part of every ARMv8 CPU.  There are no
// masked loads: a partial load or store goes lane by lane.
#pragma once

#include <arm_neon.h>

#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kVectorRegisters = 32;
constexpr bool kStreamsPastCaches = false;

FASTBN_INLINE void stream_fence() {}

template <>
struct Vec<float> {
  static constexpr int kWidth = 4;
  static constexpr int kGroup = 0;
  using Mask = uint32x4_t;
  float32x4_t v;

  static FASTBN_INLINE Vec zero() { return {vdupq_n_f32(0)}; }
  static FASTBN_INLINE Vec broadcast(float s) { return {vdupq_n_f32(s)}; }
  static FASTBN_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
  static FASTBN_INLINE Vec load_first(const float* p, int n) {
    float lanes[kWidth] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  static FASTBN_INLINE void store(float* p, Vec a) { vst1q_f32(p, a.v); }
  static FASTBN_INLINE void stream(float* p, Vec a) { store(p, a); }
  static FASTBN_INLINE void store_first(float* p, Vec a, int n) {
    float lanes[kWidth];
    store(lanes, a);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  static FASTBN_INLINE Vec keep_first(Vec a, int n) {
    float lanes[kWidth];
    store(lanes, a);
    return load_first(lanes, n);
  }
};

FASTBN_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {vaddq_f32(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {vsubq_f32(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {vmulq_f32(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {vdivq_f32(a.v, b.v)};
}
FASTBN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {vfmaq_f32(c.v, a.v, b.v)};
}
FASTBN_INLINE Vec<float> sqrt(Vec<float> a) {
  return {vsqrtq_f32(a.v)};
}
FASTBN_INLINE Vec<float> abs(Vec<float> a) {
  return {vabsq_f32(a.v)};
}
FASTBN_INLINE Vec<float> copy_sign(Vec<float> a, Vec<float> s) {
  return {vbslq_f32(vdupq_n_u32(0x80000000u), s.v, a.v)};
}
FASTBN_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return {vmaxq_f32(a.v, b.v)};
}
FASTBN_INLINE uint32x4_t less(Vec<float> a, Vec<float> b) {
  return vcltq_f32(a.v, b.v);
}
FASTBN_INLINE uint32x4_t less_equal(Vec<float> a, Vec<float> b) {
  return vcleq_f32(a.v, b.v);
}
FASTBN_INLINE uint32x4_t is_nan(Vec<float> a) {
  return veorq_u32(vceqq_f32(a.v, a.v), vdupq_n_u32(~0u));
}
FASTBN_INLINE Vec<float> select(uint32x4_t m, Vec<float> a, Vec<float> b) {
  return {vbslq_f32(m, a.v, b.v)};
}
FASTBN_INLINE Vec<float> round(Vec<float> a) {
  return {vrndnq_f32(a.v)};
}
FASTBN_INLINE Vec<float> pow2(Vec<float> n) {
  const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n.v), vdupq_n_s32(127));
  return {vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23))};
}
FASTBN_INLINE Vec<float> exponent(Vec<float> a) {
  const uint32x4_t biased = vshrq_n_u32(vreinterpretq_u32_f32(a.v), 23);
  return {vsubq_f32(vcvtq_f32_u32(biased), vdupq_n_f32(127))};
}
FASTBN_INLINE float sum(Vec<float> a) {
  return vaddvq_f32(a.v);
}
FASTBN_INLINE float max_lane(Vec<float> a) {
  return vmaxvq_f32(a.v);
}

FASTBN_INLINE void transpose(Vec<float> (&r)[4]) {
  const float32x4x2_t a = vtrnq_f32(r[0].v, r[1].v), b = vtrnq_f32(r[2].v, r[3].v);
  r[0].v = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  r[1].v = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  r[2].v = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  r[3].v = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

template <>
struct Vec<double> {
  static constexpr int kWidth = 2;
  static constexpr int kGroup = 0;
  using Mask = uint64x2_t;
  float64x2_t v;

  static FASTBN_INLINE Vec zero() { return {vdupq_n_f64(0)}; }
  static FASTBN_INLINE Vec broadcast(double s) { return {vdupq_n_f64(s)}; }
  static FASTBN_INLINE Vec load(const double* p) { return {vld1q_f64(p)}; }
  static FASTBN_INLINE Vec load_first(const double* p, int n) {
    double lanes[kWidth] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  static FASTBN_INLINE void store(double* p, Vec a) { vst1q_f64(p, a.v); }
  static FASTBN_INLINE void stream(double* p, Vec a) { store(p, a); }
  static FASTBN_INLINE void store_first(double* p, Vec a, int n) {
    double lanes[kWidth];
    store(lanes, a);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  static FASTBN_INLINE Vec load(const float* p) { return {vcvt_f64_f32(vld1_f32(p))}; }
  static FASTBN_INLINE Vec load_first(const float* p, int n) {
    float lanes[kWidth] = {};
    for (int i = 0; i < n; ++i) lanes[i] = p[i];
    return load(lanes);
  }
  static FASTBN_INLINE void store(float* p, Vec a) { vst1_f32(p, vcvt_f32_f64(a.v)); }
  static FASTBN_INLINE void store_first(float* p, Vec a, int n) {
    float lanes[kWidth];
    store(lanes, a);
    for (int i = 0; i < n; ++i) p[i] = lanes[i];
  }
  static FASTBN_INLINE Vec keep_first(Vec a, int n) {
    double lanes[kWidth];
    store(lanes, a);
    return load_first(lanes, n);
  }
};

FASTBN_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {vaddq_f64(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {vsubq_f64(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {vmulq_f64(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {vdivq_f64(a.v, b.v)};
}
FASTBN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {vfmaq_f64(c.v, a.v, b.v)};
}
FASTBN_INLINE Vec<double> sqrt(Vec<double> a) {
  return {vsqrtq_f64(a.v)};
}
FASTBN_INLINE Vec<double> abs(Vec<double> a) {
  return {vabsq_f64(a.v)};
}
FASTBN_INLINE Vec<double> copy_sign(Vec<double> a, Vec<double> s) {
  return {vbslq_f64(vdupq_n_u64(0x8000000000000000u), s.v, a.v)};
}
FASTBN_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return {vmaxq_f64(a.v, b.v)};
}
FASTBN_INLINE uint64x2_t less(Vec<double> a, Vec<double> b) {
  return vcltq_f64(a.v, b.v);
}
FASTBN_INLINE uint64x2_t less_equal(Vec<double> a, Vec<double> b) {
  return vcleq_f64(a.v, b.v);
}
FASTBN_INLINE uint64x2_t is_nan(Vec<double> a) {
  return veorq_u64(vceqq_f64(a.v, a.v), vdupq_n_u64(~0ul));
}
FASTBN_INLINE Vec<double> select(uint64x2_t m, Vec<double> a, Vec<double> b) {
  return {vbslq_f64(m, a.v, b.v)};
}
FASTBN_INLINE Vec<double> round(Vec<double> a) {
  return {vrndnq_f64(a.v)};
}
FASTBN_INLINE Vec<double> pow2(Vec<double> n) {
  const int64x2_t exponent = vaddq_s64(vcvtq_s64_f64(n.v), vdupq_n_s64(1023));
  return {vreinterpretq_f64_s64(vshlq_n_s64(exponent, 52))};
}
FASTBN_INLINE Vec<double> exponent(Vec<double> a) {
  const uint64x2_t biased = vshrq_n_u64(vreinterpretq_u64_f64(a.v), 52);
  return {vsubq_f64(vcvtq_f64_u64(biased), vdupq_n_f64(1023))};
}
FASTBN_INLINE double sum(Vec<double> a) {
  return vaddvq_f64(a.v);
}
FASTBN_INLINE double max_lane(Vec<double> a) {
  return vmaxvq_f64(a.v);
}

FASTBN_INLINE void transpose(Vec<double> (&r)[2]) {
  const float64x2_t a = vtrn1q_f64(r[0].v, r[1].v), b = vtrn2q_f64(r[0].v, r[1].v);
  r[0].v = a;
  r[1].v = b;
}

}  // namespace
}  // namespace fastbn
