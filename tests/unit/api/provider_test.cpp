// SPDX-License-Identifier: Apache-2.0
// Load-balancer mode: an edge asks for guests by its own id and their addresses (Nova's tests of
// _handle_instance_id_request_from_lb, and what must not be guessed).
#include <gmock/gmock.h>

#include "api/stage.hpp"
#include "unit/api/fixture.hpp"

namespace metatap::api {
namespace {

constexpr auto kOther = "5f4b1a6e-0002-4c5b-9d3e-000000000002";

std::shared_ptr<const Subnet> subnet_of(const std::string& id, const std::string& network,
                                        std::vector<std::string> providers) {
  auto subnet = std::make_shared<Subnet>();
  subnet->id = id;
  subnet->network_id = network;
  subnet->advanced_service_providers = std::move(providers);
  return subnet;
}

std::shared_ptr<const Port> port_of(const std::string& id, const std::string& network,
                                    const std::string& instance, const std::string& project,
                                    const std::string& address) {
  auto port = std::make_shared<Port>();
  port->id = id;
  port->network_id = network;
  port->device_id = instance;
  port->project_id = project;
  port->fixed_ips = {{"", address}};
  return port;
}

/// Two edges with networks of the same addresses; one of them has two networks.
Inventory inventory() {
  Instance other = sample_instance();
  other.uuid = kOther;
  other.project_id = "project-b";
  other.hostname = "other";
  auto all = inventory_of({sample_instance(), other});
  all.subnets["s-1"] = subnet_of("s-1", "net-1", {"edge-1"});
  all.subnets["s-1b"] = subnet_of("s-1b", "net-1", {"edge-1"});
  all.subnets["s-2"] = subnet_of("s-2", "net-2", {"edge-2"});
  all.subnets["s-3"] = subnet_of("s-3", "net-3", {"edge-2"});
  all.subnets["s-4"] = subnet_of("s-4", "net-4", {});
  all.ports["p-1"] = port_of("p-1", "net-1", kUuid, "project-a", "10.0.0.5");
  all.ports["p-2"] = port_of("p-2", "net-2", kOther, "project-b", "10.0.0.5");
  all.ports["p-4"] = port_of("p-4", "net-4", kUuid, "project-a", "10.0.0.4");
  return all;
}

Call asking(const std::string& provider, const std::string& address,
            const std::string& target = "/latest/meta-data/hostname") {
  const Signature signature = sign(kSecret, provider);
  Call call;
  call.target = target;
  call.headers = {
      {"X-Metadata-Provider", provider},
      {"X-Metadata-Provider-Signature", std::string(signature.data(), signature.size())},
      {"X-Forwarded-For", address}};
  return call;
}

class ProviderTest : public testing::Test {
 protected:
  [[nodiscard]] std::pair<unsigned, std::string> answer(const Call& call) const {
    const Response response = call.answer(*stage_);
    return {response.status, response.body.str()};
  }
  static std::pair<unsigned, std::string> bad(const std::string& message) {
    return {400U, "400 Bad Request\n\n" + message + "\n\n   "};
  }
  void apply(Inventory next, std::vector<std::string> subnets, std::vector<std::string> ports) {
    const auto after = std::make_shared<const Inventory>(std::move(next));
    stage_->apply(
        {.before = now_, .after = after, .subnets = std::move(subnets), .ports = std::move(ports)});
    now_ = after;
  }

  std::shared_ptr<const Inventory> now_ = std::make_shared<const Inventory>(inventory());
  std::unique_ptr<ApiStage> stage_ = stage_of(*now_);
};

TEST_F(ProviderTest, TheProviderTellsWhichOfTwoGuestsWithOneAddressAsks) {
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.5")), std::pair(200U, std::string("web-1.novalocal")));
  EXPECT_EQ(answer(asking("edge-2", "10.0.0.5")), std::pair(200U, std::string("other.novalocal")));
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.5, 192.0.2.7")).first, 200U)
      << "the edge's own address";
}

TEST_F(ProviderTest, RefusesInNovasOrderWithNovasWords) {
  EXPECT_EQ(answer(asking("edge-1", "").without("X-Forwarded-For")),
            bad("X-Forwarded-For is missing from request."));
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.5").without("X-Metadata-Provider-Signature")).first,
            403U);
  auto forged = asking("edge-2", "10.0.0.5");
  forged.without("X-Metadata-Provider").with("X-Metadata-Provider", "edge-1");
  EXPECT_EQ(answer(forged).first, 403U) << "another edge's signature";
  EXPECT_EQ(answer(asking("edge-9", "10.0.0.5")),
            bad("Could not find any subnets for provider edge-9"));
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.4")),
            bad("Expected a single port matching provider edge-1 and IP 10.0.0.4. Found 0."));
  EXPECT_EQ(answer(asking("edge-1", "nonsense")),
            bad("Expected a single port matching provider edge-1 and IP nonsense. Found 0."));
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.5", "/no/such/path")).first, 404U);
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.5").with("X-Metadata-Provider", "edge-1")).first, 400U);
  EXPECT_EQ(answer(asking("edge-1", "", "/").without("X-Forwarded-For")).first, 200U)
      << "the root is anybody's";
}

TEST_F(ProviderTest, AnEmptyProviderIsNone) {
  auto call = Call::signed_for("/latest");
  call.with("X-Metadata-Provider", "");
  EXPECT_EQ(answer(call).first, 200U);
}

TEST_F(ProviderTest, AmbiguityIsNeverGuessedAt) {
  auto next = *now_;
  next.ports["p-3"] = port_of("p-3", "net-3", kUuid, "project-a", "10.0.0.5");
  apply(next, {}, {"p-3"});
  EXPECT_EQ(answer(asking("edge-2", "10.0.0.5")),
            bad("Expected a single port matching provider edge-2 and IP 10.0.0.5. Found 2."));
  next.ports.erase("p-2");
  apply(next, {}, {"p-2"});
  EXPECT_EQ(answer(asking("edge-2", "10.0.0.5")), std::pair(200U, std::string("web-1.novalocal")));
}

TEST_F(ProviderTest, APortOfAnotherProjectThanItsInstanceIs404) {
  auto next = *now_;
  next.ports["p-1"] = port_of("p-1", "net-1", kUuid, "project-b", "10.0.0.5");
  apply(next, {}, {"p-1"});
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.5")).first, 404U);
}

TEST_F(ProviderTest, FollowsProvidersThatComeAndGo) {
  auto next = *now_;
  for (const auto* id : {"s-1", "s-1b", "s-2", "s-3"}) {
    next.subnets.erase(id);
  }
  apply(next, {"s-1", "s-1b", "s-2", "s-3"}, {});
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.5")),
            bad("Could not find any subnets for provider edge-1"));
  next.ports["p-5"] = port_of("p-5", "net-4", kOther, "project-b", "10.0.0.6");
  apply(next, {}, {"p-5"});
  next.subnets["s-4"] = subnet_of("s-4", "net-4", {"edge-1"});
  apply(next, {"s-4"}, {});
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.4")), std::pair(200U, std::string("web-1.novalocal")));
  EXPECT_EQ(answer(asking("edge-1", "10.0.0.6")), std::pair(200U, std::string("other.novalocal")));
}

}  // namespace
}  // namespace metatap::api
