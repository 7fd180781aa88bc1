// The kernel self-test: the pool, and every operation of the core on every target that this CPU can run,
// against its reference, within the bound on its error.  It needs no Python, for cross-compiled and
// sanitized builds.  Exits with 1 if anything failed.
#include "selftest.h"

int main() {
  using namespace fastbn;
  selftest::Report report;
  selftest::test_pool(report);
  std::string targets;
  for (const std::string& name : available_targets()) {
    set_target(name);
    targets += " " + name;
    selftest::test_gemm(report);
    selftest::test_plan(report);
    selftest::test_batchnorm(report);
    selftest::test_nn(report);
  }
  std::printf("fastbn self-test:%s: %ld checks, %ld failures\n", targets.c_str(), report.checks(),
              report.failures());
  return report.failures() == 0 ? 0 : 1;
}
