// SPDX-License-Identifier: Apache-2.0
#include "proxy/access_control.hpp"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <initializer_list>
#include <string>
#include <tuple>
#include <vector>

#include "base/boot_time.hpp"
#include "proxy/doorkeeper.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap::proxy {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr const char* kTtl = "X-aws-ec2-metadata-token-ttl-seconds";
constexpr const char* kToken = "X-aws-ec2-metadata-token";
constexpr std::string_view kTokenPath = "/latest/api/token";

std::string header(const Response& response, std::string_view name) {
  for (const auto& [its_name, value] : response.headers) {
    if (its_name == name) {
      return value;
    }
  }
  return "";
}

/// One port, its guest, and the inventory that both are in.
class AccessTest : public ::testing::Test {
 protected:
  AccessTest() {
    inventory_.networks["network-1"] =
        std::make_shared<const Network>(Network{.id = "network-1", .name = {}, .project_id = {}});
    port({});
  }
  void port(AccessPolicy access, std::string instance = "instance-1") {
    Port made;
    made.id = "port-1";
    made.network_id = "network-1";
    made.device_id = std::move(instance);
    made.access = access;
    inventory_.ports["port-1"] = std::make_shared<const Port>(made);
  }
  /// A process that serves; what an earlier one left is there.
  void start(Access access = {}, std::vector<std::string> sealed = {},
             std::vector<std::string> read_once = {}) {
    access.once = !read_once.empty();
    control_.emplace(AccessOptions{.access = access,
                                   .sealed = std::move(sealed),
                                   .read_once = std::move(read_once),
                                   .key_file = directory_.path() / "tokens.key",
                                   .records_file = directory_.path() / "ports.seen"});
    follow();
    plug(plug_, came_);
  }
  void follow() { control_->follow(std::make_shared<const Inventory>(inventory_)); }
  /// Another Origin, as of a row that was written anew.
  void plug(std::uint64_t number, std::int64_t came = boot_time()) {
    plug_ = number;
    came_ = came;
    origin_ = std::make_shared<Origin>();
    origin_->port_id = "port-1";
    origin_->network_id = "network-1";
    origin_->plug = number;
    origin_->came = came;
  }
  void in_the_past(seconds ago) { came_ = boot_time() - ago.count() * 1000; }

  /// 200 stands for what goes on to the next stage.
  Response ask(Request request, std::vector<Header> headers = {}, std::uint16_t source = 40'000) {
    request.headers = headers;
    Doorkeeper doorkeeper(*control_, control_->port_of(*origin_), "10.0.0.5", source);
    auto own = doorkeeper.judge(request, NotedHeaders::of(request));
    return own ? std::move(own->response) : Response{};
  }
  Response get(std::string_view target = "/latest/meta-data", std::vector<Header> headers = {},
               std::uint16_t source = 40'000) {
    return ask({.target = target}, std::move(headers), source);
  }
  Response put(std::vector<Header> headers, std::string_view target = kTokenPath,
               std::string_view body = {}) {
    return ask({.method = "PUT", .target = target, .body = body}, std::move(headers));
  }
  std::string token(const char* lifetime = "60") {
    const auto response = put({{kTtl, lifetime}});
    EXPECT_EQ(response.status, 200U);
    return response.body.str();
  }
  unsigned with(const std::string& token) {
    return get("/latest/meta-data", {{kToken, token}}).status;
  }
  AccessStatus status() { return *control_->status_of("port-1"); }

  TemporaryDirectory directory_;
  Inventory inventory_;
  std::uint64_t plug_ = 1;
  std::int64_t came_ = boot_time();
  std::shared_ptr<Origin> origin_;
  std::optional<AccessControl> control_;
};

TEST_F(AccessTest, HandsOutTokensAsTheEc2ServiceDoes) {
  start();
  for (const auto* name :
       {kTtl, "X-metadata-token-ttl-seconds", "x-AWS-ec2-METADATA-token-ttl-seconds"}) {
    const auto response = put({{"Host", "169.254.169.254"}, {name, "21600"}});
    EXPECT_EQ(response.status, 200U) << name;
    EXPECT_EQ(response.hop_limit, 1);
    EXPECT_EQ(response.content_type, "text/plain");
    EXPECT_EQ(with(response.body.str()), 200U);
  }
  EXPECT_EQ(header(put({{kTtl, "17"}}), kTtl), "17");
  EXPECT_EQ(header(put({{"X-Metadata-Token-Ttl-Seconds", "17"}}), "X-metadata-token-ttl-seconds"),
            "17");
  const auto huaweis = put({{"X-Metadata-Token-Ttl-Seconds", "17"}}, "/meta-data/latest/api/token");
  EXPECT_EQ(get("/x", {{"X-Metadata-Token", huaweis.body.str()}}).status, 200U);
  EXPECT_EQ(put({{kTtl, "1"}}, "/latest/api/token?x=y").status, 200U);
  EXPECT_EQ(status().counts.issued, 7U);
  EXPECT_EQ(get().hop_limit, 0);
}

TEST_F(AccessTest, HandsOutNoneForWrongTimes) {
  start();
  for (const auto* time :
       {"", "0", "-1", "+5", "21601", "1.5", "5s", " 5", "99999999999999999999"}) {
    EXPECT_EQ(put({{kTtl, time}}).status, 400U) << time;
  }
  EXPECT_EQ(put({}).status, 400U);
  EXPECT_EQ(put({{kTtl, "5"}, {kTtl, "6"}}).status, 400U);
  EXPECT_EQ(put({{kTtl, "5"}, {"X-metadata-token-ttl-seconds", "5"}}).status, 400U);
  EXPECT_EQ(put({{kTtl, "5"}}, kTokenPath, "a body").status, 400U);
  EXPECT_EQ(status().counts.denied, 13U);
  EXPECT_EQ(status().counts.issued, 0U);
}

TEST_F(AccessTest, HandsOutNoneToWhoAsksThroughAProxy) {
  start();
  for (const auto* name :
       {"X-Forwarded-For", "x-forwarded-for", "X_FORWARDED_FOR", "X-Forwarded-Host", "Forwarded",
        "X-Real-IP", "Via", "True-Client-IP", "CF-Connecting-IP", "X-Original-Forwarded-For"}) {
    const auto response = put({{kTtl, "60"}, {name, ""}});
    EXPECT_EQ(response.status, 403U) << name;
    EXPECT_EQ(response.hop_limit, 0);
  }
  EXPECT_EQ(put({{kTtl, "60"}, {"User-Agent", "curl"}, {"Accept", "*/*"}}).status, 200U);
  EXPECT_EQ(get("/x", {{"X-Forwarded-For", "10.1.1.1"}}).status, 200U) << "plain requests may";
}

TEST_F(AccessTest, OtherMethodsGetNoToken) {
  start();
  for (const auto* method : {"GET", "HEAD", "POST", "DELETE", "put", "OPTIONS"}) {
    const auto response = ask({.method = method, .target = kTokenPath}, {{kTtl, "60"}});
    EXPECT_EQ(response.status, 405U) << method;
    EXPECT_EQ(header(response, "Allow"), "PUT");
  }
}

TEST_F(AccessTest, OptionalMeansThatWhoShowsOneShowsAGoodOne) {
  start();
  EXPECT_EQ(get().status, 200U);
  const auto good = token();
  EXPECT_EQ(with(good), 200U);
  EXPECT_EQ(with(good.substr(1)), 401U);
  EXPECT_EQ(with(""), 401U);
  EXPECT_EQ(with(std::string(1 << 20, 'A')), 401U);
  EXPECT_EQ(get("/x", {{kToken, good}, {kToken, good}}).status, 401U) << "two headers";
  EXPECT_EQ(get("/x", {{kToken, good}, {"X-metadata-token", good}}).status, 401U);
  EXPECT_EQ(get().status, 200U);
  const auto counts = status().counts;
  EXPECT_EQ(counts.plain, 2U);
  EXPECT_EQ(counts.valid, 1U);
  EXPECT_EQ(counts.invalid, 5U);
}

TEST_F(AccessTest, RequiredMeansThatAllShowOne) {
  start({.tokens = TokenMode::required});
  const auto refused = get();
  EXPECT_EQ(refused.status, 401U);
  EXPECT_THAT(refused.body.str(), HasSubstr("PUT /latest/api/token"));
  EXPECT_EQ(with(token()), 200U);
  EXPECT_EQ(status().counts.plain_refused, 1U);
  EXPECT_TRUE(status().required);
}

TEST_F(AccessTest, OffMeansThatTheyAreNothing) {
  start({.tokens = TokenMode::off});
  EXPECT_EQ(put({{kTtl, "60"}}).status, 200U) << "the next stage's to answer";
  EXPECT_EQ(put({{kTtl, "60"}}).body.size(), 0U);
  EXPECT_EQ(with("nonsense"), 200U);
}

TEST_F(AccessTest, ARatchetTurnsWithTheFirstGoodToken) {
  start({.tokens = TokenMode::ratchet});
  EXPECT_EQ(get().status, 200U);
  EXPECT_EQ(with("nonsense"), 401U);
  const auto good = token();
  EXPECT_EQ(get().status, 200U) << "a token that was only fetched turns nothing";
  EXPECT_FALSE(status().required);
  EXPECT_EQ(with(good), 200U);
  EXPECT_EQ(get().status, 401U);
  EXPECT_TRUE(status().required);
  EXPECT_TRUE(status().first_token);
  EXPECT_EQ(with(good), 200U);
}

TEST_F(AccessTest, ARatchetTurnsWhenTheWindowIsOver) {
  in_the_past(seconds(599));
  start({.tokens = TokenMode::ratchet});
  EXPECT_EQ(get().status, 200U);
  in_the_past(seconds(600));
  plug(2, came_);
  EXPECT_EQ(get().status, 401U);
  EXPECT_EQ(with(token()), 200U);
}

TEST_F(AccessTest, ARatchetStaysOverRestartsAndGoesBackWithTheDevice) {
  start({.tokens = TokenMode::ratchet});
  const auto good = token();
  EXPECT_EQ(with(good), 200U);
  for (int restart = 0; restart < 3; ++restart) {
    start({.tokens = TokenMode::ratchet});  // with no word of ours at the end, as after kill -9
    plug(plug_);                            // the data plane knows no better than that it is here
    EXPECT_EQ(get().status, 401U);
    EXPECT_EQ(with(good), 200U) << "also the token is as good as it was";
  }
  plug(2);
  EXPECT_EQ(get().status, 200U);
  EXPECT_EQ(with(good), 401U) << "the former owner's";
  EXPECT_EQ(status().counts.plain, 1U) << "of this plugging-in";
}

TEST_F(AccessTest, AWindowGoesOnOverARestart) {
  in_the_past(seconds(700));
  start({.tokens = TokenMode::ratchet});
  EXPECT_EQ(get().status, 401U);
  came_ = boot_time();  // as a data plane that was just started says
  start({.tokens = TokenMode::ratchet});
  EXPECT_EQ(get().status, 401U);
}

TEST_F(AccessTest, AnotherInstanceOnThePortIsAnotherGuest) {
  start({.tokens = TokenMode::ratchet});
  const auto good = token();
  EXPECT_EQ(with(good), 200U);
  port({}, "instance-2");
  follow();
  EXPECT_EQ(with(good), 401U);
  EXPECT_EQ(get().status, 200U);
}

TEST_F(AccessTest, AnotherInstanceOnAPortThatIsThereForLongHasItsWindow) {
  in_the_past(seconds(100'000));
  start({.tokens = TokenMode::ratchet, .boot_window = seconds(600)});
  EXPECT_EQ(get().status, 401U);
  port({}, "instance-2");
  follow();
  EXPECT_EQ(get().status, 200U);
  EXPECT_GT(status().window_left, seconds(590));
}

TEST_F(AccessTest, AnInventoryThatIsNotKnownYetTakesNothingBack) {
  start({.tokens = TokenMode::ratchet});
  const auto good = token();
  EXPECT_EQ(with(good), 200U);
  inventory_ = {};
  start({.tokens = TokenMode::ratchet});
  EXPECT_EQ(get().status, 401U);
  EXPECT_EQ(with(good), 200U);
}

TEST_F(AccessTest, TwoWorkersKnowTheSame) {
  start({.tokens = TokenMode::ratchet});
  AccessControl next(AccessOptions{.access = {.tokens = TokenMode::ratchet},
                                   .key_file = directory_.path() / "tokens.key",
                                   .records_file = directory_.path() / "ports.seen"});
  next.follow(std::make_shared<const Inventory>(inventory_));
  Origin origin;
  origin.port_id = "port-1";
  origin.network_id = "network-1";
  origin.plug = plug_;
  auto& port = next.port_of(origin);
  EXPECT_FALSE(port.requires_token(port.access(), boot_time()));
  EXPECT_EQ(with(token()), 200U);  // the old worker's guest
  EXPECT_TRUE(port.requires_token(port.access(), boot_time()));
}

TEST_F(AccessTest, PortInstanceAndNetworkDecideInThisOrder) {
  start();
  const auto set = [&](std::optional<TokenMode> network, std::optional<TokenMode> instance,
                       std::optional<TokenMode> of_port) {
    Network made_network;
    made_network.id = "network-1";
    made_network.access.tokens = network;
    inventory_.networks["network-1"] = std::make_shared<const Network>(made_network);
    Instance made_instance;
    made_instance.uuid = "instance-1";
    made_instance.access.tokens = instance;
    inventory_.instances["instance-1"] = std::make_shared<const Instance>(made_instance);
    port({.tokens = of_port, .boot_window = {}, .sealed = {}, .forwarded_inside = {}});
    follow();
    return get().status;  // on what may be an open connection
  };
  using enum TokenMode;
  EXPECT_EQ(set({}, {}, {}), 200U);
  EXPECT_EQ(set(required, {}, {}), 401U);
  EXPECT_EQ(set(required, optional, {}), 200U);
  EXPECT_EQ(set(required, optional, required), 401U);
  EXPECT_EQ(set({}, required, off), 200U);
}

TEST_F(AccessTest, AddressesOfNoPortHaveNoWindow) {
  start({.tokens = TokenMode::ratchet});
  origin_ = std::make_shared<Origin>();
  origin_->network_id = "network-1";
  EXPECT_EQ(get().status, 401U);
  const auto good = token();
  EXPECT_EQ(with(good), 200U);
  Doorkeeper another(*control_, control_->port_of(*origin_), "10.0.0.6", 40'000);
  const std::vector<Header> headers{{kToken, good}};
  const Request request{.headers = headers};
  const auto refused = another.judge(request, NotedHeaders::of(request));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->response.status, 401U);
  EXPECT_EQ(refused->reason, "token_invalid");
}

TEST_F(AccessTest, SealedPathsAreForTheBootForTokensAndForRoot) {
  const Access open{};
  start(open, {"user_data", "vendor_data*", "admin_pass", "/openstack/*/password"});
  const std::vector<std::string> sealed{"/latest/user-data",
                                        "/2009-04-04/user-data",
                                        "/openstack/latest/user_data",
                                        "/openstack/2018-08-27/vendor_data.json",
                                        "/openstack/latest/vendor_data2.json",
                                        "/openstack/latest/password",
                                        "//latest///user-data/",
                                        "/latest/%75ser%2ddata",
                                        "/latest/x/../user-data?y",
                                        "/latest/meta-data/admin-pass/x"};
  for (const auto& path : sealed) {
    EXPECT_EQ(get(path).status, 200U) << path << " while it boots";
  }
  in_the_past(seconds(601));
  plug(2, came_);
  const auto good = token();
  for (const auto& path : sealed) {
    EXPECT_EQ(get(path).status, 403U) << path;
    EXPECT_EQ(get(path, {}, 1023).status, 200U) << path << " for root";
    EXPECT_EQ(get(path, {{kToken, good}}).status, 200U) << path << " with a token";
  }
  EXPECT_THAT(get(sealed[0]).body.str(), HasSubstr("below 1024"));
  EXPECT_EQ(get(sealed[0], {}, 1024).status, 403U);
  for (const auto* path : {"/", "/latest/meta-data", "/openstack/latest/meta_data.json", "/latest",
                           "/latest/user", "/openstack/latest/network_data.json"}) {
    EXPECT_EQ(get(path).status, 200U) << path;
  }
  EXPECT_GE(status().counts.sealed_refused, sealed.size());
  port({.tokens = {}, .boot_window = {}, .sealed = false, .forwarded_inside = {}});
  follow();
  EXPECT_EQ(get(sealed[0]).status, 200U) << "this port's are open";
}

/// Of what is answered once: what becomes of a request whose answer is there.
class ReadOnceTest : public AccessTest {
 protected:
  static constexpr const char* kUserData = "/openstack/latest/user_data";

  void start(std::vector<std::string> read_once = {"user_data", "vendor_data*"}) {
    AccessTest::start({}, {}, std::move(read_once));
  }
  /// One request, and the answer on its way.
  struct Exchange {
    std::unique_ptr<Doorkeeper> doorkeeper;
    unsigned status = 0;
    void sent() const { doorkeeper->given(); }
  };
  Exchange begin(std::string_view target, std::string_view method = "GET",
                 unsigned status_behind = 200, std::vector<Header> headers = {}) {
    Exchange exchange{
        std::make_unique<Doorkeeper>(*control_, control_->port_of(*origin_), "10.0.0.5", 1000)};
    const Request request{.method = method, .target = target, .headers = headers};
    auto own = exchange.doorkeeper->judge(request, NotedHeaders::of(request));
    if (!own) {
      Response response;
      response.status = status_behind;
      response.body = Body(std::string("a secret"));
      own = exchange.doorkeeper->give(response);
    }
    exchange.status = own ? own->response.status : status_behind;
    if (own) {
      EXPECT_EQ(own->reason, "read_once");
    }
    return exchange;
  }
  /// One that is answered, and the answer sent whole.
  unsigned read(std::string_view target = kUserData, std::string_view method = "GET",
                unsigned status_behind = 200, std::vector<Header> headers = {}) {
    const auto exchange = begin(target, method, status_behind, std::move(headers));
    exchange.sent();
    return exchange.status;
  }
  void policy(std::optional<std::vector<std::string>> read_once,
              std::string instance = "instance-1") {
    AccessPolicy access;
    access.read_once = std::move(read_once);
    port(access, std::move(instance));
    follow();
  }
};

TEST_F(ReadOnceTest, OnceHoweverItIsSpeltAndInWhicheverTree) {
  start();
  EXPECT_EQ(read(), 200U);
  for (const auto* again :
       {kUserData, "/openstack/2012-08-10/user_data", "/latest/user-data", "/2009-04-04/user-data",
        "/ec2/latest/user-data", "//latest/%75ser%2ddata/?x", "/openstack/latest/x/../user_data"}) {
    EXPECT_EQ(read(again), 403U) << again;
  }
  EXPECT_EQ(status().counts.read_once_refused, 7U);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(read("/openstack/latest/meta_data.json"), 200U);
  }
  // What one pattern covers is not one thing.
  EXPECT_EQ(read("/openstack/latest/vendor_data.json"), 200U);
  EXPECT_EQ(read("/openstack/latest/vendor_data2.json"), 200U);
  EXPECT_EQ(read("/openstack/latest/vendor_data.json"), 403U);
}

TEST_F(ReadOnceTest, NothingOpensItAgainButAnotherGuest) {
  start();
  EXPECT_EQ(read(), 200U);
  const auto good = token();
  EXPECT_EQ(read(kUserData, "GET", 200, {{kToken, good}}), 403U) << "no token";
  start();
  plug(plug_);
  EXPECT_EQ(read(), 403U) << "no restart";
  start({"/openstack/*/user_data"});
  EXPECT_EQ(read(), 403U) << "no other pattern";
  plug(2);
  EXPECT_EQ(read(), 200U) << "plugged in again";
  EXPECT_EQ(read(), 403U);
  policy({}, "instance-2");
  EXPECT_EQ(read(), 200U) << "another instance";
  EXPECT_EQ(read(), 403U);
}

TEST_F(ReadOnceTest, WhatWasNotReadMayBeReadAgain) {
  start();
  EXPECT_EQ(read(kUserData, "HEAD"), 200U);
  EXPECT_EQ(read(kUserData, "GET", 404), 404U);
  EXPECT_EQ(read(kUserData, "GET", 503), 503U);
  EXPECT_EQ(read(kUserData, "GET", 304), 304U);
  {
    const auto cut = begin(kUserData);
    EXPECT_EQ(cut.status, 200U);
  }
  EXPECT_EQ(read(kUserData, "POST"), 200U) << "Nova answers that, too";
  EXPECT_EQ(read(), 403U);
  EXPECT_EQ(read(kUserData, "HEAD"), 403U);
}

TEST_F(ReadOnceTest, OfTwoAtOnceOneIsAnswered) {
  start();
  const auto first = begin(kUserData);
  EXPECT_EQ(first.status, 200U);
  EXPECT_EQ(read("/latest/user-data"), 503U) << "it may yet be cut";
  first.sent();
  EXPECT_EQ(read("/latest/user-data"), 403U);
}

TEST_F(ReadOnceTest, WhatTheFormerGuestReadIsNotReadByTheNext) {
  start();
  const auto late = begin(kUserData);
  EXPECT_EQ(late.status, 200U);
  policy({}, "instance-2");
  late.sent();
  EXPECT_EQ(read(), 200U);
}

TEST_F(ReadOnceTest, ThePortItsInstanceOrItsNetworkMaySayOtherwise) {
  start();
  EXPECT_EQ(read(), 200U);
  policy(std::vector<std::string>{});
  EXPECT_EQ(read(), 200U) << "the operator has opened it";
  EXPECT_EQ(read(), 200U);
  policy(std::nullopt);
  EXPECT_EQ(read(), 403U);
  policy(std::vector<std::string>{"password"});
  EXPECT_EQ(read(), 200U);
  EXPECT_EQ(read("/openstack/latest/password"), 200U);
  EXPECT_EQ(read("/openstack/latest/password"), 403U);
}

TEST_F(ReadOnceTest, AddressesOfNoPortReadNoneOfIt) {
  start();
  origin_ = std::make_shared<Origin>();
  origin_->network_id = "network-1";
  EXPECT_EQ(read(), 403U);
  EXPECT_EQ(read("/openstack/latest/meta_data.json"), 200U);
}

TEST_F(ReadOnceTest, WhatCannotBeNotedIsNotAnswered) {
  start({"meta_data"});
  const auto path = [](int i) { return "/latest/meta-data/" + std::to_string(i); };
  constexpr int kRoom = std::tuple_size_v<decltype(PortRecord::read)>;
  for (int i = 0; i < kRoom; ++i) {
    EXPECT_EQ(read(path(i)), 200U);
  }
  EXPECT_EQ(read(path(kRoom)), 403U);
  EXPECT_EQ(read("/openstack/latest/user_data"), 200U);
}

TEST_F(AccessTest, RecordsOfOthersAreNotBelieved) {
  const auto file = directory_.path() / "ports.seen";
  start({.tokens = TokenMode::ratchet});
  EXPECT_EQ(with(token()), 200U);
  ASSERT_EQ(::chmod(file.c_str(), 0666), 0);
  EXPECT_FALSE(PortRecords::open(file, "boot"));
  start({.tokens = TokenMode::ratchet});
  EXPECT_EQ(get().status, 200U) << "it serves all the same, and says so in the log";
}

TEST_F(AccessTest, RecordsOfAnotherBootAreNone) {
  const auto file = directory_.path() / "ports.seen";
  const auto live = [](std::string_view) { return true; };
  {
    auto records = *PortRecords::open(file, "one");
    records.at("port-1", 1, 1, 5, live)->first_token = 7;
  }
  EXPECT_EQ(PortRecords::open(file, "one")->at("port-1", 1, 1, 99, live)->came, 5);
  auto records = *PortRecords::open(file, "two");
  const auto* record = records.at("port-1", 1, 1, 99, live);
  EXPECT_EQ(record->came, 99);
  EXPECT_EQ(record->first_token, 0);
}

TEST_F(AccessTest, WhoHasRecordsOfAnotherKindKeepsThem) {
  const auto file = directory_.path() / "ports.seen";
  const auto live = [](std::string_view) { return true; };
  auto before = *PortRecords::open(file, "one");
  auto* const record = before.at("port-1", 1, 1, 5, live);
  auto after = *PortRecords::open(file, "two");
  EXPECT_EQ(after.at("port-1", 1, 1, 99, live)->came, 99);
  EXPECT_EQ(record->came, 5);
  EXPECT_NE(before.at("port-2", 1, 1, 6, live), nullptr);
  EXPECT_EQ(PortRecords::open(file, "two")->at("port-1", 1, 1, 100, live)->came, 99);
}

TEST_F(AccessTest, APortThatIsGoneMakesRoom) {
  auto records = *PortRecords::open(directory_.path() / "full", "boot");
  const auto all = [](std::string_view) { return true; };
  for (std::size_t i = 0; i < PortRecords::kMost; ++i) {
    ASSERT_NE(records.at("port-" + std::to_string(i), 1, 1, 1, all), nullptr);
  }
  EXPECT_EQ(records.at("one more", 1, 1, 1, all), nullptr);
  auto* const made =
      records.at("one more", 1, 1, 1, [](std::string_view port) { return port != "port-77"; });
  ASSERT_NE(made, nullptr);
  EXPECT_EQ(records.at("one more", 1, 1, 1, all), made);
  EXPECT_EQ(records.at("port-77", 1, 1, 1, all), nullptr);
}

}  // namespace
}  // namespace metatap::proxy
