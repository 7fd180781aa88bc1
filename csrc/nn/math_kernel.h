// exp, log, tanh, the logistic function and the normal distribution on Vec<T>: branch-free, every
// lane alone, so that a value's result does not depend on where it stands.
//
// All of them rest on one reduction (Cody and Waite 1980), x = n ln 2 + r with |r| <= ln(2) / 2:
//
//   e^x = 2^n (1 + p(r)),  p(r) = e^r - 1
//
// The polynomials are this project's own: minimax by Remez exchange in 60-digit arithmetic, then
// rounded coefficient by coefficient with the rest fitted anew.  The error stated with each is that
// of the rounded coefficients.  Polynomials were preferred to tables, whose gathers cost more than
// the terms they save and which have no place in registers.
//
// Largest error measured, in units in the last place of the result where that is a normal number
// (float: every argument, without FMA every third at least, gelu's gradient every seventh, against
// double and extended precision; double: 10^7 of all magnitudes, against quadruple precision):
//
//                  float, FMA   float, scalar   double, FMA   double, scalar
//   exp               1.04          1.01            1.03           0.99
//   log               0.83          0.84            0.81           0.84
//   tanh              2.52          2.56            2.49           2.49
//   logistic          2.41          2.41            2.39           2.39
//   gelu              4.22          4.40            3.41           3.64
//   its gradient      3.25          3.32            2.82           3.31
//
// gelu's are below 4 for x > -2; the gradient's, near its zero at -0.75, are relative to its terms.
// Subnormal results are within 1.6 of their units.
#pragma once

#include "simd/vec.h"

namespace fastbn {
namespace {

template <class T>
struct MathConstants;

template <>
struct MathConstants<float> {
  static constexpr float kInfinity = __builtin_inff();
  static constexpr float kNaN = __builtin_nanf("");
  static constexpr float kMax = 0x1.fffffep+127f;

  // ln 2 in two parts.  The first has 15 bits and n at most 8: their product is exact without FMA.
  static constexpr float kLog2E = 0x1.715476p+0f;
  static constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  // Beyond these e^x is 0 (less than half the least subnormal number) and infinity.
  static constexpr float kExpLow = -104.0f, kExpHigh = 89.0f;
  // (e^r - 1 - r) / r^2; e^r - 1 has a relative error of 2^-26.0.
  static constexpr float kExp[] = {0.5f, 0x1.5554b6p-3f, 0x1.5555bap-5f, 0x1.1223a8p-7f,
                                   0x1.6c557cp-10f};

  // (log((1 + s) / (1 - s)) - 2s) / s^3 in s^2, s^2 <= 0.0295; the logarithm to 2^-30.2.
  static constexpr float kLog[] = {0x1.55557ap-1f, 0x1.995eccp-2f, 0x1.31e23ep-2f};
  static constexpr float kLeastNormal = 0x1p-126f, kSubnormalScale = 0x1p+24f, kSubnormalShift = 24;

  // 1 - tanh(10) = 4e-9, less than half a unit of 1.
  static constexpr float kTanhHigh = 10.0f;

  // Here 1 - Phi(a) and a phi(a) are less than half the least subnormal number.
  static constexpr float kNormalHigh = 14.7f;
  static constexpr float kSplitter = 0x1.001p+12f;  // 2^12 + 1: see normal()
  // (1 - Phi(a)) e^(a^2/2) (a + 1.25) in t = (a - k) / (a + k), 0 <= a <= 14.5; relative 2^-27.3.
  static constexpr float kNormalCentre = 4.0f;
  static constexpr float kNormal[] = {0x1.fb8d36p-2f,   -0x1.1d4ad8p-3f,  0x1.716a5p-5f,
                                      0x1.5dc082p-7f,   -0x1.91256ap-6f,  0x1.030f76p-6f,
                                      -0x1.3eeb18p-8f,  -0x1.f5ea46p-14f, 0x1.4f4854p-11f,
                                      -0x1.c5662ep-14f, -0x1.646eecp-14f};
  static constexpr float kInverseSqrt2Pi = 0x1.988454p-2f;
};

template <>
struct MathConstants<double> {
  static constexpr double kInfinity = __builtin_inf();
  static constexpr double kNaN = __builtin_nan("");
  static constexpr double kMax = 0x1.fffffffffffffp+1023;

  // 42 bits and 11.
  static constexpr double kLog2E = 0x1.71547652b82fep+0;
  static constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;
  static constexpr double kExpLow = -746.0, kExpHigh = 710.0;
  // Relative error 2^-55.2.
  static constexpr double kExp[] = {0.5,
                                    0x1.555555555553ep-3,
                                    0x1.5555555553af6p-5,
                                    0x1.1111111118ca6p-7,
                                    0x1.6c16c17a08156p-10,
                                    0x1.a01a0171f8bbcp-13,
                                    0x1.a019b379ce294p-16,
                                    0x1.71de96621d5d8p-19,
                                    0x1.28978e073c572p-22,
                                    0x1.ae4b709aaa3e5p-26};

  // 2^-59.5.
  static constexpr double kLog[] = {
      0x1.5555555555593p-1, 0x1.999999997f9f7p-2, 0x1.249249422a5d9p-2, 0x1.c71c51d7b65eap-3,
      0x1.746649b576ebap-3, 0x1.39a094e038f19p-3, 0x1.2f1186d09ba97p-3};
  static constexpr double kLeastNormal = 0x1p-1022, kSubnormalScale = 0x1p+54, kSubnormalShift = 54;

  static constexpr double kTanhHigh = 20.0;

  static constexpr double kNormalHigh = 38.7;
  static constexpr double kSplitter = 0x1.0000002p+27;
  // 0 <= a <= 38.7; relative 2^-55.1.
  static constexpr double kNormalCentre = 5.5;
  static constexpr double kNormal[] = {
      0x1.e6356d6f765f3p-2,  -0x1.f1a6da179bf89p-4,  0x1.05dd0fca88a0ap-4,   -0x1.2bd247e1a2e4p-6,
      -0x1.0a13323ec434p-7,  0x1.143cb8a9bbc4ep-6,   -0x1.e21343eb5475ep-7,  0x1.22fb9e565b45dp-7,
      -0x1.fc9dcbfa57c2ep-9, 0x1.22cd1b0f537bp-10,   -0x1.8e597b97c6b32p-14, -0x1.5617b071b46c9p-14,
      0x1.3b794ba53ec33p-15, -0x1.2f674dcfefc3ap-20, -0x1.27f4a3ee95411p-18, 0x1.221cdd6600f88p-20,
      0x1.b955fa98c5bdfp-22, -0x1.c0c8343e0f076p-23, -0x1.4d1810de11acap-25, 0x1.0695f8026fd51p-25,
      0x1.5d2577c7bd095p-28, -0x1.75fde30df70dfp-29, -0x1.4cf3b65d3ad29p-31};
  static constexpr double kInverseSqrt2Pi = 0x1.9884533d43651p-2;
};

// c[0] + c[1] x + ... by Horner's rule: its chain is long, but registers of a loop do not depend on
// each other and fill the wait.
template <class T, int N>
FASTBN_INLINE Vec<T> polynomial(Vec<T> x, const T (&c)[N]) {
  Vec<T> y = Vec<T>::broadcast(c[N - 1]);
  FASTBN_UNROLL
  for (int i = N - 2; i >= 0; --i) y = fma(y, x, Vec<T>::broadcast(c[i]));
  return y;
}

// Both keep NaN: the comparison is false.
template <class T>
FASTBN_INLINE Vec<T> at_least(Vec<T> x, T low) {
  const Vec<T> bound = Vec<T>::broadcast(low);
  return select(less(x, bound), bound, x);
}
template <class T>
FASTBN_INLINE Vec<T> at_most(Vec<T> x, T high) {
  const Vec<T> bound = Vec<T>::broadcast(high);
  return select(less(bound, x), bound, x);
}

// v * 2^n for integral n beyond the exponents of normal numbers: in two steps, of which the first
// is exact, so that a subnormal result is rounded once.
template <class T>
FASTBN_INLINE Vec<T> times_pow2(Vec<T> v, Vec<T> n) {
  const Vec<T> half = round(n * Vec<T>::broadcast(T(0.5)));
  return v * pow2(half) * pow2(n - half);
}

// n of the reduction.
template <class T>
FASTBN_INLINE Vec<T> nearest_power(Vec<T> x) {
  return round(x * Vec<T>::broadcast(MathConstants<T>::kLog2E));
}

// r of the reduction: n * high is exact, and so is its difference from x.
template <class T>
FASTBN_INLINE Vec<T> remainder(Vec<T> x, Vec<T> n) {
  using C = MathConstants<T>;
  return fma(n, Vec<T>::broadcast(-C::kLn2Low), fma(n, Vec<T>::broadcast(-C::kLn2High), x));
}

// e^r - 1 for |r| <= ln(2) / 2, to a relative error that stays small at 0.
template <class T>
FASTBN_INLINE Vec<T> expm1_reduced(Vec<T> r) {
  return fma(r * r, polynomial(r, MathConstants<T>::kExp), r);
}

// e^x for x <= 0, and NaN.
template <class T>
FASTBN_INLINE Vec<T> exp_of_negative(Vec<T> x) {
  x = at_least(x, MathConstants<T>::kExpLow);
  const Vec<T> n = nearest_power(x);
  return times_pow2(Vec<T>::broadcast(T(1)) + expm1_reduced(remainder(x, n)), n);
}

template <class T>
FASTBN_INLINE Vec<T> exp(Vec<T> x) {
  return exp_of_negative(at_most(x, MathConstants<T>::kExpHigh));
}

// log x = e ln 2 + log m with m from 1/sqrt(2) to sqrt(2); with f = m - 1 and s = f / (2 + f),
//   log m = 2 atanh(s) = f - f^2/2 + s (f^2/2 + s^2 P(s^2)),
// where f is exact and the rest small beside it.
template <class T>
FASTBN_INLINE Vec<T> log(Vec<T> x) {
  using C = MathConstants<T>;
  const Vec<T> one = Vec<T>::broadcast(T(1)), zero = Vec<T>::zero();
  const Vec<T> half = Vec<T>::broadcast(T(0.5));
  const auto subnormal = less(x, Vec<T>::broadcast(C::kLeastNormal));
  const Vec<T> normal = select(subnormal, x * Vec<T>::broadcast(C::kSubnormalScale), x);
  Vec<T> e = exponent(normal);
  Vec<T> m = times_pow2(normal, zero - e);
  const auto upper = less(Vec<T>::broadcast(T(1.4142135623730951)), m);
  m = select(upper, m * half, m);
  e = select(upper, e + one, e);
  e = select(subnormal, e - Vec<T>::broadcast(C::kSubnormalShift), e);

  const Vec<T> f = m - one;
  const Vec<T> s = f / (Vec<T>::broadcast(T(2)) + f);
  const Vec<T> z = s * s, hf2 = half * f * f;
  const Vec<T> tail =
      fma(s, fma(z, polynomial(z, C::kLog), hf2), e * Vec<T>::broadcast(C::kLn2Low));
  Vec<T> y = fma(e, Vec<T>::broadcast(C::kLn2High), f - (hf2 - tail));

  y = select(less(Vec<T>::broadcast(C::kMax), x), x, y);
  const Vec<T> pole = Vec<T>::broadcast(-C::kInfinity), invalid = Vec<T>::broadcast(C::kNaN);
  y = select(less_equal(x, zero), select(less(x, zero), invalid, pole), y);
  return select(is_nan(x), x, y);
}

// tanh x = (e^2x - 1) / (e^2x + 1) of |x|, with e^2x - 1 = (2^n - 1) + 2^n p: no cancellation
// anywhere, and no second formula for small x.
template <class T>
FASTBN_INLINE Vec<T> tanh(Vec<T> x) {
  const Vec<T> a = at_most(abs(x), MathConstants<T>::kTanhHigh);
  const Vec<T> twice = a + a;
  const Vec<T> n = nearest_power(twice);
  const Vec<T> power = pow2(n);
  const Vec<T> p = expm1_reduced(remainder(twice, n));
  const Vec<T> t = fma(power, p, power - Vec<T>::broadcast(T(1)));
  return copy_sign(t / (t + Vec<T>::broadcast(T(2))), x);
}

// 1 / (1 + e^-x), as e^x / (1 + e^x) where x < 0: no overflow, and the relative accuracy of e^x.
template <class T>
FASTBN_INLINE Vec<T> logistic(Vec<T> x) {
  const Vec<T> one = Vec<T>::broadcast(T(1)), zero = Vec<T>::zero();
  const Vec<T> e = exp_of_negative(zero - abs(x));
  return select(less(x, zero), e, one) / (one + e);
}

// The standard normal distribution at a = |x|: 1 - Phi(a) = q e^(-a^2/2), e^(-a^2/2) = 2^n (1 + p).
template <class T>
struct Normal {
  Vec<T> a;  // |x|, at most where the tail is 0
  Vec<T> q, p, n;
};

// q = Q(t) / (a + c), t = (a - k) / (a + k): one polynomial for all a, with the relative accuracy
// of the exponential out to where the tail underflows; 1 + erf would lose all of it from x = -5
// (float) on.  k puts the pole where the polynomial converges fastest; c = 1.25 makes Q nearly
// flat, so that it hands on little of the error of t.  One division for both, with c = k or by a
// common denominator, was tried: the error grew from 3 units to 5.
//
// The error of a^2/2 is the relative error of its exponential, hence a^2 = h^2 + (a - h)(a + h),
// where h is a to half its bits (Dekker 1971) and h^2 exact.  FMA would save two operations here
// but the scalar target has none.
template <class T>
FASTBN_INLINE Normal<T> normal(Vec<T> x) {
  using C = MathConstants<T>;
  const Vec<T> k = Vec<T>::broadcast(C::kNormalCentre);
  const Vec<T> minus_half = Vec<T>::broadcast(T(-0.5));
  const Vec<T> a = at_most(abs(x), C::kNormalHigh);
  const Vec<T> spread = a * Vec<T>::broadcast(C::kSplitter);
  const Vec<T> h = spread - (spread - a);
  const Vec<T> high = minus_half * h * h;
  const Vec<T> low = minus_half * (a - h) * (a + h);
  const Vec<T> n = nearest_power(high + low);
  const Vec<T> p = expm1_reduced(remainder(high, n) + low);
  const Vec<T> q = polynomial((a - k) / (a + k), C::kNormal) / (a + Vec<T>::broadcast(T(1.25)));
  return {a, q, p, n};
}

// v e^(-a^2/2), which may be a normal number where the exponential alone is not; v + v p spares the
// rounding of 1 + p.
template <class T>
FASTBN_INLINE Vec<T> times_exponential(Vec<T> v, const Normal<T>& d) {
  return times_pow2(fma(v, d.p, v), d.n);
}

// x Phi(x) = -a (1 - Phi(a)) where x < 0, x (1 - (1 - Phi(a))) elsewhere.
template <class T>
FASTBN_INLINE Vec<T> gelu(Vec<T> x) {
  const Normal<T> d = normal(x);
  const Vec<T> zero = Vec<T>::zero();
  const auto negative = less(x, zero);
  const Vec<T> t = times_exponential(select(negative, d.a * d.q, d.q), d);
  return select(negative, copy_sign(t, x), x * (Vec<T>::broadcast(T(1)) - t));
}

// Phi(x) + x phi(x) = t where x < 0, 1 - t elsewhere, t = 1 - Phi(a) - a phi(a).
template <class T>
FASTBN_INLINE Vec<T> gelu_gradient(Vec<T> x) {
  const Normal<T> d = normal(x);
  const Vec<T> c = Vec<T>::broadcast(-MathConstants<T>::kInverseSqrt2Pi);
  const Vec<T> t = times_exponential(fma(d.a, c, d.q), d);
  return select(less(x, Vec<T>::zero()), t, Vec<T>::broadcast(T(1)) - t);
}

}  // namespace
}  // namespace fastbn
