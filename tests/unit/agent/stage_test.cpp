// SPDX-License-Identifier: Apache-2.0
#include "agent/stage.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/inventory_directory.hpp"
#include "unit/agent/support.hpp"
#include "unit/waiting.hpp"

namespace metatap::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::Pair;
using testing_support::RecordingApi;
using testing_support::run;
using testing_support::ScriptedDirectory;

constexpr std::string_view kNetwork = "11111111-aaaa-4aaa-8aaa-000000000001";
constexpr std::string_view kOther = "22222222-aaaa-4aaa-8aaa-000000000002";
constexpr std::string_view kRouter = "33333333-aaaa-4aaa-8aaa-000000000003";
constexpr std::string_view kPort = "44444444-aaaa-4aaa-8aaa-000000000004";

/// What proxy and agent share.
PortTagKey key() {
  return PortTagKey("0123456789abcdef0123456789abcdef");
}

std::string signature_of(const DirectoryQuery& tag) {
  const Signature signature = key().sign(tag);
  return {signature.begin(), signature.end()};
}

using Headers = std::vector<std::pair<std::string, std::string>>;

/// A request and the memory behind it.
struct Asking {
  explicit Asking(const Headers& pairs, std::string_view method = "GET",
                  std::string_view target = "/latest/meta-data/", std::string_view body = {})
      : pairs_(pairs) {
    for (const auto& [name, value] : pairs_) {
      headers_.push_back({name, value});
    }
    request = {
        .method = method, .target = target, .headers = headers_, .body = body, .peer = &peer};
  }
  Headers pairs_;
  std::vector<Header> headers_;
  Peer peer;
  Request request;
};

std::shared_ptr<const Port> port(std::string id, std::string_view network, std::string_view address,
                                 std::string mac, std::string device, std::string project,
                                 std::string owner = "compute:nova") {
  auto made = std::make_shared<Port>();
  made->id = std::move(id);
  made->network_id = network;
  made->fixed_ips = {{"s", std::string(address)}};
  made->mac_address = std::move(mac);
  made->device_id = std::move(device);
  made->project_id = std::move(project);
  made->device_owner = std::move(owner);
  return made;
}

class Stage : public testing::Test {
 protected:
  Stage() {
    put(port(std::string(kPort), kNetwork, "192.168.1.1", "52:54:00:de:5b:bf", "uuid1",
             "project1"));
    put(port("other", kOther, "192.168.1.1", "fa:16:3e:00:00:09", "uuid2", "project2"));
    put(port("interface", kNetwork, "192.168.1.254", "fa:16:3e:00:00:fe", std::string(kRouter),
             "project1", "network:router_interface"));
    directory.set(inventory);
    options.metadata_proxy_shared_secret = "secret";
    stage = AgentStage::create(directory, api, options, key()).value();
  }
  void put(std::shared_ptr<const Port> made) { inventory.ports[made->id] = std::move(made); }
  Response ask(const Asking& asking) { return metatap::ask(*stage, asking.request); }
  /// Whom the API was asked about; empty: it was not asked.
  std::string instance_asked(const Asking& asking) {
    api.seen.clear();
    status = ask(asking).status;
    return api.seen.empty() ? "" : api.seen.back().headers.at(1).second;
  }

  Inventory inventory;
  InventoryDirectory directory;
  RecordingApi api;
  AgentOptions options;
  std::unique_ptr<AgentStage> stage;
  unsigned status = 0;
};

TEST_F(Stage, SendsExactlyTheFourHeadersAndKeepsMethodTargetAndBody) {
  api.respond = [](const RecordingApi::Seen&) {
    Response response;
    response.content_type = "text/plain; charset=UTF-8";
    response.body = Body(std::string("\x1f\x8b\x08\0\xff", 5));
    response.headers = {{"X-Secret", "x"}, {"Set-Cookie", "y"}};
    return response;
  };
  const Asking asking({{"host", "169.254.169.254"},
                       {"x-neutron-network-id", std::string(kNetwork)},
                       {"x-forwarded-for", "192.168.1.1"},
                       {"x-instance-id", "forged"},
                       {"X_Neutron_Network_ID", std::string(kOther)},
                       {"x-metadata-provider", "forged"},
                       {"cookie", "c"}},
                      "POST", "/openstack/2013-04-04/password?a=%20b", "payload");
  const auto response = ask(asking);
  EXPECT_EQ(response.status, 200U);
  EXPECT_EQ(response.content_type, "text/plain; charset=UTF-8");
  EXPECT_EQ(response.body.str(), std::string("\x1f\x8b\x08\0\xff", 5));
  EXPECT_THAT(response.headers, IsEmpty());
  ASSERT_EQ(api.seen.size(), 1U);
  const auto& seen = api.seen.front();
  EXPECT_EQ(seen.method, "POST");
  EXPECT_EQ(seen.target, "/openstack/2013-04-04/password?a=%20b");
  EXPECT_EQ(seen.body, "payload");
  EXPECT_THAT(
      seen.headers,
      ElementsAre(Pair("X-Forwarded-For", "192.168.1.1"), Pair("X-Instance-ID", "uuid1"),
                  Pair("X-Tenant-ID", "project1"),
                  Pair("X-Instance-ID-Signature",
                       "3b5421875d7ba0fc910202f5ce448d9419597e7b66f702b53335116fee60e81e")));
}

TEST_F(Stage, FindsByNetworkInEveryFormOfTheAddress) {
  const std::string network(kNetwork);
  for (const auto* name : {"X-Neutron-Network-ID", "X-OVN-Network-ID"}) {
    for (const auto* address :
         {"192.168.1.1", "::ffff:192.168.1.1", "fe80::5054:ff:fede:5bbf", " 192.168.1.1 "}) {
      EXPECT_EQ(instance_asked(Asking({{name, network}, {"X-Forwarded-For", address}})), "uuid1")
          << name << " " << address;
    }
  }
  EXPECT_EQ(instance_asked(Asking({{"X-Neutron-Network-ID", std::string(kOther)},
                                   {"X-Forwarded-For", "192.168.1.1"}})),
            "uuid2");
}

TEST_F(Stage, TheApiSeesTheAddressAsTheProxyWroteIt) {
  ask(Asking({{"X-Neutron-Network-ID", std::string(kNetwork)},
              {"X-Forwarded-For", "::ffff:192.168.1.1"}}));
  EXPECT_THAT(api.seen.back().headers.front(), Pair("X-Forwarded-For", "::ffff:192.168.1.1"));
}

TEST_F(Stage, FindsByRouter) {
  const std::string router(kRouter);
  for (const auto* address : {"192.168.1.1", "::ffff:192.168.1.1", "fe80::5054:ff:fede:5bbf"}) {
    EXPECT_EQ(
        instance_asked(Asking({{"X-Neutron-Router-ID", router}, {"X-Forwarded-For", address}})),
        "uuid1");
  }
}

TEST_F(Stage, WhatNobodyHasIs404) {
  const Headers questions[]{
      {{"X-Neutron-Network-ID", std::string(kNetwork)}, {"X-Forwarded-For", "192.168.1.9"}},
      {{"X-Neutron-Network-ID", "unknown"}, {"X-Forwarded-For", "192.168.1.1"}},
      {{"X-Neutron-Router-ID", "unknown"}, {"X-Forwarded-For", "192.168.1.1"}},
      {{"X-Neutron-Router-ID", std::string(kRouter)}, {"X-Forwarded-For", "192.168.1.9"}},
  };
  for (const auto& question : questions) {
    EXPECT_EQ(instance_asked(Asking(question)), "");
    EXPECT_EQ(status, 404U);
  }
}

TEST_F(Stage, BothIdsOrOneTwiceIs404WithoutALookup) {
  const std::string network(kNetwork);
  const Headers questions[]{
      {{"X-Neutron-Network-ID", network}, {"X-Neutron-Router-ID", std::string(kRouter)}},
      {{"X-Neutron-Network-ID", network}, {"X-OVN-Network-ID", std::string(kOther)}},
      {{"X-Neutron-Network-ID", network}, {"X-Neutron-Network-ID", std::string(kOther)}},
  };
  for (auto question : questions) {
    question.emplace_back("X-Forwarded-For", "192.168.1.1");
    EXPECT_EQ(instance_asked(Asking(question)), "");
    EXPECT_EQ(status, 404U);
  }
}

TEST_F(Stage, AnEmptyIdCountsAsNone) {
  EXPECT_EQ(instance_asked(Asking({{"X-Neutron-Network-ID", std::string(kNetwork)},
                                   {"X-Neutron-Router-ID", ""},
                                   {"X-Forwarded-For", "192.168.1.1"}})),
            "uuid1");
}

TEST_F(Stage, WhatNamesNoOriginIs400) {
  const std::string network(kNetwork);
  const Headers questions[]{
      {{"X-Forwarded-For", "192.168.1.1"}},
      {{"X-Neutron-Network-ID", network}},
      {{"X-Neutron-Network-ID", network}, {"X-Forwarded-For", ""}},
      {{"X-Neutron-Network-ID", network}, {"X-Forwarded-For", "nonsense"}},
      {{"X-Neutron-Network-ID", network}, {"X-Forwarded-For", "192.168.1.1, 192.168.1.2"}},
      {{"X-Neutron-Network-ID", network}, {"X-Forwarded-For", "fe80::1%eth0"}},
      {{"X-Neutron-Network-ID", network},
       {"X-Forwarded-For", "192.168.1.1"},
       {"x-forwarded-for", "192.168.1.1"}},
  };
  for (const auto& question : questions) {
    EXPECT_EQ(instance_asked(Asking(question)), "");
    EXPECT_EQ(status, 400U);
  }
}

/// A tag for kPort in the network of another tenant, who has the same address: whoever does not
/// believe it but goes on would answer as that other one.
class Tag : public Stage {
 protected:
  const DirectoryQuery tag{
      .port_id = kPort, .network_id = kOther, .router_id = {}, .address = "192.168.1.1"};
  const Headers place{{"X-Neutron-Network-ID", std::string(kOther)},
                      {"X-Forwarded-For", "192.168.1.1"}};

  Asking with(Headers more) const {
    more.insert(more.end(), place.begin(), place.end());
    return Asking(more);
  }
  void expect_refused(const Asking& asking, const std::string& what) {
    const auto before = stage->counters().refused_port_tags;
    api.seen.clear();
    const auto response = ask(asking);
    EXPECT_EQ(response.status, 503U) << what;
    EXPECT_THAT(response.headers, ElementsAre(Pair("Retry-After", "1"))) << what;
    EXPECT_THAT(api.seen, IsEmpty()) << what;
    EXPECT_EQ(stage->counters().refused_port_tags, before + 1) << what;
  }
};

TEST_F(Tag, IsBelievedWithOurSignatureOrInOurProcess) {
  const std::string port(kPort);
  EXPECT_EQ(instance_asked(with(
                {{"X-Metatap-Port-ID", port}, {"X-Metatap-Port-Signature", signature_of(tag)}})),
            "uuid1");
  EXPECT_EQ(instance_asked(with({{"x-metatap-port-id", port},
                                 {"X-METATAP-PORT-SIGNATURE", " " + signature_of(tag) + " "}})),
            "uuid1");
  Asking fused({{"X-Metatap-Port-ID", port}, place[0], place[1]});
  fused.peer = {.in_process = true};
  EXPECT_EQ(instance_asked(fused), "uuid1");
  EXPECT_EQ(stage->counters().refused_port_tags, 0U);
}

TEST_F(Tag, IsRefusedWithAnyOtherSignature) {
  const std::string port(kPort);
  const auto signed_as = [&](DirectoryQuery other) {
    return with({{"X-Metatap-Port-ID", port}, {"X-Metatap-Port-Signature", signature_of(other)}});
  };
  expect_refused(with({{"X-Metatap-Port-ID", port}}), "none");
  expect_refused(with({{"X-Metatap-Port-ID", port}, {"X-Metatap-Port-Signature", ""}}), "empty");
  auto other = tag;
  other.port_id = "other";
  expect_refused(signed_as(other), "of another port");
  other = tag;
  other.network_id = kNetwork;
  expect_refused(signed_as(other), "of another network");
  other = tag;
  std::swap(other.network_id, other.router_id);
  expect_refused(signed_as(other), "of a router with the network's id");
  other = tag;
  other.address = "192.168.1.2";
  expect_refused(signed_as(other), "of another address");
  other = {.port_id = "44444444-aaaa-4aaa-8aaa-00000000000",
           .network_id = "422222222",
           .router_id = {},
           .address = tag.address};
  expect_refused(signed_as(other), "whose parts begin elsewhere");
  auto text = signature_of(tag);
  text.back() = text.back() == '0' ? '1' : '0';
  expect_refused(with({{"X-Metatap-Port-ID", port}, {"X-Metatap-Port-Signature", text}}),
                 "one digit off");
  const Signature stranger = PortTagKey(std::string(32, 'x')).sign(tag);
  expect_refused(with({{"X-Metatap-Port-ID", port},
                       {"X-Metatap-Port-Signature", {stranger.begin(), stranger.end()}}}),
                 "with another key");
}

TEST_F(Tag, IsRefusedWhenItIsNotOneTag) {
  const std::pair<std::string, std::string> id{"X-Metatap-Port-ID", std::string(kPort)};
  const std::pair<std::string, std::string> none{"X-Metatap-Port-ID", ""};
  const std::pair<std::string, std::string> proof{"X-Metatap-Port-Signature", signature_of(tag)};
  expect_refused(with({id, id, proof}), "two equal ids");
  expect_refused(with({id, none, proof}), "one and an empty one");
  expect_refused(with({none, id, proof}), "an empty one and one");
  expect_refused(with({id, proof, proof}), "two signatures");
  expect_refused(with({proof}), "a signature alone");
  expect_refused(with({none}), "an empty id");
  auto empty = tag;
  empty.port_id = {};
  expect_refused(with({none, {"X-Metatap-Port-Signature", signature_of(empty)}}),
                 "an empty id, well signed");
  Asking fused({none, place[0], place[1]});
  fused.peer = {.in_process = true};
  expect_refused(fused, "an empty id of ourselves");
}

TEST_F(Tag, InAnotherSpellingIsAnUnknownHeader) {
  EXPECT_EQ(instance_asked(with({{"X_Metatap_Port_ID", std::string(kPort)},
                                 {"X_Metatap_Port_Signature", signature_of(tag)},
                                 {"X-Metatap-Port", std::string(kPort)}})),
            "uuid2");
}

TEST_F(Tag, IsRefusedByAnAgentWithoutAKey) {
  stage = AgentStage::create(directory, api, options).value();
  expect_refused(with({{"X-Metatap-Port-ID", std::string(kPort)},
                       {"X-Metatap-Port-Signature", signature_of(tag)}}),
                 "no key");
  EXPECT_EQ(instance_asked(with({})), "uuid2") << "a neighbour of Neutron's has no tag";
}

TEST_F(Tag, NamesThePortAndNotTheNetworkWhenWellSigned) {
  auto unknown = tag;
  unknown.port_id = "unknown";
  EXPECT_EQ(instance_asked(with({{"X-Metatap-Port-ID", "unknown"},
                                 {"X-Metatap-Port-Signature", signature_of(unknown)}})),
            "");
  EXPECT_EQ(status, 404U);
}

TEST_F(Stage, AnUnknownPortTagIsNotWidenedToTheNetwork) {
  Asking asking({{"X-Metatap-Port-ID", "unknown"},
                 {"X-Neutron-Network-ID", std::string(kNetwork)},
                 {"X-Forwarded-For", "192.168.1.1"}});
  asking.peer = {.in_process = true};
  EXPECT_EQ(instance_asked(asking), "");
  EXPECT_EQ(status, 404U);
}

TEST_F(Stage, FusedRequestsNeedNoCoroutine) {
  const Asking asking(
      {{"X-Neutron-Network-ID", std::string(kNetwork)}, {"X-Forwarded-For", "192.168.1.1"}});
  EXPECT_TRUE(ask_at_once(*stage, asking.request));
  api.respond = [](const RecordingApi::Seen&) { return Response{.status = 404}; };
  EXPECT_TRUE(ask_at_once(*stage, asking.request)) << "the inventory cannot know better";
  api.at_once = false;
  boost::asio::io_context here;
  Waiting waiting;
  EXPECT_FALSE(stage->ask(asking.request, here, waiting));
  api.waiting.back()();
  ASSERT_TRUE(waiting.result);
  EXPECT_EQ(waiting.result->status, 404U);
}

class Mapping : public Stage, public testing::WithParamInterface<std::pair<unsigned, unsigned>> {};

TEST_P(Mapping, OfStatuses) {
  const auto [from, to] = GetParam();
  api.respond = [&, from_api = from](const RecordingApi::Seen&) {
    Response response{.status = from_api};
    response.body = Body(std::string("inner text"));
    response.headers = {{"retry-after", "7"}, {"Location", "http://elsewhere/"}};
    return response;
  };
  const auto response = ask(Asking(
      {{"X-Neutron-Network-ID", std::string(kNetwork)}, {"X-Forwarded-For", "192.168.1.1"}}));
  EXPECT_EQ(response.status, to);
  EXPECT_THAT(response.body.str(), Not(HasSubstr("inner text")));
  EXPECT_EQ(api.seen.size(), 1U);
  for (const auto& [name, value] : response.headers) {
    EXPECT_EQ(name + value, "Retry-After7");
  }
  EXPECT_EQ(response.headers.size(), to == 500 ? 0U : 1U);
}

INSTANTIATE_TEST_SUITE_P(
    Api, Mapping,
    testing::Values(std::pair{400U, 400U}, std::pair{403U, 403U}, std::pair{404U, 404U},
                    std::pair{409U, 409U}, std::pair{500U, 500U}, std::pair{502U, 502U},
                    std::pair{503U, 503U}, std::pair{504U, 504U}, std::pair{201U, 500U},
                    std::pair{204U, 500U}, std::pair{302U, 500U}, std::pair{304U, 500U},
                    std::pair{401U, 500U}, std::pair{405U, 500U}, std::pair{413U, 413U},
                    std::pair{414U, 414U}, std::pair{431U, 431U}, std::pair{429U, 500U},
                    std::pair{501U, 500U}));

TEST_F(Stage, ErrorPagesFollowAccept) {
  const auto page = [&](Headers headers, std::string_view method = "GET") {
    headers.emplace_back("X-Neutron-Network-ID", "unknown");
    headers.emplace_back("X-Forwarded-For", "192.168.1.1");
    return ask(Asking(headers, method));
  };
  const auto plain = page({});
  EXPECT_EQ(plain.content_type, "text/plain; charset=UTF-8");
  EXPECT_EQ(plain.body.str(), "404 Not Found\n\nThe resource could not be found.\n\n   ");
  for (const auto* accept : {"*/*", "text/*", "text/html,application/json;q=0.9"}) {
    const auto html = page({{"accept", accept}});
    EXPECT_EQ(html.content_type, "text/html; charset=UTF-8");
    EXPECT_EQ(html.body.size(), 154U);
  }
  const auto answer = page({{"Accept", "application/json"}});
  EXPECT_EQ(answer.content_type, "application/json");
  EXPECT_EQ(answer.body.str(),
            R"({"message": "The resource could not be found.<br /><br />\n\n\n", )"
            R"("code": "404 Not Found", "title": "Not Found"})");
  EXPECT_EQ(page({{"Accept", "image/png"}}).content_type, "text/plain; charset=UTF-8");
  EXPECT_EQ(page({{"Accept", "application/json, text/html;q=0.1"}}).content_type,
            "application/json");
  const auto head = page({}, "HEAD");
  EXPECT_EQ(head.body.size(), 0U);
  EXPECT_EQ(head.content_type, "text/html; charset=UTF-8");
}

TEST_F(Stage, AnEmptySecretIsRefused) {
  options.metadata_proxy_shared_secret.clear();
  const auto made = AgentStage::create(directory, api, options);
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("metadata_proxy_shared_secret is empty"));
  options.metadata_proxy_shared_secret = "CHANGE-ME";
  EXPECT_FALSE(AgentStage::create(directory, api, options));
}

TEST_F(Stage, APortOfNoInstanceIs404) {
  put(port("unbound", kNetwork, "192.168.1.7", "fa:16:3e:00:00:07", "", "project1"));
  directory.set(inventory);
  EXPECT_EQ(instance_asked(Asking({{"X-Neutron-Network-ID", std::string(kNetwork)},
                                   {"X-Forwarded-For", "192.168.1.7"}})),
            "");
  EXPECT_EQ(status, 404U);
}

class Cached : public Stage {
 protected:
  Cached() { cached_stage = AgentStage::create(cached, api, options).value(); }
  Response ask_cached() {
    const Asking asking(
        {{"X-Neutron-Network-ID", std::string(kNetwork)}, {"X-Forwarded-For", "192.168.1.1"}});
    return metatap::ask(*cached_stage, asking.request);
  }
  void api_knows(std::string instance) {
    api.respond = [instance = std::move(instance)](const RecordingApi::Seen& seen) {
      return Response{.status = seen.headers.at(1).second == instance ? 200U : 404U};
    };
  }
  ScriptedDirectory cached;
  std::unique_ptr<AgentStage> cached_stage;
};

TEST_F(Cached, AStaleOwnerIsAskedAgainOnce) {
  cached.cached = Identity{"old", "p"};
  cached.asked = Identity{"new", "p"};
  api_knows("new");
  EXPECT_EQ(ask_cached().status, 200U);
  EXPECT_EQ(api.seen.size(), 2U);
  EXPECT_THAT(cached.finds, ElementsAre(Pair(Freshness::asked, "192.168.1.1")));
}

TEST_F(Cached, TheSameOwnerIsNotSentTwice) {
  cached.cached = Identity{"old", "p"};
  cached.asked = Identity{"old", "p"};
  api_knows("nobody");
  EXPECT_EQ(ask_cached().status, 404U);
  EXPECT_EQ(api.seen.size(), 1U);
  EXPECT_EQ(cached.finds.size(), 1U);
}

TEST_F(Cached, AnOutageDuringTheSecondQuestionLeavesThe404) {
  cached.cached = Identity{"old", "p"};
  cached.asked = fail(ErrorCode::unavailable, "down");
  api_knows("nobody");
  EXPECT_EQ(ask_cached().status, 404U);
}

TEST_F(Cached, WhatIsNotCachedIsAsked) {
  cached.asked = Identity{"new", "p"};
  api_knows("new");
  EXPECT_EQ(ask_cached().status, 200U);
  EXPECT_THAT(cached.finds, ElementsAre(Pair(Freshness::cached, "192.168.1.1")));
}

TEST_F(Cached, ADirectoryThatIsDownIs503WithRetryAfter) {
  for (const auto code :
       {ErrorCode::unavailable, ErrorCode::timeout, ErrorCode::denied, ErrorCode::internal}) {
    cached.asked = fail(code, "down");
    const auto response = ask_cached();
    EXPECT_EQ(response.status, 503U);
    EXPECT_THAT(response.headers, ElementsAre(Pair("Retry-After", "1")));
  }
}

TEST_F(Cached, WaitsForTheApiWithoutALoop) {
  const Asking asking(
      {{"X-Neutron-Network-ID", std::string(kNetwork)}, {"X-Forwarded-For", "192.168.1.1"}});
  boost::asio::io_context here;
  Waiting waiting;
  api.at_once = false;
  api_knows("one");
  cached.cached = Identity{"one", "p"};
  EXPECT_FALSE(cached_stage->ask(asking.request, here, waiting));
  EXPECT_FALSE(waiting.result);
  api.waiting.back()();
  ASSERT_TRUE(waiting.result);
  EXPECT_EQ(waiting.result->status, 200U);
  EXPECT_EQ(api.seen.back().headers.at(1).second, "one");
}

TEST_F(Cached, AsksTheDirectoryAgainWhenTheApiSaysLaterThatItKnowsNobody) {
  const Asking asking(
      {{"X-Neutron-Network-ID", std::string(kNetwork)}, {"X-Forwarded-For", "192.168.1.1"}});
  boost::asio::io_context here;
  Waiting waiting;
  api.at_once = false;
  api_knows("new");
  cached.cached = Identity{"old", "p"};
  cached.asked = Identity{"new", "p"};
  EXPECT_FALSE(cached_stage->ask(asking.request, here, waiting));
  api.waiting.back()();
  EXPECT_FALSE(waiting.result);
  here.poll();
  ASSERT_EQ(api.waiting.size(), 2U);
  EXPECT_FALSE(waiting.result);
  api.waiting.back()();
  here.restart();
  here.poll();
  ASSERT_TRUE(waiting.result);
  EXPECT_EQ(waiting.result->status, 200U);
  EXPECT_EQ(waiting.times, 1);
}

TEST_F(Cached, AStageThatThrowsHasAnswered500) {
  api.respond = [](const RecordingApi::Seen&) -> Response { throw std::runtime_error("broken"); };
  cached.cached = Identity{"one", "p"};
  EXPECT_EQ(ask_cached().status, 500U) << "at once";
  cached.cached = fail(ErrorCode::unavailable, "not cached");
  cached.asked = Identity{"one", "p"};
  EXPECT_EQ(ask_cached().status, 500U) << "for a coroutine";
}

}  // namespace
}  // namespace metatap::agent
