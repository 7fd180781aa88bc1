// Batch norm, forward and backward, in both layouts.
#include <algorithm>

#include "batchnorm/reference.h"
#include "fastbn/batchnorm.h"
#include "selftest.h"

namespace fastbn::selftest {
namespace {

constexpr double kRogue = 12345;

// One set of arrays for a forward and a backward pass; gaps between rows are rogue.
template <class T>
struct Arrays {
  index_t outer, channels, inner, outer_stride, channel_stride;
  std::vector<T> x, y, dy, dx, statistics, gamma, beta, running_mean, running_var, dgamma, dbeta;

  Arrays(Random& random, index_t o, index_t c, index_t i, index_t padding, double offset)
      : outer(o), channels(c), inner(i) {
    channel_stride = inner == 1 ? 1 : inner + padding;
    outer_stride = channels * channel_stride + padding;
    const index_t last = (channels - 1) * channel_stride + inner - 1;
    const index_t size = (outer - 1) * outer_stride + last + 1;
    x = random.values<T>(size, offset - 2, offset + 2);
    dy = random.values<T>(size);
    y = dx = std::vector<T>(static_cast<std::size_t>(size), T(kRogue));
    statistics = std::vector<T>(static_cast<std::size_t>(6 * channels));
    gamma = random.values<T>(channels, 0.5, 2);
    beta = random.values<T>(channels);
    running_mean = random.values<T>(channels);
    running_var = random.values<T>(channels, 0.1, 2);
    dgamma = dbeta = std::vector<T>(static_cast<std::size_t>(channels));
  }
  std::size_t at(index_t o, index_t c, index_t i) const {
    return static_cast<std::size_t>(o * outer_stride + c * channel_stride + i);
  }
  template <class V>
  ChannelView<V> view(V* data) const {
    return {data, outer, channels, inner, outer_stride, channel_stride};
  }
  ChannelView<const T> input(const std::vector<T>& v) const { return view(v.data()); }
  ChannelView<T> output(std::vector<T>& v) const { return view(v.data()); }
  BatchNormStatistics<T> stats() {
    T* p = statistics.data();
    const index_t c = channels;
    return {p, p + c, p + 2 * c, p + 3 * c, p + 4 * c, p + 5 * c};
  }
  bool gaps_are_intact() const {
    std::vector<bool> used(y.size());
    for (index_t o = 0; o < outer; ++o) {
      for (index_t c = 0; c < channels; ++c) {
        for (index_t i = 0; i < inner; ++i) used[at(o, c, i)] = true;
      }
    }
    for (std::size_t p = 0; p < used.size(); ++p) {
      if (!used[p] && (y[p] != T(kRogue) || dx[p] != T(kRogue))) return false;
    }
    return true;
  }
};

struct Mode {
  bool training, relu;
};
constexpr double kEps = 1e-5;

template <class T>
void run(Arrays<T>& a, Mode mode) {
  const BatchNormParameters<T> p{a.gamma.data(), a.beta.data(), kEps, mode.relu};
  const auto s = a.stats();
  if (mode.training) {
    batch_norm_training(a.input(a.x), p, a.output(a.y), s);
    const double n = double(a.outer * a.inner);
    update_running(a.channels, &n, 1, {0.1, true}, s, a.running_mean.data(), a.running_var.data());
  } else {
    batch_norm_inference(a.input(a.x), p, a.running_mean.data(), a.running_var.data(),
                         a.output(a.y), s);
  }
  batch_norm_backward(a.input(a.dy), a.input(a.x), s, mode.training, mode.relu, a.output(a.dx),
                      a.dgamma.data(), a.dbeta.data());
}

template <class T>
void run_reference(Arrays<T>& a, Mode mode) {
  const BatchNormParameters<T> p{a.gamma.data(), a.beta.data(), kEps, mode.relu};
  const auto s = a.stats();
  if (mode.training) {
    reference::batch_norm_training(a.input(a.x), p, a.output(a.y), s);
    const double n = double(a.outer * a.inner);
    reference::update_running(a.channels, &n, 1, {0.1, true}, s, a.running_mean.data(),
                              a.running_var.data());
  } else {
    reference::batch_norm_inference(a.input(a.x), p, a.running_mean.data(), a.running_var.data(),
                                    a.output(a.y), s);
  }
  reference::batch_norm_backward(a.input(a.dy), a.input(a.x), s, mode.training, mode.relu,
                                 a.output(a.dx), a.dgamma.data(), a.dbeta.data());
}

// First-order bounds on the errors of one channel; bounds.py derives them.  The reference rounds as
// often as the kernel at most, hence the factor of 2.
template <class T>
struct Bounds {
  double mean, var, invstd, dgamma, dbeta;
  double e_scale, e_shift, e_slope, e_constant, scale, slope;

  Bounds(Arrays<T>& a, index_t c, Mode mode) {
    const double u = kUnit<T>, n = double(a.outer * a.inner);
    const double of_sum = relative_sum_error<T>(a.outer * a.inner) + u;
    const auto s = a.stats();
    double deviations = 0, from_first = 0, squares = 0, sum = 0, product = 0;
    double total = 0, signed_product = 0;
    const double m = double(s.mean[c]), low = double(s.mean_low[c]);
    for (index_t o = 0; o < a.outer; ++o) {
      for (index_t i = 0; i < a.inner; ++i) {
        const double x = double(a.x[a.at(o, c, i)]), d = x - m;
        const bool cut = mode.relu && a.y[a.at(o, c, i)] <= 0;
        const double g = cut ? 0 : double(a.dy[a.at(o, c, i)]);
        deviations += std::fabs(d), squares += d * d;
        from_first += std::fabs(x - double(a.x[a.at(0, c, 0)]));
        sum += std::fabs(g), product += std::fabs(g * d);
        total += g, signed_product += g * (d - low);
      }
    }
    const double training = mode.training ? 1 : 0;
    const double e_low = training * (of_sum * deviations / n + u * std::fabs(low));
    mean = training * (of_sum * from_first / n + 2 * u * std::fabs(m));
    var = training * ((of_sum + 4 * u) * squares / n + 2 * std::fabs(low) * e_low + u * s.var[c]);
    const double inverse = double(s.invstd[c]);
    const double r_invstd = var * inverse * inverse / 2 + 4 * u;
    invstd = inverse * r_invstd;
    scale = std::fabs(double(s.scale[c]));
    e_scale = scale * (r_invstd + 2 * u);
    e_shift = scale * e_low + std::fabs(low) * e_scale + 2 * u * std::fabs(double(s.shift[c]));
    dbeta = of_sum * sum + u * std::fabs(total);
    const double e_product = (of_sum + 3 * u) * product + std::fabs(low) * dbeta + e_low * sum;
    const double exact_dgamma = inverse * signed_product;
    dgamma = inverse * e_product + std::fabs(exact_dgamma) * (r_invstd + 3 * u);
    slope = training * scale * inverse * std::fabs(exact_dgamma) / n;
    e_slope = training * scale * inverse / n * dgamma + slope * (2 * r_invstd + 6 * u);
    const double constant = training * scale * std::fabs(total) / n + slope * std::fabs(low);
    e_constant = training * scale / n * dbeta + constant * (r_invstd + 6 * u) +
                 std::fabs(low) * e_slope + slope * e_low;
    e_constant += 3 * u * constant;
  }
  double y(double d, double value) const {
    return std::fabs(d) * (e_scale + 2 * kUnit<T> * scale) + e_shift +
           2 * kUnit<T> * std::fabs(value);
  }
  double dx(double d, double g) const {
    return std::fabs(g) * (e_scale + 5 * kUnit<T> * scale) +
           std::fabs(d) * (e_slope + 3 * kUnit<T> * slope) + e_constant;
  }
};

template <class T>
void check(Report& report, Random& random, index_t outer, index_t channels, index_t inner,
           double offset) {
  const Arrays<T> original(random, outer, channels, inner, random.below(3), offset);
  for (const Mode mode :
       {Mode{true, false}, Mode{true, true}, Mode{false, false}, Mode{false, true}}) {
    report.at(target() + " " + type_name<T>() + " batch norm (" + std::to_string(outer) + ", " +
              std::to_string(channels) + ", " + std::to_string(inner) + ")" +
              (mode.training ? " training" : " inference") + (mode.relu ? " relu" : ""));
    Arrays<T> want(original), got(original), threaded(original);
    run_reference(want, mode);
    set_num_threads(1);
    run(got, mode);
    set_num_threads(2);
    run(threaded, mode);
    report.require(same_bits(got.y, threaded.y) && same_bits(got.dx, threaded.dx) &&
                       same_bits(got.dgamma, threaded.dgamma) &&
                       same_bits(got.dbeta, threaded.dbeta) &&
                       same_bits(got.statistics, threaded.statistics) &&
                       same_bits(got.running_mean, threaded.running_mean) &&
                       same_bits(got.running_var, threaded.running_var),
                   "bits of two threads");
    report.require(got.gaps_are_intact(), "gaps between rows");
    for (index_t c = 0; c < channels; ++c) {
      const auto j = static_cast<std::size_t>(c);
      const Bounds<T> bound(got, c, mode);
      const auto s = got.stats(), w = want.stats();
      report.close("mean", s.mean[c], w.mean[c], 2 * bound.mean);
      report.close("var", s.var[c], w.var[c], 2 * bound.var);
      report.close("invstd", s.invstd[c], w.invstd[c], 2 * bound.invstd);
      report.close("running_mean", got.running_mean[j], want.running_mean[j],
                   2 * (bound.mean + 2 * kUnit<T> * (1 + std::fabs(double(want.running_mean[j])))));
      report.close(
          "running_var", got.running_var[j], want.running_var[j],
          2 * (bound.var + 3 * kUnit<T> * (double(want.running_var[j]) + double(w.var[c]))));
      report.close("dgamma", got.dgamma[j], want.dgamma[j], 2 * bound.dgamma);
      report.close("dbeta", got.dbeta[j], want.dbeta[j], 2 * bound.dbeta);
      for (index_t o = 0; o < outer; ++o) {
        for (index_t i = 0; i < inner; ++i) {
          const std::size_t p = got.at(o, c, i);
          const double d = double(got.x[p]) - double(s.mean[c]);
          report.close("y", got.y[p], want.y[p], 2 * bound.y(d, double(want.y[p])));
          report.close("dx", got.dx[p], want.dx[p], 2 * bound.dx(d, double(got.dy[p])));
        }
      }
    }
  }
}

template <class T>
void check_constant(Report& report, index_t outer, index_t channels, index_t inner) {
  Random random;
  for (const double value : {0.0, 1.0 / 3, 1e7, -1e30}) {
    Arrays<T> a(random, outer, channels, inner, 1, 0);
    std::fill(a.x.begin(), a.x.end(), static_cast<T>(value));
    run(a, Mode{true, false});
    report.at(target() + " " + type_name<T>() + " batch norm of a constant");
    for (index_t c = 0; c < channels; ++c) {
      report.close("mean", a.stats().mean[c], static_cast<T>(value), 0);
      report.close("var", a.stats().var[c], T(0), 0);
      for (index_t o = 0; o < outer; ++o) {
        for (index_t i = 0; i < inner; ++i) {
          report.close("y", a.y[a.at(o, c, i)], a.beta[static_cast<std::size_t>(c)], 0);
        }
      }
    }
  }
}

// Results of a training pass with weights and groups.
template <class T>
struct Counted {
  Arrays<T> a;
  std::vector<T> statistics, weights;
  BatchNormCounting<T> counting;
  std::vector<double> n;

  Counted(const Arrays<T>& arrays, const std::vector<T>& w, index_t groups)
      : a(arrays),
        statistics(static_cast<std::size_t>(6 * arrays.channels * groups)),
        weights(w),
        counting{weights.data(), groups, arrays.outer},
        n(static_cast<std::size_t>(groups)) {}

  BatchNormStatistics<T> stats() {
    T* p = statistics.data();
    const index_t c = a.channels;
    return {p, p + c, p + 2 * c, p + 3 * c, p + 4 * c, p + 5 * c, 6 * c};
  }
  void run(bool relu) {
    const BatchNormParameters<T> p{a.gamma.data(), a.beta.data(), kEps, relu};
    const auto x = a.input(a.x);
    values_of_groups(x, counting, n.data());
    batch_norm_training(x, p, a.output(a.y), stats(), counting);
    update_running(a.channels, n.data(), counting.groups, {0, true, 2}, stats(),
                   a.running_mean.data(), a.running_var.data());
    batch_norm_backward(a.input(a.dy), x, stats(), true, relu, a.output(a.dx), a.dgamma.data(),
                        a.dbeta.data(), counting);
  }
  void run_reference(bool relu, const std::vector<double>& counts) {
    const BatchNormParameters<T> p{a.gamma.data(), a.beta.data(), kEps, relu};
    const auto x = a.input(a.x);
    reference::batch_norm_training(x, p, a.output(a.y), stats(), counting);
    reference::update_running(a.channels, counts.data(), counting.groups, {0, true, 2}, stats(),
                              a.running_mean.data(), a.running_var.data());
    reference::batch_norm_backward(a.input(a.dy), x, stats(), true, relu, a.output(a.dx),
                                   a.dgamma.data(), a.dbeta.data(), counting);
  }
};

// Weights, a third of them 0 with NaN in x and dy, and groups.  A plain bound: each result comes of
// some 100 roundings of numbers of the size of the largest, and invstd may multiply them.
template <class T>
void check_counted(Report& report, Random& random, index_t outer, index_t channels, index_t inner,
                   index_t groups) {
  Arrays<T> original(random, outer, channels, inner, random.below(3), 0.5);
  std::vector<T> weights = random.values<T>(outer * inner, 0.5, 2);
  for (index_t p = 0; p < outer * inner; ++p) {
    const bool needed = p % inner == 0 && p / inner % 2 == 0;
    if (needed || random.below(3) != 0) continue;
    weights[static_cast<std::size_t>(p)] = 0;
    for (index_t c = 0; c < channels; ++c) {
      const std::size_t i = original.at(p / inner, c, p % inner);
      original.x[i] = original.dy[i] = std::numeric_limits<T>::quiet_NaN();
    }
  }
  for (const bool relu : {false, true}) {
    report.at(target() + " " + type_name<T>() + " weighted batch norm (" + std::to_string(outer) +
              ", " + std::to_string(channels) + ", " + std::to_string(inner) + ") of " +
              std::to_string(groups) + " groups" + (relu ? " relu" : ""));
    Counted<T> got(original, weights, groups), threaded(original, weights, groups);
    Counted<T> want(original, weights, groups);
    set_num_threads(1);
    got.run(relu);
    set_num_threads(2);
    threaded.run(relu);
    want.run_reference(relu, got.n);
    report.require(same_bits(got.a.y, threaded.a.y) && same_bits(got.a.dx, threaded.a.dx) &&
                       same_bits(got.statistics, threaded.statistics) &&
                       same_bits(got.a.running_var, threaded.a.running_var) &&
                       same_bits(got.a.dgamma, threaded.a.dgamma) &&
                       same_bits(got.a.dbeta, threaded.a.dbeta),
                   "bits of two threads");
    report.require(got.a.gaps_are_intact(), "gaps between rows");
    const auto compare = [&](const char* what, const std::vector<T>& a, const std::vector<T>& b,
                             double terms) {
      double largest = 1;
      for (const T v : b) largest = std::max(largest, v == T(kRogue) ? 0 : std::fabs(double(v)));
      for (std::size_t i = 0; i < a.size(); ++i) {
        report.close(what, a[i], b[i], 100 * terms * kUnit<T> * largest);
      }
    };
    const double terms = double(outer * inner);
    compare("statistics", got.statistics, want.statistics, 1);
    compare("running_mean", got.a.running_mean, want.a.running_mean, 1);
    compare("running_var", got.a.running_var, want.a.running_var, 1);
    compare("y", got.a.y, want.a.y, 1);
    compare("dx", got.a.dx, want.a.dx, 1);
    compare("dgamma", got.a.dgamma, want.a.dgamma, std::sqrt(terms));
    compare("dbeta", got.a.dbeta, want.a.dbeta, std::sqrt(terms));
  }
}

template <class T>
void test_counted(Report& report) {
  Random random;
  const index_t shapes[][4] = {
      {33, 17, 1, 1}, {300, 5, 1, 1}, {50, 20, 1, 3}, {290, 3, 1, 1},
      {9, 2, 33, 2},  {11, 3, 17, 3}, {4, 2, 70, 1},  {600, 33, 1, 2},
  };
  for (const auto& s : shapes) check_counted<T>(report, random, s[0], s[1], s[2], s[3]);
}

template <class T>
void test(Report& report) {
  Random random;
  const index_t shapes[][3] = {
      {2, 1, 1},  {3, 16, 1}, {31, 17, 1},   {33, 70, 1},   {65, 66, 1}, {100, 23, 1},
      {2, 3, 4},  {5, 3, 27}, {2, 5, 65},    {12, 4, 8},    {1, 24, 14}, {33, 2, 129},
      {7, 3, 16}, {2, 9, 33}, {300, 150, 1}, {10, 30, 200},  // the last two: for two threads
  };
  for (const auto& s : shapes) {
    for (const double offset : {0.5, 100.0}) check<T>(report, random, s[0], s[1], s[2], offset);
  }
  check_constant<T>(report, 33, 20, 1);
  check_constant<T>(report, 5, 3, 33);
  test_counted<T>(report);
}

}  // namespace

void test_batchnorm(Report& report) {
  test<float>(report);
  test<double>(report);
}

}  // namespace fastbn::selftest
