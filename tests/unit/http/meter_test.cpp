// SPDX-License-Identifier: Apache-2.0
#include "http/meter.hpp"

#include <gmock/gmock.h>

#include <boost/asio/io_context.hpp>
#include <numeric>

#include "unit/waiting.hpp"

namespace metatap::http {
namespace {

using namespace std::chrono_literals;

std::size_t place_of(unsigned status) {
  return static_cast<std::size_t>(std::ranges::find(Meter::kStatuses, status) -
                                  Meter::kStatuses.begin());
}

std::uint64_t count(const Meter::Sums& sums, PathClass path, unsigned status) {
  return sums.answers.at(static_cast<std::size_t>(path)).at(place_of(status));
}

TEST(Meter, CountsAnswersByPathAndStatus) {
  Meter meter(2);
  meter.answered(PathClass::meta_data, 200);
  meter.answered(PathClass::meta_data, 200);
  meter.answered(PathClass::malformed, 408);
  for (const unsigned odd : {0U, 299U, 599U, 600U, 70'000U}) {
    meter.answered(PathClass::other, odd);
  }
  const auto sums = meter.sums();
  EXPECT_EQ(count(sums, PathClass::meta_data, 200), 2U);
  EXPECT_EQ(count(sums, PathClass::malformed, 408), 1U);
  EXPECT_EQ(count(sums, PathClass::other, 0), 5U);
  EXPECT_EQ(count(sums, PathClass::ec2, 200), 0U);
}

TEST(Meter, PutsEachTimeIntoItsBucket) {
  Meter meter(1);
  // The last: a clock that is no good must not spoil the sum.
  for (const Meter::Clock::duration time :
       std::initializer_list<Meter::Clock::duration>{0ns, 9'999ns, 10us, 3ms, 1h, -1s}) {
    meter.answered(PathClass::listing, 200, time);
  }
  const auto sums = meter.sums();
  EXPECT_EQ(count(sums, PathClass::listing, 200), 6U);
  EXPECT_EQ(sums.buckets.front(), 3U);
  EXPECT_EQ(sums.buckets[1], 1U);
  EXPECT_EQ(sums.buckets.back(), 1U);
  EXPECT_EQ(std::accumulate(sums.buckets.begin(), sums.buckets.end(), 0U), 6U);
  EXPECT_NEAR(sums.seconds, 3600.00302, 1e-5);
}

/// Answers at once, or when it is told to.
class Stage final : public Handler {
 public:
  bool at_once = true;
  Continuation* then = nullptr;

 private:
  std::optional<Response> handle(const Request&, boost::asio::io_context&,
                                 Continuation& its_then) override {
    Response response;
    response.status = 404;
    then = &its_then;
    return at_once ? std::optional(response) : std::nullopt;
  }
};

TEST(Metered, SeesAnswersThatAreThereAtOnceAndLaterOnes) {
  boost::asio::io_context here;
  Stage stage;
  Metered metered(stage, 1);
  Waiting waiting;
  const Request request{.target = "/openstack/latest/user_data"};
  const auto response = metered.ask(request, here, waiting);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 404U);
  EXPECT_EQ(count(metered.sums(), PathClass::user_data, 404), 1U);

  stage.at_once = false;
  EXPECT_FALSE(metered.ask(request, here, waiting));
  EXPECT_EQ(count(metered.sums(), PathClass::user_data, 404), 1U);
  Response late;
  late.status = 200;
  stage.then->answered(Response(late));
  EXPECT_EQ(waiting.result->status, 200U);
  EXPECT_EQ(count(metered.sums(), PathClass::user_data, 200), 1U);
  const auto buckets = metered.sums().buckets;
  EXPECT_EQ(std::accumulate(buckets.begin(), buckets.end(), 0U), 2U);
}

TEST(PathClass, IsFewWhateverGuestsAsk) {
  using enum PathClass;
  for (const auto& [target, path] : std::initializer_list<std::pair<std::string_view, PathClass>>{
           {"/", listing},
           {"", other},
           {"/openstack", listing},
           {"/openstack/", listing},
           {"/openstack/latest", listing},
           {"/openstack/2018-08-27/", listing},
           {"/openstack/latest/meta_data.json", meta_data},
           {"/openstack/latest/network_data.json", network_data},
           {"/openstack/latest/vendor_data2.json", vendor_data},
           {"/openstack/latest/user_data", user_data},
           {"/openstack/latest/password", password},
           {"/openstack/latest/passwords", other},
           {"/openstackmeta_data.json", other},
           {"/latest/user-data", user_data},
           {"/2009-04-04/meta-data/hostname", ec2},
           {"/latest/meta-data/", ec2},
           {"/metatap/v1/status", metatap::PathClass::metatap},
           {"/metatapped", other},
           {"/favicon.ico", other},
           {"http://169.254.169.254/latest", other}}) {
    EXPECT_EQ(path_class_of(target), path) << target;
  }
}

}  // namespace
}  // namespace metatap::http
