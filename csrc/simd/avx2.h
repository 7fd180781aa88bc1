// AVX2 + FMA: 16 registers of 32 bytes; partial operations by maskload and maskstore.
#pragma once

#include <immintrin.h>

#include "simd/vec.h"

namespace fastbn {
namespace {

constexpr int kVectorRegisters = 16;
constexpr bool kStreamsPastCaches = true;

// Eight ones then eight zeros: the eight words from kLaneMask + 8 - n have their first n set.
alignas(64) constexpr int kLaneMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

FASTBN_INLINE void stream_fence() {
  _mm_sfence();
}

template <>
struct Vec<float> {
  static constexpr int kWidth = 8;
  static constexpr int kGroup = 4;
  using Mask = __m256;
  __m256 v;

  static FASTBN_INLINE __m256i first(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - n));
  }
  static FASTBN_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
  static FASTBN_INLINE Vec broadcast(float s) { return {_mm256_set1_ps(s)}; }
  static FASTBN_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static FASTBN_INLINE Vec load_first(const float* p, int n) {
    return {_mm256_maskload_ps(p, first(n))};
  }
  static FASTBN_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
  static FASTBN_INLINE void stream(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
  static FASTBN_INLINE void store_first(float* p, Vec a, int n) {
    _mm256_maskstore_ps(p, first(n), a.v);
  }
  static FASTBN_INLINE Vec keep_first(Vec a, int n) {
    return {_mm256_and_ps(a.v, _mm256_castsi256_ps(first(n)))};
  }
  static FASTBN_INLINE Vec load_groups(const float* p, const float* q) {
    return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(q), 1)};
  }
  static FASTBN_INLINE void transpose_groups(Vec (&r)[4]) {
    const __m256d t0 = _mm256_castps_pd(_mm256_unpacklo_ps(r[0].v, r[1].v)),
                  t1 = _mm256_castps_pd(_mm256_unpackhi_ps(r[0].v, r[1].v)),
                  t2 = _mm256_castps_pd(_mm256_unpacklo_ps(r[2].v, r[3].v)),
                  t3 = _mm256_castps_pd(_mm256_unpackhi_ps(r[2].v, r[3].v));
    r[0].v = _mm256_castpd_ps(_mm256_unpacklo_pd(t0, t2));
    r[1].v = _mm256_castpd_ps(_mm256_unpackhi_pd(t0, t2));
    r[2].v = _mm256_castpd_ps(_mm256_unpacklo_pd(t1, t3));
    r[3].v = _mm256_castpd_ps(_mm256_unpackhi_pd(t1, t3));
  }
};

FASTBN_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) {
  return {_mm256_add_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) {
  return {_mm256_div_ps(a.v, b.v)};
}
FASTBN_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) {
  return {_mm256_fmadd_ps(a.v, b.v, c.v)};
}
FASTBN_INLINE Vec<float> sqrt(Vec<float> a) {
  return {_mm256_sqrt_ps(a.v)};
}
FASTBN_INLINE Vec<float> abs(Vec<float> a) {
  return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)};
}
FASTBN_INLINE Vec<float> copy_sign(Vec<float> a, Vec<float> s) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(sign, a.v), _mm256_and_ps(sign, s.v))};
}
FASTBN_INLINE Vec<float> max(Vec<float> a, Vec<float> b) {
  return {_mm256_max_ps(a.v, b.v)};
}
FASTBN_INLINE __m256 less(Vec<float> a, Vec<float> b) {
  return _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ);
}
FASTBN_INLINE __m256 less_equal(Vec<float> a, Vec<float> b) {
  return _mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ);
}
FASTBN_INLINE __m256 is_nan(Vec<float> a) {
  return _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q);
}
FASTBN_INLINE Vec<float> select(__m256 m, Vec<float> a, Vec<float> b) {
  return {_mm256_blendv_ps(b.v, a.v, m)};
}
FASTBN_INLINE Vec<float> round(Vec<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FASTBN_INLINE Vec<float> pow2(Vec<float> n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}
FASTBN_INLINE Vec<float> exponent(Vec<float> a) {
  const __m256i biased = _mm256_srli_epi32(_mm256_castps_si256(a.v), 23);
  return {_mm256_cvtepi32_ps(_mm256_sub_epi32(biased, _mm256_set1_epi32(127)))};
}
FASTBN_INLINE float sum(Vec<float> a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
FASTBN_INLINE float max_lane(Vec<float> a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// Rows to columns by exchanges of single elements, of pairs, and of 128-bit halves.
FASTBN_INLINE void transpose(Vec<float> (&r)[8]) {
  __m256 t[8], u[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    t[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    u[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    u[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    u[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    u[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int j = 0; j < 4; ++j) {
    r[j].v = _mm256_permute2f128_ps(u[j], u[4 + j], 0x20);
    r[4 + j].v = _mm256_permute2f128_ps(u[j], u[4 + j], 0x31);
  }
}

template <>
struct Vec<double> {
  static constexpr int kWidth = 4;
  static constexpr int kGroup = 2;
  using Mask = __m256d;
  __m256d v;

  static FASTBN_INLINE __m256i first(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kLaneMask + 8 - 2 * n));
  }
  static FASTBN_INLINE Vec zero() { return {_mm256_setzero_pd()}; }
  static FASTBN_INLINE Vec broadcast(double s) { return {_mm256_set1_pd(s)}; }
  static FASTBN_INLINE Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static FASTBN_INLINE Vec load_first(const double* p, int n) {
    return {_mm256_maskload_pd(p, first(n))};
  }
  static FASTBN_INLINE void store(double* p, Vec a) { _mm256_storeu_pd(p, a.v); }
  static FASTBN_INLINE void stream(double* p, Vec a) { _mm256_stream_pd(p, a.v); }
  static FASTBN_INLINE void store_first(double* p, Vec a, int n) {
    _mm256_maskstore_pd(p, first(n), a.v);
  }
  static FASTBN_INLINE __m128i first_floats(int n) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(kLaneMask + 8 - n));
  }
  static FASTBN_INLINE Vec load(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
  static FASTBN_INLINE Vec load_first(const float* p, int n) {
    return {_mm256_cvtps_pd(_mm_maskload_ps(p, first_floats(n)))};
  }
  static FASTBN_INLINE void store(float* p, Vec a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a.v)); }
  static FASTBN_INLINE void store_first(float* p, Vec a, int n) {
    _mm_maskstore_ps(p, first_floats(n), _mm256_cvtpd_ps(a.v));
  }
  static FASTBN_INLINE Vec keep_first(Vec a, int n) {
    return {_mm256_and_pd(a.v, _mm256_castsi256_pd(first(n)))};
  }
  static FASTBN_INLINE Vec load_groups(const double* p, const double* q) {
    return {_mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(p)), _mm_loadu_pd(q), 1)};
  }
  static FASTBN_INLINE void transpose_groups(Vec (&r)[2]) {
    const __m256d low = _mm256_unpacklo_pd(r[0].v, r[1].v);
    r[1].v = _mm256_unpackhi_pd(r[0].v, r[1].v);
    r[0].v = low;
  }
};

FASTBN_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) {
  return {_mm256_add_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) {
  return {_mm256_sub_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) {
  return {_mm256_mul_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> operator/(Vec<double> a, Vec<double> b) {
  return {_mm256_div_pd(a.v, b.v)};
}
FASTBN_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return {_mm256_fmadd_pd(a.v, b.v, c.v)};
}
FASTBN_INLINE Vec<double> sqrt(Vec<double> a) {
  return {_mm256_sqrt_pd(a.v)};
}
FASTBN_INLINE Vec<double> abs(Vec<double> a) {
  return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)};
}
FASTBN_INLINE Vec<double> copy_sign(Vec<double> a, Vec<double> s) {
  const __m256d sign = _mm256_set1_pd(-0.0);
  return {_mm256_or_pd(_mm256_andnot_pd(sign, a.v), _mm256_and_pd(sign, s.v))};
}
FASTBN_INLINE Vec<double> max(Vec<double> a, Vec<double> b) {
  return {_mm256_max_pd(a.v, b.v)};
}
FASTBN_INLINE __m256d less(Vec<double> a, Vec<double> b) {
  return _mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ);
}
FASTBN_INLINE __m256d less_equal(Vec<double> a, Vec<double> b) {
  return _mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ);
}
FASTBN_INLINE __m256d is_nan(Vec<double> a) {
  return _mm256_cmp_pd(a.v, a.v, _CMP_UNORD_Q);
}
FASTBN_INLINE Vec<double> select(__m256d m, Vec<double> a, Vec<double> b) {
  return {_mm256_blendv_pd(b.v, a.v, m)};
}
FASTBN_INLINE Vec<double> round(Vec<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FASTBN_INLINE Vec<double> pow2(Vec<double> n) {
  const __m256i exponent =
      _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n.v)), _mm256_set1_epi64x(1023));
  return {_mm256_castsi256_pd(_mm256_slli_epi64(exponent, 52))};
}
// AVX2 converts no 64-bit integers: as the low bits of 2^52 the exponent becomes a double.
FASTBN_INLINE Vec<double> exponent(Vec<double> a) {
  const __m256d two52 = _mm256_set1_pd(0x1p52);
  const __m256i biased = _mm256_srli_epi64(_mm256_castpd_si256(a.v), 52);
  const __m256d sum = _mm256_castsi256_pd(_mm256_or_si256(biased, _mm256_castpd_si256(two52)));
  return {_mm256_sub_pd(sum, _mm256_set1_pd(0x1p52 + 1023))};
}
FASTBN_INLINE double sum(Vec<double> a) {
  const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
}
FASTBN_INLINE double max_lane(Vec<double> a) {
  const __m128d s = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(s, _mm_unpackhi_pd(s, s)));
}

FASTBN_INLINE void transpose(Vec<double> (&r)[4]) {
  const __m256d a = _mm256_unpacklo_pd(r[0].v, r[1].v), b = _mm256_unpackhi_pd(r[0].v, r[1].v),
                c = _mm256_unpacklo_pd(r[2].v, r[3].v), d = _mm256_unpackhi_pd(r[2].v, r[3].v);
  r[0].v = _mm256_permute2f128_pd(a, c, 0x20);
  r[1].v = _mm256_permute2f128_pd(b, d, 0x20);
  r[2].v = _mm256_permute2f128_pd(a, c, 0x31);
  r[3].v = _mm256_permute2f128_pd(b, d, 0x31);
}

}  // namespace
}  // namespace fastbn
