// SPDX-License-Identifier: Apache-2.0
// What one host needs of a database that many share ([inventory] scope = host).
#include "inventory/postgres_scope.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "inventory/document.hpp"
#include "inventory/open_store.hpp"
#include "inventory/step.hpp"
#include "metatap/port_binding.hpp"
#include "unit/inventory/differences.hpp"
#include "unit/inventory/postgres_server.hpp"
#include "unit/inventory/temporary_directory.hpp"

namespace metatap {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <class T>
std::vector<std::string> ids(const Inventory::Table<T>& table) {
  std::vector<std::string> all;
  for (const auto& [id, object] : table) {
    all.push_back(id);
  }
  return all;
}

/// Two guests of one network on two hosts; the first has another port, which is bound elsewhere,
/// and so has a third guest. Router and DHCP server of the first network are on a host of their
/// own.
constexpr auto kCloud = R"({"format": "metatap-inventory/1",
  "networks": [{"id": "n-1"}, {"id": "n-2"}, {"id": "n-3"}],
  "subnets": [{"id": "s-1", "network_id": "n-1", "cidr": "10.1.0.0/24"},
              {"id": "s-2", "network_id": "n-2", "cidr": "10.2.0.0/24"},
              {"id": "s-3", "network_id": "n-3", "cidr": "10.3.0.0/24"}],
  "routers": [{"id": "r-1"}, {"id": "r-3"}],
  "ports": [
    {"id": "a-1", "network_id": "n-1", "mac_address": "02:00:00:00:00:a1", "device_id": "a",
     "device_owner": "compute:nova", "binding:host_id": "h-1"},
    {"id": "a-2", "network_id": "n-2", "mac_address": "02:00:00:00:00:a2", "device_id": "a",
     "device_owner": "compute:nova", "binding:host_id": "h-9"},
    {"id": "b-1", "network_id": "n-1", "mac_address": "02:00:00:00:00:b1", "device_id": "b",
     "device_owner": "compute:nova", "binding:host_id": "h-2"},
    {"id": "c-3", "network_id": "n-3", "mac_address": "02:00:00:00:00:c3", "device_id": "c",
     "device_owner": "compute:nova", "binding:host_id": "h-3"},
    {"id": "dhcp-1", "network_id": "n-1", "mac_address": "02:00:00:00:00:d1",
     "device_id": "dhcp-of-net-1", "device_owner": "network:dhcp", "binding:host_id": "net-1"},
    {"id": "qr-1", "network_id": "n-1", "mac_address": "02:00:00:00:00:e1", "device_id": "r-1",
     "device_owner": "network:router_interface", "binding:host_id": "net-2"},
    {"id": "qr-3", "network_id": "n-3", "mac_address": "02:00:00:00:00:e3", "device_id": "r-1",
     "device_owner": "network:router_interface", "binding:host_id": "net-2"},
    {"id": "float-1", "network_id": "n-1", "mac_address": "02:00:00:00:00:f1",
     "device_id": "PENDING", "device_owner": "network:floatingip"}],
  "instances": [{"uuid": "a", "name": "1"}, {"uuid": "b", "name": "1"}, {"uuid": "c", "name": "1"},
                {"uuid": "of-nobody", "name": "1"}]})";

std::string port(const char* id, const std::string& more) {
  return fmt::format(R"({{"ports": [{{"id": "{0}-1", "network_id": "n-1", "device_id": "{0}",
      "mac_address": "02:00:00:00:00:{0}1", "device_owner": "compute:nova"{1}}}]}})",
                     id, more);
}
std::string instance(const char* uuid, const char* name) {
  return fmt::format(R"({{"uuid": "{}", "name": "{}"}})", uuid, name);
}

/// One server for all tests, each of which begins with no tables.
class PostgresScope : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (Server::missing().empty()) {
      server_ = std::make_unique<Server>();
    }
  }
  static void TearDownTestSuite() { server_.reset(); }
  void SetUp() override {
    if (!server_) {
      GTEST_SKIP() << Server::missing();
    }
    server_->sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
  }
  /// A store that holds the part of a host, or everything.
  static std::unique_ptr<Store> store(const std::string& host = "") {
    return open_store(server_->url(), "/nowhere", kLimit, host).value();
  }
  static std::shared_ptr<const Inventory> part(const std::string& host) {
    const auto loaded = store(host)->load();
    EXPECT_TRUE(loaded) << loaded.error().message;
    return loaded.value_or(std::make_shared<const Inventory>());
  }

  static inline std::unique_ptr<Server> server_;
};

TEST_F(PostgresScope, HoldsWhatItsGuestsNeed) {
  ASSERT_TRUE(store()->replace(*parse_document(kCloud)));
  const auto held = part("h-1");
  EXPECT_THAT(ids(held->ports), ElementsAre("a-1", "a-2", "dhcp-1", "qr-1"));
  EXPECT_THAT(ids(held->instances), ElementsAre("a"));
  EXPECT_THAT(ids(held->networks), ElementsAre("n-1", "n-2"));
  EXPECT_THAT(ids(held->subnets), ElementsAre("s-1", "s-2"));
  EXPECT_THAT(ids(held->routers), ElementsAre("r-1"));
  EXPECT_EQ(held->revision, 2U);
  EXPECT_TRUE(part("h-7")->ports.empty());
  EXPECT_TRUE(part("it's \"nobody\"\\")->ports.empty());
}

TEST_F(PostgresScope, HoldsTheGuestsThatItsRoutersAndDhcpServersServe) {
  ASSERT_TRUE(store()->replace(*parse_document(kCloud)));
  const auto dhcp = part("net-1");
  EXPECT_THAT(ids(dhcp->ports), ElementsAre("a-1", "a-2", "b-1", "dhcp-1", "qr-1"));
  EXPECT_THAT(ids(dhcp->instances), ElementsAre("a", "b"));
  const auto router = part("net-2");
  EXPECT_THAT(ids(router->ports),
              ElementsAre("a-1", "a-2", "b-1", "c-3", "dhcp-1", "qr-1", "qr-3"));
  EXPECT_THAT(ids(router->networks), ElementsAre("n-1", "n-2", "n-3"));
  EXPECT_THAT(ids(router->routers), ElementsAre("r-1"));
}

TEST_F(PostgresScope, HoldsGuestsThatAreSaidToBeNowhereOrOnTheirWay) {
  Host all(server_->url());
  ASSERT_TRUE(all.apply(kCloud));
  const auto set = [&](std::string object) {
    const auto plan =
        answer_of(all.control(), all->put(std::move(object), InventoryService::Mode::set));
    EXPECT_TRUE(plan) << plan.error().message;
  };
  set(port("b", R"(, "binding:host_id": "h-2", "binding:profile": {"migrating_to": "h-5"})"));
  EXPECT_TRUE(part("h-2")->ports.contains("b-1"));
  EXPECT_THAT(ids(part("h-5")->instances), ElementsAre("b"));
  set(port("b", ""));
  EXPECT_THAT(ids(part("h-7")->instances), ElementsAre("b"));
  // Neutron's own words for it.
  set(port("b", R"(, "binding:host_id": "")"));
  EXPECT_THAT(ids(part("h-7")->instances), ElementsAre("b"));
}

/// The database and the data plane must have the same rule.
TEST_F(PostgresScope, HoldsThePortsThatMayBeAtTheHost) {
  std::string ports;
  int number = 0;
  for (const std::string host : {"", "h-1", "h-2", "H-1", "h-1.example.org"}) {
    for (const std::string next : {"", "h-1", "h-2", "h-3"}) {
      ports += fmt::format(R"({}{{"id": "p{:02}", "network_id": "n", "mac_policy": "any",
          "binding:host_id": "{}", "binding:profile": {{"migrating_to": "{}"}}}})",
                           number == 0 ? "" : ",", number, host, next);
      ++number;
    }
  }
  const auto all =
      parse_document(fmt::format(R"({{"format": "metatap-inventory/1", "networks": [{{"id": "n"}}],
                       "ports": [{}]}})",
                                 ports));
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_TRUE(store()->replace(*all));
  for (const auto* host : {"h-1", "h-2", "h-3", "h-4"}) {
    std::vector<std::string> wanted;
    for (const auto& [id, port] : all->ports) {
      if (may_be_at(*port, host)) {
        wanted.push_back(id);
      }
    }
    EXPECT_EQ(ids(part(host)->ports), wanted) << host;
  }
}

TEST_F(PostgresScope, ReadsNoRowOfOthers) {
  ASSERT_TRUE(store()->replace(*parse_document(kCloud)));
  const auto here = store("h-1");
  ASSERT_TRUE(here->load());
  server_->sql(R"(UPDATE metatap_object SET body = '{"unreadable": 1}'
                  WHERE kind = 'instances' AND id <> 'a')");
  ASSERT_FALSE(store()->load());
  EXPECT_THAT(ids(part("h-1")->instances), ElementsAre("a"));
  const auto set = here->set_password("a", "x");
  EXPECT_TRUE(set) << set.error().message;
}

TEST_F(PostgresScope, FollowsItsOwnChangesAlone) {
  Host all(server_->url());
  ASSERT_TRUE(all.apply(kCloud));
  Host one(server_->url(), "/nowhere", "h-1"), two(server_->url(), "/nowhere", "h-2");
  const auto set = [&](std::string object) {
    EXPECT_TRUE(answer_of(all.control(), all->put(std::move(object), InventoryService::Mode::set)));
  };
  const auto name = [](Host& host, const char* uuid) {
    const auto* found = get(host->current()->instances, uuid);
    return found == nullptr ? "" : found->name;
  };
  const auto soon = [](Host& host, auto&& holds) { return host.until(holds, 5s); };
  one.until([] { return false; }, 100ms);  // what it reads when it begins to listen
  const auto before = one->state().revision;
  set(instance("b", "2"));
  EXPECT_TRUE(soon(two, [&] { return name(two, "b") == "2"; }));
  EXPECT_FALSE(one.until([&] { return one->state().revision != before; }, 300ms));

  // Live migration: served on the new host as soon as it is on its way, and then only there.
  set(port("b", R"(, "binding:host_id": "h-2", "binding:profile": {"migrating_to": "h-1"})"));
  EXPECT_TRUE(soon(one, [&] { return name(one, "b") == "2"; }));
  EXPECT_TRUE(soon(two, [&] { return two->current()->ports.at("b-1")->next_host == "h-1"; }));
  set(port("b", R"(, "binding:host_id": "h-1")"));
  EXPECT_TRUE(soon(one, [&] { return one->current()->ports.at("b-1")->host == "h-1"; }));
  EXPECT_TRUE(soon(two, [&] { return two->current()->ports.empty(); }));
  EXPECT_TRUE(two->current()->instances.empty());

  // One that comes, with the network that was not needed before; one that goes.
  set(R"({"ports": [{"id": "new", "network_id": "n-3", "mac_address": "02:00:00:00:00:01",
                     "device_id": "new", "binding:host_id": "h-2"}],
          "instances": [{"uuid": "new"}]})");
  EXPECT_TRUE(soon(two, [&] { return two->current()->instances.contains("new"); }));
  EXPECT_TRUE(two->current()->subnets.contains("s-3"));
  ASSERT_TRUE(answer_of(all.control(), all->remove_instance("new")));
  EXPECT_TRUE(soon(two, [&] { return two->current()->networks.empty(); }));
}

TEST_F(PostgresScope, PasswordsGoToTheDatabaseAndNothingElseDoes) {
  Host all(server_->url());
  ASSERT_TRUE(all.apply(kCloud));
  Host one(server_->url(), "/nowhere", "h-1");
  const auto before = *all->current();
  ASSERT_TRUE(all.add(R"({"uuid": "later"})"));  // which the one is not told of
  ASSERT_TRUE(answer_of(one.control(), one->set_password("a", "secret")));
  EXPECT_TRUE(
      all.until([&] { return password_of(*all->current()->instances.at("a")) == "secret"; }, 5s));
  EXPECT_EQ(all->current()->instances.size(), before.instances.size() + 1);
  EXPECT_EQ(all->current()->ports.size(), before.ports.size());

  const auto refused = [](const auto& result) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, ErrorCode::denied);
    EXPECT_THAT(result.error().message, HasSubstr("h-1"));
  };
  refused(one.apply(kCloud));
  refused(one.add(instance("z", "z")));
  refused(answer_of(one.control(), one->remove_instance("a")));
  refused(one->rehearse(kCloud));
  refused(one->document());
  EXPECT_EQ(store("h-1")->replace(Inventory{}).error().code, ErrorCode::denied);
  EXPECT_EQ(store()->load().value()->instances.size(), before.instances.size() + 1);
}

TEST_F(PostgresScope, TheCopyOfAPartIsNotTakenForEverything) {
  TemporaryDirectory state;
  ASSERT_TRUE(store()->replace(*parse_document(kCloud)));
  {
    Host one(server_->url(), state.path(), "h-1");
  }
  server_->stop(SIGQUIT);
  {
    Host one(server_->url(), state.path(), "h-1");
    EXPECT_TRUE(one->state().from_copy);
    EXPECT_THAT(ids(one->current()->instances), ElementsAre("a"));
  }
  Host another(server_->url(), state.path(), "h-2");
  EXPECT_FALSE(another->known());
  Host all(server_->url(), state.path());
  EXPECT_FALSE(all->known());
  server_->start();
}

TEST_F(PostgresScope, OfAnOlderProgramsTables) {
  server_->sql(R"(
      CREATE TABLE metatap_state (one integer PRIMARY KEY, schema integer, revision bigint);
      INSERT INTO metatap_state VALUES (1, 2, 5);
      CREATE TABLE metatap_object (kind text, id text, body text NOT NULL, network_info text,
                                   place bigint, PRIMARY KEY (kind, id));
      CREATE TABLE metatap_ec2_id (space integer, number bigint, uuid text NOT NULL,
                                   PRIMARY KEY (space, number), UNIQUE (space, uuid));
      INSERT INTO metatap_object VALUES ('networks', 'n', '{"id": "n"}'), ('ports', 'p',
        '{"id": "p", "network_id": "n", "mac_address": "02:00:00:00:00:01", "device_id": "i",
          "device_owner": "compute:nova"}'), ('instances', 'i', '{"uuid": "i"}'))");
  // No port said where it is, then.
  EXPECT_THAT(ids(part("h-1")->instances), ElementsAre("i"));
  // It runs on, and changes something.
  const auto here = store("h-1");
  ASSERT_TRUE(here->load());
  server_->sql(R"(
      UPDATE metatap_object SET body = '{"id": "p", "network_id": "n", "device_id": "i",
        "mac_address": "02:00:00:00:00:01", "binding:host_id": "h-2"}' WHERE id = 'p';
      UPDATE metatap_state SET revision = revision + 1)");
  EXPECT_TRUE(here->load().value()->instances.empty());
  EXPECT_THAT(ids(part("h-2")->instances), ElementsAre("i"));
}

struct Concern {
  std::string name;
  std::vector<std::string> ports, devices, networks;
  postgres::Hosts hosts;
};

/// Whom a change concerns, to the host: one too few serves what is old, one too many reads in vain.
class Concerned : public PostgresScope, public testing::WithParamInterface<Concern> {
 protected:
  static std::string port(std::string_view id, std::string_view network, std::string_view owner,
                          std::string_view device, std::string_view host,
                          std::string_view next = "") {
    return fmt::format(R"({{"id": "{}", "network_id": "{}", "mac_policy": "any",
        "device_owner": "{}", "device_id": "{}", "binding:host_id": "{}",
        "binding:profile": {{"migrating_to": "{}"}}}})",
                       id, network, owner, device, host, next);
  }
  static std::string cloud() {
    constexpr auto kGuest = "compute:nova", kDhcp = "network:dhcp",
                   kRouter = "network:router_interface", kGateway = "network:router_gateway";
    const std::vector<std::string> ports{
        port("two-a", "n-1", kGuest, "two", "h-1", "h-2"),
        port("two-b", "n-2", kGuest, "two", "h-9"),
        port("one", "n-1", kGuest, "one", "h-3"),
        port("dhcp-1", "n-1", kDhcp, "", "net-1"),  // whose device Neutron has not said
        port("float", "n-1", "network:floatingip", "PENDING", ""),
        port("dhcp-2", "n-2", kDhcp, "dhcp-of-net-6", "net-6"),
        port("qr-2", "n-2", kRouter, "r", "net-2"),
        port("qr-3", "n-3", kRouter, "r", "net-3"),
        port("qg", "n-8", kGateway, "r", "net-8"),
        port("behind", "n-3", kGuest, "behind", "h-5"),
        port("alone", "n-4", kGuest, "", "h-7"),
        port("served", "n-5", kGuest, "", "h-8"),
        port("dhcp-5", "n-5", kDhcp, "", "net-5"),
        port("nowhere", "n-6", kGuest, "nowhere", ""),
        port("unbound", "n-7", kRouter, "r-7", ""),
        port("early", "n-7", kGuest, "early", "h-6")};
    std::string networks;
    for (int number = 1; number <= 8; ++number) {
      networks += fmt::format(R"({}{{"id": "n-{}"}})", number == 1 ? "" : ",", number);
    }
    return fmt::format(R"({{"format": "metatap-inventory/1", "networks": [{}], "ports": [{}]}})",
                       networks, fmt::join(ports, ","));
  }
  static postgres::Hosts of(const InventoryChange& change) {
    pqxx::connection connection(server_->url());
    postgres::prepare_concerned(connection);
    pqxx::work work(connection);
    postgres::Hosts hosts(std::in_place);
    postgres::add_concerned(work, change, hosts);
    return hosts;
  }
  /// No more is looked at than what the change names: the rows are the database's.
  static InventoryChange change(std::vector<std::string> ports, std::vector<std::string> devices,
                                std::vector<std::string> networks) {
    const auto none = std::make_shared<const Inventory>();
    return {none, none, std::move(networks), {}, {}, std::move(ports), std::move(devices)};
  }
};

TEST_P(Concerned, AreTheHostsThatNeedIt) {
  ASSERT_TRUE(store()->replace(*parse_document(cloud())));
  const auto& [name, ports, devices, networks, hosts] = GetParam();
  EXPECT_EQ(of(change(ports, devices, networks)), hosts);
}

INSTANTIATE_TEST_SUITE_P(
    Postgres, Concerned,
    testing::Values(
        Concern{"AGuestAndTheServerWithoutADevice", {"one"}, {}, {}, {{"h-3", "net-1"}}},
        Concern{"ItsInstance", {}, {"one"}, {}, {{"h-3", "net-1"}}},
        Concern{"AGuestsOtherPortsAndARoutersOtherHosts",
                {"two-a"},
                {},
                {},
                {{"h-1", "h-2", "h-9", "net-1", "net-2", "net-3", "net-6"}}},
        Concern{"AServersGuests",
                {"dhcp-1"},
                {},
                {},
                {{"h-1", "h-2", "h-3", "h-9", "net-1", "net-2", "net-3", "net-6"}}},
        Concern{"ARouter",
                {},
                {"r"},
                {},
                {{"h-1", "h-2", "h-5", "h-9", "net-1", "net-2", "net-3", "net-6", "net-8"}}},
        Concern{"ANetwork", {}, {}, {"n-3"}, {{"h-5", "net-2", "net-3"}}},
        Concern{"WhatNobodyAsksThrough", {"float"}, {}, {}, {{"net-1"}}},
        Concern{"AGuestOfNoInstance", {"alone"}, {}, {}, {{"h-7"}}},
        Concern{"ServersOfNoDeviceAreNotOne", {"served"}, {}, {}, {{"h-8", "net-5"}}},
        Concern{"AGuestThatMayBeAnywhere", {"nowhere"}, {}, {}, {}},
        Concern{"AServerThatIsNowhere", {"unbound"}, {}, {}, {{"h-6"}}},
        Concern{"AGuestOfAServerThatIsNowhere", {"early"}, {}, {}, {{"h-6"}}},
        Concern{"WhatIsNotThere", {"no"}, {"such"}, {"thing"}, postgres::Hosts(std::in_place)}),
    [](const auto& each) { return each.param.name; });

TEST_F(Concerned, ASubnetsNetworksBeforeAndAfter) {
  ASSERT_TRUE(store()->replace(*parse_document(cloud())));
  const auto with = [](const char* network) {
    auto inventory = std::make_shared<Inventory>();
    auto subnet = std::make_shared<Subnet>();
    subnet->network_id = network;
    inventory->subnets["s"] = std::move(subnet);
    return inventory;
  };
  const postgres::Hosts both{{"h-5", "h-7", "net-2", "net-3"}};
  EXPECT_EQ(of({with("n-3"), with("n-4"), {}, {"s"}, {}, {}, {}}), both);
}

TEST_F(Concerned, IsEverybodyWhereTooMuchChanges) {
  ASSERT_TRUE(store()->replace(*parse_document(cloud())));
  EXPECT_EQ(of(change(std::vector<std::string>(200, "one"), {}, {})),
            postgres::Hosts({"h-3", "net-1"}));
  EXPECT_EQ(of(change(std::vector<std::string>(201, "one"), {}, {})), std::nullopt);
}

/// A cloud of few objects in which anything may be anywhere.
class RandomCloud {
 public:
  explicit RandomCloud(unsigned seed) : random_(seed) {
    for (int number = 0; number < 12; ++number) {
      put("ports", number);
      put(number < 6 ? "instances" : "routers", number % 6);
      put(number < 4 ? "networks" : "subnets", number % 4);
    }
  }
  /// One object or several change, come or go.
  void change() {
    constexpr std::array kTables{"ports",   "ports",    "ports",  "instances",
                                 "routers", "networks", "subnets"};
    for (int count = 1 + below(2); count > 0; --count) {
      const std::string table = one_of(kTables);
      const int number = below(table == "ports" ? 12 : table == "instances" ? 6 : 4);
      if (below(4) == 0 && table != "networks") {
        tables_[table].erase(number);
      } else {
        put(table, number);
      }
    }
  }
  [[nodiscard]] std::string document() const {
    std::string text = R"({"format": "metatap-inventory/1")";
    for (const auto& [table, objects] : tables_) {
      std::vector<std::string> items;
      for (const auto& [number, object] : objects) {
        items.push_back(object);
      }
      text += fmt::format(R"(, "{}": [{}])", table, fmt::join(items, ", "));
    }
    return text + "}";
  }

 private:
  int below(int limit) { return std::uniform_int_distribution<>(0, limit - 1)(random_); }
  template <std::size_t N>
  const char* one_of(const std::array<const char*, N>& choices) {
    return choices.at(static_cast<std::size_t>(below(N)));
  }

  void put(const std::string& table, int number) {
    auto& object = tables_[table][number];
    if (table == "ports") {
      object = port(number);
    } else if (table == "subnets") {
      object = fmt::format(R"({{"id": "s{0}", "network_id": "n{1}", "cidr": "10.{0}.0.0/24"}})",
                           number, below(4));
    } else {
      object = fmt::format(R"({{"{}": "{}{}", "name": "{}"}})",
                           table == "instances" ? "uuid" : "id", table.front(), number, below(3));
    }
  }
  std::string port(int number) {
    constexpr std::array kOwners{"compute:nova",
                                 "compute:nova",
                                 "compute:nova",
                                 "network:dhcp",
                                 "network:router_interface",
                                 "network:floatingip"};
    constexpr std::array kHosts{"h1", "h1", "h2", "h2", "h3", "h3", "h4", "h4", ""};
    constexpr std::array kNextHosts{"", "", "", "", "h1", "h4"};
    const std::string owner = one_of(kOwners);
    const std::string device = owner == "compute:nova"   ? fmt::format("i{}", below(6))
                               : owner == "network:dhcp" ? fmt::format("dhcp{}", below(3))
                                                         : fmt::format("r{}", below(4));
    return fmt::format(R"({{"id": "p{0}", "network_id": "n{1}", "device_owner": "{2}",
                           "mac_address": "02:00:00:00:00:{0:02x}", "device_id": "{3}",
                           "binding:host_id": "{4}",
                           "binding:profile": {{"migrating_to": "{5}"}}}})",
                       number, below(4), owner, below(6) == 0 ? "" : device, one_of(kHosts),
                       one_of(kNextHosts));
  }

  std::mt19937 random_;
  std::map<std::string, std::map<int, std::string>> tables_;
};

/// Whom a commit concerns, and what is then read, must lead to the very part that a host reads that
/// knew nothing before.
TEST_F(PostgresScope, WhatIsFollowedIsWhatIsThere) {
  RandomCloud cloud(7);
  const auto all = store();
  std::map<std::string, std::unique_ptr<Store>> followers;
  for (const auto* host : {"h1", "h2", "h3", "h4"}) {
    followers[host] = store(host);
  }
  std::size_t most = 0, least = 100;
  for (int round = 0; round < 25; ++round) {
    const auto wanted = parse_document(cloud.document(), *all->load().value());
    ASSERT_TRUE(wanted) << wanted.error().message;
    ASSERT_TRUE(all->replace(*wanted));
    for (const auto& [host, follower] : followers) {
      const auto followed = follower->load();
      ASSERT_TRUE(followed) << followed.error().message;
      const auto there = part(host);
      ASSERT_EQ(differences(**followed, *there), "nothing to change\n") << host << ", " << round;
      most = std::max(most, there->ports.size());
      least = std::min(least, there->ports.size());
    }
    cloud.change();
  }
  EXPECT_LT(least, most) << "all have everything, which shows nothing";
}

}  // namespace
}  // namespace metatap
