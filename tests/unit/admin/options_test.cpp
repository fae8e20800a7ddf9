// SPDX-License-Identifier: Apache-2.0
#include "admin/options.hpp"

#include <gmock/gmock.h>

#include "admin/metrics.hpp"
#include "base/config.hpp"

namespace metatap::admin {
namespace {

using testing::HasSubstr;

Result<MetricsOptions> read(const std::string& value) {
  const auto config = Config::parse("[admin]\nmetrics_listen = " + value + "\n").value();
  return MetricsOptions::from(config);
}

TEST(MetricsOptions, TakesOneAddressAndPort) {
  EXPECT_FALSE(read("")->listen);
  EXPECT_EQ(read("127.0.0.1:9775")->listen->port, 9775);
  EXPECT_EQ(read("[2001:db8::1]:80")->listen->host, "2001:db8::1");
}

TEST(MetricsOptions, RefusesWhatIsNone) {
  for (const auto* value :
       {"9775", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "localhost:9775",
        "::1:9775", "[127.0.0.1]:80", "[]:80", "127.0.0.1:80x"}) {
    const auto options = read(value);
    ASSERT_FALSE(options) << value;
    EXPECT_THAT(options.error().message,
                HasSubstr("[admin] metrics_listen: expected ADDRESS:PORT"));
  }
}

TEST(MetricsOptions, NeverListensWhereGuestsMayBe) {
  for (const auto* value :
       {"0.0.0.0:80", "[::]:80", "169.254.169.254:80", "169.254.1.1:9775", "[fe80::a9fe:a9fe]:80",
        "[::ffff:169.254.169.254]:80", "[::ffff:0.0.0.0]:80"}) {
    const auto options = read(value);
    ASSERT_FALSE(options) << value;
    EXPECT_THAT(options.error().message, HasSubstr("that no guest can reach"));
  }
}

TEST(Metrics, OfAHistogramAreCumulative) {
  Metrics metrics;
  const std::array<double, 2> bounds{0.1, 1};
  const std::array<std::uint64_t, 3> buckets{2, 0, 1};
  metrics.histogram("x_seconds", "Times", {{"stage", "a"}}, bounds, buckets, 3.5);
  const auto text = metrics.text();
  for (const auto* line :
       {"# TYPE metatap_x_seconds histogram\n", "metatap_x_seconds_count{stage=\"a\"} 3\n",
        "metatap_x_seconds_sum{stage=\"a\"} 3.5\n",
        "metatap_x_seconds_bucket{stage=\"a\",le=\"1\"} 2\n",
        "metatap_x_seconds_bucket{stage=\"a\",le=\"+Inf\"} 3\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(Metrics, OfTwoProcessesAreOneText) {
  Metrics worker, supervisor;
  worker.gauge("process_threads", "Threads", {{"process", "worker"}}, 4);
  worker.counter("only_total", "Here", {}, 1);
  supervisor.gauge("process_threads", "Threads", {{"process", "supervisor"}}, 2);
  EXPECT_EQ(Metrics::merged(worker.text(), supervisor.text()),
            "# HELP metatap_only_total Here\n# TYPE metatap_only_total counter\n"
            "metatap_only_total 1\n"
            "# HELP metatap_process_threads Threads\n# TYPE metatap_process_threads gauge\n"
            "metatap_process_threads{process=\"worker\"} 4\n"
            "metatap_process_threads{process=\"supervisor\"} 2\n");
}

}  // namespace
}  // namespace metatap::admin
