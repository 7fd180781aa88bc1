// AVX-512 F, VL, BW, DQ: 32 registers of 64 bytes, masks for every partial operation.
#pragma once

// GCC 12 warns of its own header (bug 105593: an operand that a mask of ones leaves unused).
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kVectorRegisters = 32;
constexpr bool kStreamsPastCaches = true;

FASTBN_INLINE void stream_fence() {
  _mm_sfence();
}

template <>
struct Vec<float> {
  static constexpr int kWidth = 16;
  static constexpr int kGroup = 4;
  using Mask = __mmask16;
  __m512 v;

  static FASTBN_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static FASTBN_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
  static FASTBN_INLINE Vec broadcast(float s) { return {_mm512_set1_ps(s)}; }
  static FASTBN_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static FASTBN_INLINE Vec load_first(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(first(n), p)};
  }
  static FASTBN_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
  static FASTBN_INLINE void stream(float* p, Vec a) { _mm512_stream_ps(p, a.v); }
  static FASTBN_INLINE void store_first(float* p, Vec a, int n) {
    _mm512_mask_storeu_ps(p, first(n), a.v);
  }
  static FASTBN_INLINE Vec keep_first(Vec a, int n) { return {_mm512_maskz_mov_ps(first(n), a.v)}; }
  static FASTBN_INLINE Vec load_rest(const float* p, int n, Vec a) {
    return {_mm512_mask_loadu_ps(a.v, static_cast<Mask>(~first(n)), p)};
  }
  static FASTBN_INLINE void store_rest(float* p, Vec a, int n) {
    _mm512_mask_storeu_ps(p, static_cast<Mask>(~first(n)), a.v);
  }
  static FASTBN_INLINE Vec load_groups(const float* p, const float* q, const float* r,
                                       const float* s) {
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(q), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(r), 2);
    return {_mm512_insertf32x4(v, _mm_loadu_ps(s), 3)};
  }
  static FASTBN_INLINE void transpose_lanes(Vec (&r)[4]) {  // 4 x 4 lanes of 16 bytes
    const __m512 t0 = _mm512_shuffle_f32x4(r[0].v, r[1].v, 0x44),
                 t1 = _mm512_shuffle_f32x4(r[0].v, r[1].v, 0xee),
                 t2 = _mm512_shuffle_f32x4(r[2].v, r[3].v, 0x44),
                 t3 = _mm512_shuffle_f32x4(r[2].v, r[3].v, 0xee);
    r[0].v = _mm512_shuffle_f32x4(t0, t2, 0x88);
    r[1].v = _mm512_shuffle_f32x4(t0, t2, 0xdd);
    r[2].v = _mm512_shuffle_f32x4(t1, t3, 0x88);
    r[3].v = _mm512_shuffle_f32x4(t1, t3, 0xdd);
  }
  static FASTBN_INLINE void transpose_groups(Vec (&r)[4]) {
    const __m512d t0 = _mm512_castps_pd(_mm512_unpacklo_ps(r[0].v, r[1].v)),
                  t1 = _mm512_castps_pd(_mm512_unpackhi_ps(r[0].v, r[1].v)),
                  t2 = _mm512_castps_pd(_mm512_unpacklo_ps(r[2].v, r[3].v)),
                  t3 = _mm512_castps_pd(_mm512_unpackhi_ps(r[2].v, r[3].v));
    r[0].v = _mm512_castpd_ps(_mm512_unpacklo_pd(t0, t2));
    r[1].v = _mm512_castpd_ps(_mm512_unpackhi_pd(t0, t2));
    r[2].v = _mm512_castpd_ps(_mm512_unpacklo_pd(t1, t3));
    r[3].v = _mm512_castpd_ps(_mm512_unpackhi_pd(t1, t3));
  }
};

FASTBN_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm512_add_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm512_div_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
FASTBN_INLINE Vec<float> sqrt(Vec<float> a) {
  return {_mm512_sqrt_ps(a.v)};
}
FASTBN_INLINE Vec<float> abs(Vec<float> a) {
  return {_mm512_abs_ps(a.v)};
}
FASTBN_INLINE Vec<float> copy_sign(Vec<float> a, Vec<float> s) {
  const __m512 sign = _mm512_set1_ps(-0.0f);
  return {_mm512_or_ps(_mm512_andnot_ps(sign, a.v), _mm512_and_ps(sign, s.v))};
}
FASTBN_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return {_mm512_max_ps(a.v, b.v)};
}
FASTBN_INLINE __mmask16 less(Vec<float> a, Vec<float> b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ);
}
FASTBN_INLINE __mmask16 less_equal(Vec<float> a, Vec<float> b) {
  return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ);
}
FASTBN_INLINE __mmask16 is_nan(Vec<float> a) {
  return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
}
FASTBN_INLINE Vec<float> select(__mmask16 m, Vec<float> a, Vec<float> b) {
  return {_mm512_mask_blend_ps(m, b.v, a.v)};
}
FASTBN_INLINE Vec<float> round(Vec<float> a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FASTBN_INLINE Vec<float> pow2(Vec<float> n) {
  return {_mm512_scalef_ps(_mm512_set1_ps(1.0f), n.v)};
}
FASTBN_INLINE Vec<float> exponent(Vec<float> a) {
  return {_mm512_getexp_ps(a.v)};
}
FASTBN_INLINE float sum(Vec<float> a) {
  return _mm512_reduce_add_ps(a.v);
}
FASTBN_INLINE float max_lane(Vec<float> a) {
  return _mm512_reduce_max_ps(a.v);
}

// Rows to columns by three or four rounds of exchanges: of single elements, of pairs, and of
// 128-bit quarters twice.
FASTBN_INLINE void transpose(Vec<float> (&r)[16]) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  __m512 u[16];  // u[4 * i + j]: column j of each quarter, rows 4 * i to 4 * i + 3
  for (int i = 0; i < 4; ++i) {
    const __m512d t0 = _mm512_castps_pd(t[4 * i]), t1 = _mm512_castps_pd(t[4 * i + 1]),
                  t2 = _mm512_castps_pd(t[4 * i + 2]), t3 = _mm512_castps_pd(t[4 * i + 3]);
    u[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(t0, t2));
    u[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(t0, t2));
    u[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(t1, t3));
    u[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(t1, t3));
  }
  for (int j = 0; j < 4; ++j) {
    const __m512 a = _mm512_shuffle_f32x4(u[j], u[4 + j], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0x88);
    const __m512 c = _mm512_shuffle_f32x4(u[j], u[4 + j], 0xdd);
    const __m512 d = _mm512_shuffle_f32x4(u[8 + j], u[12 + j], 0xdd);
    r[j].v = _mm512_shuffle_f32x4(a, b, 0x88);
    r[8 + j].v = _mm512_shuffle_f32x4(a, b, 0xdd);
    r[4 + j].v = _mm512_shuffle_f32x4(c, d, 0x88);
    r[12 + j].v = _mm512_shuffle_f32x4(c, d, 0xdd);
  }
}

template <>
struct Vec<double> {
  static constexpr int kWidth = 8;
  static constexpr int kGroup = 2;
  using Mask = __mmask8;
  __m512d v;

  static FASTBN_INLINE __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1u); }
  static FASTBN_INLINE Vec zero() { return {_mm512_setzero_pd()}; }
  static FASTBN_INLINE Vec broadcast(double s) { return {_mm512_set1_pd(s)}; }
  static FASTBN_INLINE Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static FASTBN_INLINE Vec load_first(const double* p, int n) {
    return {_mm512_maskz_loadu_pd(first(n), p)};
  }
  static FASTBN_INLINE void store(double* p, Vec a) { _mm512_storeu_pd(p, a.v); }
  static FASTBN_INLINE void stream(double* p, Vec a) { _mm512_stream_pd(p, a.v); }
  static FASTBN_INLINE void store_first(double* p, Vec a, int n) {
    _mm512_mask_storeu_pd(p, first(n), a.v);
  }
  static FASTBN_INLINE Vec load(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
  static FASTBN_INLINE Vec load_first(const float* p, int n) {
    return {_mm512_cvtps_pd(_mm256_maskz_loadu_ps(first(n), p))};
  }
  static FASTBN_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a.v)); }
  static FASTBN_INLINE void store_first(float* p, Vec a, int n) {
    _mm256_mask_storeu_ps(p, first(n), _mm512_cvtpd_ps(a.v));
  }
  static FASTBN_INLINE Vec keep_first(Vec a, int n) { return {_mm512_maskz_mov_pd(first(n), a.v)}; }
  static FASTBN_INLINE Vec load_rest(const double* p, int n, Vec a) {
    return {_mm512_mask_loadu_pd(a.v, static_cast<Mask>(~first(n)), p)};
  }
  static FASTBN_INLINE void store_rest(double* p, Vec a, int n) {
    _mm512_mask_storeu_pd(p, static_cast<Mask>(~first(n)), a.v);
  }
  static FASTBN_INLINE Vec load_groups(const double* p, const double* q, const double* r,
                                       const double* s) {
    __m512d v = _mm512_castpd128_pd512(_mm_loadu_pd(p));
    v = _mm512_insertf64x2(v, _mm_loadu_pd(q), 1);
    v = _mm512_insertf64x2(v, _mm_loadu_pd(r), 2);
    return {_mm512_insertf64x2(v, _mm_loadu_pd(s), 3)};
  }
  static FASTBN_INLINE void transpose_lanes(Vec (&r)[4]) {
    const __m512d t0 = _mm512_shuffle_f64x2(r[0].v, r[1].v, 0x44),
                  t1 = _mm512_shuffle_f64x2(r[0].v, r[1].v, 0xee),
                  t2 = _mm512_shuffle_f64x2(r[2].v, r[3].v, 0x44),
                  t3 = _mm512_shuffle_f64x2(r[2].v, r[3].v, 0xee);
    r[0].v = _mm512_shuffle_f64x2(t0, t2, 0x88);
    r[1].v = _mm512_shuffle_f64x2(t0, t2, 0xdd);
    r[2].v = _mm512_shuffle_f64x2(t1, t3, 0x88);
    r[3].v = _mm512_shuffle_f64x2(t1, t3, 0xdd);
  }
  static FASTBN_INLINE void transpose_groups(Vec (&r)[2]) {
    const __m512d low = _mm512_unpacklo_pd(r[0].v, r[1].v);
    r[1].v = _mm512_unpackhi_pd(r[0].v, r[1].v);
    r[0].v = low;
  }
};

FASTBN_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm512_add_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm512_sub_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm512_mul_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm512_div_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
FASTBN_INLINE Vec<double> sqrt(Vec<double> a) {
  return {_mm512_sqrt_pd(a.v)};
}
FASTBN_INLINE Vec<double> abs(Vec<double> a) {
  return {_mm512_abs_pd(a.v)};
}
FASTBN_INLINE Vec<double> copy_sign(Vec<double> a, Vec<double> s) {
  const __m512d sign = _mm512_set1_pd(-0.0);
  return {_mm512_or_pd(_mm512_andnot_pd(sign, a.v), _mm512_and_pd(sign, s.v))};
}
FASTBN_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return {_mm512_max_pd(a.v, b.v)};
}
FASTBN_INLINE __mmask8 less(Vec<double> a, Vec<double> b) {
  return _mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ);
}
FASTBN_INLINE __mmask8 less_equal(Vec<double> a, Vec<double> b) {
  return _mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ);
}
FASTBN_INLINE __mmask8 is_nan(Vec<double> a) {
  return _mm512_cmp_pd_mask(a.v, a.v, _CMP_UNORD_Q);
}
FASTBN_INLINE Vec<double> select(__mmask8 m, Vec<double> a, Vec<double> b) {
  return {_mm512_mask_blend_pd(m, b.v, a.v)};
}
FASTBN_INLINE Vec<double> round(Vec<double> a) {
  return {_mm512_roundscale_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FASTBN_INLINE Vec<double> pow2(Vec<double> n) {
  return {_mm512_scalef_pd(_mm512_set1_pd(1.0), n.v)};
}
FASTBN_INLINE Vec<double> exponent(Vec<double> a) {
  return {_mm512_getexp_pd(a.v)};
}
FASTBN_INLINE double sum(Vec<double> a) {
  return _mm512_reduce_add_pd(a.v);
}
FASTBN_INLINE double max_lane(Vec<double> a) {
  return _mm512_reduce_max_pd(a.v);
}

FASTBN_INLINE void transpose(Vec<double> (&r)[8]) {
  __m512d t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_pd(r[i].v, r[i + 1].v);
    t[i + 1] = _mm512_unpackhi_pd(r[i].v, r[i + 1].v);
  }
  for (int j = 0; j < 2; ++j) {
    const __m512d a = _mm512_shuffle_f64x2(t[j], t[2 + j], 0x88);
    const __m512d b = _mm512_shuffle_f64x2(t[4 + j], t[6 + j], 0x88);
    const __m512d c = _mm512_shuffle_f64x2(t[j], t[2 + j], 0xdd);
    const __m512d d = _mm512_shuffle_f64x2(t[4 + j], t[6 + j], 0xdd);
    r[j].v = _mm512_shuffle_f64x2(a, b, 0x88);
    r[4 + j].v = _mm512_shuffle_f64x2(a, b, 0xdd);
    r[2 + j].v = _mm512_shuffle_f64x2(c, d, 0x88);
    r[6 + j].v = _mm512_shuffle_f64x2(c, d, 0xdd);
  }
}

}  // namespace
}  // namespace fastbn
