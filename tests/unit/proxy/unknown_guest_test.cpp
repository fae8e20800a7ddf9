// SPDX-License-Identifier: Apache-2.0
// Guests whose device no port has yet: their requests wait until somebody says who they are.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <mutex>
#include <vector>

#include "base/boot_time.hpp"
#include "http/endpoint.hpp"
#include "proxy/stage.hpp"
#include "unit/http/support.hpp"

namespace metatap::proxy {
namespace {

using namespace metatap::testing;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// A slot and who has it, as the data plane says it.
class Slot {
 public:
  explicit Slot(std::string device) : device_(std::move(device)) { name(""); }
  /// Empty: nobody.
  void name(const std::string& port) {
    auto origin = std::make_shared<Origin>();
    origin->device = device_;
    origin->port_id = port;
    origin->network_id = port.empty() ? "" : "network-1";
    origin->plug = 7;
    origin->came = boot_time();
    origin->holds = holds_;
    const std::lock_guard lock(mutex_);
    origin->owner = holds_->load() + 1;
    caller_ = {origin, port.empty() ? "" : "10.0.0.5", port.empty()};
    holds_->store(origin->owner);
  }
  /// The device has gone.
  void revoke() {
    const std::lock_guard lock(mutex_);
    caller_ = {};
    holds_->store(0);
  }
  Caller caller() {
    const std::lock_guard lock(mutex_);
    return caller_;
  }

 private:
  const std::string device_;
  std::mutex mutex_;
  std::shared_ptr<Ownership> holds_ = std::make_shared<Ownership>(0);
  Caller caller_;
};

class BySlot : public CallerResolver {
 public:
  explicit BySlot(std::shared_ptr<Slot> slot) : slot_(std::move(slot)) {}
  Caller caller_of(int, const sockaddr_storage&) const override { return slot_->caller(); }

 private:
  std::shared_ptr<Slot> slot_;
};

class UnknownGuestTest : public ::testing::TestWithParam<bool> {
 protected:
  UnknownGuestTest() { options_.hold_unknown = std::chrono::minutes(1); }
  ~UnknownGuestTest() override {
    stage_.reset();
    workers_.stop();
    workers_.join();
  }
  void start() {
    handler_.emplace(
        [this](const Request& request) {
          const std::lock_guard lock(mutex_);
          asked_.push_back(std::string(request.target) + " for " +
                           std::string(request.header("X-Metatap-Port-ID").value_or("nobody")));
          return text_response(answer_, "data");
        },
        GetParam());
    stage_.emplace(workers_, *handler_, options_);
    workers_.start();
    port_ = open("tap1", slot_);
  }
  std::uint16_t open(const std::string& name, std::shared_ptr<Slot> slot) {
    GuestListener listener;
    listener.fd = std::move(*http::listen_tcp({"127.0.0.1", 0}));
    const auto port = http::bound_port(listener.fd.get());
    listener.name = name;
    stage_->open(std::move(listener), std::make_shared<BySlot>(std::move(slot)));
    return port;
  }
  Client asking(const std::string& target = "/a", const std::string& more = "\r\n",
                const std::string& method = "GET") {
    Client one = Client::tcp(port_);
    one.send(method + " " + target + " HTTP/1.1\r\n" + more);
    return one;
  }
  /// One whose request is held.
  Client held(const std::string& target = "/a", const std::string& method = "GET") {
    const auto before = stage_->counters().held;
    auto one = asking(target, "\r\n", method);
    EXPECT_TRUE(eventually([&] { return stage_->counters().held == before + 1; }));
    return one;
  }
  /// And whose port comes.
  Client held_until_named() {
    auto one = held();
    slot_->name("port-1");
    stage_->named();
    return one;
  }
  std::vector<std::string> asked() {
    const std::lock_guard lock(mutex_);
    return asked_;
  }

  http::Workers workers_{1};
  ProxyOptions options_;
  std::optional<FunctionHandler> handler_;
  std::shared_ptr<Slot> slot_ = std::make_shared<Slot>("tap1");
  std::optional<ProxyStage> stage_;
  std::uint16_t port_ = 0;
  std::atomic<unsigned> answer_{200};
  std::mutex mutex_;
  std::vector<std::string> asked_;
};
INSTANTIATE_TEST_SUITE_P(FastAndSlow, UnknownGuestTest, ::testing::Bool());

TEST_P(UnknownGuestTest, IsAnsweredWhenSomebodySaysWhoItIs) {
  start();
  auto guest = held();
  EXPECT_THAT(asked(), IsEmpty()) << "nobody is asked in nobody's name";
  slot_->name("port-1");
  stage_->named();
  EXPECT_EQ(body_of(guest.read_response()), "data");
  EXPECT_THAT(asked(), ::testing::ElementsAre("/a for port-1"));
  // From now on it is that port's session.
  guest.send("GET /b HTTP/1.1\r\n\r\n");
  EXPECT_EQ(status_of(guest.read_response()), 200U);
  EXPECT_THAT(asked(), ::testing::ElementsAre("/a for port-1", "/b for port-1"));
  const auto counters = stage_->counters();
  EXPECT_EQ(counters.held, 0U);
  EXPECT_EQ(counters.held_known, 1U);
  EXPECT_TRUE(eventually([&] { return stage_->counters().responses.at(200) == 2; }))
      << "counted once it is sent";
}

TEST_P(UnknownGuestTest, IsKnownWithItsNextRequestToo) {
  start();
  auto guest = Client::tcp(port_);
  ASSERT_TRUE(eventually([&] { return stage_->counters().accepted == 1; }));
  slot_->name("port-1");
  guest.send("GET /a HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(guest.read_response()), "data");
  EXPECT_EQ(stage_->counters().held_known, 0U);
}

TEST_P(UnknownGuestTest, IsTold503WhenNobodySaysItInTime) {
  options_.hold_unknown = std::chrono::milliseconds(30);
  start();
  const auto answer = asking().read_response();
  EXPECT_EQ(status_of(answer), 503U);
  EXPECT_THAT(answer, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_THAT(asked(), IsEmpty());
  EXPECT_EQ(stage_->counters().held_unknown, 1U);
}

TEST_P(UnknownGuestTest, IsTold503AtOnceWhereNothingIsHeld) {
  options_.hold_unknown = std::chrono::milliseconds(0);
  start();
  EXPECT_EQ(status_of(asking().read_response()), 503U);
}

TEST_P(UnknownGuestTest, ATokenIsWaitedForButNoBody) {
  start();
  auto guest = held("/latest/api/token", "PUT");
  EXPECT_EQ(status_of(asking("/a", "Content-Length: 1\r\n\r\nx", "POST").read_response()), 503U);
  slot_->name("port-1");
  stage_->named();
  EXPECT_EQ(status_of(guest.read_response()), 400U) << "a token without a time to live";
}

TEST_P(UnknownGuestTest, EndsWithItsDevice) {
  start();
  auto guest = held();
  slot_->revoke();
  stage_->named();
  EXPECT_EQ(status_of(guest.read_response()), 503U);
  EXPECT_THAT(asked(), IsEmpty());
  auto idle = Client::tcp(port_);
  EXPECT_EQ(idle.read_all(), "") << "who comes now is nobody's";
}

TEST_P(UnknownGuestTest, ADeviceHoldsFewAndLeavesRoomForOthers) {
  start();
  const auto other = std::make_shared<Slot>("tap2");
  const auto others_port = open("tap2", other);
  std::vector<Client> all;
  for (int n = 0; n < 4; ++n) {
    all.push_back(held("/" + std::to_string(n)));
  }
  EXPECT_EQ(status_of(asking().read_response()), 503U);
  EXPECT_EQ(stage_->counters().holds_refused, 1U);
  auto neighbour = Client::tcp(others_port);
  neighbour.send("GET /n HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return stage_->counters().held == 5; }));
  other->name("port-2");
  slot_->name("port-1");
  stage_->named();
  for (auto& one : all) {
    EXPECT_EQ(status_of(one.read_response()), 200U);
  }
  EXPECT_EQ(status_of(neighbour.read_response()), 200U);
  const auto seen = asked();
  EXPECT_EQ(std::ranges::count(seen, "/n for port-2"), 1);
  EXPECT_EQ(
      std::ranges::count_if(seen, [](const auto& one) { return one.ends_with("for port-1"); }), 4);
}

TEST_P(UnknownGuestTest, WhoHangsUpMakesRoom) {
  start();
  {
    auto guest = held();
  }
  EXPECT_TRUE(eventually([&] { return stage_->counters().held == 0; }));
}

TEST_P(UnknownGuestTest, IsTold503WhenTheProcessEnds) {
  start();
  auto guest = held();
  stage_->drain();
  EXPECT_EQ(status_of(guest.read_response()), 503U);
}

/// As other processes do that have not read yet what there is.
TEST_P(UnknownGuestTest, IsAnsweredByThoseWhoHearOfItsPortLater) {
  options_.others_behind = true;
  answer_ = 404;
  start();
  auto guest = held_until_named();
  ASSERT_TRUE(eventually([&] { return asked().size() == 2; })) << "they are asked again";
  answer_ = 200;
  EXPECT_EQ(body_of(guest.read_response()), "data");
  EXPECT_TRUE(eventually([&] { return stage_->counters().in_flight == 0; }));
}

TEST_P(UnknownGuestTest, IsTold404WhereThatIsSo) {
  answer_ = 404;
  start();
  auto guest = held_until_named();
  EXPECT_EQ(status_of(guest.read_response()), 404U);
  EXPECT_EQ(asked().size(), 1U) << "all stages are one process";
}

TEST_P(UnknownGuestTest, IsTold404InTheEndByOthers) {
  options_.others_behind = true;
  answer_ = 404;
  start();
  auto guest = held_until_named();
  auto another = asking("/password", "\r\n", "POST");
  EXPECT_EQ(status_of(another.read_response()), 404U);
  EXPECT_EQ(status_of(guest.read_response()), 404U);
  const auto seen = asked();
  EXPECT_GT(std::ranges::count(seen, "/a for port-1"), 2);
  EXPECT_EQ(std::ranges::count(seen, "/password for port-1"), 1) << "it may not be the same twice";
}

TEST_P(UnknownGuestTest, AsksNobodyAgainWhenTheProcessEnds) {
  options_.others_behind = true;
  answer_ = 404;
  start();
  auto guest = held_until_named();
  ASSERT_TRUE(eventually([&] { return !asked().empty(); }));
  stage_->drain();
  EXPECT_EQ(status_of(guest.read_response()), 404U);
}

TEST_P(UnknownGuestTest, CountsAmongItsPortsConnectionsOnceItIsKnown) {
  options_.max_connections_per_port = 1;
  start();
  auto guest = held();
  const auto twin = std::make_shared<Slot>("tap1");
  twin->name("port-1");
  const auto ports = open("twin", twin);
  auto first = Client::tcp(ports);
  first.send("GET /b HTTP/1.1\r\n\r\n");
  ASSERT_EQ(status_of(first.read_response()), 200U);
  slot_->name("port-1");
  stage_->named();
  EXPECT_EQ(status_of(guest.read_response()), 503U);
  EXPECT_EQ(stage_->counters().over_port_cap, 1U);
}

}  // namespace
}  // namespace metatap::proxy
