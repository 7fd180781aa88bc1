// Activations, losses, optimizers.
#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "fastbn/nn.h"
#include "nn/reference.h"
#include "nn/strips.h"
#include "runtime/handover.h"
#include "selftest.h"

namespace fastbn::selftest {
namespace {

// The errors stated in math_kernel.h in roundings, rounded up; gradients multiply once or twice
// more.
constexpr double kFunction = 8, kGradient = 12, kExp = 3;

// f(threads) with 1 thread and with 2; what each leaves in `results` must have the same bits.
template <class T, class F>
void on_two_threads(Report& report, std::initializer_list<std::vector<T>*> results, F&& f) {
  std::vector<std::vector<T>> before, alone;
  for (const auto* r : results) before.push_back(*r);
  set_num_threads(1);
  f();
  for (const auto* r : results) alone.push_back(*r);
  std::size_t i = 0;
  for (auto* r : results) *r = before[i++];
  set_num_threads(2);
  f();
  i = 0;
  for (const auto* r : results) report.require(same_bits(*r, alone[i++]), "bits of two threads");
}

double density(double x) {
  return std::exp(-x * x / 2) * 0.3989422804014327;
}

template <class T>
void check_activation(Report& report, Random& random, ActivationKind kind, index_t n) {
  report.at(target() + " " + type_name<T>() + " activation " +
            std::to_string(static_cast<int>(kind)) + " of " + std::to_string(n));
  const T slope = T(0.125);
  const std::vector<T> x = random.values<T>(n, -6, 6), dy = random.values<T>(n);
  std::vector<T> y(x.size()), dx(x.size()), want(x.size()), want_dx(x.size());
  reference::activation_forward(kind, n, x.data(), want.data(), slope);
  on_two_threads<T>(report, {&y}, [&] { activation_forward(kind, n, x.data(), y.data(), slope); });
  const bool from_y = kind == ActivationKind::sigmoid || kind == ActivationKind::tanh;
  const std::vector<T>& saved = from_y ? y : x;
  reference::activation_backward(kind, n, dy.data(), saved.data(), want_dx.data(), slope);
  on_two_threads<T>(report, {&dx}, [&] {
    activation_backward(kind, n, dy.data(), saved.data(), dx.data(), slope);
  });
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double v = double(x[i]);
    // The reference's exponential of -x^2 / 2 has the error of its argument.
    const double own = kind == ActivationKind::gelu ? 2 * v * v * kUnit<double> : 0;
    report.close("y", y[i], want[i], (kFunction * kUnit<T> + own) * std::fabs(double(want[i])));
    double scale = std::fabs(double(want_dx[i]));
    if (kind == ActivationKind::gelu) {  // its gradient has a zero, where two terms cancel
      const double tail = std::erfc(std::fabs(v) / std::sqrt(2.0)) / 2 + std::fabs(v) * density(v);
      scale = std::max(scale, std::fabs(double(dy[i])) * tail);
    }
    report.close("dx", dx[i], want_dx[i], 2 * (kGradient * kUnit<T> + own) * scale);
  }
}

template <class T>
void check_softmax(Report& report, Random& random, index_t rows, index_t cols) {
  report.at(target() + " " + type_name<T>() + " softmax " + std::to_string(rows) + " x " +
            std::to_string(cols));
  const double u = kUnit<T>;
  const index_t n = rows * cols;
  const std::vector<T> x = random.values<T>(n, -5, 5), dy = random.values<T>(n);
  std::vector<index_t> labels(static_cast<std::size_t>(rows));
  for (auto& label : labels) label = random.below(static_cast<int>(cols));
  std::vector<T> y(x.size()), dx(x.size()), want(x.size()), want_dx(x.size());
  reference::softmax(rows, cols, x.data(), want.data());
  on_two_threads<T>(report, {&y}, [&] { softmax(rows, cols, x.data(), y.data()); });
  reference::softmax_backward(rows, cols, dy.data(), y.data(), want_dx.data());
  on_two_threads<T>(report, {&dx},
                    [&] { softmax_backward(rows, cols, dy.data(), y.data(), dx.data()); });

  // |x - max| <= 10 is rounded once before the exponential; sums are of blocks of 256.
  const double of_sum = double(std::min<index_t>(cols, 256)) + 8;
  const double relative = (2 * (10 + kExp) + of_sum + 4) * u;
  for (std::size_t i = 0; i < x.size(); ++i) {
    report.close("y", y[i], want[i], 2 * relative * double(want[i]));
    const std::size_t row = i / static_cast<std::size_t>(cols) * static_cast<std::size_t>(cols);
    double dot = 0;
    for (std::size_t j = row; j < row + static_cast<std::size_t>(cols); ++j) {
      dot += std::fabs(double(dy[j]) * double(y[j]));
    }
    report.close("dx", dx[i], want_dx[i],
                 2 * (of_sum + 4) * u * double(y[i]) * (dot + std::fabs(double(dy[i]))));
  }

  for (const double smoothing : {0.0, 0.1}) {
    std::vector<T> maximum(labels.size()), exp_sum(labels.size());
    double loss = 0;
    on_two_threads<T>(report, {&maximum, &exp_sum}, [&] {
      loss = cross_entropy(rows, cols, x.data(), labels.data(), smoothing, maximum.data(),
                           exp_sum.data());
    });
    const double want_loss =
        reference::cross_entropy(rows, cols, x.data(), labels.data(), smoothing);
    // log S <= log(cols) and max - x <= 10, each with the errors above.
    report.close("loss", loss, want_loss, 2 * relative * (std::log(double(cols)) + 12));
    on_two_threads<T>(report, {&dx}, [&] {
      cross_entropy_backward(rows, cols, x.data(), labels.data(), smoothing, maximum.data(),
                             exp_sum.data(), dx.data());
    });
    reference::cross_entropy_backward(rows, cols, x.data(), labels.data(), smoothing,
                                      want_dx.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double parts = double(want[i]) + 1;  // the probability and the target
      report.close("dlogits", dx[i], want_dx[i], 2 * relative * parts / double(rows));
    }
  }
}

template <class T>
void check_sgd(Report& report, Random& random, index_t n, const SgdOptions& options, bool moves) {
  report.at(target() + " " + type_name<T>() + " sgd of " + std::to_string(n));
  const std::vector<T> g = random.values<T>(n), p = random.values<T>(n), v = random.values<T>(n);
  std::vector<T> got_p(p), got_v(v), want_p(p), want_v(v);
  reference::sgd_update(n, want_p.data(), g.data(), moves ? want_v.data() : nullptr, options);
  on_two_threads<T>(report, {&got_p, &got_v}, [&] {
    sgd_update(n, got_p.data(), g.data(), moves ? got_v.data() : nullptr, options);
  });
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double old = std::fabs(double(p[i]));
    const double direction = std::fabs(double(g[i])) + options.weight_decay * old;
    const double velocity = options.momentum * std::fabs(double(v[i])) + direction;
    report.close("velocity", got_v[i], want_v[i], 8 * kUnit<T> * velocity);
    report.close("p", got_p[i], want_p[i],
                 8 * kUnit<T> * (old + options.lr * (direction + 2 * velocity)));
  }
}

// Strips of all threads are each column once, none wider than four lines, and begin with their outer line.
template <class T>
void check_strips(Report& report) {
  report.at(std::string(type_name<T>()) + " strips");
  constexpr index_t width = kStripLines * kLineOf<T>;
  for (const index_t cols : {256, 272, 400, 528, 1040}) {
    for (const int threads : {1, 2, 3, 5}) {
      std::vector<int> times(static_cast<std::size_t>(cols), 0);
      for (int i = 0; i < threads; ++i) {
        const Range mine = share(cols, kColumnGrain, threads, i);
        for_each_strip<T>(7, cols, threads, i, [&](index_t j, Strip strip) {
          report.require(strip.rows == 7 && strip.row == cols, "rows of a strip");
          report.require(j >= mine.begin && j + strip.cols <= mine.end, "a thread's own columns");
          report.require(strip.cols == std::min(width, mine.end - j), "four lines, or the rest");
          report.require(j > mine.begin || mine.end - j <= width || !strip.from_right, "left edge");
          report.require(j + strip.cols < mine.end || j == mine.begin || strip.from_right,
                         "right edge");
          for (index_t c = j; c < j + strip.cols; ++c) ++times[static_cast<std::size_t>(c)];
        });
      }
      for (const int t : times) report.require(t == 1, "each column once");
    }
  }
  report.require(columns_for_each<T>(2 * 2 * width, 2), "enough for two threads");
  report.require(!columns_for_each<T>(2 * 2 * width, 3), "not for three");
  report.require(!columns_for_each<T>(8 * width + 1, 2), "no whole lines");
}

// By columns, as threads do that are far apart: a weight of whole strips and one of cut ones.
template <class T>
void check_columns(Report& report, Random& random) {
  report.at(target() + " " + type_name<T>() + " updates by columns");
  const index_t ends[] = {300 * 256, 300 * 256 + 200 * 400, 300 * 256 + 200 * 400 + 5};
  const index_t cols[] = {256, 400, 0}, n = ends[2];
  const Parts parts{ends, 3, cols};
  const std::vector<T> g = random.values<T>(n), p = random.values<T>(n), m = random.values<T>(n);
  const std::vector<T> v = random.values<T>(n, 0.1, 2);
  const auto update = [&](Parts shared, std::vector<T>* to) {
    sgd_update(n, to[0].data(), g.data(), to[1].data(), {0.1, 0.9, 0.01, true}, shared);
    adam_update(n, to[2].data(), g.data(), to[3].data(), to[4].data(),
                {1e-3, 0.9, 0.999, 1e-8, 0.01, true, 7}, shared);
  };
  std::vector<T> want[] = {p, m, p, m, v}, got[] = {p, m, p, m, v};
  update({}, want);
  assume_distance(Distance::far);
  on_two_threads<T>(report, {&got[0], &got[1], &got[2], &got[3], &got[4]},
                    [&] { update(parts, got); });
  assume_distance(Distance::look);
  for (int i = 0; i < 5; ++i) report.require(got[i] == want[i], "the same bits");
}

template <class T>
void check_adam(Report& report, Random& random, index_t n, const AdamOptions& options) {
  report.at(target() + " " + type_name<T>() + " adam of " + std::to_string(n));
  const std::vector<T> g = random.values<T>(n), p = random.values<T>(n), m = random.values<T>(n);
  const std::vector<T> v = random.values<T>(n, 0.1, 2);
  std::vector<T> got_p(p), got_m(m), got_v(v), want_p(p), want_m(m), want_v(v);
  reference::adam_update(n, want_p.data(), g.data(), want_m.data(), want_v.data(), options);
  on_two_threads<T>(report, {&got_p, &got_m, &got_v}, [&] {
    adam_update(n, got_p.data(), g.data(), got_m.data(), got_v.data(), options);
  });
  const double u = kUnit<T>;
  // The reference's 1 - beta2^step cancels; the kernel's does not.
  const double own = 2 * kUnit<double> / (1 - std::pow(options.beta2, double(options.step)));
  const double step_size = options.lr / (1 - std::pow(options.beta1, double(options.step)));
  const double root = std::sqrt(1 - std::pow(options.beta2, double(options.step)));
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double old = std::fabs(double(p[i]));
    const double gradient = std::fabs(double(g[i])) + options.weight_decay * old;
    // Sums of absolute values: m may cancel.
    const double first = options.beta1 * std::fabs(double(m[i])) + (1 - options.beta1) * gradient;
    const double second = options.beta2 * double(v[i]) + (1 - options.beta2) * gradient * gradient;
    report.close("m", got_m[i], want_m[i], 8 * u * first);
    report.close("v", got_v[i], want_v[i], 10 * u * second);
    const double change = step_size * first / (std::sqrt(double(want_v[i])) / root + options.eps);
    report.close("p", got_p[i], want_p[i], 24 * u * (old + change) + own * change);
  }
}

template <class T>
void check_squared_error(Report& report, Random& random, index_t n) {
  report.at(target() + " " + type_name<T>() + " squared error of " + std::to_string(n));
  const std::vector<T> x = random.values<T>(n), t = random.values<T>(n);
  std::vector<T> difference(x.size()), dx(x.size());
  double sums[2] = {0, 0};
  int run = 0;
  on_two_threads<T>(report, {&difference, &dx}, [&] {
    sums[run++] = squared_error(n, x.data(), t.data(), difference.data());
    scale(n, difference.data(), T(0.3), dx.data());
  });
  report.require(sums[0] == sums[1], "sum of two threads");
  // A square is rounded once, and a sum of at most 64 + 7 terms as often; sums of runs are doubles.
  const double want = reference::squared_error(n, x.data(), t.data());
  report.close("sum", sums[0], want, 72 * kUnit<T> * want);
  for (std::size_t i = 0; i < x.size(); ++i) {
    report.require(difference[i] == x[i] - t[i], "difference");
    report.require(dx[i] == difference[i] * T(0.3), "scaled");
  }
}

void check_count_right(Report& report) {
  report.at("right answers");
  const float scores[] = {1, 2, 2, 5, 4, 3, 0, 0, NAN};
  const index_t labels[] = {1, 0, 2};
  report.require(count_right(3, 3, scores, labels) == 3, "the first of equal ones, and NaN");
  report.require(count_right(9, 1, scores, std::vector<index_t>(9, 0).data()) == 9, "one class");
}

template <class T>
void test(Report& report) {
  Random random;
  // Around registers of 1 to 16 lanes; the last is enough for two threads.
  for (const index_t n : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 70000}) {
    for (int kind = 0; kind < kActivationKinds; ++kind) {
      check_activation<T>(report, random, static_cast<ActivationKind>(kind), n);
    }
    check_squared_error<T>(report, random, n);
    check_sgd<T>(report, random, n, {0.1, 0.0, 0.0, false}, false);
    check_sgd<T>(report, random, n, {0.1, 0.9, 0.01, false}, true);
    check_sgd<T>(report, random, n, {0.1, 0.9, 0.01, true}, true);
    check_adam<T>(report, random, n, {1e-3, 0.9, 0.999, 1e-8, 0.0, false, 1});
    check_adam<T>(report, random, n, {1e-3, 0.9, 0.999, 1e-8, 0.01, false, 7});
    check_adam<T>(report, random, n, {1e-3, 0.9, 0.999, 1e-8, 0.01, true, 1000});
  }
  check_strips<T>(report);
  check_columns<T>(report, random);
  for (const index_t cols : {1, 2, 3, 7, 8, 10, 16, 17, 33, 300}) {
    for (const index_t rows : {1, 3, 100}) check_softmax<T>(report, random, rows, cols);
  }
}

}  // namespace

void test_nn(Report& report) {
  check_count_right(report);
  test<float>(report);
  test<double>(report);
}

}  // namespace fastbn::selftest
